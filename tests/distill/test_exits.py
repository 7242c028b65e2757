"""Fake scores that are told the student's step, and levels on a path in sigma's own units."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.distill import FewSteps, dmd, flash_dmd, inner_levels, sid
from fewtheory.distill.parts.levels import place, placed
from fewtheory.distill.phased_dmd import phased_dmd, phases

RF = paths.RectifiedFlow()
TEACHER = testbeds.Gaussian([0.0], 1.0).model(RF)


class Told(nn.Module):
    """A gain of its own for each exit; keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.gains = nn.Parameter(torch.full((4,), 0.5))
        self.heard = []

    def forward(self, x, exit=None):
        self.heard.append(None if exit is None else exit.clone())
        return x * (self.gains[0] if exit is None else self.gains[exit][:, None])


def as_model(network):
    return Model(lambda x, t, exit=None: network(x, exit), RF, "data")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(method):
    student, fake, steps = Told(), Told(), FewSteps([1.0, 0.7, 0.4])
    settings = {"exit_as": "exit"}
    if method is flash_dmd:
        critic = nn.Sequential(nn.Linear(1, 1), nn.Flatten(0))
        players = flash_dmd(student, fake, critic, as_model, TEACHER, steps, ema=1, **settings)
    elif method is phased_dmd:
        parts = phases([1.0, 0.7, 0.4, 0.0])
        players = phased_dmd(student, fake, as_model, TEACHER, parts, **settings)
    else:
        players = method(student, fake, as_model, TEACHER, steps, **settings)
    return student, fake, players


@pytest.mark.parametrize("method", [dmd, sid, flash_dmd, phased_dmd])
@pytest.mark.parametrize("player", ["student", "fake"])
def test_the_fake_score_alone_is_told_the_exit_of_the_samples_that_it_sees(method, player):
    student, fake, players = made(method)
    networks = {name: p.module for name, p in players.items()}
    seen = set()
    for seed in range(20):
        for network in (student, fake):
            network.heard.clear()
        players[player].loss(networks, {"x": torch.zeros(5, 1)}, generator(seed))
        assert all(told is None for told in student.heard)
        (told,) = fake.heard
        # the runs to the exit: one call for each step up to it, and no more before the fake score
        steps = 1 if method is flash_dmd and player == "student" else len(student.heard)
        if not (method is flash_dmd and player == "student"):
            assert told.tolist() == [steps - 1] * 5
        seen.add(int(told[0]))
    assert seen == ({0, 1} if method is flash_dmd else {0, 1, 2})  # flash: the noisy steps alone


@pytest.mark.parametrize("method", [dmd, sid])
def test_without_a_name_it_is_told_nothing(method):
    student, fake = Told(), Told()
    players = method(student, fake, as_model, TEACHER, FewSteps([1.0, 0.5]))
    networks = {"student": student, "fake": fake}
    for player in players.values():
        player.loss(networks, {"x": torch.zeros(5, 1)}, generator())
    assert fake.heard
    assert all(told is None for told in fake.heard)


@pytest.mark.parametrize("method", [dmd, sid])
def test_the_exits_name_is_none_of_the_batchs_conditions(method):
    def model_of(network):
        return Model(lambda x, t, place=None: network(x, place), RF, "data")

    steps, networks = FewSteps([1.0, 0.5]), {"student": Told(), "fake": Told()}
    players = method(*networks.values(), model_of, TEACHER, steps, exit_as="place")
    batch = {"x": torch.zeros(5, 1), "place": torch.zeros(5, dtype=torch.int64)}
    with pytest.raises(ValueError, match=f"{method.__name__}: exit_as must be none of the cond"):
        players["fake"].loss(networks, batch, generator())


def test_told_exits_are_learnt_apart_and_others_in_common():
    student, fake, _ = made(dmd)
    with torch.no_grad():  # the exits have variances that differ
        student.gains.copy_(torch.tensor([0.2, 0.2, 0.2, 0.2]))
    moved = {}
    for name in (None, "exit"):
        copied = copy.deepcopy(fake)
        players = dmd(student, copied, as_model, TEACHER, FewSteps([1.0, 0.5]), exit_as=name)
        loss = players["fake"].loss
        networks = {"student": student, "fake": copied}
        for seed in range(30):
            loss(networks, {"x": torch.zeros(64, 1)}, generator(seed)).backward()
        moved[name] = copied.gains.grad
    assert moved[None][0] != 0
    assert not moved[None][1:].any()
    assert moved["exit"][:2].all()
    assert not moved["exit"][2:].any()


@pytest.mark.parametrize("path", [RF, paths.VPLinear(), paths.EDM(), paths.EDM(0.01, 10.0)])
def test_places_and_times_are_inverses(path):
    u = np.linspace(0.0, 1.0, 11)
    t = placed(path, path.end, path.start, u)
    assert t[0] == pytest.approx(path.end)
    assert t[-1] == pytest.approx(path.start)
    assert [place(path, float(v)) for v in t] == pytest.approx(u, abs=1e-12)


def test_on_edm_half_of_the_levels_are_below_the_middle_of_karras_grid():
    path = paths.EDM()
    t = inner_levels()(path, 4000, generator())
    middle = float(placed(path, path.end, path.start, 0.5))
    assert abs(float((t < middle).double().mean()) - 0.5) < 4 * 0.5 / 4000**0.5
    assert float(t.min()) >= float(placed(path, path.end, path.start, 0.02)) * (1 - 1e-6)
