"""The methods on classes of diffusers: their losses by hand, who moves, and what sampling is."""

import copy
import math

import pytest
import torch
from torch.nn.functional import softplus

import fewtheory as ft
from fewtheory.adapters import lora
from fewtheory.arrays import standard_normal
from fewtheory.distill import (
    Critic,
    FewSteps,
    dmd,
    dmd_gradient,
    phases,
    sample,
    sample_phases,
    train_phases,
)
from fewtheory.train import fit
from fewtheory.train.denoising import regression_loss

# small networks on many threads wait for one another
pytestmark = pytest.mark.usefixtures("one_thread")
PAIRS = [
    ("UNet2DModel", "dmd"),
    ("UNet2DModel", "flash_dmd"),
    ("UNet2DModel", "msd"),
    ("UNet2DModel", "sid"),
    ("UNet2DConditionModel", "dmd"),
    ("UNet2DConditionModel", "tdm"),
    ("UNet2DConditionModel", "flash_dmd"),
    ("DiTTransformer2DModel", "phased_dmd"),
    ("DiTTransformer2DModel", "msd"),
    ("DiTTransformer2DModel", "sid"),
    ("SD3Transformer2DModel", "tdm"),
    ("SD3Transformer2DModel", "phased_dmd"),
    ("SD3Transformer2DModel", "sid"),
    ("FluxTransformer2DModel", "dmd"),
    ("FluxTransformer2DModel", "tdm"),
    ("FluxTransformer2DModel", "phased_dmd"),
    ("FluxTransformer2DModel", "flash_dmd"),
]
every_pair = pytest.mark.parametrize(("name", "method"), PAIRS, ids=lambda v: v.split("Tr")[0])
WIDE = torch.float64
# about 1e3 operations on numbers of order one to ten, each rounded once
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=WIDE)


def nets_of(real, method, dtype=WIDE):
    """Networks of different weights, so that no difference of scores is zero."""
    roles = {
        "msd": ("teacher", "student0", "fake0", "student1", "fake1"),
        "phased_dmd": ("teacher", "student", "fake", "earlier"),
    }.get(method, ("teacher", "student", "fake"))
    return {role: real.network(k).to(dtype) for k, role in enumerate(roles)}


def at(t):
    """All times this one."""
    return lambda path, n, rng: torch.full((n,), t, dtype=WIDE)


def over(value, x):
    return value.reshape(-1, *[1] * (x.ndim - 1)) if value.ndim else value


def each(x):
    """The mean over a sample's elements."""
    return x.flatten(1).mean(1)


# losses by hand: plain calls of the networks and the sheets' formulas


class Hand:
    """A class, its networks, a batch and the draws of one loss, in the order of their use."""

    def __init__(self, real, nets, batch, seed):
        self.real, self.nets, self.rng = real, nets, seeded(seed)
        self.cond = dict(batch)
        self.x = self.cond.pop("x")

    def data(self, role, x, t):
        return self.real.data(self.nets[role], x, t, self.cond)

    def level(self, t):
        return tuple(over(v, self.x) for v in self.real.level(t))

    def noise(self):
        return normal(self.rng, *self.x.shape)

    def noised(self, x0, eps, t):
        alpha, sigma = self.level(t)
        return alpha * x0 + sigma * eps

    def down(self, x, x0, t, s):
        """The deterministic step, to clean data at s = 0."""
        (alpha, sigma), eps = self.level(t), None
        eps = (x - alpha * x0) / sigma
        return x0 if s == 0 else self.noised(x0, eps, s)

    def drawn(self, count):
        return int(torch.randint(count, (), generator=self.rng))

    def renoised(self, x, times, first, last):
        """The state at step `last` from that at step `first`, with fresh noise between."""
        for t, s in zip(times[first:last], times[first + 1 : last + 1], strict=True):
            x = self.noised(self.data("student", x, t), self.noise(), s)
        return x

    def matching(self, x0, t):
        """DMD2: (x0hat_fake - x0hat_teacher) / mean |x0hat_teacher - x0| at the noised sample."""
        x = self.noised(x0.detach(), self.noise(), t)
        real = self.data("teacher", x, t)
        g = (self.data("fake", x, t) - real) / over(each((real - x0).abs()), x)
        g, n = g.detach(), x.shape[0]
        return 0.5 * g.square().sum() / n, (g * x0).sum() / n  # the value, and what has its slope

    def denoising(self, x0, t, weight=1.0):
        eps = self.noise()
        out = self.real.raw(self.nets["fake"], self.noised(x0, eps, t), t, self.cond)
        return weight * (out - self.real.target(x0, eps, t)).square().mean()


