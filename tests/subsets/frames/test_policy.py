"""Policies on torch: closed-form derivatives, budgets, and training through the one loop."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fewtheory.subsets.frames import training
from fewtheory.subsets.frames._torch import BudgetedPolicy, OneStepPolicy, SubsetPolicy
from fewtheory.subsets.frames.inclusion import set_inclusion
from fewtheory.subsets.frames.plackett_luce import set_log_prob_by_orders, set_score
from fewtheory.subsets.frames.rewards import clip_reward
from fewtheory.testbeds.clips import LOGITS, MovingDigits, clip_bandit
from fewtheory.train import cosine_decay, fit

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "ocsampler.json").read_text())
EPS = np.finfo(np.float64).eps
SETS = torch.tensor(list(itertools.combinations(range(6), 3)))


def logits(*shape, seed=0):
    """Logits that require a gradient, in float64."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.requires_grad_()


def test_log_prob_is_the_known_one():
    policy = SubsetPolicy(torch.tensor(LOGITS, dtype=torch.float64), 3)
    found = policy.log_prob(SETS).exp()
    np.testing.assert_allclose(found, KNOWN[0]["expected"]["set_probs"], rtol=0, atol=1e-12)


def test_its_derivative_is_the_closed_form_and_finite_differences():
    theta = logits(2, 7)
    S = torch.tensor([[0, 3, 5], [6, 1, 2]])
    log_p = SubsetPolicy(theta, 3).log_prob(S)
    weight = torch.tensor([0.3, -2.0], dtype=torch.float64)
    (grad,) = torch.autograd.grad(log_p @ weight, theta)
    expected = weight.numpy()[:, None] * set_score(theta.detach().numpy(), S.numpy())
    np.testing.assert_allclose(grad, expected, rtol=0, atol=64 * EPS)
    # gradcheck: central differences of step 1e-6, so 1e-12 and 1e-16 / 1e-6
    assert torch.autograd.gradcheck(lambda z: SubsetPolicy(z, 3).log_prob(S), theta, atol=1e-7)


def test_its_derivative_is_that_of_all_orders_by_autograd():
    theta = logits(6)
    S = torch.tensor([5, 0, 3])
    found, expected = (
        torch.autograd.grad(f(), theta)[0]
        for f in (
            lambda: SubsetPolicy(theta, 3).log_prob(S),
            lambda: set_log_prob_by_orders(theta, S),
        )
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=64 * EPS)


def test_logits_that_are_broadcast_gather_the_gradients_of_all_sets():
    theta = logits(6)
    P = SubsetPolicy(theta, 3).log_prob(SETS).exp()
    (grad,) = torch.autograd.grad(P.sum(), theta)  # the sum is 1 whatever the logits
    np.testing.assert_allclose(grad, 0, rtol=0, atol=64 * EPS)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_inclusion_and_its_derivative(k):
    theta = logits(2, 7)
    found = SubsetPolicy(theta, k).inclusion()
    np.testing.assert_allclose(
        found.detach(), set_inclusion(theta.detach().numpy(), k), rtol=0, atol=64 * EPS
    )
    assert torch.autograd.gradcheck(lambda z: SubsetPolicy(z, k).inclusion(), theta, atol=1e-7)


def test_an_additive_reward_is_maximised_without_a_draw():
    theta = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    r = torch.tensor([0.9, 0.1, 0.6, 0.3, 0.2, 0.5], dtype=torch.float64)
    optimizer = torch.optim.Adam([theta], lr=0.5)
    for _ in range(40):
        optimizer.zero_grad()
        policy = SubsetPolicy(theta, 3)
        (-(policy.inclusion() * r).sum()).backward()
        optimizer.step()
    assert SubsetPolicy(theta, 3).mode().tolist() == [0, 2, 5]
    assert (SubsetPolicy(theta, 3).inclusion() * r).sum() > 0.95 * 2.0


