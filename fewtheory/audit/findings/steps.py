"""Further findings in diffusers that no sheet lists: steps that give a wrong number, quietly."""

# diffusers' annotations are narrower than its use (a tensor as timestep, None before set_timesteps)
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalIterable=false, reportOperatorIssue=false, reportOptionalOperand=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from .record import finding, near

READ = "diffusers 0.42.1, read beside the sheets"


@finding(
    "n1",
    "confirmed",
    # float32 sums of four terms
    holds=lambda e: e["moved"] < 1.5 * e["sigma_next - sigma"],
    repaired={"moved": -0.713, "sigma_next - sigma": -0.713},
    expected="With one derivative known, the step is Euler's: sigma_next - sigma times it.",
    repair="order = min(len(self.derivatives), order), not min(self.step_index + 1, order).",
    source=READ + ", LMSDiscreteScheduler.step",
)
def lms_midway():
    """LMS, started midway (image to image): order-4 weights on one derivative, 1.7 times the step.

    The other three weights are dropped, so that even a constant derivative is integrated wrongly.
    """
    import torch
    from diffusers import LMSDiscreteScheduler as Scheduler

    s, x = Scheduler(), torch.zeros(1, 1)
    s.set_timesteps(20)
    s.set_begin_index(10)
    s.scale_model_input(x, s.timesteps[10])
    moved = s.step(x + 1, s.timesteps[10], x).prev_sample
    return {"moved": float(moved), "sigma_next - sigma": float(s.sigmas[11] - s.sigmas[10])}


@finding(
    "n2",
    "confirmed",
    holds=lambda e: e["linspace_8"] == 874 - 856 and e["trailing_7"] == 857 - 856,
    repaired={"linspace_8": 0, "trailing_7": 0, "trailing_8": 0},
    expected="The state stands at the timestep that the network is shown next.",
    repair="prev_timestep = the next entry of self.timesteps, as DDPMScheduler has it.",
    source=READ + ", DDIMScheduler.step",
)
def ddim_level():
    """DDIM steps by 1000 // N whatever the spacing: wrong for 'linspace', and some 'trailing'.

    For 'trailing' unless N divides 1000.

    How many timesteps noisier the state is than the network is told, after the first step.
    """
    from diffusers import DDIMScheduler as Scheduler

    evidence, how = {}, {"clip_sample": False, "prediction_type": "sample"}
    for spacing, n in (("linspace", 8), ("trailing", 7), ("trailing", 8)):
        s = Scheduler(timestep_spacing=spacing, **how)
        s.set_timesteps(n)
        sigma = (1 - s.alphas_cumprod.double()) ** 0.5
        x = sigma[s.timesteps[0]].reshape(1, 1)
        x = s.step(0 * x, s.timesteps[0], x).prev_sample
        evidence[f"{spacing}_{n}"] = int((sigma - x[0]).abs().argmin() - s.timesteps[1])
    return evidence


@finding(
    "n3",
    "confirmed",
    holds=lambda e: e["std_without_churn"] < 1e-6 < 0.05 < e["std_with_churn"],
    repaired={"std_without_churn": 0.0, "std_with_churn": 0.0},
    expected="All data is 0, so every sample is 0, with churn or without.",
    repair="Call the network at sample + noise and sigma_hat, as Karras et al. (algorithm 2) do: "
    "the churn belongs before the call, in scale_model_input, or s_churn out of the signature.",
    source=READ + ", EulerDiscreteScheduler.step",
)
def euler_churn():
    """EulerDiscrete, s_churn > 0: noise is added after the network was called, and stays.

    EDMEuler and FlowMatchHeun do the same; FlowMatchEuler takes s_churn and ignores it.
    """
    import torch
    from diffusers import EulerDiscreteScheduler as Scheduler

    evidence = {}
    for name, churn in (("std_without_churn", 0.0), ("std_with_churn", 4.0)):
        s, rng = Scheduler(), torch.Generator().manual_seed(0)
        s.set_timesteps(10)
        x = s.sigmas[0] * torch.randn(1, 10_000, generator=rng)
        for r, t in zip(s.sigmas, s.timesteps, strict=False):
            x = s.step(x / r, t, x, s_churn=churn, generator=rng).prev_sample
        evidence[name] = float(x.std())
    return evidence


