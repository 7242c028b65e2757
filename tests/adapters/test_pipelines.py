"""Real pipelines of small networks run with plans, and come back from a folder the same."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from diffusers.utils.torch_utils import randn_tensor

from fewtheory import Model, samplers
from fewtheory.adapters.diffusers import PlanScheduler, convention, grid, model, scheduler
from fewtheory.plan import grids

TABLE = DDPMScheduler(clip_sample=False)
FLOW = FlowMatchEulerDiscreteScheduler(shift=3.0)
PLANS = {
    "2M": lambda g: samplers.dpm_solver_pp(g.path, g, order=2),
    "Heun": lambda g: samplers.heun(g.path, g),
    "SDE": lambda g: samplers.dpm_solver_pp(g.path, g, order=2, eta=1.0),
}
every_plan = pytest.mark.parametrize("make", list(PLANS.values()), ids=list(PLANS))


# small networks on many threads wait for one another
pytestmark = pytest.mark.usefixtures("one_thread")
LATENTS = {"height": 8, "width": 8, "output_type": "latent", "return_dict": False}


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def made(cls, **settings):
    """A network with weights of its own seed, whatever else the process has drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(**settings).eval()


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def normal(*shape, seed=3):
    return randn_tensor(shape, generator=seeded(seed))


def unet():
    return made(
        UNet2DModel,
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8,),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )


def vae(**settings):
    return made(
        AutoencoderKL, latent_channels=4, block_out_channels=(8,), norm_num_groups=4, **settings
    )


def run(plan, network, like, x, generator=None, **cond):
    """The plan's own run, without a scheduler."""
    with torch.no_grad():
        return plan.run(model(network, like, **cond), x, generator)


def as_images(x):
    return (x / 2 + 0.5).clamp(0, 1)


def drawn_again(pipe, folder, call):
    """What the pipeline draws, and what it draws once saved and loaded."""
    pipe.save_pretrained(folder)
    none = {name: None for name, part in pipe.components.items() if part is None}
    loaded = quiet(type(pipe).from_pretrained(folder, **none))
    assert isinstance(loaded.scheduler, PlanScheduler)
    for part in loaded.components.values():
        if isinstance(part, torch.nn.Module):  # a mapped file's weights are not aligned, and
            for weight in part.parameters():  # kernels round in another order where they are not
                weight.data = weight.data.clone()
    return call(quiet(pipe)), call(loaded)


@every_plan
def test_ddpm(make, tmp_path):
    plan = make(grid(DDIMScheduler(), 4))
    pipe = DDPMPipeline(unet(), scheduler(plan, TABLE))

    def call(pipe):
        out = pipe(3, seeded(), num_inference_steps=plan.nfe, output_type="pt", return_dict=False)
        return out[0]

    images, again = drawn_again(pipe, tmp_path, call)
    rng = seeded()
    expected = run(plan, pipe.unet, TABLE, randn_tensor((3, 1, 8, 8), rng), rng)
    assert torch.equal(images, as_images(expected))
    assert torch.equal(again, images)


def test_ddim_passes_an_eta_of_zero():
    plan = PLANS["2M"](grid(DDIMScheduler(), 4))
    pipe = quiet(DDIMPipeline(unet(), DDIMScheduler()))
    pipe.scheduler = scheduler(plan, pipe.scheduler)
    x = randn_tensor((2, 1, 8, 8), seeded())
    settings = {"num_inference_steps": 4, "output_type": "pt", "return_dict": False}
    images = pipe(2, seeded(), **settings)[0]
    assert torch.equal(images, as_images(run(plan, pipe.unet, TABLE, x)))
    with pytest.raises(ValueError, match=r"PlanScheduler.step: eta must be left out"):
        pipe(2, seeded(), eta=0.5, **settings)


def test_a_pipeline_that_asks_for_other_steps_is_told_how_many_there_are():
    plan = PLANS["Heun"](grid(DDIMScheduler(), 4))
    pipe = quiet(DDPMPipeline(unet(), scheduler(plan, TABLE)))
    with pytest.raises(ValueError, match="num_inference_steps must be 7, the evaluations of"):
        pipe(1, num_inference_steps=4)