def test_entropy_is_of_frames_and_defined_where_one_is_certain():
    policy = SubsetPolicy(torch.tensor([[0.0, 0.0], [0.0, -2000.0]]), 1)
    assert policy.entropy().tolist() == pytest.approx([math.log(2), 0.0])


def test_what_is_drawn_follows_the_law():
    policy, n = SubsetPolicy(torch.tensor(LOGITS).expand(6000, 6), 3), 6000
    S = policy.sample(torch.Generator().manual_seed(1))
    counts = torch.nn.functional.one_hot(S, 6).sum((0, 1))
    pi = np.array(KNOWN[0]["expected"]["inclusion"])
    # six counts, each within 5 standard deviations but for 6e-7
    assert np.all(np.abs(counts.numpy() - n * pi) < 5 * np.sqrt(n * pi * (1 - pi)))


def test_a_hundred_frames_of_which_twenty():
    theta = logits(4, 100)
    policy = SubsetPolicy(theta, 20)
    log_p = policy.log_prob(policy.sample(torch.Generator().manual_seed(0)))
    log_p.sum().backward()
    assert log_p.shape == (4,)
    assert torch.isfinite(log_p).all()
    np.testing.assert_allclose(theta.grad.sum(1), 0, rtol=0, atol=64 * EPS * 20)


def test_single_precision_stays_single():
    theta = torch.zeros(2, 5, requires_grad=True)
    policy = SubsetPolicy(theta, 2)
    assert policy.log_prob(torch.tensor([0, 1])).dtype == torch.float32
    policy.inclusion().sum().backward()
    assert theta.grad.dtype == torch.float32


# budgets


def test_a_budgeted_law_adds_up_to_one():
    z, phi = logits(4), logits(3, seed=1)
    total = 0.0
    for N in (1, 2, 3):
        sets = list(itertools.combinations(range(4), N))
        chosen = torch.zeros(
            len(sets), 3, dtype=torch.int64
        )  # what follows the first N is not read
        chosen[:, :N] = torch.tensor(sets)
        policy = BudgetedPolicy(z.expand(len(sets), 4), phi.expand(len(sets), 3))
        size = torch.full((len(sets),), N)
        total = total + policy.log_prob(chosen, size).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=64 * EPS)
    for grad in torch.autograd.grad(total, (z, phi)):
        np.testing.assert_allclose(grad, 0, rtol=0, atol=64 * EPS)


def test_sizes_are_drawn_by_their_own_softmax():
    phi = torch.tensor([0.0, 1.0, -1.0])
    policy = BudgetedPolicy(torch.zeros(4000, 5), phi.expand(4000, 3))
    chosen, size = policy.sample(torch.Generator().manual_seed(0))
    pi = phi.softmax(0).numpy()
    counts = size.bincount(minlength=4)[1:].numpy()
    assert np.all(np.abs(counts - 4000 * pi) < 5 * np.sqrt(4000 * pi * (1 - pi)))
    assert chosen.shape == (4000, 3)
    expected = float(pi @ np.arange(1, 4))
    assert policy.expected_size()[0].item() == pytest.approx(expected, rel=1e-6)


# training


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


@pytest.mark.parametrize(
    "baseline", ["shared", "second draw", "mode", "segments", "random", "none"]
)
def test_every_baseline_learns_the_bandits_best_clip(baseline):
    bed = clip_bandit("W")
    evidence = torch.tensor(bed.evidence, dtype=torch.float32)

    def reward(batch, chosen):
        scores = evidence[chosen].mean(1).softmax(-1)
        return clip_reward(scores, torch.zeros(len(chosen), dtype=torch.int64))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OneStepPolicy(3)
    players = training.policy_gradient(
        network, reward, 3, baseline=baseline, entropy=0.0, optimizer=adam
    )
    x = evidence.expand(32, 6, 3)
    fit(players, {"x": x}, 40, rng=torch.Generator().manual_seed(0), batch=32)
    learned = reward({}, SubsetPolicy(network(x[:1]), 3).mode()).item()
    best = clip_reward(bed.scores(bed.sets(3)), 0).max()
    assert learned > 0.9 * best  # uniform: .06 of .61; two of the twenty clips come that near


