"""LoRA players on one backbone: what they compute, what moves, and what they leave as it was."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import load_file, save_file
from torch import nn

from fewtheory import Model, paths
from fewtheory.adapters import lora
from fewtheory.adapters import torch as any_module
from fewtheory.distill import pulling
from fewtheory.errors import MissingExtra
from fewtheory.train import Player, fit

pytestmark = pytest.mark.usefixtures("one_thread")
LAYERS = ("first", "second")
RF = paths.RectifiedFlow()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """Two linear layers around a nonlinearity, in float64."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 3)
        self.drop = nn.Dropout(0.5)
        self.double()

    def forward(self, x, t=None):
        return self.second(torch.tanh(self.first(self.drop(x))))


def players(*names, network=None, **settings):
    """Adapters with matrices of their own, none of them zero."""
    network = Net() if network is None else network
    made = lora.adapters(
        network, names, rng=seeded(), **{"rank": 2, "target_modules": LAYERS, **settings}
    )
    rng = seeded(5)
    with torch.no_grad():
        for player in made.values():
            for p in player.parameters():
                p.copy_(0.3 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
    return network, made


def x_of(*shape, seed=2):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def by_hand(adapter, scale=1.0):
    """A function of x whose weights are W + scale B A, formed from the adapter's parameters."""
    plain, own = Net().eval(), dict(adapter.named_parameters())
    weights = {
        f"{k}.weight": plain.get_parameter(f"{k}.weight")
        + scale * own[f"{k}.lora_B.weight"] @ own[f"{k}.lora_A.weight"]
        for k in LAYERS
    }
    return lambda x: torch.func.functional_call(plain, weights, (x,))


# one rounding of sums of 8 terms of order one, a few times over
CLOSE = {"rtol": 1e-13, "atol": 1e-13}


def test_an_adapter_adds_b_a_to_the_weights_at_its_own_scale():
    x = x_of(5, 3)
    _, made = players("one", "two", alpha=3.0)
    for player in made.values():
        torch.testing.assert_close(player(x), by_hand(player, 3.0 / 2)(x), **CLOSE)
    assert not torch.equal(made["one"](x), made["two"](x))


def test_at_first_every_adapter_is_the_backbone_to_the_last_bit_and_all_are_alike():
    x, plain = x_of(5, 3), Net().eval()
    made = lora.adapters(Net(), ["a", "b"], rng=seeded(), rank=2, target_modules=LAYERS)
    for player in made.values():
        assert torch.equal(player(x), plain(x))
    for p, q in zip(made["a"].parameters(), made["b"].parameters(), strict=True):
        assert torch.equal(p, q)
        assert p is not q
    assert float(made["a"].get_parameter("first.lora_A.weight").detach().abs().min()) > 0


def test_the_draw_is_the_generators_own_and_the_global_one_is_left_alone():
    before = torch.get_rng_state()
    one, two, three = (
        lora.adapters(Net(), ["a"], rng=rng, target_modules=LAYERS)["a"].state_dict()
        for rng in (seeded(3), seeded(3), np.random.default_rng(3))
    )
    assert torch.equal(one["first.lora_A.weight"], two["first.lora_A.weight"])
    assert not torch.equal(one["first.lora_A.weight"], three["first.lora_A.weight"])
    assert torch.equal(before, torch.get_rng_state())


def test_at_rest_the_backbone_is_the_network_that_it_was_to_the_last_bit():
    x, expected = x_of(5, 3), Net().eval()(x_of(5, 3))
    network, made = players("one", "two")
    assert torch.equal(network(x), expected)
    made["one"](x)
    assert torch.equal(network(x), expected)
    with pytest.raises(RuntimeError):
        made["two"](x_of(5, 4))  # of another width
    assert torch.equal(network(x), expected)
    assert not any("lora" in name for name, _ in network.named_parameters())


def test_calls_of_others_do_not_disturb_a_graph_that_is_already_built():
    network, made = players("student", "fake")
    student, fake = made["student"], made["fake"]
    x = x_of(5, 3)
    out = student(x)
    fake.requires_grad_(False)
    seen = fake(out) - network(out)  # differentiable in their input alone
    with torch.no_grad():
        fake(x)
    (out.square().sum() + seen.sum()).backward()
    found = {k: p.grad for k, p in student.named_parameters()}
    copied = copy.deepcopy(student)
    copied.zero_grad()
    out = by_hand(copied)(x)
    seen = by_hand(fake)(out) - Net().eval()(out)
    (out.square().sum() + seen.sum()).backward()
    for name, parameter in copied.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-12, atol=1e-12)
    assert all(p.grad is None for p in [*fake.parameters(), *network.parameters()])
    assert not any(p.requires_grad for p in network.parameters())