@every_plan
def test_dit_with_guidance(make, tmp_path):
    transformer = made(
        DiTTransformer2DModel,
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,  # it learns its variance too
        num_layers=1,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    plan, labels, w = make(grid(DDIMScheduler(), 4)), [207, 360], 3.0
    pipe = DiTPipeline(transformer, vae(), scheduler(plan, DDIMScheduler()))

    def call(pipe):
        with torch.random.fork_rng():  # it hands no generator to its scheduler
            torch.manual_seed(1)
            return pipe(labels, w, seeded(), plan.nfe, output_type="pt", return_dict=False)[0]

    def network(x, t):
        both = torch.cat([x, x])
        time = torch.full((4,), float(convention(TABLE).timestep(t)))
        classes = torch.tensor([*labels, 1000, 1000])
        out = pipe.transformer(both, timestep=time, class_labels=classes).sample[:, :4]
        with_label, without = out.chunk(2)
        return without + w * (with_label - without)

    images, again = drawn_again(pipe, tmp_path, call)
    assert torch.equal(again, images)
    if not plan.stochastic:  # else both halves draw, and their noise is another
        with torch.no_grad():
            x = plan.run(Model(network, convention(TABLE).path, "noise"), normal(2, 4, 4, 4))
            decoded = pipe.vae.decode(1 / pipe.vae.config.scaling_factor * x).sample
        assert torch.equal(images, as_images(decoded))


def flow_grid(steps):
    """Not the scheduler's own levels: equal steps in the half log-SNR, and then to clean data."""
    return grids.log_snr(convention(FLOW).path, steps).to_clean()


FLOW_PLANS = {
    "Euler": lambda: samplers.euler(convention(FLOW).path, grid(FLOW, 4)),
    "2M": lambda: PLANS["2M"](flow_grid(4)),
    "Heun": lambda: PLANS["Heun"](flow_grid(2)),
}
every_flow_plan = pytest.mark.parametrize("make", list(FLOW_PLANS.values()), ids=list(FLOW_PLANS))


@every_flow_plan
def test_stable_diffusion_3(make, tmp_path):
    transformer = made(
        SD3Transformer2DModel,
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=8,
    )
    plan, x = make(), normal(1, 4, 8, 8)
    text = {"prompt_embeds": normal(1, 3, 16), "pooled_prompt_embeds": normal(1, 8)}
    none = dict.fromkeys(f"{n}{i}" for n in ("text_encoder", "tokenizer") for i in ("", "_2", "_3"))
    pipe = StableDiffusion3Pipeline(transformer, FLOW, vae(), **none)
    pipe.scheduler = scheduler(plan, pipe.scheduler)

    def call(pipe):
        return pipe(**text, **LATENTS, latents=x, guidance_scale=1.0, num_inference_steps=plan.nfe)[
            0
        ]

    latents, again = drawn_again(pipe, tmp_path, call)
    assert torch.equal(again, latents)
    cond = {
        "encoder_hidden_states": text["prompt_embeds"],
        "pooled_projections": text["pooled_prompt_embeds"],
    }
    assert torch.equal(latents, run(plan, transformer, FLOW, x, **cond))


def flux():
    transformer = made(
        FluxTransformer2DModel,
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )
    none = dict.fromkeys(["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"])
    return FluxPipeline(FLOW, vae(), transformer=transformer, **none)


@every_flow_plan
def test_flux(make, tmp_path):
    plan, pipe, x = make(), flux(), normal(1, 16, 4)  # 16 tokens of four numbers
    pipe.scheduler = scheduler(plan, pipe.scheduler)
    text = {"prompt_embeds": normal(1, 3, 16), "pooled_prompt_embeds": normal(1, 8)}

    def call(pipe):
        return pipe(**text, **LATENTS, latents=x, num_inference_steps=plan.nfe)[0]

    latents, again = drawn_again(pipe, tmp_path, call)
    assert torch.equal(again, latents)
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    cond = {
        "encoder_hidden_states": text["prompt_embeds"],
        "pooled_projections": text["pooled_prompt_embeds"],
        "txt_ids": torch.zeros(3, 3),
        "img_ids": places,
    }

    def function(x, t):  # t itself, by way of 1000 t in float32
        time = torch.tensor([1000 * t], dtype=torch.float32) / 1000
        return pipe.transformer(x, timestep=time, **cond).sample

    with torch.no_grad():
        expected = plan.run(Model(function, convention(FLOW).path, "flow"), x)
    assert torch.equal(latents, expected)


@pytest.fixture(scope="module")
def stable_diffusion():
    network = made(
        UNet2DConditionModel,
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8,),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )
    parts = {"unet": network, "vae": vae(), "scheduler": SD, "requires_safety_checker": False}
    names = ["text_encoder", "tokenizer", "safety_checker", "feature_extractor"]
    return {**parts, **dict.fromkeys(names)}


SD = DDIMScheduler(clip_sample=False, steps_offset=1)
TEXT = normal(1, 3, 16)