def hand_dmd(hand, player, t=0.4, times=(0.9, 0.6)):
    exit = min(int(float(torch.rand(1, generator=hand.rng)) * len(times)), len(times) - 1)
    with torch.no_grad():
        x = hand.level(times[0])[1] * hand.noise()
        x = hand.renoised(x, times, 0, exit)
    x0 = hand.data("student", x, times[exit])
    return hand.matching(x0, t) if player == "student" else hand.denoising(x0.detach(), t)


def hand_msd(hand, player):
    return hand_dmd(hand, player, times=(0.9,))


def hand_sid(hand, player, t=0.4, a=1.0):
    torch.rand(1, generator=hand.rng)  # one exit of one
    x0 = hand.data("student", hand.level(0.9)[1] * hand.noise(), 0.9)
    if player == "fake":
        return hand.denoising(x0.detach(), t)
    x = hand.noised(x0, hand.noise(), t)
    real = hand.data("teacher", x, t)
    D, gap = real - hand.data("fake", x, t), real - x0
    size = gap.abs().flatten(1).mean(1).detach()
    return ((D * gap - a * D * D).flatten(1).sum(1) / size).mean()


def hand_flash_dmd(hand, player, t=0.4, times=(0.9, 0.6, 0.3)):
    exit = hand.drawn(2)
    with torch.no_grad():
        x = hand.renoised(hand.level(0.9)[1] * hand.noise(), times, 0, exit)
    x0 = hand.data("student", x, times[exit])
    if player == "fake":
        return hand.denoising(x0.detach(), t)
    value, slope = hand.matching(x0, t) if player == "student" else (0.0, 0.0)
    hand.drawn(1)
    with torch.no_grad():  # the noisy step again, and on to the last one
        low = hand.renoised(x, times, exit, 2)
    out, critic = hand.data("student", low, times[2]), hand.nets["critic"]
    if player == "student":
        term = softplus(-critic(out)).mean()
        return value + term, slope + term
    return softplus(critic(out.detach())).mean() + softplus(-critic(hand.x)).mean()


def hand_tdm(hand, player, times=(0.9, 0.5, 0.0)):
    exit = min(int(float(torch.rand(1, generator=hand.rng)) * 2), 1)
    t, s = times[exit : exit + 2]
    with torch.no_grad():
        x = hand.level(0.9)[1] * hand.noise()
        if exit:
            x = hand.down(x, hand.data("student", x, 0.9), 0.9, 0.5)
    x0 = hand.data("student", x, t)
    xs, low = hand.down(x, x0, t, s).detach(), max(0.02, s + 0.01)
    u = torch.rand(x.shape[0], generator=hand.rng, dtype=WIDE)
    tau, eps = low + (t - 0.01 - low) * u, hand.noise()
    (alpha, sigma), (alpha_s, sigma_s) = hand.level(tau), hand.level(s) if s else (1.0, 0.0)
    r = alpha / alpha_s
    beta = (sigma**2 - r**2 * sigma_s**2) ** 0.5
    up = r * xs + beta * eps
    if player == "student":
        with torch.no_grad():
            real, seen = (hand.data(role, up, tau) for role in ("teacher", "fake"))
        c = 0.00054 * math.sqrt(x0[0].numel())
        gap = x0 - (x0 + real - seen).detach()
        huber = (gap.square().flatten(1).sum(1) + c**2) ** 0.5 - c
        return (huber / each((x0 - real).abs()).detach()).mean()
    target = (xs - r * sigma_s**2 / beta * eps) / alpha_s if s else xs
    weight = (alpha**2 / sigma**2).clamp(max=5)
    weight = weight * (10 * beta**2).clamp(max=1) if s else weight
    return (weight.flatten() * each((hand.data("fake", up, tau) - target).square())).mean()


