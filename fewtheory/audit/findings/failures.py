"""Further findings in diffusers that no sheet lists: runs that fail or remember."""

# diffusers' annotations are narrower than its use (a tensor as timestep, None before set_timesteps)
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
# pyright: reportOptionalIterable=false, reportOperatorIssue=false, reportOptionalOperand=false
# pyright: reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from math import inf, isnan

from .record import finding

READ = "diffusers 0.42.1, read beside the sheets"
NOTHING = "nothing"


@finding(
    "n12",
    "confirmed",
    holds=lambda e: e["first"] != e["again"] and e["lower_order_final"] is True,
    repaired={"first": "1212", "again": "1212", "lower_order_final": False},
    expected="The same number of steps gives the same run, whatever was run between.",
    repair="A local variable in set_timesteps, in place of register_to_config.",
    source=READ + ", DPMSolverSinglestepScheduler.set_timesteps",
)
def singlestep_remembers():
    """DPMSolverSinglestep: an odd number of steps changes the config, and so all later runs."""
    from diffusers import DPMSolverSinglestepScheduler as Scheduler

    s, orders = Scheduler(final_sigmas_type="sigma_min"), []
    for n in (4, 5, 4):
        s.set_timesteps(n)
        orders.append("".join(map(str, s.order_list)))
    final = s.config.lower_order_final
    return {"first": orders[0], "again": orders[2], "lower_order_final": final}


@finding(
    "n13",
    "confirmed",
    holds=lambda e: e["again"] > e["first"] + 0.1,
    repaired={"first": 0.749, "again": 0.749},
    expected="A run without mu uses the flow_shift of the config.",
    repair="A local flow_shift in set_timesteps; config.flow_shift is set as an attribute beside "
    "the frozen dict, so that config['flow_shift'] still says 1.",
    source=READ + ", set_timesteps of DPMSolverMultistep, -Singlestep, DEIS",
)
def mu_remembered():
    """set_timesteps(mu=..) leaves its shift in the config: later runs without mu keep it."""
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    s = Scheduler(use_flow_sigmas=True, use_dynamic_shifting=True)
    s.set_timesteps(4)
    first = float(s.sigmas[1])
    s.set_timesteps(4, mu=1.0)
    s.set_timesteps(4)
    return {"first": first, "again": float(s.sigmas[1])}


@finding(
    "n14",
    "confirmed",
    # EDM's differ by half a unit of float32, downwards
    holds=lambda e: len(e) == 5 and max(map(abs, e.values())) < 1e-9,
    repaired={"DPM": 0.01, "DPMSinglestep": 0.01, "UniPC": 0.01, "EDM": 0.002, "Euler": 0.01},
    expected="Every step has a positive length.",
    repair="Take N + 1 sigmas down to sigma_min, and append none.",
    source=READ + "; plan-algebra, audit 5",
)
def repeated_sigma_min():
    """final_sigmas_type='sigma_min' repeats the last sigma in five more schedulers: a dead step.

    DPMSolver and UniPC under karras (exponential, beta, lu) sigmas, EDM and Euler by default.
    """
    import diffusers

    end, karras = {"final_sigmas_type": "sigma_min"}, {"use_karras_sigmas": True}
    made = {
        "DPM": diffusers.DPMSolverMultistepScheduler(**end, **karras),
        "DPMSinglestep": diffusers.DPMSolverSinglestepScheduler(**end, **karras),
        "UniPC": diffusers.UniPCMultistepScheduler(**end, **karras),
        "EDM": diffusers.EDMDPMSolverMultistepScheduler(**end),
        "Euler": diffusers.EulerDiscreteScheduler(**end),
    }
    return {k: s.set_timesteps(8) or float(s.sigmas[-2] - s.sigmas[-1]) for k, s in made.items()}


@finding(
    "n15",
    "confirmed",
    holds=lambda e: isnan(e["steps_15"]) and not isnan(e["steps_14"]),
    repaired={"steps_14": 1.0, "steps_15": 1.0},
    expected="A finite sample.",
    repair="Take N + 1 sigmas down to sigma_min, and append none.",
    source=READ + "; dpm-solver-pp, pitfalls (h = 0)",
)
def repeated_sigma_nan():
    """The repeated sigma gives NaN from 15 steps on, with solver_order=3 or solver_type='heun'."""
    import torch
    from diffusers import DPMSolverMultistepScheduler as Scheduler

    evidence, how = {}, {"final_sigmas_type": "sigma_min", "use_karras_sigmas": True}
    for n in (14, 15):
        s, x = Scheduler(solver_order=3, prediction_type="sample", **how), torch.ones(1, 1)
        s.set_timesteps(n)
        for t in s.timesteps:
            x = s.step(s.alphas_cumprod[t] ** 0.5 * x, t, x).prev_sample
        evidence[f"steps_{n}"] = float(x)
    return evidence


@finding(
    "n16",
    "confirmed",
    holds=lambda e: isnan(e["noise"]) and not isnan(e["data"]),
    repaired={"data": 1.0, "noise": 1.0},
    expected="A finite sample, or a ValueError that names final_sigmas_type, as in DPMSolver.",
    repair="Refuse predict_x0=False with final_sigmas_type='zero', or end at sigma_min by default.",
    source=READ + ", UniPCMultistepScheduler",
)
def unipc_noise_form():
    """UniPC, predict_x0=False with the default final sigma 0: the last step is 0 * inf, NaN."""
    import torch
    from diffusers import UniPCMultistepScheduler as Scheduler

    evidence = {}
    for name in ("data", "noise"):
        s, x = Scheduler(predict_x0=name == "data"), torch.ones(1, 1, 1)
        s.set_timesteps(8)
        for t in s.timesteps:
            x = s.step((1 - s.alphas_cumprod[t]) ** 0.5 * x, t, x).prev_sample
        evidence[name] = float(x)
    return evidence


