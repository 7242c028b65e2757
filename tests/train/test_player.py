"""A player in a run: its moving average, its gradient's norm, its rates, what it must not touch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory.train import Player, cosine_decay, fit

EPS32 = float(torch.finfo(torch.float32).eps)
EPS = np.finfo(np.float64).eps


def sgd(rate, **settings):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **settings)


class Weight(nn.Module):
    """One vector of weights."""

    def __init__(self, start, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=dtype))


def run(player, steps, name="net", **settings):
    """Steps of one player on data that nothing reads."""
    settings = {"batch": 2, "device": "cpu", **settings}
    return fit({name: player}, torch.zeros(2), steps, rng=torch.Generator(), **settings)


def slope(*gradient):
    """A loss whose gradient is this, whatever the weights."""
    g = torch.tensor(gradient, dtype=torch.float64)
    return lambda networks, batch, rng: (g * networks["net"].w).sum()


# the moving average


@pytest.mark.parametrize("ema", [0.0, 0.3, 0.9999])
def test_the_average_is_its_formula(ema):
    # after k moves the weights are -k; the decay of the next is min(ema, (1 + k) / (10 + k))
    fitted = run(Player(Weight([0.0]), slope(1.0), sgd(1.0), ema=ema), 12)
    average = 0.0
    for k in range(12):
        decay = min(ema, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * -(k + 1)
    # 12 convex combinations of numbers up to 12, four roundings each
    assert fitted.averages["net"].w.item() == pytest.approx(average, abs=12 * 12 * 4 * EPS)
    assert fitted.networks["net"].w.item() == -12.0


def test_moves_count_for_the_average_and_not_steps():
    fitted = run(Player(Weight([0.0]), slope(1.0), sgd(1.0), every=3, ema=0.9), 7)  # 0, 3, 6
    average = 0.0
    for k in range(3):
        decay = (1 + k) / (10 + k)
        average = decay * average + (1 - decay) * -(k + 1)
    assert fitted.averages["net"].w.item() == pytest.approx(average, abs=3 * 3 * 4 * EPS)


def test_the_average_is_of_buffers_too_and_counts_are_copied():
    net = nn.BatchNorm1d(1)

    def loss(networks, batch, rng):
        return networks["net"](torch.randn(8, 1, generator=rng) + 5).square().mean()

    fitted = run(Player(net, loss, sgd(0.0), ema=0.5), 3)
    mine, average = fitted.networks["net"], fitted.averages["net"]
    assert average.num_batches_tracked.item() == mine.num_batches_tracked.item() == 3
    assert 0 < average.running_mean.item() < mine.running_mean.item()


def test_the_average_records_no_gradients_and_is_another_module():
    net = Weight([0.0])
    average = run(Player(net, slope(1.0), ema=0.9), 2).averages["net"]
    assert average is not net
    assert not average.w.requires_grad
    assert not average.training


def test_without_an_average_the_module_stands_for_it():
    net = Weight([0.0])
    assert run(Player(net, slope(1.0)), 1).averages["net"] is net


def test_a_module_of_length_zero_is_a_module():
    class Empty(Weight):
        def __len__(self):
            return 0

    fitted = run(Player(Empty([0.0]), slope(1.0), sgd(1.0), ema=0.5), 2)
    assert fitted.averages["net"] is not fitted.networks["net"]


def test_tied_weights_stay_tied_and_are_averaged_once():
    net = nn.ModuleDict({"a": nn.Linear(1, 1, bias=False)})
    net["b"] = net["a"]
    with torch.no_grad():
        net["a"].weight.fill_(0.0)

    def loss(networks, batch, rng):
        return networks["net"]["a"].weight.sum()

    average = run(Player(net, loss, sgd(1.0), ema=0.9), 1).averages["net"]
    assert average["a"].weight is average["b"].weight
    assert average["a"].weight.item() == pytest.approx(-0.9, abs=4 * EPS32)  # decay 1 / 10 once


# the gradient's norm


@pytest.mark.parametrize("clip", [0.5, 4.999])
def test_a_long_gradient_is_cut_to_the_norm(clip):
    fitted = run(Player(Weight([0.0, 0.0]), slope(3.0, 4.0), sgd(1.0), clip=clip), 1)
    moved = fitted.networks["net"].w.detach()
    # torch divides by the norm + 1e-6, which is 5
    assert float(moved.norm()) == pytest.approx(clip * 5 / (5 + 1e-6), rel=8 * EPS)
    np.testing.assert_allclose(moved / moved.norm(), [-0.6, -0.8], rtol=8 * EPS)


@pytest.mark.parametrize("clip", [5.1, None])
def test_a_short_gradient_is_left_alone(clip):
    fitted = run(Player(Weight([0.0, 0.0]), slope(3.0, 4.0), sgd(1.0), clip=clip), 1)
    assert fitted.networks["net"].w.tolist() == [-3.0, -4.0]


@pytest.mark.parametrize("clip", [1.0, None])
def test_the_log_has_the_norm_before_it_is_cut(clip):
    (record,) = run(Player(Weight([0.0, 0.0]), slope(3.0, 4.0), sgd(1.0), clip=clip), 1).log
    assert record["gradient_norm"] == 5.0


def test_the_norm_is_over_all_parameters_that_move():
    net = nn.ModuleDict({"a": Weight([0.0]), "b": Weight([0.0]), "c": Weight([0.0])})
    net["c"].w.requires_grad_(False)

    def loss(networks, batch, rng):
        both = networks["net"]
        return (3 * both["a"].w + 4 * both["b"].w + 100 * both["c"].w).sum()

    run(Player(net, loss, sgd(1.0), clip=1.0), 1)
    found = [net[k].w.item() for k in "abc"]
    np.testing.assert_allclose(found, [-0.6, -0.8, 0.0], rtol=1e-6 / 5 + 8 * EPS)
    assert not net["c"].w.requires_grad


# rates


def test_the_schedule_multiplies_every_groups_own_rate():
    net = nn.ModuleDict({"a": Weight([0.0]), "b": Weight([0.0])})

    def groups(parameters):
        a, b = parameters
        return torch.optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b], "lr": 10.0}])

    def loss(networks, batch, rng):
        return (networks["net"]["a"].w + networks["net"]["b"].w).sum()

    fitted = run(Player(net, loss, groups, schedule=lambda step: 2.0**-step), 3, log_every=1)
    assert net["a"].w.item() == -1.75
    assert net["b"].w.item() == -17.5
    assert [record["learning_rate"] for record in fitted.log] == [1.0, 0.5, 0.25]


def test_the_schedule_is_a_function_of_the_step_not_of_the_moves():
    asked = []

    def schedule(step):
        asked.append(step)
        return 1.0

    run(Player(Weight([0.0]), slope(1.0), sgd(1.0), schedule, every=3), 8)
    assert asked == [0, 3, 6]


def test_the_optimizer_is_adamw_without_decay_unless_said_otherwise():
    net = Weight([5.0])
    run(Player(net, slope(2.0)), 1)
    # Adam's first step is lr g / (|g| + eps); decay of 1e-2 would add 5e-5
    assert net.w.item() == pytest.approx(5.0 - 1e-3, abs=1e-3 * 1e-8 + 8 * 5 * EPS)


def test_cosine_decay_warms_up_then_falls_to_the_last_value():
    schedule = cosine_decay(20, warmup=4, last=0.1)
    assert [schedule(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    for step in range(4, 21):
        exact = 0.1 + 0.9 * math.cos(math.pi * (step - 4) / 32) ** 2  # the half angle
        assert schedule(step) == pytest.approx(exact, abs=8 * EPS)
    assert schedule(10**6) == pytest.approx(0.1, abs=4 * EPS)


def test_cosine_decay_without_warmup_starts_at_one():
    assert cosine_decay(3)(0) == 1.0


# bad input

NET = nn.Linear(1, 1)


def nothing(networks, batch, rng):
    return torch.zeros(())


BAD = {
    "Player: module must be a torch module": lambda: Player(3, nothing),
    "Player: loss must be callable": lambda: Player(NET, 3),
    "Player: optimizer must be callable": lambda: Player(NET, nothing, "adam"),
    "Player: schedule must be callable": lambda: Player(NET, nothing, schedule=0.1),
    "Player: module must have parameters": lambda: Player(nn.ReLU(), nothing),
    "Player: module must have parameters that": lambda: Player(
        nn.Linear(1, 1).requires_grad_(False), nothing
    ),
    "Player: every must be at least 1": lambda: Player(NET, nothing, every=0),
    "Player: every must be an integer": lambda: Player(NET, nothing, every=1.5),
    "Player: ema must be in": lambda: Player(NET, nothing, ema=1.0),
    "Player: ema must be finite": lambda: Player(NET, nothing, ema=-0.1),
    "Player: ema must be a number": lambda: Player(NET, nothing, ema="slow"),
    "Player: clip must be above 0": lambda: Player(NET, nothing, clip=0.0),
    "Player: clip must be finite": lambda: Player(NET, nothing, clip=math.nan),
    "cosine_decay: steps must be at least 1": lambda: cosine_decay(0),
    "cosine_decay: warmup must be in": lambda: cosine_decay(5, 5),
    "cosine_decay: warmup must be an integer": lambda: cosine_decay(5, 0.5),
    "cosine_decay: last must be finite in": lambda: cosine_decay(5, 0, 1.5),
}


@pytest.mark.parametrize("named", BAD)
@pytest.mark.usefixtures("own_checks")
def test_bad_input_is_named(named):
    with pytest.raises((ValueError, TypeError), match=named):
        BAD[named]()


def test_a_player_may_act_after_it_has_moved():
    line, other = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    seen = []

    def after(networks, moves):
        seen.append((moves, torch.is_grad_enabled(), networks["other"] is other))
        networks["other"].weight.copy_(networks["line"].weight)

    def loss(networks, batch, rng):
        return networks["line"](batch["x"]).sum()

    def own(networks, batch, rng):
        return networks["other"](batch["x"]).sum()

    players = {
        "line": Player(line, loss, every=2, after=after),
        "other": Player(other, own, every=1000),
    }
    fit(players, torch.ones(4, 1), 5, rng=torch.Generator(), batch=4)
    assert seen == [(1, False, True), (2, False, True), (3, False, True)]
    assert torch.equal(line.weight, other.weight)


def test_what_a_player_does_afterwards_must_be_callable(own_checks):
    with pytest.raises(TypeError, match="Player: after must be callable or None, got 3"):
        Player(torch.nn.Linear(1, 1), lambda *_: None, after=3)
