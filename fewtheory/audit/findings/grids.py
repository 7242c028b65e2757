"""Grids in diffusers: repeated levels, truncated timesteps, where a run ends.

Sources: sheet `plan-algebra`, audit list 5-8.
"""

# diffusers' annotations are narrower than its use (a tensor as timestep, None before set_timesteps)
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalIterable=false, reportOperatorIssue=false, reportOptionalOperand=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from .record import finding, near

GRIDS = ("karras", "exponential", "beta", "flow")


@finding(
    "5a",
    "confirmed",
    holds=lambda e: all(e[f"{s} {g}"] == 0 for s in ("DEIS", "SASolver") for g in GRIDS),
    repaired={f"{s} {g}": 0.01 for s in ("DEIS", "SASolver") for g in GRIDS},
    expected="Every step has a positive length.",
    repair="Take one more sigma from the same formula, and no copy of the last.",
    source="plan-algebra, audit 5",
)
def repeated_last_sigma():
    """DEIS and SASolver repeat the last sigma under karras, exponential, beta and flow sigmas."""
    from diffusers import DEISMultistepScheduler, SASolverScheduler

    evidence, schedulers = {}, {"DEIS": DEISMultistepScheduler, "SASolver": SASolverScheduler}
    for name, scheduler in schedulers.items():
        for grid in ("karras", "exponential", "beta", "flow"):
            s = scheduler(**{f"use_{grid}_sigmas": True})
            s.set_timesteps(8)
            evidence[f"{name} {grid}"] = float(s.sigmas[-2] - s.sigmas[-1])
    return evidence


@finding(
    "5b",
    "confirmed in part",
    holds=lambda e: e["DEIS"] == 0 and e["SASolver"] > 0.01,
    repaired={"DEIS": 0.1, "SASolver": 0.1},
    expected="The last call of the network changes the result.",
    repair="Take one more sigma from the same formula, and no copy of the last.",
    source="plan-algebra, audit 5",
)
def dead_last_evaluation():
    """DEIS's last evaluation is dead under those sigmas; SASolver's still feeds its corrector.

    What a last output of 1 after seven of 0 changes.
    """
    import torch
    from diffusers import DEISMultistepScheduler, SASolverScheduler

    evidence, how = {}, {"use_karras_sigmas": True, "prediction_type": "sample"}
    quiet = SASolverScheduler(tau_func=lambda t: 0, **how)
    for name, s in {"DEIS": DEISMultistepScheduler(**how), "SASolver": quiet}.items():
        s.set_timesteps(8)
        x = torch.zeros(1, 1)
        for i, t in enumerate(s.timesteps):
            x = s.step(torch.full((1, 1), float(i == 7)), t, x).prev_sample
        evidence[name] = float(x.abs())
    return evidence