@every_plan
def test_stable_diffusion(make, stable_diffusion, tmp_path):
    plan, x = make(grid(DDIMScheduler(), 4)), normal(1, 4, 8, 8)
    pipe = StableDiffusionPipeline(**stable_diffusion)
    pipe.scheduler = scheduler(plan, pipe.scheduler)

    def call(pipe):
        return pipe(
            prompt_embeds=TEXT,
            latents=x,
            guidance_scale=1.0,
            num_inference_steps=plan.nfe,
            generator=seeded(),
            output_type="latent",
            return_dict=False,
        )[0]

    latents, again = drawn_again(pipe, tmp_path, call)
    assert torch.equal(again, latents)
    expected = run(plan, pipe.unet, SD, x, seeded(), encoder_hidden_states=TEXT)
    assert torch.equal(latents, expected)


def test_a_callback_that_changes_the_latents_is_heard(stable_diffusion):
    plan = PLANS["2M"](grid(DDIMScheduler(), 4))
    pipe = quiet(StableDiffusionPipeline(**stable_diffusion))
    pipe.scheduler = scheduler(plan, pipe.scheduler)

    def draw(change):
        return pipe(
            prompt_embeds=TEXT,
            latents=normal(1, 4, 8, 8),
            guidance_scale=1.0,
            num_inference_steps=4,
            callback_on_step_end=lambda p, i, t, given: {"latents": change(i, given["latents"])},
            output_type="latent",
            return_dict=False,
        )[0]

    at_once = draw(lambda i, x: x * 0 if i == 1 else x)
    assert torch.equal(draw(lambda i, x: x.mul_(0) if i == 1 else x), at_once)
    assert not torch.equal(draw(lambda i, x: x), at_once)


def test_image_to_image_begins_in_the_middle_of_a_single_step_plan(stable_diffusion):
    levels = grid(DDIMScheduler(), 4)
    plan, image = PLANS["Heun"](levels), normal(1, 4, 8, 8)  # latents are taken as they are
    pipe = quiet(StableDiffusionImg2ImgPipeline(**stable_diffusion))
    pipe.scheduler = scheduler(plan, pipe.scheduler)

    def draw(strength):
        return pipe(
            image=image,
            prompt_embeds=TEXT,
            strength=strength,
            guidance_scale=1.0,
            num_inference_steps=plan.nfe,
            generator=seeded(),
            output_type="latent",
            return_dict=False,
        )[0]

    found = draw(3 / 7)  # three of the seven evaluations: the last two steps
    x = pipe.scheduler.add_noise(image, normal(1, 4, 8, 8), pipe.scheduler.timesteps[4])
    tail = PLANS["Heun"](grids.Grid(levels.path, levels.lam[2:], levels.t[2:]))
    expected = run(tail, pipe.unet, SD, x, encoder_hidden_states=TEXT)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="set_begin_index: begin_index must be 0"):
        draw(4 / 7)


class Halving(ModelMixin, ConfigMixin):
    """A network that predicts that half of what it is shown is noise: exact in any precision."""

    @register_to_config
    def __init__(self, sample_size: int = 4, in_channels: int = 1):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, timestep):
        return UNet2DOutput(self.factor * x)


def test_a_bfloat16_pipeline_is_the_exact_one_up_to_its_roundings():
    # shown u (1 + d), |d| <= eps / 2, the network halves it exactly; the state is float32
    path, eps = convention(TABLE).path, torch.finfo(torch.bfloat16).eps
    plan = samplers.ddim(path, grids.at_lams(path, torch.linspace(-1.0, 2.0, 9).numpy()))
    pipe = quiet(DDPMPipeline(Halving().to(torch.bfloat16), scheduler(plan, TABLE)))
    images = pipe(64, seeded(), num_inference_steps=8, output_type="pt", return_dict=False)[0]
    x = randn_tensor((64, 1, 4, 4), seeded(), dtype=torch.bfloat16).double()
    error, noise = torch.zeros_like(x), plan.predicting("noise")
    for i in range(8):
        P, B = noise.P[i + 1, i], noise.B[i + 1, i]
        added = (eps / 4 + 4 * torch.finfo(torch.float32).eps) * (abs(P) + abs(B))
        x, error = (P + B / 2) * x, abs(P + B / 2) * error + added * (abs(x) + error)
    # rounded on its way out, then halved, moved to [0, 1] and rounded twice
    error = error / 2 + eps / 2 * (abs(x) / 2 + error) + 2 * eps / 2
    assert images.dtype == torch.bfloat16
    assert torch.all(abs(images.double() - as_images(x)) <= error)
    assert error.mean() < 0.05  # of a range of one