def hand_phased_dmd(hand, player):
    """The second phase, (0.3,) to 0, after an expert of (0.9, 0.6) to 0.3."""
    hand.drawn(1)
    with torch.no_grad():
        x = hand.level(0.9)[1] * hand.noise()
        for t, s in ((0.9, 0.6), (0.6, 0.3)):
            x = hand.down(x, hand.data("earlier", x, t), t, s)
    xs = hand.data("student", x, 0.3)
    path = hand.real.told.path
    room = path.start - path.end
    low, high = path.end, path.start
    if player == "student":
        low, high = low + 0.02 * room, high - 0.02 * room
    t = low + (high - low) * torch.rand(x.shape[0], generator=hand.rng, dtype=WIDE)
    (alpha, sigma), eps = hand.level(t), hand.noise()
    up = alpha * xs.detach() + sigma * eps
    if player == "student":
        with torch.no_grad():  # alpha (s_fake - s_teacher)
            g = hand.data("fake", up, t) - hand.data("teacher", up, t)
            g = alpha * (alpha / sigma**2) * g
        return 0.5 * g.square().sum() / x.shape[0], (g * xs).sum() / x.shape[0]
    error = hand.real.raw(hand.nets["fake"], up, t, hand.cond)
    error = error - hand.real.target(xs.detach(), eps, t)
    weight = (10 * sigma**2).clamp(max=1)
    return (weight.flatten() * each(error.square())).mean()


HANDS = {
    "dmd": (hand_dmd, {"levels": at(0.4), "fake_levels": at(0.4)}),
    "msd": (hand_msd, {"levels": at(0.4), "fake_levels": at(0.4)}),
    "sid": (hand_sid, {"levels": at(0.4)}),  # of no data prediction: the fake's weight is 1
    "flash_dmd": (hand_flash_dmd, {"levels": at(0.4), "fake_levels": at(0.4)}),
    "tdm": (hand_tdm, {}),
    "phased_dmd": (hand_phased_dmd, {}),
}


def slope(loss, net):
    """The gradient in a network's parameters, zero in those that the loss does not see."""
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    both = zip(net.parameters(), found, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in both])


@every_pair
def test_the_first_losses_and_their_slopes_are_those_by_hand(reals, players, name, method):
    real, (by_hand, settings) = reals[name], HANDS[method]
    nets, batch = nets_of(real, method), real.batch(3 if method == "msd" else 2, WIDE)
    kept = {key: value.clone() for key, value in batch.items()}
    moving = players(real, method, nets, **settings)
    modules = {role: player.module for role, player in moving.items()}
    for role, player in moving.items():
        rows, named, kind = batch, {**nets, **modules}, role
        if method == "msd":
            kind, k = role.split()
            rows = {key: v[[0, 1] if k == "0" else [2]] for key, v in batch.items()}
            named = {"teacher": nets["teacher"], kind: nets[kind + k]}
            named |= {r: nets[r + k] for r in ("student", "fake")}
        for seed in (0, 1):  # of which each leaves by another exit
            with torch.set_grad_enabled(seed == 0):
                loss = player.loss(modules, batch, seeded(seed))
                told = by_hand(Hand(real, named, rows, seed), kind)
            value, surrogate = told if isinstance(told, tuple) else (told, told)
            torch.testing.assert_close(loss.detach(), value.detach(), **CLOSE)
            if seed == 0:
                found, expected = slope(loss, named[kind]), slope(surrogate, named[kind])
                scale = float(expected.abs().max())
                assert scale > 0
                torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * scale)
    assert all(torch.equal(value, kept[key]) for key, value in batch.items())


# who moves


def still(parameters):
    return torch.optim.SGD(parameters, lr=0.0)


TURNS = [(*pair, ("student", "fake")[k % 2]) for k, pair in enumerate(PAIRS)]  # both, of each