@finding(
    "n4",
    "confirmed",
    holds=lambda e: e["sigma"] > 2.9 * e["shifted_once"],
    repaired={"sigma": 0.002994, "shifted_once": 0.002994},
    expected="sigma_min = 1/1000, shifted once.",
    repair="Keep sigma_min and sigma_max from before the shift in __init__ (also in FlowMatchHeun "
    "and FlowMatchLCM).",
    source=READ + "; huggingface/diffusers issue 13243",
)
def flow_shifted_twice():
    """FlowMatchEuler, shift=3: the last sigma of set_timesteps(N) is shifted twice, 3 times it."""
    from diffusers import FlowMatchEulerDiscreteScheduler as Scheduler

    s = Scheduler(shift=3.0)
    s.set_timesteps(8)
    return {"sigma": float(s.sigmas[-2]), "shifted_once": 3e-3 / (1 + 2e-3)}


@finding(
    "n5",
    "confirmed",
    holds=lambda e: e["FlowMatchEuler"] < 0.0011 and e["FlowMatchHeun"] < 0.0011,
    repaired={"FlowMatchEuler": 0.125, "FlowMatchHeun": 0.125},
    expected="N steps of 1/N.",
    repair="set_timesteps(sigmas=np.linspace(1, 1 / N, N)), as the pipelines of Flux do.",
    source=READ + ", FlowMatchEulerDiscreteScheduler.set_timesteps",
)
def flow_last_step():
    """FlowMatchEuler, -Heun, set_timesteps(N): the last evaluation moves sigma by 1/1000 only."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

    evidence = {}
    for scheduler in (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler):
        s = scheduler()
        s.set_timesteps(8)
        evidence[scheduler.__name__.removesuffix("DiscreteScheduler")] = float(s.sigmas[-2])
    return evidence


@finding(
    "n6",
    "confirmed",
    # 1e5 draws: a relative standard error of 1 / sqrt(2e5) = 0.0022, times 5
    holds=lambda e: near(e["std"], e["sigma_of_last_timestep"], 0.005),
    repaired={"std": 0.0, "sigma_of_last_timestep": 0.393},
    expected="No noise in the step to the sample: all data is 0 here, so 0.",
    repair="Draw while prev_t >= 0, in place of t > 0.",
    source=READ + ", DDPMScheduler.step",
)
def ddpm_last_noise():
    """DDPM 'trailing', variance_type='fixed_large': the last step adds noise, 0.39 at 8 steps."""
    import torch
    from diffusers import DDPMScheduler as Scheduler

    how = {"variance_type": "fixed_large", "timestep_spacing": "trailing"}
    s, x = Scheduler(prediction_type="sample", **how), torch.zeros(1, 100_000)
    s.set_timesteps(8)
    t, rng = s.timesteps[-1], torch.Generator().manual_seed(0)
    std = s.step(x, t, x, generator=rng).prev_sample.std()
    return {"std": float(std), "sigma_of_last_timestep": float((1 - s.alphas_cumprod[t]) ** 0.5)}


@finding(
    "n7",
    "confirmed",
    holds=lambda e: e["sigmas"] == 10 and e["end"] > 0 and e["told_over_held"] > 3,
    repaired={"sigmas": 9, "end": 0.0, "told_over_held": 1.0},
    expected="N sigmas and a 0, and the timesteps that belong to them.",
    repair="N points in place of N + 1, and timesteps from _sigma_to_t.",
    source=READ + ", EulerDiscreteScheduler.set_timesteps",
)
def euler_log_linear():
    """EulerDiscrete, interpolation_type='log_linear': a sigma too many, and others' timesteps.

    8 steps end at sigma_min and not at 0, and midway the network is shown the timestep of a sigma
    over 3 times that of the state.
    """
    from diffusers import EulerDiscreteScheduler as Scheduler

    s = Scheduler(interpolation_type="log_linear")
    s.set_timesteps(8)
    a = s.alphas_cumprod[int(s.timesteps[6])]
    told = float(((1 - a) / a) ** 0.5) / float(s.sigmas[6])
    return {"sigmas": len(s.sigmas), "end": float(s.sigmas[8]), "told_over_held": told}


@finding(
    "n8",
    "confirmed",
    holds=lambda e: e["share_of_last_step"] > 0.7,
    repaired={"share_of_last_step": 0.33},
    expected="The paper spaces timesteps by the quantiles: a third of log sigma in the last step.",
    repair="timesteps = beta.ppf(1 - k / (N - 1), 0.6, 0.6) * 999, and the table's sigmas there.",
    source=READ + "; AUTOMATIC1111/stable-diffusion-webui pull request 16926",
)
def beta_on_sigmas():
    """Beta sigmas are quantiles of sigma, not of the timestep: one step spans 73% of log sigma.

    8 steps of EulerDiscrete: the seventh sigma is 11, the eighth 0.01.
    """
    from diffusers import EulerDiscreteScheduler as Scheduler

    s = Scheduler(use_beta_sigmas=True)
    s.set_timesteps(8)
    lam = -s.sigmas[:-1].log()
    return {"share_of_last_step": float((lam[-1] - lam[-2]) / (lam[-1] - lam[0]))}


@finding(
    "n9",
    "confirmed",
    holds=lambda e: e["from_clipping"] == 0 and e["of_scale"] > 0.1,
    repaired={"from_clipping": 0.66, "of_scale": 0.0},
    expected="dyn(2 x) = dyn(x) while the quantile is above 1: the scale is divided out.",
    repair="sample_max_value above any quantile (it is 1.0, and s is clamped to [1, 1]).",
    source=READ + ", _threshold_sample; dpm-solver-pp, C8",
)
def static_thresholding():
    """thresholding=True with the default sample_max_value=1.0 is clipping to [-1, 1]."""
    import torch
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    s, x = Scheduler(thresholding=True), torch.linspace(-3, 3, 101).reshape(1, 1, 1, 101)
    once, twice = s._threshold_sample(x), s._threshold_sample(2 * x)
    clipped = (once - x.clamp(-1, 1)).abs().max()
    return {"from_clipping": float(clipped), "of_scale": float((twice - once).abs().max())}


@finding(
    "n10",
    "confirmed",
    holds=lambda e: near(e["per_token"], -e["common"], 1e-6),
    repaired={"per_token": -0.333, "common": -0.333},
    expected="Tokens that all stand at the common timestep move as without per_token_timesteps.",
    repair="dt = next_sigma - current_sigma (the LTX pipeline passes its output negated).",
    source=READ + ", FlowMatchEulerDiscreteScheduler.step",
)
def per_token_sign():
    """FlowMatchEuler, per_token_timesteps: the same output moves the state the other way."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler as Scheduler

    evidence, x = {}, torch.zeros(1, 2, 1)
    for name in ("common", "per_token"):
        s = Scheduler()
        s.set_timesteps(4)
        own = s.timesteps[0].expand(1, 2) if name == "per_token" else None
        moved = s.step(x + 1, s.timesteps[0], x, per_token_timesteps=own).prev_sample
        evidence[name] = float(moved[0, 0, 0])
    return evidence


@finding(
    "n11",
    "confirmed",
    holds=lambda e: e["first"] > 0.9 and e["last"] < 0.3,
    repaired={"first": 0.0, "last": 0.999},
    expected="An inversion goes from data to noise.",
    repair="No np.flip of the flow sigmas, which every other grid of this scheduler does without.",
    source=READ + ", DPMSolverMultistepInverseScheduler.set_timesteps",
)
def inverse_flow():
    """DPMSolverMultistepInverse, use_flow_sigmas: runs from noise to data, the forward way."""
    from diffusers import DPMSolverMultistepInverseScheduler as Scheduler

    s = Scheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    s.set_timesteps(4)
    return {"first": float(s.sigmas[0]), "last": float(s.sigmas[-1])}