def test_the_expected_loss_moves_along_the_exact_gradient():
    # over many draws the player's gradient is minus grad J of the sheet, .118 at most
    bed = clip_bandit("W")
    evidence = torch.tensor(bed.evidence)

    def reward(batch, chosen):
        scores = evidence[chosen].mean(1).softmax(-1)
        return clip_reward(scores, torch.zeros(len(chosen), dtype=torch.int64))

    class Free(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = torch.nn.Parameter(torch.tensor(LOGITS, dtype=torch.float64))

        def forward(self, x):
            return self.theta.expand(len(x), 6)

    network, n = Free(), 4000
    (player,) = training.policy_gradient(network, reward, 3, entropy=0.0).values()
    loss = player.loss({"policy": network}, {"x": torch.zeros(n)}, torch.Generator().manual_seed(2))
    loss.backward()
    (known,) = [k["expected"] for k in KNOWN if "evidence" in k["inputs"]]
    # shared draws: the covariance's trace is .21279 (claim C4e), the loss is a mean over 2 n draws
    # whose pairs are the estimator's terms; 6 standard deviations of the largest entry at most
    gap = np.abs(-network.theta.grad.numpy() - known["grad"]).max()
    assert gap < 6 * math.sqrt(0.21279 / n)


def test_a_policy_for_moving_digits_beats_chance_and_the_judges_own_confidence():
    # the judge here is exact on clear frames and surely wrong on adverts, blind to all others
    rng = np.random.default_rng(0)
    train, test = (
        MovingDigits(T=5, part=part).sample(n, rng=rng, like=torch.zeros(0))
        for part, n in (("train", 500), ("held-out", 400))
    )

    def judged(clips):
        p = torch.full((*clips.kind.shape, 10), 0.1)
        right = torch.nn.functional.one_hot(clips.label, 10)[:, None].float()
        wrong = torch.nn.functional.one_hot((clips.label + 1) % 10, 10)[:, None].float()
        clear, advert = (clips.kind == 0)[..., None], (clips.kind == 4)[..., None]
        return torch.where(clear, 0.9 * right + 0.01, torch.where(advert, 0.95 * wrong + 0.005, p))

    def features(clips):
        return torch.nn.functional.avg_pool2d(clips.frames, 2).flatten(2)

    def reward(batch, chosen):
        p = batch["p"].gather(1, chosen[..., None].expand(*chosen.shape, 10)).mean(1)
        return clip_reward(p, batch["label"])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OneStepPolicy(49)
    data = {"x": features(train), "p": judged(train), "label": train.label}
    players = training.policy_gradient(
        network,
        reward,
        2,
        optimizer=lambda p: torch.optim.Adam(p, lr=5e-3),
        schedule=cosine_decay(45),
    )
    fit(players, data, 45, rng=torch.Generator().manual_seed(0), batch=64)
    held = {"p": judged(test), "label": test.label}
    with torch.no_grad():
        learned = SubsetPolicy(network(features(test)), 2).mode()
    sure = held["p"].max(-1).values.argsort(1, descending=True)[:, :2]
    found = {
        name: (reward(held, clip) > 0).float().mean().item()
        for name, clip in {
            "learned": learned,
            "sure": sure,
            "spaced": learned * 0 + torch.tensor([1, 3]),
        }.items()
    }
    # 400 clips: a standard error of .025 at most, so .1 is four of them
    assert found["learned"] > found["sure"] + 0.1
    assert found["learned"] > found["spaced"] + 0.1


def test_a_dear_frame_makes_the_budget_small_and_a_free_one_does_not():
    # a reward that grows with the number of frames: 1 - 2^-N, so the best N is 1, 2, .. by cost
    sizes = {}
    for cost in (0.0, 0.4):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = OneStepPolicy(2, width=8, sizes=3)
        players = training.budgeted_policy_gradient(
            network, lambda batch, chosen, size: 1 - 0.5**size, cost, optimizer=adam
        )
        x = torch.zeros(32, 5, 2)
        fit(players, {"x": x}, 30, rng=torch.Generator().manual_seed(0), batch=32)
        sizes[cost] = network.policy(network(x[:1])).mode()[1].item()
    assert sizes[0.4] == 1  # 1 - 1/2 - .4 = .1 against 3/4 - .8 < 0
    assert sizes[0.0] > 2


def test_the_authors_optimizer():
    optimizer = training.sgd(torch.nn.Linear(1, 1).parameters())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.005, 0.9, 1e-4)