@pytest.mark.parametrize(("name", "method", "role"), TURNS)
def test_a_run_moves_the_network_whose_turn_it_is_and_no_other(reals, players, name, method, role):
    real, other = reals[name], "fake" if role == "student" else "student"
    nets = nets_of(real, method, torch.float32)
    before = {key: copy.deepcopy(net.state_dict()) for key, net in nets.items()}
    settings = {f"{other}_settings": {"optimizer": still}}
    if method == "flash_dmd":
        settings["ema"] = 1.0  # no pull
    data = real.batch(6)
    if method == "msd":  # every batch has rows of both parts
        data = {key: value[[0, 2]] for key, value in data.items()}
    moving = players(real, method, nets, **settings)
    fitted = fit(moving, data, 1, rng=seeded(), batch=2)
    for key, net in nets.items():
        moved = key.startswith(role) or key == "critic"
        same = [torch.equal(v, before[key][k]) for k, v in net.state_dict().items()]
        assert moved != all(same), key
        assert all(p.requires_grad for p in net.parameters())
    assert {r["player"] for r in fitted.log} == set(moving)
    assert all(math.isfinite(r["loss"]) and r["gradient_norm"] > 0 for r in fitted.log)


# teachers


def test_a_guided_teacher_is_two_plain_calls(real):
    n, w = 8, 3.5  # as many as Flux has tokens: their places are of no sample all the same
    net, batch = real.network().double(), real.batch(n, WIDE)
    x = batch.pop("x")
    null = {k: torch.as_tensor(v).expand(n, *real.conditions[k]) for k, v in real.null.items()}
    null = {k: v if v.dtype == torch.int64 else v.double() for k, v in null.items()}
    for t in (0.25, torch.linspace(0.1, 0.9, n, dtype=WIDE)):
        with torch.no_grad():
            found = real.model(net, guidance=w, null=real.null)(x, t, **batch)
            free, told = (real.raw(net, x, t, cond) for cond in (null, batch))
        torch.testing.assert_close(found, free + w * (told - free), **CLOSE)
        assert float((told - free).abs().max()) > 1e-3  # the condition is heard


def test_a_batch_is_the_loop_over_its_rows(real):
    nets, batch = [real.network(k).double() for k in range(2)], real.batch(3, WIDE)
    x, rng = batch.pop("x"), seeded()
    eps, t = normal(rng, *x.shape), torch.tensor([0.2, 0.4, 0.8], dtype=WIDE)
    teacher = real.model(nets[0], guidance=2.0, null=real.null)
    fake = real.model(nets[1])

    def at_rows(rows):
        cond = {key: value[rows] for key, value in batch.items()}
        with torch.no_grad():
            g = dmd_gradient(x[rows], eps[rows], t[rows], teacher, fake, **cond)
            return g, regression_loss(fake, x[rows], t[rows], eps[rows], **cond)

    g, loss = at_rows(slice(None))
    alone = [at_rows(slice(k, k + 1)) for k in range(3)]
    torch.testing.assert_close(g, torch.cat([one for one, _ in alone]), **CLOSE)
    torch.testing.assert_close(loss, sum(one for _, one in alone) / 3, **CLOSE)


@pytest.mark.parametrize("name", [name for name, method in PAIRS if method == "sid"])
def test_sid_has_the_slope_of_its_loss_through_both_networks_inputs(reals, players, name):
    """The divided difference of the loss itself, whose weight depends on the level alone."""
    real, h = reals[name], 1e-5
    nets, batch = nets_of(real, "sid"), real.batch(2, WIDE)
    moving = players(real, "sid", nets, weight="fisher", levels=at(0.4), a=0.5)["student"]
    for role in ("teacher", "fake"):  # as `fit` does while the student moves
        nets[role].requires_grad_(False)
    modules = {role: nets[role] for role in ("student", "fake")}
    loss = moving.loss(modules, batch, seeded())
    loss.backward()
    weights = [p for p in nets["student"].parameters() if p.grad is not None]
    rng = seeded(4)
    along = [normal(rng, *p.shape) for p in weights]
    found = sum(float((p.grad * d).sum()) for p, d in zip(weights, along, strict=True))

    def moved(step):
        with torch.no_grad():
            for p, d in zip(weights, along, strict=True):
                p.add_(d, alpha=step)
            return float(moving.loss(modules, batch, seeded()))

    difference = (moved(h) - moved(-2 * h)) / (2 * h)
    moved(h)
    # h^2 = 1e-10 of a third derivative; that of the loss in 1e4 weights at once is large
    assert found == pytest.approx(difference, rel=1e-5)
    assert all(p.grad is None for role in ("teacher", "fake") for p in nets[role].parameters())


