"""Score identity distillation: terms, weights, masks, players, closed forms, bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.arrays import to_numpy
from fewtheory.distill import FewSteps, dmd_gradient
from fewtheory.distill.sid import (
    SiDTerms,
    denoising_score,
    resetting,
    sid,
    sid_bound,
    sid_loss,
    sid_terms,
)
from fewtheory.distill.theory.score_identity import minor_mass, protein_times, sid_basin, sid_slope
from fewtheory.model import Level
from fewtheory.train import fit

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "sid-protein.json").read_text())
RF, VE = paths.RectifiedFlow(), paths.EDM()
EPS = np.finfo(np.float64).eps
TEACHER = testbeds.Gaussian([-0.2], 1.69)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cubature(d):
    axes = math.sqrt(d) * np.eye(d)
    return torch.tensor(np.concatenate([axes, -axes]))


@pytest.mark.parametrize("known", KNOWN[:2])
def test_terms_and_gradients_are_known(known):
    i, expected = known["inputs"], known["expected"]
    fake = testbeds.Gaussian([i["bf"]], i["gf"] ** 2)
    teacher = testbeds.Gaussian([i["m"]], i["c"] ** 2)
    z, eps = cubature(2).T  # every term is quadratic in the noises
    p = torch.tensor([i["b"], i["g"]], dtype=torch.float64, requires_grad=True)
    x0 = (p[0] + p[1] * z)[:, None]
    terms = sid_terms(x0, eps[:, None], i["sigma"], teacher.model(VE), fake.model(VE))
    loss = sid_loss(terms, Level(1.0, i["sigma"]), a=i["alpha"], weight=lambda level: 1.0)
    slopes = torch.autograd.grad(loss, p)[0]
    assert terms.l1.mean().item() == pytest.approx(expected["L1"], rel=1e-12)
    assert terms.l2.mean().item() == pytest.approx(expected["L2"], rel=1e-12)
    assert slopes.tolist() == pytest.approx([expected["grad_b"], expected["grad_g"]], rel=1e-11)
    bound = sid_bound(terms, Level(1.0, i["sigma"])).item() * i["sigma"] ** 4
    assert bound == pytest.approx(expected["fisher"] - expected["fake_error"], rel=1e-11)


def test_detached_terms_have_the_gradient_of_distribution_matching(rng):
    x0, eps = (torch.tensor(rng.standard_normal((5, 2))) for _ in range(2))
    x0.requires_grad_(True)
    teacher, fake = (testbeds.Gaussian([m, 0.0], 0.7).model(RF) for m in (0.5, -0.5))
    terms = sid_terms(x0, eps, 0.4, teacher, fake, through=False)
    (found,) = torch.autograd.grad((terms.l2 - 1.2 * terms.l1).sum(), x0)
    # alpha (s_fake - s_teacher) is (alpha / sigma)^2 times the difference of the denoisers
    expected = dmd_gradient(x0.detach(), eps, 0.4, teacher, fake, weight="kl") * (0.4 / 0.6) ** 2
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-11)


def test_array_libraries_agree(asarray, rng):
    x0, eps = rng.standard_normal((2, 4, 3))
    models = [testbeds.Gaussian(np.zeros(3), v).model(RF) for v in (1.0, 0.5)]
    found = sid_terms(asarray(x0), asarray(eps), 0.3, *models)
    plain = sid_terms(x0, eps, 0.3, *models)
    for mine, theirs in ((found.l1, plain.l1), (found.l2, plain.l2), (found.size, plain.size)):
        assert to_numpy(mine) == pytest.approx(theirs, rel=1e-12)
    for weight in ("fisher", "normalised"):
        level = Level(0.7, 0.3)
        loss = [float(sid_loss(t, level, a=1.0, weight=weight)) for t in (found, plain)]
        assert loss[0] == pytest.approx(loss[1], rel=1e-12)


def test_padding_changes_nothing(rng):
    x0, eps = rng.standard_normal((2, 4, 3))
    wide = [np.concatenate([v, rng.standard_normal((4, 2))], axis=1) for v in (x0, eps)]
    mask = np.concatenate([np.ones((4, 3)), np.zeros((4, 2))], axis=1)
    shrink = [Model(lambda x, t, k=k: k * x, RF, "data") for k in (0.3, 0.6)]
    plain, padded = sid_terms(x0, eps, 0.4, *shrink), sid_terms(*wide, 0.4, *shrink, mask=mask)
    assert padded.l1 == pytest.approx(plain.l1, rel=1e-14)
    assert padded.l2 == pytest.approx(plain.l2, rel=1e-14)
    assert padded.size == pytest.approx(plain.size, rel=1e-14)


def test_the_normaliser_is_a_constant_and_kept_from_zero():
    size = torch.tensor([0.5, 0.0], dtype=torch.float64, requires_grad=True)
    one = torch.ones(2, dtype=torch.float64, requires_grad=True)
    terms = SiDTerms(one, 3 * one, size)
    loss = sid_loss(terms, Level(1.0, 1.0), a=1.0, weight="normalised")
    loss.backward()
    assert loss.item() == pytest.approx((2 / 0.5 + 2 / 1e-5) / 2, rel=1e-12)
    assert size.grad is None or not size.grad.any()


def test_a_level_a_row_weighs_each_by_its_own(rng):
    x0, eps = (torch.tensor(v) for v in rng.standard_normal((2, 3, 1)))
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    models = TEACHER.model(RF), testbeds.Gaussian([0.0], 1.0).model(RF)
    whole = sid_loss(sid_terms(x0, eps, t, *models), Level.at(RF, t), a=1.0)
    rows = [
        sid_loss(
            sid_terms(x0[i : i + 1], eps[i : i + 1], float(t[i]), *models),
            Level.at(RF, float(t[i])),
            a=1.0,
        )
        for i in range(3)
    ]
    assert whole.item() == pytest.approx(float(sum(rows)) / 3, rel=1e-12)


def test_the_score_of_a_noised_sample_is_minus_its_noise(rng):
    x0, eps = rng.standard_normal((2, 5, 2))
    found = denoising_score(x0, 0.7 * x0 + 0.3 * eps, RF, 0.3)
    assert found == pytest.approx(-eps / 0.3, rel=1e-12, abs=64 * EPS / 0.3**2)


# players


class Affine(nn.Module):
    def __init__(self, gain=0.3, shift=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain], dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([shift], dtype=torch.float64))

    def forward(self, x, t):
        return self.gain * x + self.shift


class GaussianFake(nn.Module):
    """The exact denoiser of N(mean, std^2) on the EDM path."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.full((1,), math.log(0.3), dtype=torch.float64))

    def forward(self, x, t):
        v = (2 * self.log_std).exp()
        return self.mean + v / (v + t.reshape(-1, 1) ** 2) * (x - self.mean)