class Blocks(nn.Module):
    """Two blocks whose activations a backward pass may compute again, as diffusers has it."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Net(), Net()])
        self.gradient_checkpointing, self._gradient_checkpointing_func = False, None

    def forward(self, x):
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x = self._gradient_checkpointing_func(block, x)
            else:
                x = block(x)
        return x


def again(reentrant):
    def checkpoint(module, *args):
        return torch.utils.checkpoint.checkpoint(module, *args, use_reentrant=reentrant)

    return checkpoint


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_a_backward_pass_computes_again_it_computes_with_the_same_adapter(reentrant):
    network, made = players("student", "fake", network=Blocks(), lora_dropout=0.3)
    x, gradients = x_of(5, 3).requires_grad_(True), []
    for checkpointing in (False, True):
        network.gradient_checkpointing = checkpointing
        network._gradient_checkpointing_func = kept = again(reentrant)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)  # dropout's
            out = made["student"](x)
            with torch.no_grad():
                made["fake"](x)  # the last that was called
                network(x)
            out.square().sum().backward()
        gradients.append([p.grad for p in made["student"].parameters()])
        made["student"].zero_grad()
        assert network._gradient_checkpointing_func is kept
    for one, two in zip(*gradients, strict=True):
        assert torch.equal(one, two)


def test_a_copy_has_parameters_of_its_own_and_the_same_backbone():
    x, (network, made) = x_of(5, 3), players("one")
    one, before = made["one"], made["one"](x_of(5, 3))
    two = copy.deepcopy(one)
    assert torch.equal(two(x), before)
    with torch.no_grad():
        for p in two.parameters():
            p.zero_()
    assert torch.equal(one(x), before)
    assert torch.equal(two(x), network(x))
    assert {id(m) for m in network.modules()}.isdisjoint(id(m) for m in two.modules())
    with torch.no_grad():
        network.second.base_layer.bias.add_(1.0)
    torch.testing.assert_close(one(x), before + 1.0, **CLOSE)
    torch.testing.assert_close(two(x), Net().eval()(x) + 1.0, **CLOSE)


def test_an_adapters_parameters_and_state_are_its_own_alone():
    _, made = players("one", "two")
    names = [f"{k}.lora_{m}.weight" for k in LAYERS for m in "AB"]
    for player in made.values():
        assert [k for k, _ in player.named_parameters()] == names
        assert list(player.state_dict()) == names
        assert all(p.requires_grad for p in player.parameters())
    assert {id(p) for p in made["one"].parameters()}.isdisjoint(map(id, made["two"].parameters()))


def test_one_adapter_is_pulled_towards_another():
    _, made = players("fake", "student")
    kept = {k: v.clone() for k, v in made["fake"].state_dict().items()}
    with torch.no_grad():
        pulling("fake", "student", 0.75)(made, 1)
    for name, value in made["fake"].state_dict().items():
        expected = 0.75 * kept[name] + 0.25 * made["student"].state_dict()[name]
        torch.testing.assert_close(value, expected, **CLOSE)


def test_the_backbone_stays_in_evaluation_mode_and_an_adapters_dropout_is_its_own():
    network, made = players("one", "two", lora_dropout=0.5)
    x = x_of(64, 3)
    made["one"].train()
    made["two"].eval()
    assert not any(m.training for m in network.modules())
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        assert not torch.equal(made["one"](x), made["one"](x))
        assert torch.equal(made["two"](x), made["two"](x))
        assert torch.equal(network(x), Net().eval()(x))


def test_a_frozen_transformer_drops_no_labels_while_its_adapter_is_trained():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = DiTTransformer2DModel(
            num_attention_heads=1,
            attention_head_dim=8,
            in_channels=1,
            num_layers=1,
            sample_size=4,
            num_embeds_ada_norm=3,
            norm_num_groups=1,
        )
    player = lora.adapters(network, ["one"], rng=seeded())["one"].train()
    x, label = torch.randn(64, 1, 4, 4, generator=seeded()), torch.arange(64) % 3
    with torch.no_grad():
        one, two = (
            player(x, timestep=torch.full((64,), 5.0), class_labels=label).sample for _ in range(2)
        )
    assert torch.equal(one, two)  # labels dropped with probability .1 would agree once in 1e6


def test_on_a_half_precision_backbone_the_adapter_is_float32_and_the_rest_as_it_was():
    network = Net().to(torch.bfloat16)
    plain = copy.deepcopy(network).eval()
    made = lora.adapters(network, ["one"], rng=seeded(), rank=2, target_modules=LAYERS)
    assert {p.dtype for p in made["one"].parameters()} == {torch.float32}
    x = x_of(5, 3).float()
    one, base = (any_module.model(net, RF, "data") for net in (made["one"], plain))
    assert torch.equal(one(x, 0.5), base(x, 0.5))
    assert one(x, 0.5).dtype == torch.float32
    one(x, 0.5).sum().backward()
    slope = made["one"].get_parameter("second.lora_B.weight").grad
    assert slope is not None
    assert slope.dtype == torch.float32
    assert float(slope.abs().max()) > 0


@pytest.mark.parametrize("kind", ["linear", "convolution", "embedding", "dora"])
def test_merged_is_a_plain_network_of_the_same_function(kind):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        inner = {
            "convolution": nn.Conv2d(2, 3, 3),
            "embedding": nn.Embedding(7, 4),
        }.get(kind, nn.Linear(4, 3))
    x = {
        "convolution": x_of(2, 2, 5, 5),
        "embedding": torch.arange(7),
    }.get(kind, x_of(6, 4))
    network = nn.Sequential(inner).double()
    settings = {"use_dora": True} if kind == "dora" else {}
    _, made = players("one", network=network, target_modules=["0"], **settings)
    if kind == "embedding":
        with made["one"]._backbone.holding(made["one"]):  # integers are no state
            found = network(x)
    else:
        found = made["one"](x)
    plain = lora.merged(made["one"])
    assert type(plain[0]) is type(inner)
    torch.testing.assert_close(plain(x), found, rtol=1e-12, atol=1e-12)
    assert not torch.equal(plain(x), network(x))
    assert torch.equal(network[0].base_layer.weight, inner.weight)


def test_the_backbone_goes_with_an_adapter_to_another_device():
    network, made = players("one", "two")
    made["one"].to("meta")
    assert {p.device.type for p in network.parameters()} == {"meta"}
    assert {p.dtype for p in network.parameters()} == {torch.float64}


# training


def squares(name):
    def loss(networks, batch, rng):
        return (networks[name](batch["x"]) - batch["x"]).square().mean()

    return loss


def trained(steps, folder, **settings):
    network, made = players("one", "two", lora_dropout=0.2)
    moving = {k: Player(v, squares(k), ema=0.9) for k, v in made.items()}
    fitted = fit(moving, x_of(32, 3), steps, rng=seeded(), batch=8, folder=folder, **settings)
    return network, fitted


def test_a_run_moves_the_adapters_alone_and_keeps_their_averages():
    network, fitted = trained(3, None)
    for name, value in Net().state_dict().items():
        layer, kind = name.split(".")
        assert torch.equal(network.get_submodule(layer).base_layer.get_parameter(kind), value)
    for name, player in fitted.networks.items():
        average = fitted.averages[name]
        assert average._backbone is player._backbone
        for p, q in zip(player.parameters(), average.parameters(), strict=True):
            assert not torch.equal(p, q)
            assert p.requires_grad
            assert not q.requires_grad


def test_a_run_that_was_stopped_ends_at_the_same_numbers(tmp_path):
    _, whole = trained(6, None)
    trained(3, tmp_path)
    _, resumed = trained(6, tmp_path)
    for name in whole.networks:
        for one, two in (
            (whole.networks[name], resumed.networks[name]),
            (whole.averages[name], resumed.averages[name]),
        ):
            for p, q in zip(one.parameters(), two.parameters(), strict=True):
                assert torch.equal(p, q)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["players"]["one"]["module"]
    assert sorted(kept) == sorted(dict(whole.networks["one"].named_parameters()))


def test_mixed_precision_runs_through_an_adapter():
    network, made = players("one", network=Net().float())
    seen = []
    network.first.base_layer.register_forward_hook(lambda m, x, out: seen.append(out.dtype))
    x = x_of(32, 3).float()
    fitted = fit(
        {"one": Player(made["one"], squares("one"))}, x, 2, rng=seeded(), batch=8, precision="bf16"
    )
    assert set(seen) == {torch.bfloat16}
    assert all(np.isfinite(record["loss"]) for record in fitted.log)
    assert {p.dtype for p in fitted.networks["one"].parameters()} == {torch.float32}


# files


def test_a_saved_adapter_comes_back_and_peft_reads_it_too(tmp_path):
    from peft import PeftModel

    x, (_, made) = x_of(5, 3), players("one", "two", alpha=3.0)
    lora.save(made["one"], tmp_path / "one")
    lora.load(made["two"], tmp_path / "one")
    assert torch.equal(made["two"](x), made["one"](x))
    theirs = PeftModel.from_pretrained(Net().eval(), tmp_path / "one")
    theirs = theirs.double().eval()
    torch.testing.assert_close(theirs(x), made["one"](x), rtol=1e-12, atol=1e-12)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_what_does_not_fit_is_not_loaded(tmp_path):
    _, made = players("one")
    before = {k: v.clone() for k, v in made["one"].state_dict().items()}
    _, other = players("one", rank=3)
    _, fewer = players("one", target_modules=["first"])
    lora.save(other["one"], tmp_path / "rank")
    lora.save(fewer["one"], tmp_path / "fewer")
    lora.save(made["one"], tmp_path / "damaged")
    (tmp_path / "damaged" / "adapter_model.safetensors").write_bytes(b"no")
    for name, message in {
        "rank": r"adapter_config.json must be of \[2, 2.0\] for \['r', 'lora_alpha'\]",
        "fewer": "adapter_model.safetensors must be of the adapter's shapes",
        "damaged": "damaged holds no adapter",
    }.items():
        with pytest.raises(ValueError, match=message):
            lora.load(made["one"], tmp_path / name)
    with pytest.raises(FileNotFoundError):
        lora.load(made["one"], tmp_path / "nowhere")
    assert all(torch.equal(v, before[k]) for k, v in made["one"].state_dict().items())


def test_the_same_layers_of_other_sizes_are_not_loaded(tmp_path):
    _, made = players("one")
    lora.save(made["one"], tmp_path)
    wrong = {k: v[:1].contiguous() for k, v in load_file(tmp_path / lora.WEIGHTS).items()}
    save_file(wrong, tmp_path / lora.WEIGHTS)
    with pytest.raises(ValueError, match="must be of the adapter's shapes"):
        lora.load(made["one"], tmp_path)
    told = json.loads((tmp_path / lora.CONFIG).read_text())
    assert told["peft_type"] == "LORA"


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"network": 3}, TypeError, "lora.adapters: network must be a torch module, got 3"),
        ({"names": []}, ValueError, "names must be different names, one or more"),
        ({"names": "student"}, ValueError, "names must be different names, one or more"),
        ({"names": ["a", "a"]}, ValueError, "names must be different names, one or more"),
        ({"rank": 0}, ValueError, "rank must be at least 1, got 0"),
        ({"alpha": -1.0}, ValueError, "alpha must be finite in"),
        ({"rng": 3}, TypeError, "rng must be a numpy.random.Generator or a torch.Generator"),
        ({"target_modules": ["third"]}, ValueError, "target_modules must be names of the network"),
        ({"init_lora_weights": "pissa"}, ValueError, "init_lora_weights must be one of True"),
        ({"bias": "all"}, ValueError, "bias must be 'none': the backbone is shared"),
        ({"modules_to_save": ["first"]}, ValueError, "modules_to_save must be None"),
    ],
)
def test_bad_input_is_named_and_the_network_left_as_it_was(settings, error, message):
    network = Net()
    given = {"network": network, "names": ["a"], "rng": seeded(), "target_modules": LAYERS}
    with pytest.raises(error, match=message):
        lora.adapters(**{**given, **settings})
    assert [type(m) for m in network.modules()] == [type(m) for m in Net().modules()]
    assert all(p.requires_grad for p in network.parameters())
    assert not hasattr(network, "peft_config")


def test_a_network_with_adapters_is_refused():
    network, _ = players("one")
    with pytest.raises(ValueError, match="network must be without adapters: name all at once"):
        lora.adapters(network, ["two"], rng=seeded(), target_modules=LAYERS)


@pytest.mark.usefixtures("own_checks")
def test_what_is_no_adapter_is_named(tmp_path):
    for name, call in {
        "merged": lora.merged,
        "save": lambda net: lora.save(net, tmp_path),
        "load": lambda net: lora.load(net, tmp_path),
    }.items():
        with pytest.raises(TypeError, match=f"lora.{name}: adapter must be an Adapter, got Net"):
            call(Net())


def test_a_missing_peft_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    needs = r"fewtheory.adapters.lora needs the extra 'models': pip install 'fewtheory\[models\]'"
    with pytest.raises(MissingExtra, match=needs):
        lora.adapters(Net(), ["a"], rng=seeded(), target_modules=LAYERS)


def test_an_adapter_is_a_model_like_any_network():
    network, made = players("one")
    model = any_module.model(made["one"], RF, "data")
    assert isinstance(model, Model)
    x = x_of(5, 3)
    assert torch.equal(model(x, 0.5), made["one"](x))
    assert torch.equal(any_module.model(network, RF, "data")(x, 0.5), network(x))
