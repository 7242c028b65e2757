"""Several students: partitions and their worth, unions, teacher score matching, routing."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.distill import Critic, FewSteps
from fewtheory.distill.msd import Routed, msd, teacher_score_matching, tsm_loss
from fewtheory.distill.theory.affine_denoiser import affine_denoiser, level_quadrature
from fewtheory.distill.theory.partition import (
    by_precision,
    consecutive,
    equal_partitions,
    interleaved,
    partition_gain,
)
from fewtheory.distill.theory.union import joint_kl, locked_kl, locked_l1, one_step_variance
from fewtheory.train import fit

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "msd.json").read_text())
RF = paths.RectifiedFlow()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def turned(n=8):
    covs = []
    for y in range(n):
        c, s = math.cos(math.pi * y / n), math.sin(math.pi * y / n)
        R = np.array([[c, -s], [s, c]])
        covs.append(R @ np.diag([0.6, 0.1]) @ R.T)
    covs = np.array(covs)
    return (covs + covs.swapaxes(1, 2)) / 2


@pytest.mark.parametrize(("known", "make"), [(KNOWN[0], consecutive), (KNOWN[1], interleaved)])
def test_partitions_are_worth_what_is_known(known, make):
    values = [partition_gain(turned(), make(8, K)).value for K in known["inputs"]["K"]]
    assert values == pytest.approx(known["expected"]["value"], abs=1e-14)


def test_unequal_parts_count_by_probability():
    found = partition_gain(turned(), KNOWN[2]["inputs"]["parts"]).value
    assert found == pytest.approx(KNOWN[2]["expected"]["value"], rel=1e-13)


def random_covs(rng, n=6, d=2):
    root = rng.standard_normal((n, d, d))
    covs = root @ root.swapaxes(1, 2) + 0.1 * np.eye(d)
    return (covs + covs.swapaxes(1, 2)) / 2


@given(st.integers(0, 10_000), st.floats(0.0, 2.0))
def test_splitting_never_costs_and_rotations_change_nothing(seed, rho):
    rng = np.random.default_rng(seed)
    covs, w = random_covs(rng), rng.dirichlet(np.ones(6)) * 0.9 + 0.1 / 6
    whole = partition_gain(covs, [range(6)], w, rho=rho).value
    halves = partition_gain(covs, [(0, 2, 4), (1, 3, 5)], w, rho=rho).value
    assert -1e-12 <= halves <= whole + 1e-12
    Q = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    turned_covs = Q @ covs @ Q.T
    turned_covs = (turned_covs + turned_covs.swapaxes(1, 2)) / 2
    again = partition_gain(turned_covs, [(0, 2, 4), (1, 3, 5)], w, rho=rho).value
    assert again == pytest.approx(halves, rel=1e-9, abs=1e-12)


def test_a_condition_of_twice_the_weight_is_two_conditions(rng):
    covs = random_covs(rng, 3)
    twice = partition_gain(covs[[0, 0, 1, 2]], [range(4)]).value
    once = partition_gain(covs, [range(3)], [0.5, 0.25, 0.25]).value
    assert twice == pytest.approx(once, rel=1e-12)


def test_each_partition_into_equal_parts_comes_once():
    seen = {tuple(tuple(part) for part in parts) for parts in equal_partitions(6, 3)}
    assert len(seen) == 15
    assert all(sorted(y for part in parts for y in part) == list(range(6)) for parts in seen)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_search_by_precision_finds_the_best_partition(balanced, rng):
    covs = turned()
    parts = by_precision(covs, 2, rng=rng, balanced=balanced)
    best = min(partition_gain(covs, p).value for p in equal_partitions(8, 2))
    assert partition_gain(covs, parts).value <= best + 1e-12
    if balanced:
        assert [len(part) for part in parts] == [4, 4]


def test_the_search_takes_a_torch_generator_and_uneven_numbers():
    parts = by_precision(turned(7), 3, rng=generator())
    assert sorted(map(len, parts)) == [2, 2, 3]


def test_unions_and_single_steps_are_known():
    assert joint_kl([0.2, 0.8], [0.2, 0.8], [0.0, 0.0]) == 0.0
    values = [locked_kl(8, K) for K in (1, 2, 4, 8)]
    assert values == pytest.approx(KNOWN[5]["expected"]["value"], rel=1e-14)
    assert [locked_l1(8, K) for K in (1, 2, 4, 8)] == [1.75, 1.5, 1.0, 0.0]
    found = [one_step_variance(0.5, s) for s in KNOWN[4]["inputs"]["sigma"]]
    assert found == pytest.approx(KNOWN[4]["expected"]["variance"], rel=1e-14)


def test_the_affine_denoiser_is_known():
    i, expected = KNOWN[3]["inputs"], KNOWN[3]["expected"]
    bed = testbeds.mixture_1d(i["w"], i["mu"], np.sqrt(i["v"]))
    found = affine_denoiser(bed, i["alpha"], i["sigma"])
    assert found.slope == pytest.approx(expected["slope"], rel=1e-13)
    assert found.intercept == pytest.approx(expected["intercept"], rel=1e-13)
    assert found.tsm == pytest.approx(expected["tsm_loss"], rel=1e-11)
    assert found.dsm == pytest.approx(expected["dsm_loss"], rel=1e-12)
    x, w = level_quadrature(bed, 0.6, 0.8)
    assert w.sum() == pytest.approx(1.0, rel=1e-13)
    assert w @ x[:, 0] == pytest.approx(0.6 * float(bed.mean[0]), rel=1e-12)


# players


class Labelled(nn.Module):
    """x0hat = gain x + shift of the label."""

    def __init__(self, labels=4):
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), 0.3, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(labels, dtype=torch.float64))
        self.seen = []

    def forward(self, x, t, label):
        self.seen.append(label.detach().clone())
        return self.gain * x + self.shift[label][:, None]


def as_model(network):
    return Model(lambda x, t, label: network(x, t, label), RF, "data")


def teacher_function(x, t, label):
    """The exact denoiser of N(label, .5)."""
    t = t.reshape(-1, 1) if isinstance(t, torch.Tensor) and t.ndim else t
    m = label[:, None].to(x)
    return m + (1 - t) * 0.5 / ((1 - t) ** 2 * 0.5 + t**2) * (x - (1 - t) * m)


TEACHER = Model(teacher_function, RF, "data")
PARTS = [[0, 1], [2, 3]]


def players(**settings):
    students, fakes = ([Labelled() for _ in PARTS] for _ in range(2))
    return msd(students, fakes, as_model, TEACHER, FewSteps([1.0]), PARTS, **settings)


def batch(n=32):
    return {"x": torch.zeros(n, 1, dtype=torch.float64), "label": torch.arange(n) % 4}


def networks(moving):
    return {name: player.module for name, player in moving.items()}


def test_each_player_sees_the_rows_of_its_part():
    moving = players()
    assert list(moving) == ["student 0", "fake 0", "student 1", "fake 1"]
    for name, player in moving.items():
        player.module.seen.clear()
        loss = player.loss(networks(moving), batch(), generator())
        allowed = set(PARTS[int(name[-1])])
        assert {int(y) for labels in player.module.seen for y in labels} == allowed
        slopes = torch.autograd.grad(loss, list(player.module.parameters()))
        assert all(bool(torch.isfinite(g).all()) for g in slopes)


def test_pairs_are_shared_unless_filtered():
    pairs = {"pair_noise": torch.zeros(8, 1).double(), "pair_data": torch.ones(8, 1).double()}
    labels = torch.tensor([0, 1, 1, 1, 2, 2, 3, 3])
    data = {**batch(8), **pairs, "pair_label": labels}
    compared = []

    def distance(x, y):
        compared.append(len(y))
        return (x - y).square().mean()

    for filtered, expected in ((False, 8), (True, 4)):
        compared.clear()
        moving = players(regression=1.0, distance=distance, filter_pairs=filtered)
        moving["student 0"].loss(networks(moving), data, generator())
        assert compared == [expected]
        assert torch.equal(moving["student 0"].module.seen[-1], labels[:expected])


def test_a_run_moves_every_student_to_its_own_part():
    settings = {"optimizer": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.0, 0.99))}
    moving = players(
        weight="kl",
        every=2,
        levels=lambda path, n, rng: torch.full((n,), 0.5),
        student_settings=settings,
        fake_settings=settings,
    )
    fit(moving, {k: v.repeat_interleave(8, 0) for k, v in batch().items()}, 200, rng=generator())
    for k, part in enumerate(PARTS):
        student = moving[f"student {k}"].module
        for y in range(4):
            assert (student.shift[y].item() != 0) == (y in part)
            if y in part:
                assert student.shift[y].item() == pytest.approx(y, abs=0.3)


def test_a_stage_with_a_critic_has_critics_for_fakes():
    with pytest.raises(ValueError, match="dmd: fake must be a Critic"):
        players(adversarial=(1e-3, 1e-2))
    students = [Labelled() for _ in PARTS]
    fakes = [Critic(nn.Sequential(nn.Linear(1, 1)), "0", channels=1) for _ in PARTS]
    plain = Model(lambda x, t, label: 0 * x, RF, "data")

    def either(network):
        if isinstance(network, Labelled):
            return as_model(network)
        return Model(lambda x, t, label: network(x), RF, "data")

    steps = FewSteps([1.0])
    moving = msd(students, fakes, either, plain, steps, PARTS, adversarial=(1.0, 1.0))
    assert len(moving) == 4


def test_routing_calls_one_student_a_condition():
    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value, self.rows = value, 0

        def forward(self, x, t, label):
            self.rows += len(x)
            return 0 * x + self.value

    both = [Constant(10.0), Constant(20.0)]
    routed = Routed([as_model(net) for net in both], PARTS, FewSteps([1.0]))
    label = torch.tensor([3, 0, 1, 2, 2])
    out = routed.sample(torch.zeros(5, 1), label, rng=generator())
    assert out[:, 0].tolist() == [20.0, 10.0, 10.0, 20.0, 20.0]
    assert [net.rows for net in both] == [2, 3]
    with pytest.raises(ValueError, match=r"Routed\.sample: label must be of the parts"):
        routed.sample(torch.zeros(1, 1), torch.tensor([7]), rng=generator())


def test_teacher_score_matching_finds_the_affine_denoiser():
    bed = testbeds.mixture_1d([0.7, 0.3], [-1.5, 2.0], np.sqrt([0.3, 0.5]))

    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.zeros(1, dtype=torch.float64))
            self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x, t):
            return self.gain * x + self.shift

    net = Affine()
    moving = teacher_score_matching(
        net,
        lambda net: Model(lambda x, t: net(x, t), RF, "data"),
        bed.model(RF),
        levels=lambda path, n, rng: torch.full((n,), 0.4),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.3),
        schedule=lambda k: 1 / (1 + k / 30),
    )
    data = bed.sample(4096, rng=generator(), like=torch.zeros(1, dtype=torch.float64))
    fit(moving, data, 300, rng=generator(), batch=1024)
    best = affine_denoiser(bed, 0.6, 0.4)
    assert net.gain.item() == pytest.approx(best.slope, abs=0.03)
    assert net.shift.item() == pytest.approx(best.intercept, abs=0.03)


ONE = testbeds.Gaussian([0.0], 1.0)
EYE = [np.eye(2)] * 4


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: partition_gain(np.eye(2), [[0]]), r"partition_gain: covs must be of shape \(n, d"),
        (lambda: partition_gain([[[1.0, 2.0], [0.0, 1.0]]], [[0]]), "covs must be symmetric"),
        (lambda: partition_gain([-np.eye(2)], [[0]]), "covs must be positive definite"),
        (lambda: partition_gain(EYE, [[0, 1], [1, 2, 3]]), "parts must be non-empty, each of 0..3"),
        (lambda: partition_gain(EYE, [[0, 1, 2, 3], []]), "parts must be non-empty"),
        (lambda: partition_gain(EYE, [range(4)], [1.0, 1.0, 1.0, 1.0]), "weights must be"),
        (lambda: partition_gain(EYE, [range(4)], rho=-1.0), "partition_gain: rho must be"),
        (lambda: consecutive(4, 5), r"consecutive: K must be in \[1, 4\], got 5"),
        (lambda: list(equal_partitions(5, 2)), "equal_partitions: K must be a divisor of 5"),
        (lambda: by_precision(EYE, 9, rng=generator()), r"by_precision: K must be in \[1, 4\]"),
        (lambda: by_precision(EYE, 2, rng=generator(), restarts=0), "restarts must be at least 1"),
        (lambda: joint_kl([0.5, 0.6], [0.5, 0.5], [0, 0]), "joint_kl: router must be"),
        (lambda: joint_kl([0.5, 0.5], [0.5, 0.5], [-1.0, 0]), "joint_kl: divergences must be"),
        (lambda: locked_kl(8, 3), "locked_kl: students must be a divisor of 8, got 3"),
        (lambda: one_step_variance(0.0, 1.0), "one_step_variance: c must be above 0"),
        (lambda: affine_denoiser(ONE, 0.5, 0.5), "affine_denoiser: bed must be a mixture in one"),
        (
            lambda: msd([], [], as_model, TEACHER, FewSteps([1.0]), [[0], [0]]),
            "msd: parts must be disjoint lists",
        ),
        (
            lambda: msd([Labelled()], [], as_model, TEACHER, FewSteps([1.0]), PARTS),
            "msd: students must be 2 networks, one a part, got 1",
        ),
        (
            lambda: tsm_loss(ONE.model(RF), ONE.model(paths.EDM()), *torch.zeros(2, 1, 1), 0.5),
            "tsm_loss: student must be on the path of the teacher",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_batch_without_its_part_is_named():
    moving = players()
    data = {**batch(4), "label": torch.zeros(4, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"msd: a batch must be with rows of part 1, \[2, 3\]"):
        moving["student 1"].loss(networks(moving), data, generator())
    with pytest.raises(ValueError, match="msd: a batch must be a mapping with 'label'"):
        moving["student 1"].loss(networks(moving), {"x": data["x"]}, generator())