# sampling


def test_a_students_steps_are_the_packages_own_plans(real):
    """LCM with boundary scalings that are off (tau large) re-noises; DDIM keeps its noise."""
    net, batch, times = real.network().double(), real.batch(2, WIDE), [0.9, 0.6, 0.3]
    x, model = batch.pop("x"), real.model(net)
    grid = ft.plan.grids.at_times(model.path, times).to_clean()
    lcm = ft.samplers.lcm(model.path, grid, timestep_scaling=1e12)
    for kind, plan in {
        "renoise": lcm,
        "deterministic": ft.samplers.ddim(model.path, grid),
    }.items():
        found = sample(model, FewSteps(times, kind), x, rng=seeded(), **batch)
        rng = seeded()
        start = float(model.path.sigma(0.9)) * standard_normal(rng, x.shape, x)
        with torch.no_grad():
            expected = plan.run(model, start, rng if plan.stochastic else None, **batch)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        assert found.shape == x.shape


def test_half_precision_latents_keep_the_digits_of_a_time(reals):
    real, seen = reals["UNet2DModel"], []
    net, batch = real.network(), real.batch(2, torch.bfloat16)
    net.time_proj.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    x = batch.pop("x")
    out = sample(real.model(net), FewSteps([0.999, 0.5]), x, rng=seeded(), **batch)
    assert bool(torch.isfinite(out).all())
    # bfloat16 would make .999 one, entry 999; float32's .999 is off by 3e-8
    for times, entry in zip(seen, (998.0, 499.0), strict=True):
        assert times.tolist() == pytest.approx([entry] * 2, abs=1e-4)


# precision: what `test_distill_cuda` asks of a device


@pytest.mark.usefixtures("own_checks")  # NumPy draws, which are the same in any dtype
@pytest.mark.parametrize(
    ("name", "method", "half"),
    [
        ("UNet2DModel", "dmd", True),
        ("UNet2DConditionModel", "sid", True),
        ("DiTTransformer2DModel", "tdm", True),
        ("DiTTransformer2DModel", "dmd", False),
        ("SD3Transformer2DModel", "dmd", True),
        ("FluxTransformer2DModel", "sid", True),
        ("FluxTransformer2DModel", "tdm", False),
    ],
)
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # rms_norm's, torch
def test_low_precision_is_float64_up_to_roundings(reals, in_precision, name, method, half):
    in_precision(reals[name], method, half=half)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("UNet2DModel", "sid"),
        ("UNet2DConditionModel", "tdm"),
        ("DiTTransformer2DModel", "dmd"),
        ("FluxTransformer2DModel", "tdm"),
    ],
)
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_a_run_in_mixed_precision(reals, in_half, name, method):
    in_half(reals[name], method)


# LoRA: one backbone in memory

LORA = [
    (name, method)
    for name in ("UNet2DConditionModel", "SD3Transformer2DModel", "FluxTransformer2DModel")
    for method in ("tdm", "flash_dmd", "phased_dmd")
]
every_lora = pytest.mark.parametrize(("name", "method"), LORA, ids=lambda v: v.split("Tr")[0])
ROLES = ("student", "fake", "earlier")


def adapted(real, dtype=WIDE):
    """The backbone, and adapters of random matrices."""
    network = real.network().to(dtype)
    made, rng = lora.adapters(network, ROLES, rng=seeded(), rank=2, alpha=3.0), seeded(5)
    with torch.no_grad():
        for adapter in made.values():
            for p in adapter.parameters():
                p.copy_(0.3 * normal(rng, *p.shape))
    return network, made


