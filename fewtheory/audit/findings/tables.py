"""Further findings in diffusers that no sheet lists: levels and weights that come out wrong."""

# diffusers' annotations are narrower than its use (a tensor as timestep, None before set_timesteps)
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalIterable=false, reportOperatorIssue=false, reportOptionalOperand=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from .record import finding, near

READ = "diffusers 0.42.1, read beside the sheets"


@finding(
    "n22",
    "confirmed",
    holds=lambda e: e["karras"] < 0 and near(e["exponential"], 0.4, 1e-3),
    repaired={"karras": 10.0, "exponential": 10.0},
    expected="The second sigma is the second that was passed, 10.",
    repair="Take the sigmas as they are; they go through the schedule as if they were its ramp.",
    source=READ + ", EDMEulerScheduler.set_timesteps",
)
def edm_euler_sigmas():
    """EDMEuler, set_timesteps(sigmas=[80, 10, 1]): taken for a ramp, the sigmas come out as -5e7.

    sigma_schedule='exponential' ignores their values; a list fails, though the signature takes one.
    """
    import torch
    from diffusers import EDMEulerScheduler as Scheduler

    evidence = {}
    for schedule in ("karras", "exponential"):
        s = Scheduler(sigma_schedule=schedule)
        s.set_timesteps(sigmas=torch.tensor([80.0, 10.0, 1.0]))
        evidence[schedule] = float(s.sigmas[1])
    return evidence


@finding(
    "n23",
    "confirmed",
    # 100 steps of some ten roundings: 6e-5 in float32; the cancellation is lam^3 / h^3 = 1e5 times
    # a rounding in either
    holds=lambda e: e["float32"] > 3e-4 and e["float64"] < 1e-9,
    repaired={"float32": 1e-6, "float64": 1e-9},
    expected="All data is 1, so that any linear rule ends at 1, up to 6e-5 in float32.",
    repair="Moments about lam_s by series in h, or float64 as here; the polynomials in lam cancel.",
    source=READ + ", SASolverScheduler.get_coefficients_exponential_positive",
)
def sa_solver_cancels():
    """SASolver, predictor_order=4: float32 cancellation, 0.3% wrong on a constant, 100 steps."""
    import torch
    from diffusers import SASolverScheduler as Scheduler

    evidence, how = {}, {"predictor_order": 4, "corrector_order": 4, "tau_func": lambda t: 0}
    for name, kind in (("float32", torch.float32), ("float64", torch.float64)):
        s = Scheduler(prediction_type="sample", **how)
        s.set_timesteps(100)
        s.sigmas = torch.linspace(3, -3, 101).to(kind).exp()
        x = torch.ones(1, 1, dtype=kind) / (1 + s.sigmas[0] ** 2) ** 0.5
        for t in s.timesteps:
            x = s.step(torch.ones_like(x), t, x).prev_sample
        evidence[name] = abs(float(x * (1 + s.sigmas[-1] ** 2) ** 0.5) - 1)
    return evidence


@finding(
    "n24",
    "confirmed",
    holds=lambda e: e["sigmas"] == e["timesteps"] + 2 and e["told_over_held"] > 1.1,
    repaired={"sigmas": 101, "timesteps": 100, "told_over_held": 1.0},
    expected="As many timesteps as steps, each the one of its sigma.",
    repair="Drop a repeated timestep together with its sigma, or keep both.",
    source=READ + ", DPMSolverMultistepInverseScheduler.set_timesteps",
)
def inverse_drops_a_timestep():
    """DPMSolverMultistepInverse, karras, 100 steps: a timestep is dropped and its sigma kept.

    From there on the network is shown the timestep of the next sigma.
    """
    from diffusers import DPMSolverMultistepInverseScheduler as Scheduler

    s = Scheduler(use_karras_sigmas=True)
    s.set_timesteps(100)
    a = s.alphas_cumprod[s.timesteps[20]]
    told = float((1 / a - 1) ** 0.5 / s.sigmas[20])
    return {"sigmas": len(s.sigmas), "timesteps": len(s.timesteps), "told_over_held": told}


@finding(
    "n25",
    "confirmed",
    # at t = 1/2 up to the 1e-6 inside the logarithm
    holds=lambda e: near(e["alpha_bar_midway"], 0.5**0.5, 1e-3),
    repaired={"alpha_bar_midway": 0.5},
    expected="log SNR = 0 midway, so alpha_bar = 1/2 there.",
    repair="alpha_bar = snr / (1 + snr): its root is alpha, not alpha_bar.",
    source=READ + ", betas_for_alpha_bar('laplace')",
)
def laplace_table():
    """DDPM, beta_schedule='laplace': the table holds the root of alpha_bar, 0.71 midway for 0.5."""
    from diffusers import DDPMScheduler as Scheduler

    return {"alpha_bar_midway": float(Scheduler(beta_schedule="laplace").alphas_cumprod[499])}
