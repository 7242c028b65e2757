"""Evaluations in diffusers that are dead, or more than the steps asked for.

Sources: sheet `plan-algebra`, audit list 9 and 10.
"""

# diffusers' annotations are narrower than its use (a tensor as timestep, None before set_timesteps)
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalIterable=false, reportOperatorIssue=false, reportOptionalOperand=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from .record import finding, near


@finding(
    "9a",
    "confirmed",
    holds=lambda e: e["offset_0"] == 0 and 0 < e["offset_1"] < 0.02,
    repaired={"offset_0": 0.01, "offset_1": 0.015},
    expected="The last call of the network changes the result.",
    repair="set_alpha_to_one=True (the default), or timestep_spacing='trailing'.",
    source="plan-algebra, audit 9",
)
def ddim_leading():
    """DDIM 'leading', set_alpha_to_one=False: the last evaluation is dead.

    With steps_offset=0; Stable Diffusion's steps_offset=1 moves it from timestep 1 to 0, hardly.
    """
    import torch
    from diffusers import DDIMScheduler as Scheduler

    evidence, how = {}, {"set_alpha_to_one": False, "clip_sample": False}
    for offset in (0, 1):
        s, x = Scheduler(steps_offset=offset, **how), torch.zeros(1, 1)
        s.set_timesteps(8)
        evidence[f"offset_{offset}"] = float(s.step(x + 1, s.timesteps[-1], x).prev_sample.abs())
    return evidence


@finding(
    "9b",
    "confirmed",
    holds=lambda e: e["offset_0"] == 0 and 0 < e["offset_1"] < 0.02,
    repaired={"offset_0": 0.01, "offset_1": 0.015},
    expected="The last call of the network changes the result.",
    repair="set_alpha_to_one=True.",
    source="plan-algebra, audit 9",
)
def pndm_last():
    """PNDM, set_alpha_to_one=False (default): the last evaluation is dead (steps_offset=0)."""
    import torch
    from diffusers import PNDMScheduler as Scheduler

    evidence = {}
    for offset in (0, 1):
        s, x = Scheduler(steps_offset=offset, skip_prk_steps=True), torch.zeros(1, 1)
        s.set_timesteps(8)
        for i, t in enumerate(s.timesteps):
            x = s.step(torch.full((1, 1), float(i == 8)), t, x).prev_sample
        evidence[f"offset_{offset}"] = float(x.abs())
    return evidence


@finding(
    "9c",
    "confirmed",
    # float32, ten roundings
    holds=lambda e: (
        near(e["v"], 1, 1e-5) and abs(e["epsilon"] - 1) > 0.01 and e["prediction_types"] == 0
    ),
    repaired={"v": 1.0, "epsilon": 1.0, "prediction_types": 1},
    expected="prediction_type in the config, with every kind right, or named in the docstring.",
    repair="Convert by prediction_type; ets = sigma x + alpha m is right for v only.",
    source="plan-algebra, audit 9",
)
def ipndm_velocity():
    """IPNDM takes every model output for v, and has no prediction_type to say otherwise.

    All data is 1 and the run starts midway, past 9d: v ends at 1, epsilon does not.
    """
    from diffusers import IPNDMScheduler as Scheduler

    s, evidence = Scheduler(), {}
    for kind in ("v", "epsilon"):
        s.set_timesteps(8)
        s.set_begin_index(4)
        x = (s.alphas[4] + s.betas[4] / 2).reshape(1, 1)
        for t, alpha, sigma in zip(s.timesteps[4:], s.alphas[4:], s.betas[4:], strict=False):
            eps = (x - alpha) / sigma
            x = s.step(alpha * eps - sigma if kind == "v" else eps, t, x).prev_sample
        evidence[kind] = float(x)
    return {**evidence, "prediction_types": int("prediction_type" in s.config)}


@finding(
    "9d",
    "confirmed",
    holds=lambda e: e["changed_by_first"] == 0 and e["alpha"] == 0,
    repaired={"changed_by_first": 0.3, "alpha": 0.1},
    expected="The first call of the network changes the result.",
    repair="Start at a level with alpha > 0, or take one evaluation less.",
    source="plan-algebra, audit 9",
)
def ipndm_first():
    """IPNDM's first evaluation is dead: at alpha = 0 v has weight alpha, and x_0 is 0."""
    import torch
    from diffusers import IPNDMScheduler as Scheduler

    ends = []
    for first in (0.0, 1.0):
        s, x = Scheduler(), torch.ones(1, 1)
        s.set_timesteps(8)
        for i, t in enumerate(s.timesteps):
            x = s.step(torch.full((1, 1), first * (i == 0)), t, x).prev_sample
        ends.append(x)
    return {"changed_by_first": float((ends[1] - ends[0]).abs()), "alpha": float(s.alphas[0])}


@finding(
    "10",
    "confirmed",
    holds=lambda e: e == {"Heun": 19, "KDPM2": 19, "KDPM2Ancestral": 19, "FlowMatchHeun": 19},
    repaired={"Heun": 10, "KDPM2": 10, "KDPM2Ancestral": 10, "FlowMatchHeun": 10},
    expected="The budget that was asked for, or a name other than steps.",
    repair="Compare at len(scheduler.timesteps), which is what is paid.",
    source="plan-algebra, audit 10",
)
def two_evaluations_a_step():
    """Heun and KDPM2: N steps cost 2 N - 1 evaluations; so do KDPM2Ancestral and FlowMatchHeun."""
    import diffusers

    evidence = {}
    for name in ("Heun", "KDPM2", "KDPM2Ancestral", "FlowMatchHeun"):
        s = getattr(diffusers, f"{name}DiscreteScheduler")()
        s.set_timesteps(10)
        evidence[name] = len(s.timesteps)
    return evidence