def as_model(network):
    return Model(lambda x, t: network(x, t), VE, "data")


def around_one(path, n, rng):
    return torch.full((n,), 1.0)


def test_a_run_ends_at_the_teachers_law():
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.02, betas=(0.0, 0.99))

    settings = {"optimizer": adam, "schedule": lambda k: 1 / (1 + k / 100)}
    student = Affine(0.5)
    teacher = testbeds.Gaussian([0.4], 0.64).model(VE)
    players = sid(
        student,
        GaussianFake(),
        as_model,
        teacher,
        FewSteps([1.0]),
        a=0.5,
        weight="fisher",
        levels=around_one,
        every=2,
        student_settings=settings,
        fake_settings=settings,
    )
    fit(players, torch.zeros(512, 1, dtype=torch.float64), 800, rng=generator(), batch=512)
    assert student.gain.item() == pytest.approx(0.8, abs=0.05)
    assert student.shift.item() == pytest.approx(0.4, abs=0.05)


def test_each_player_moves_its_own_network_alone():
    players = sid(Affine(), GaussianFake(), as_model, TEACHER.model(VE), FewSteps([2.5, 1.0]))
    networks = {name: player.module for name, player in players.items()}
    batch = {"x": torch.zeros(64, 1, dtype=torch.float64)}
    for name, player in players.items():
        loss = player.loss(networks, batch, generator())
        own = torch.autograd.grad(loss, list(player.module.parameters()), retain_graph=True)
        assert all(bool(torch.isfinite(g).all()) for g in own), name
    loss = players["fake"].loss(networks, batch, generator())
    others = list(networks["student"].parameters())
    assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_a_mask_in_a_batch_reaches_the_loss_and_the_networks():
    seen = []

    def told(network):
        def function(x, t, mask):
            seen.append(mask)
            return network(x, t)

        return Model(function, VE, "data")

    def loss_of(rows, mask):
        players = sid(Affine(), GaussianFake(), told, told(Affine(0.9)), FewSteps([1.0]))
        networks = {name: player.module for name, player in players.items()}
        batch = {"x": torch.zeros(rows, dtype=torch.float64), "mask": mask}
        return players["student"].loss(networks, batch, generator()).item()

    mask = torch.zeros(8, 3, dtype=torch.float64)
    mask[:, 0] = 1.0
    assert loss_of((8, 3), mask) != pytest.approx(loss_of((8, 3), mask + 1 - mask))
    assert len(seen) == 6
    assert all(m.shape == (8, 3) for m in seen)