def test_the_policy_starts_from_the_uniform_law():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        out = OneStepPolicy(16)(torch.randn(3, 8, 16))
    assert out.std() < 0.1


NET = OneStepPolicy(2)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SubsetPolicy(np.zeros(3), 1), TypeError, "SubsetPolicy: logits must"),
        (lambda: SubsetPolicy(torch.zeros(3), 4), ValueError, "SubsetPolicy: k must"),
        (lambda: SubsetPolicy(torch.full((3,), math.nan), 1), ValueError, "logits must be finite"),
        (
            lambda: SubsetPolicy(torch.zeros(3), 2).log_prob(torch.arange(3)),
            ValueError,
            "chosen must",
        ),
        (
            lambda: SubsetPolicy(torch.zeros(3), 2).order_log_prob(torch.arange(1)),
            ValueError,
            "chosen",
        ),
        (
            lambda: SubsetPolicy(torch.zeros(3), 2).log_prob(torch.tensor([1, 1])),
            ValueError,
            "distinct",
        ),
        (lambda: SubsetPolicy(torch.zeros(3), 2).sample(None), TypeError, "rng must"),
        (lambda: BudgetedPolicy(torch.zeros(3), torch.zeros(1, 1)), TypeError, "logits must"),
        (lambda: BudgetedPolicy(torch.zeros(2, 3), torch.zeros(1, 2)), ValueError, "budget must"),
        (lambda: BudgetedPolicy(torch.zeros(1, 3), torch.zeros(1, 4)), ValueError, "budget must"),
        (
            lambda: BudgetedPolicy(torch.zeros(1, 3), torch.zeros(1, 2)).log_prob(
                torch.zeros(1, 3, dtype=torch.int64), torch.tensor([1])
            ),
            ValueError,
            "chosen must",
        ),
        (
            lambda: BudgetedPolicy(torch.zeros(1, 3), torch.zeros(1, 2)).log_prob(
                torch.tensor([[0, 1]]), torch.tensor([3])
            ),
            ValueError,
            "size must",
        ),
        (lambda: OneStepPolicy(0), ValueError, "features must"),
        (lambda: OneStepPolicy(2, width=-1), ValueError, "width must"),
        (lambda: OneStepPolicy(2, sizes=-1), ValueError, "sizes must"),
        (lambda: NET.policy(torch.zeros(1, 3)), ValueError, "sizes must"),
        (lambda: training.policy_gradient(NET, None, 2), TypeError, "reward must"),
        (lambda: training.policy_gradient(NET, len, 0), ValueError, "k must"),
        (lambda: training.policy_gradient(NET, len, 1, baseline="x"), ValueError, "baseline must"),
        (lambda: training.policy_gradient(NET, len, 1, entropy=-1.0), ValueError, "entropy must"),
        (lambda: training.budgeted_policy_gradient(NET, len, 0.1), TypeError, "network must"),
        (
            lambda: training.budgeted_policy_gradient(OneStepPolicy(2, sizes=2), None, 0.1),
            TypeError,
            "reward must",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_reward_of_the_wrong_shape_is_refused():
    (player,) = training.policy_gradient(NET, lambda batch, chosen: torch.zeros(1, 1), 1).values()
    with pytest.raises(ValueError, match="reward's result must be of shape"):
        player.loss({"policy": NET}, {"x": torch.zeros(2, 3, 2)}, torch.Generator())