@finding(
    "n17",
    "confirmed",
    holds=lambda e: isnan(e["sample"]),
    repaired={"sample": 1.0},
    expected="A finite sample with noise of variance beta.",
    repair="exp(log(beta) / 2) as for 'fixed_small_log', since step takes the root of log(beta).",
    source=READ + ", DDPMScheduler._get_variance",
)
def ddpm_log_variance():
    """DDPM, variance_type='fixed_large_log': the root of a negative logarithm, NaN."""
    import torch
    from diffusers import DDPMScheduler as Scheduler

    s, x = Scheduler(variance_type="fixed_large_log"), torch.ones(1, 1)
    s.set_timesteps(8)
    rng = torch.Generator().manual_seed(0)
    return {"sample": float(s.step(0 * x, s.timesteps[0], x, generator=rng).prev_sample)}


@finding(
    "n18",
    "confirmed",
    holds=lambda e: e["epsilon"] == inf and e["v_prediction"] < 10,
    repaired={"epsilon": NOTHING, "v_prediction": 1.0},
    expected="A ValueError at construction: at alpha = 0 no epsilon says what x_0 is.",
    repair="Refuse prediction_type='epsilon' with rescale_betas_zero_snr=True (DDPM, LCM too).",
    source=READ + ", DDIMScheduler.step",
)
def zero_snr_with_epsilon():
    """DDIM 'trailing', rescale_betas_zero_snr=True and epsilon: a division by 0, samples inf."""
    import torch
    from diffusers import DDIMScheduler as Scheduler

    evidence, how = {}, {"timestep_spacing": "trailing", "clip_sample": False}
    for kind in ("epsilon", "v_prediction"):
        s, x = Scheduler(rescale_betas_zero_snr=True, prediction_type=kind, **how), torch.ones(1, 1)
        s.set_timesteps(8)
        evidence[kind] = float(s.step(x / 2, s.timesteps[0], x).prev_sample)
    return evidence


@finding(
    "n19",
    "confirmed",
    holds=lambda e: (
        e.get("EDMDPMSolverMultistepScheduler") == "UnboundLocalError"
        and e.get("DPMSolverMultistepInverseScheduler") == "AssertionError"
    ),
    repaired={},
    expected="A run, or a ValueError at construction that names solver_order.",
    repair="Pass noise to the third-order update (Inverse), give it the SDE form (EDM), with 2a.",
    source=READ + "; plan-algebra, audit 4",
)
def sde_third_order_elsewhere():
    """sde-dpmsolver++, solver_order=3, fails at the third step in EDM and in the inverse."""
    import torch
    from diffusers import DPMSolverMultistepInverseScheduler as Inverse
    from diffusers import EDMDPMSolverMultistepScheduler as EDM

    evidence, how = {}, {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}
    for scheduler in (EDM, Inverse):
        s, x = scheduler(**how), torch.ones(1, 1)
        s.set_timesteps(20)
        try:
            for t in s.timesteps:
                x = s.step(0 * x, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
        except Exception as error:
            evidence[scheduler.__name__] = type(error).__name__
    return evidence


@finding(
    "n20",
    "confirmed",
    holds=lambda e: (
        e == {"DPMSolverSinglestepScheduler": "RuntimeError", "SASolverScheduler": "RuntimeError"}
    ),
    repaired={},
    expected="A thresholded step.",
    repair="alpha_t, sigma_t = self._sigma_to_alpha_sigma_t(self.sigmas[self.step_index]); the "
    "timestep is None here, and self.alpha_t[None] the whole table.",
    source=READ + ", convert_model_output",
)
def thresholding_noise_form():
    """thresholding=True in noise form fails at once in DPMSolverSinglestep and SASolver."""
    import torch
    from diffusers import DPMSolverSinglestepScheduler, SASolverScheduler

    single = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
    dpm, evidence = DPMSolverSinglestepScheduler(thresholding=True, **single), {}
    for s in (dpm, SASolverScheduler(thresholding=True, algorithm_type="noise_prediction")):
        s.set_timesteps(8)
        try:
            s.step(torch.ones(1, 1, 2, 2), s.timesteps[0], torch.ones(1, 1, 2, 2))
        except Exception as error:
            evidence[type(s).__name__] = type(error).__name__
    return evidence


@finding(
    "n21",
    "confirmed",
    holds=lambda e: e["first_step_index"] == 1 and e["raised"] == "AssertionError",
    repaired={"first_step_index": 0, "raised": NOTHING},
    expected="The run starts at the first sigma and ends at the last.",
    repair="Keep flow timesteps as floats (1000 sigma), or start at index 0 unless told otherwise.",
    source=READ + ", UniPCMultistepScheduler.index_for_timestep",
)
def equal_first_timesteps():
    """UniPC, flow_shift=12, 100 steps: two timesteps are 999, the run starts at the second.

    It fails at its end. Flow timesteps are truncated to integers; DPMSolverMultistep raises
    IndexError instead.
    """
    import torch
    from diffusers import UniPCMultistepScheduler as Scheduler

    s = Scheduler(use_flow_sigmas=True, flow_shift=12.0, prediction_type="flow_prediction")
    s.set_timesteps(100)
    x, indices = torch.ones(1, 1, 1), []
    try:
        for t in s.timesteps:
            x = s.step(0 * x, t, x).prev_sample
            indices.append(s.step_index - 1)
    except Exception as error:
        return {"first_step_index": indices[0], "raised": type(error).__name__}
    return {"first_step_index": indices[0], "raised": "nothing"}