def test_the_fake_network_is_reset_every_so_many_moves():
    fake, teacher_network = GaussianFake(), GaussianFake()
    with torch.no_grad():
        teacher_network.mean.fill_(7.0)
    players = sid(
        Affine(),
        fake,
        as_model,
        TEACHER.model(VE),
        FewSteps([1.0]),
        reset=(teacher_network, 3),
    )
    data = torch.zeros(64, 1, dtype=torch.float64)
    fit(players, data, 3, rng=generator(), batch=64)
    assert fake.mean.item() == 7.0
    fit(players, data, 4, rng=generator(), batch=64)
    assert fake.mean.item() != 7.0


def test_a_copy_is_reset_to_what_the_source_was():
    source, target = Affine(0.1), Affine(0.2)
    after = resetting("fake", source, 2)
    with torch.no_grad():
        source.gain.fill_(9.0)
    after({"fake": target}, 1)
    assert target.gain.item() == pytest.approx(0.2)
    after({"fake": target}, 2)
    assert target.gain.item() == pytest.approx(0.1)


# closed forms


def test_basins_times_and_masses_are_known():
    for a, g in zip(KNOWN[2]["inputs"]["alpha"], KNOWN[2]["expected"]["g_crit"], strict=True):
        assert sid_basin(1.0, 1.0, a) == pytest.approx(g, rel=1e-14)
    assert protein_times(8) == pytest.approx(KNOWN[3]["expected"]["t"], rel=1e-14)
    gamma = np.array(KNOWN[4]["inputs"]["gamma"])
    assert minor_mass(0.3, gamma) == pytest.approx(KNOWN[4]["expected"]["mass"], rel=1e-13)


def test_the_slope_vanishes_at_the_teacher_and_at_the_edge_of_the_basin():
    for c, sigma, a in ((1.0, 1.0, 1.2), (0.5, 2.0, 1.5)):
        edge = sid_basin(c, sigma, a)
        assert sid_slope(c, c, sigma, a) == 0.0
        assert abs(sid_slope(edge, c, sigma, a)) < 1e-14 * edge


PLAIN = {"student": Affine(), "fake": GaussianFake(), "teacher": TEACHER.model(VE)}


def players_with(**settings):
    given = {**PLAIN, "steps": FewSteps([1.0]), **settings}
    networks = [given.pop(k) for k in ("student", "fake")]
    return sid(*networks, as_model, given.pop("teacher"), given.pop("steps"), **given)


X = np.zeros((2, 1))


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: players_with(a=math.nan), ValueError, "sid: a must be finite"),
        (lambda: players_with(scale=-1.0), ValueError, "sid: scale must be finite in"),
        (lambda: players_with(every=0), ValueError, "sid: every must be at least 1, got 0"),
        (lambda: players_with(weight="l1"), ValueError, "weight must be one of 'fisher'"),
        (lambda: players_with(fake=None), TypeError, "sid: fake must be a torch module"),
        (lambda: players_with(teacher=TEACHER.model(RF)), ValueError, "must be on the path of"),
        (lambda: players_with(reset=(Affine(), 0)), ValueError, "resetting: every must be at le"),
        (
            lambda: sid_terms(X, X, 0.5, TEACHER.model(RF), TEACHER.model(VE)),
            ValueError,
            "sid_terms: fake must be on the path of the teacher",
        ),
        (
            lambda: sid_terms(X, X[:1], 0.5, TEACHER.model(RF), TEACHER.model(RF)),
            ValueError,
            r"sid_terms: eps must be of the shape of x0, \(2, 1\)",
        ),
        (
            lambda: sid_terms(X, X, 0.5, TEACHER, TEACHER.model(RF)),
            TypeError,
            "sid_terms: teacher must be a Model, got Gaussian",
        ),
        (lambda: sid_basin(0.0, 1.0, 1.2), ValueError, "sid_basin: c must be above 0"),
        (lambda: sid_slope(-1.0, 1.0, 1.0, 1.0), ValueError, "sid_slope: g must be finite in"),
        (lambda: protein_times(0), ValueError, "protein_times: count must be at least 1"),
        (lambda: minor_mass(0.7, 0.5), ValueError, "minor_mass: weight must be finite in"),
        (lambda: minor_mass(0.3, 0.0), ValueError, "minor_mass: gamma must be above 0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