@every_lora
def test_losses_of_adapters_are_those_of_networks_with_the_weights_merged(
    reals, players, name, method
):
    real, (by_hand, settings) = reals[name], HANDS[method]
    network, made = adapted(real)
    nets = {"teacher": network, **made}
    if method != "phased_dmd":
        del nets["earlier"]
    moving, batch = players(real, method, nets, **settings), real.batch(2, WIDE)
    plain = {role: lora.merged(adapter).requires_grad_(True) for role, adapter in made.items()}
    modules = {role: player.module for role, player in moving.items()}
    for role in ("student", "fake"):
        loss = moving[role].loss(modules, batch, seeded())
        hand = Hand(real, {**modules, "teacher": real.network().double(), **plain}, batch, 0)
        told = by_hand(hand, role)
        value, surrogate = told if isinstance(told, tuple) else (told, told)
        torch.testing.assert_close(loss.detach(), value.detach(), rtol=1e-10, atol=1e-10)
        loss.backward()
        keys = [key.removesuffix(".lora_A.weight") for key in made[role].state_dict()][::2]
        weights = [plain[role].get_parameter(f"{key}.weight") for key in keys]
        of_weights = torch.autograd.grad(surrogate, weights)
        for key, of_weight in zip(keys, of_weights, strict=True):  # W + (3 / 2) B A
            a, b = (made[role].get_parameter(f"{key}.lora_{m}.weight") for m in "AB")
            scale = float(of_weight.abs().max())
            for p, expected in ((a, b.T @ of_weight), (b, of_weight @ a.T)):
                torch.testing.assert_close(p.grad, 1.5 * expected, rtol=1e-8, atol=1e-9 * scale)
        others = [made[other] for other in ROLES if other != role]
        assert all(p.grad is None for other in others for p in other.parameters())
        made[role].zero_grad()
    assert all(p.grad is None for p in network.parameters())


@every_lora
def test_adapters_are_trained_and_the_backbone_is_not(reals, players, name, method):
    real = reals[name]
    network, made = adapted(real)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    before = {role: copy.deepcopy(adapter.state_dict()) for role, adapter in made.items()}
    nets = {"teacher": network, **made}
    if method != "phased_dmd":
        del nets["earlier"]
    settings = {"student_settings": {"ema": 0.9}}
    if method == "flash_dmd":
        settings = {"ema": 0.75, "fake_settings": {"optimizer": still}}
    moving = players(real, method, nets, **settings)
    fitted = fit(moving, real.batch(4, WIDE), 1, rng=seeded(), batch=2)
    for role, adapter in made.items():
        same = [torch.equal(v, before[role][k]) for k, v in adapter.state_dict().items()]
        assert all(same) if role == "earlier" else not any(same)
    if method == "flash_dmd":  # nothing but the pull moved the fake score
        student = made["student"].state_dict()
        for key, value in made["fake"].state_dict().items():
            expected = torch.lerp(before["fake"][key], student[key], 0.25)
            torch.testing.assert_close(value, expected, **CLOSE)
    assert all(torch.equal(v, kept[key]) for key, v in network.state_dict().items())
    data = real.batch(2, WIDE)
    model, x = real.model(fitted.averages["student"]), data.pop("x")
    steps = FewSteps([0.9, 0.5], "deterministic")
    plain = real.model(lora.merged(fitted.averages["student"]))
    drawn, again = (sample(m, steps, x, rng=seeded(), **data) for m in (model, plain))
    torch.testing.assert_close(drawn, again, **CLOSE)


CRITICS = [("UNet2DConditionModel", "conv_norm_out"), ("SD3Transformer2DModel", "norm_out")]


@pytest.mark.parametrize(("name", "layer"), CRITICS)
def test_a_critic_on_an_adapter_is_that_of_the_network_with_the_weights_merged(reals, name, layer):
    real = reals[name]
    network, made = adapted(real)
    settings = {"channels": 8 if "UNet" in name else 16, "channels_last": "UNet" not in name}
    shared = network.get_submodule(layer)
    critic = Critic(made["fake"], shared, **settings)
    plain = Critic(lora.merged(made["fake"]).requires_grad_(True), layer, **settings)
    plain.head.load_state_dict(critic.head.state_dict())
    cond = real.batch(2, WIDE)
    x, t, logits = cond.pop("x"), torch.full((2,), 0.4, dtype=WIDE), []
    for one in (critic, copy.deepcopy(critic), plain):
        logits.append(one.logits(real.model(one), x, t, **cond))
        real.model(network)(x, t, **cond)  # the layer is the teacher's too
    for found in logits[:2]:
        torch.testing.assert_close(found, logits[2], **CLOSE)
    logits[0].sum().backward()
    of_head = torch.autograd.grad(logits[2].sum(), plain.head.parameters())
    for p, expected in zip(critic.head.parameters(), of_head, strict=True):
        torch.testing.assert_close(p.grad, expected, **CLOSE)
    assert max(float(p.grad.abs().max()) for p in made["fake"].parameters()) > 0
    assert not shared._forward_hooks


