"""The choice of frames as a player: what `fewtheory.train.fit` moves, and the loss that moves it.

The judge is frozen and gives a reward for a clip; the policy's network is moved along an unbiased
estimate of the gradient of E R(S), with the exact score of the set. The default baseline is shared:
two draws, each the other's, so that no clip is judged for the baseline alone.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, "Train step".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import fail, integer, number, one_of
from .rewards import BASELINES, baseline_clip, leave_one_out

Rewards = Callable[[Mapping[str, Any], Any], Any]


def sgd(parameters: Any) -> Any:
    """The authors' optimizer: SGD, rate .005 (for 8 x 40 clips), momentum .9, weight decay 1e-4.

    With it go `clip=40` and `schedule=cosine_decay(steps)` of the player, for 50 epochs.
    """
    import torch

    return torch.optim.SGD(parameters, lr=0.005, momentum=0.9, weight_decay=1e-4)


def policy_gradient(
    network: Any,
    reward: Rewards,
    k: int,
    *,
    baseline: str = "shared",
    entropy: float | int = 0.1,
    name: str = "policy",
    **settings: Any,
) -> dict[str, Any]:
    """The player that maximises E R(S): the loss is -(A log P(S) + lam H(p)), A the advantage.

    network: batch["x"] -> logits (B, T). reward(batch, chosen (B, k)) -> (B,), of a frozen judge,
    without gradient. baseline: "shared" (two draws, each the other's baseline: `leave_one_out`),
    "none", or one of `baseline_clip`'s. Each but "none" judges two clips a row. entropy: lam (.1 in
    the authors' code; any lam > 0 moves the optimum, claim C7). settings: of the `Player`.

        players = policy_gradient(OneStepPolicy(64), reward, 3)
        fitted = ft.train.fit(players, {"x": features, "label": label}, 2000, rng=rng)

    Raises ValueError or TypeError by name.
    """
    import torch

    from ...train import Player
    from ._torch import SubsetPolicy

    where = "policy_gradient"
    if not callable(reward):
        raise TypeError(f"{where}: reward must be callable, got {reward!r}")
    integer(where, "k", k, 1)
    one_of(where, "baseline", baseline, ("shared", "none", *BASELINES))
    lam = number(where, "entropy", entropy, 0.0)

    def loss(networks: Mapping[str, Any], batch: Any, rng: Any) -> Any:
        policy = SubsetPolicy(networks[name](batch["x"]), k)
        S = policy.sample(rng)
        R = _judged(reward, batch, S)
        if baseline == "shared":
            other = policy.sample(rng)
            A = leave_one_out(R, _judged(reward, batch, other))
            log_p = torch.stack([policy.log_prob(S), policy.log_prob(other)])
        else:
            if baseline != "none":
                clip = baseline_clip(policy.logits.detach(), k, baseline, rng=rng)
                R = R - _judged(reward, batch, clip)
            A, log_p = R, policy.log_prob(S)
        return -(A * log_p).mean() - lam * policy.entropy().mean()

    return {name: Player(network, loss, **settings)}


def budgeted_policy_gradient(
    network: Any,
    reward: Callable[..., Any],
    cost: float | int,
    *,
    entropy: float | int = 0.0,
    name: str = "policy",
    **settings: Any,
) -> dict[str, Any]:
    """The player that maximises E[R(S) - c N] over what is chosen and how many, two shared draws.

    network: a `OneStepPolicy` with sizes; reward(batch, chosen (B, N_max), size (B,)) -> (B,): only
    the first `size` of each row are shown to the judge; cost: c of one frame, in units of reward;
    entropy: lam, of the frames' and of the sizes' laws. Raises ValueError or TypeError by name.
    """
    import torch

    from ...train import Player
    from ._torch import OneStepPolicy

    where = "budgeted_policy_gradient"
    if not isinstance(network, OneStepPolicy) or not network.sizes:
        raise TypeError(f"{where}: network must be a OneStepPolicy with sizes, got {network!r}")
    if not callable(reward):
        raise TypeError(f"{where}: reward must be callable, got {reward!r}")
    c = number(where, "cost", cost, -math.inf)
    lam = number(where, "entropy", entropy, 0.0)

    def loss(networks: Mapping[str, Any], batch: Any, rng: Any) -> Any:
        policy = network.policy(networks[name](batch["x"]))
        draws = [policy.sample(rng) for _ in range(2)]
        A = leave_one_out(*(_judged(reward, batch, *d) - c * d[1] for d in draws))
        log_p = torch.stack([policy.log_prob(*d) for d in draws])
        explored = sum(
            -(z.log_softmax(-1) * z.softmax(-1)).sum(-1).mean()
            for z in (policy.logits, policy.budget)
        )
        return -(A * log_p).mean() - lam * explored

    return {name: Player(network, loss, **settings)}


def _judged(reward: Callable[..., Any], batch: Any, *clip: Any) -> Any:
    """The rewards (B,) of a clip, without a gradient."""
    import torch

    with torch.no_grad():
        R = reward(batch, *clip)
    if not isinstance(R, torch.Tensor) or R.shape != clip[0].shape[:1]:
        raise fail("policy_gradient", "reward's result", f"of shape {tuple(clip[0].shape[:1])}", R)
    return R