@finding(
    "5c",
    "confirmed",
    # float32 divided by the first alpha, 1e-3: roundings of 6e-5
    holds=lambda e: all(near(e[s], 0.999 / 8, 1e-4) for s in ("DEIS", "SASolver")),
    repaired={"DEIS": 0.0, "SASolver": 0.0},
    expected="A sample without noise: all data is 0 here, so 0.",
    repair="Append 0 after the flow sigmas (for SASolver and DEIS a sigma near 0, as they divide).",
    source="plan-algebra, audit 5",
)
def flow_sigmas_stop_early():
    """Under flow sigmas DEIS and SASolver stop at sigma = 0.999 / steps: the samples are noisy.

    All data is 0, so that the state is sigma times its noise 1 and the exact flow is x / sigma.
    """
    from diffusers import DEISMultistepScheduler, SASolverScheduler

    evidence, how = {}, {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    quiet = SASolverScheduler(tau_func=lambda t: 0, **how)
    for name, s in {"DEIS": DEISMultistepScheduler(**how), "SASolver": quiet}.items():
        s.set_timesteps(8)
        x = s.sigmas[0].reshape(1, 1)
        for r, t in zip(s.sigmas, s.timesteps, strict=False):
            x = s.step(x / r, t, x).prev_sample
        evidence[name] = float(x)
    return evidence


@finding(
    "6a",
    "confirmed",
    holds=lambda e: e["exponential"] > 0.9 and e["beta"] > 0.9 and e["karras"] <= 0.5 + 1e-6,
    repaired={"exponential": 0.5, "beta": 0.5, "karras": 0.5},
    expected="The timestep shown to the network is the nearest one: at most 0.5 away.",
    repair="Round before the cast to int64, as under karras sigmas.",
    source="plan-algebra, audit 6",
)
def truncated_timesteps():
    """Exponential and beta sigmas: timesteps are truncated, up to 1 too small; karras rounds."""
    import numpy as np
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    evidence = {}
    for grid in ("karras", "exponential", "beta"):
        s = Scheduler(**{f"use_{grid}_sigmas": True})
        s.set_timesteps(50)
        table = 0.5 * np.log(1 / s.alphas_cumprod.double().numpy() - 1)
        exact = np.interp(np.log(s.sigmas[:-1].double().numpy()), table, np.arange(1000))
        evidence[grid] = float(np.abs(exact - s.timesteps.numpy()).max())
    return evidence


@finding(
    "6b",
    "confirmed in part",
    # h^2 quarters from 200 to 400 steps; a floor stays
    holds=lambda e: (
        e["truncated_400"] > 1.5e-3
        and e["truncated_400"] > 0.7 * e["truncated_200"]
        and e["rounded_400"] < 0.5 * e["rounded_200"]
    ),
    repaired={
        "truncated_200": 1.3e-4,
        "truncated_400": 4.7e-5,
        "rounded_200": 1.3e-4,
        "rounded_400": 4.7e-5,
    },
    expected="The error falls as the steps grow, as it does on the same sigmas with rounding.",
    repair="Round before the cast to int64, as under karras sigmas and lu_lambdas.",
    source="plan-algebra, audit 6",
)
def floor_of_truncation():
    """Exponential sigmas: truncation leaves a floor of 2e-3 on N(0, 1), against 5e-5 and falling.

    Rounded are lu_lambdas, which are the same sigmas. Under beta sigmas the error of the grid
    itself (0.05 at 200 steps, see n8) hides the floor.
    """
    import torch
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    evidence, grids = {}, {"truncated": "use_exponential_sigmas", "rounded": "use_lu_lambdas"}
    for name, n in [(name, n) for name in grids for n in (200, 400)]:
        s, x = Scheduler(prediction_type="sample", **{grids[name]: True}), torch.ones(1, 1)
        s.set_timesteps(n)
        for t in s.timesteps:
            x = s.step(s.alphas_cumprod[t] ** 0.5 * x, t, x).prev_sample
        evidence[f"{name}_{n}"] = float(x) - 1
    return evidence


@finding(
    "7",
    "confirmed",
    # the integrator's own error at 400 steps is the one at sigma_min, 4e-5
    holds=lambda e: (
        near(e["zero"], e["-sigma_min^2 / 2c"], 2 * e["sigma_min"]) and e["sigma_min"] < 1e-4
    ),
    repaired={"zero": 4e-5, "sigma_min": 4e-5, "-sigma_min^2 / 2c": -1.25e-3},
    expected="An error that falls with the steps.",
    repair="final_sigmas_type='sigma_min', whose error falls with the steps; a jump to 0 by the "
    "denoiser shrinks N(0, c) by sqrt(1 + sigma_min^2 / c).",
    source="plan-algebra, audit 7",
)
def floor_of_the_last_jump():
    """final_sigmas_type='zero' (default): the last step is of order 1, a floor of sigma_min^2 / 2c.

    Relative error of the standard deviation of N(0, c), c = 0.04, at 400 steps uniform in log
    sigma. The sheet's 2.9e-3 is this at another c or table; on the default timesteps the last jump
    starts at timestep 999 / steps and shrinks with the steps.
    """
    import torch
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    c, evidence, how = 0.04, {}, {"prediction_type": "sample", "use_lu_lambdas": True}
    for end in ("zero", "sigma_min"):
        s, x = Scheduler(final_sigmas_type=end, **how), torch.ones(1, 1).double()
        s.set_timesteps(400)
        r, r0 = s.sigmas[-1].double(), s.sigmas[0].double()
        for v, t in zip(s.sigmas.double(), s.timesteps, strict=False):
            x = s.step(c / (c + v * v) * (1 + v * v) ** 0.5 * x, t, x).prev_sample
        exact = ((c + r * r) * (1 + r0 * r0) / (1 + r * r) / (c + r0 * r0)) ** 0.5
        evidence[end] = float(x / exact) - 1
    return {**evidence, "-sigma_min^2 / 2c": -(float(s.sigmas[-1]) ** 2) / (2 * c)}


@finding(
    "8",
    "confirmed",
    # order 2 quarters the error, order 3 divides it by 8; decided in the middle, at 2^2.5
    holds=lambda e: (
        2**1.5 < e["capped_32"] / e["capped_64"] < 2**2.5 and e["free_32"] / e["free_64"] > 2**2.5
    ),
    repaired={"capped_32": 5.6e-6, "capped_64": 6.3e-7, "free_32": 5.6e-6, "free_64": 6.3e-7},
    expected="Order 3 divides the error by 8 or more when the steps are doubled.",
    repair="lower_order_final=False, or no lowering above some number of steps.",
    source="plan-algebra, audit 8",
)
def unipc_capped():
    """UniPC, solver_order=3: lower_order_final=True (default) caps the order at 2.

    The last predictor is of order 1. With final_sigmas_type='zero' (default) the last step is of
    order 1 whatever this is set to (see 7).
    """
    import torch
    from diffusers import UniPCMultistepScheduler as Scheduler

    evidence, how = {}, {"prediction_type": "sample", "final_sigmas_type": "sigma_min"}
    for name, n in [(name, n) for name in ("capped", "free") for n in (32, 64)]:
        s = Scheduler(solver_order=3, lower_order_final=name == "capped", **how)
        s.set_timesteps(n)
        s.sigmas, x = torch.linspace(3, -1, n + 1).double().exp(), torch.ones(1, 1, 1).double()
        for r, t in zip(s.sigmas, s.timesteps, strict=False):
            x = s.step(x / (1 + r * r) ** 0.5, t, x).prev_sample
        evidence[f"{name}_{n}"] = abs(float(x) - 1)
    return evidence