@pytest.mark.parametrize(("name", "layer"), CRITICS)
def test_dmd2_trains_a_critic_on_an_adapter(reals, name, layer):
    real = reals[name]
    network, made = adapted(real)
    settings = {"channels": 8 if "UNet" in name else 16, "channels_last": "UNet" not in name}
    critic = Critic(made["fake"], network.get_submodule(layer), **settings)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    before = copy.deepcopy(critic.state_dict())
    assert not any(key.startswith("layer") for key in before)  # the backbone's, not its own
    steps, teacher = FewSteps([0.9, 0.5]), real.model(network)
    moving = dmd(made["student"], critic, real.model, teacher, steps, adversarial=(0.1, 0.1))
    fit(moving, real.batch(4, WIDE), 2, rng=seeded(), batch=2)
    assert not any(torch.equal(v, before[k]) for k, v in critic.state_dict().items())
    assert all(torch.equal(v, kept[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("name", ["UNet2DConditionModel", "SD3Transformer2DModel"])
def test_checkpointed_activations_leave_an_adapters_slopes_as_they_are(reals, players, name):
    """A backward pass runs blocks again after the teacher and the fake score have been called."""
    real, found = reals[name], []
    network, made = adapted(real)
    moving = players(real, "dmd", {"teacher": network, **made})["student"]
    modules = {role: made[role] for role in ("student", "fake")}
    for on in (False, True):
        if on:
            network.enable_gradient_checkpointing()
        moving.loss(modules, real.batch(2, WIDE), seeded()).backward()
        found.append([p.grad.clone() for p in made["student"].parameters()])
        made["student"].zero_grad()
    assert max(float(g.abs().max()) for g in found[0]) > 0
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_experts_of_all_phases_stand_on_one_backbone(reals):
    real = reals["FluxTransformer2DModel"]
    network = real.network()
    made = lora.adapters(network, ["high", "low", "fake"], rng=seeded(), rank=2)
    kept = copy.deepcopy(made["fake"].state_dict())
    parts, experts = phases([0.9, 0.6, 0.3, 0.0], [0.3]), [made["high"], made["low"]]
    data = real.batch(4)
    done = train_phases(
        experts,
        made["fake"],
        real.model,
        real.model(network),
        parts,
        data,
        2,
        rng=seeded(),
        batch=2,
        settings={"every": 1},
    )
    assert [list(run.networks) for run in done] == [["student", "fake"]] * 2
    assert done[0].networks["fake"] is not done[1].networks["fake"]
    assert all(torch.equal(v, kept[k]) for k, v in made["fake"].state_dict().items())
    for expert in experts:
        assert any(not torch.equal(v, kept[k]) for k, v in expert.state_dict().items())
    cond = {key: value[:2] for key, value in data.items()}
    x = cond.pop("x")
    models = [real.model(expert) for expert in experts]
    drawn = sample_phases(models, parts, x, rng=seeded(), **cond)
    assert drawn.shape == x.shape
    assert bool(torch.isfinite(drawn).all())


def test_adapters_of_float32_learn_on_a_backbone_of_bfloat16(reals, players):
    real = reals["SD3Transformer2DModel"]
    network, made = adapted(real, torch.bfloat16)
    data = {k: v if k == "x" else v.bfloat16() for k, v in real.batch(4).items()}
    moving = players(real, "tdm", {"teacher": network, **made})
    before = copy.deepcopy(made["student"].state_dict())
    fit(moving, data, 2, rng=seeded(), batch=2)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    for key, value in made["student"].state_dict().items():
        assert value.dtype == torch.float32
        assert not torch.equal(value, before[key])
