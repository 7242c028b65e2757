"""The zoo: its data, networks, weights, cards and commands."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import fewtheory as ft
from fewtheory.zoo import __main__ as commands
from fewtheory.zoo import card, data, entry, networks, recipes

NAMES = ft.zoo.names()
DENOISERS = [n for n in NAMES if recipes.RECIPES[n].as_model is not None]
CONDITIONAL = [n for n in DENOISERS if recipes.RECIPES[n].null is not None]
ON_TESTBEDS = [n for n in DENOISERS if recipes.RECIPES[n].testbed is not None]
MB = 1_000_000


pytestmark = pytest.mark.usefixtures("one_thread")


# data


def test_the_digits_are_all_there_once_in_proportion():
    train, held_out = ft.zoo.digits(), ft.zoo.digits("held-out")
    assert (train.x.shape, held_out.x.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert float(train.x.min()) == -1.0
    assert float(train.x.max()) == 1.0
    share = [
        torch.bincount(part.label, minlength=10) / len(part.label) for part in (train, held_out)
    ]
    assert torch.all((share[0] - share[1]).abs() <= 1 / 360)
    images = torch.cat([train.x, held_out.x]).flatten(1)
    assert len(torch.unique(images, dim=0)) == 1797  # no image is in both


def test_a_part_that_is_none_is_refused():
    with pytest.raises(ValueError, match="part must be 'train' or 'held-out', got 'test'"):
        ft.zoo.digits("test")


def test_the_source_is_a_law_of_second_order():
    law = data.source()
    assert law.table().table.sum() == pytest.approx(1, abs=1e-12)
    two = law.next_token(np.array([[0, 1, 2], [3, 1, 2], [0, 3, 2]]))
    assert np.array_equal(two[0], two[1])
    assert not np.array_equal(two[0], two[2])


def test_the_products_flow_map_returns_to_where_it_began():
    bed = data.product()
    x, flow = bed.sample(5, rng=np.random.default_rng(0)), bed.flow(ft.paths.VPLinear())
    there, h = flow(x, 1e-3, 1.0), 1e-4
    back = flow(there, 1.0, 1e-3)
    # a few roundings of `there` come back times the map's slope, to the noise end and home again
    slopes = [flow(there + h * e, 1.0, 1e-3) - back for e in np.eye(16)]
    steepest = max(np.linalg.norm(s, axis=1).max() for s in slopes) / h
    off = 64 * np.finfo(float).eps * 16 * steepest * np.abs(there).max()
    assert off < 1e-9  # else this would see nothing
    assert np.abs(back - x).max() <= off


# networks


def test_edm_preconditioning_is_its_formula():
    net = networks.EDMPreconditioned(networks.MLP(2, width=8, depth=1), 0.5).double()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma = torch.full((5,), 3.0, dtype=torch.float64)
    s, total = 0.5, (9 + 0.25) ** 0.5
    torch.nn.init.zeros_(net.network.outer.bias)
    assert torch.allclose(net(x, sigma), s**2 / total**2 * x, rtol=1e-15, atol=0)  # F = 0
    torch.nn.init.ones_(net.network.outer.bias)  # F = 1
    expected = s**2 / total**2 * x + 3 * s / total
    assert torch.allclose(net(x, sigma), expected, rtol=1e-14, atol=0)


def test_labels_move_the_mlp_and_none_is_a_class_of_its_own():
    net = networks.MLP(2, width=8, depth=1, classes=3)
    torch.nn.init.normal_(net.outer.weight, generator=torch.Generator().manual_seed(0))
    x, t = torch.ones(5, 2), torch.full((5,), 0.5)
    out = net(x, t, torch.tensor([-1, 0, 1, 2, 2]))
    apart = (
        torch.cdist(out, out) > 1e-3
    )  # equal rows may differ by roundings, by their place in the batch
    assert torch.equal(~apart, torch.tensor([-1, 0, 1, 2, 2]) == torch.tensor([[-1, 0, 1, 2, 2]]).T)
    torch.testing.assert_close(out[0], net(x, t)[0])


def test_an_mlp_without_classes_refuses_labels():
    with pytest.raises(ValueError, match="label must be None"):
        networks.MLP(2)(torch.ones(1, 2), torch.ones(1), torch.zeros(1, dtype=torch.int64))


def test_the_classifiers_gradient_is_that_of_its_log_probability():
    net = networks.DigitClassifier().double()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    label, h = torch.tensor([3, 7]), 1e-5
    gradient = net.grad_log_prob(x, 0.7, label)
    step = torch.zeros_like(x)
    step[:, 0, 4, 2] = h

    def log_prob(y):
        return net(y, 0.7).log_softmax(1).gather(1, label[:, None])[:, 0]

    with torch.no_grad():
        slope = (log_prob(x + step) - log_prob(x - step)) / (2 * h)
    # central differences: h^2 of the third derivative, and eps / h of rounding, about 1e-10
    assert torch.allclose(gradient[:, 0, 4, 2], slope, rtol=0, atol=1e-8)


# weights and cards


def test_the_weights_are_committed_in_half_precision_within_12_megabytes():
    from safetensors import safe_open

    files = [entry.WEIGHTS / f"{name}.safetensors" for name in NAMES]
    assert sum(f.stat().st_size for f in files) <= 12 * MB
    for file in files:
        with safe_open(file, framework="pt") as stored:
            dtypes = {stored.get_tensor(key).dtype for key in stored.keys()}
        assert torch.float16 in dtypes
        assert not {torch.float32, torch.float64} & dtypes


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_how_its_network_came_about(name):
    told, recipe = ft.zoo.load(name).card, recipes.RECIPES[name]
    assert told["command"] == f"python -m fewtheory.zoo train {name}"
    assert (told["steps"], told["batch"], told["about"]) == (
        recipe.steps,
        recipe.batch,
        recipe.about,
    )
    assert told["parameters"] == sum(p.numel() for p in ft.zoo.load(name).network.parameters())
    assert len(told["seeds"]) >= 3
    for number in told["numbers"].values():
        assert number["value"] == number["seeds"][0]
        assert number["mean"] == pytest.approx(np.mean(number["seeds"]))
        assert number["sd"] == pytest.approx(np.std(number["seeds"], ddof=1))


def some_numbers(loaded):
    """Those of the card that take a second or two."""
    if loaded.name in ON_TESTBEDS:
        return card.excess(loaded, levels=(0.2, 2.0))
    if loaded.name == "digits-ar":
        return card.patch_errors(loaded, parts=("held-out",), levels=(0.2, 2.0))
    if loaded.name in DENOISERS:
        return card.errors(loaded, parts=("held-out",), levels=(0.2, 2.0))
    return card.accuracy(loaded) if "classifier" in loaded.name else card.divergence(loaded)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_network_has_the_numbers_of_its_card(name):
    loaded = ft.zoo.load(name)
    with torch.no_grad():
        found = some_numbers(loaded)
    assert len(found) >= 2
    for key, value in found.items():  # float32 on another processor: a few of 1e-7 a layer
        assert value == pytest.approx(loaded.card["numbers"][key]["value"], rel=1e-3), key


@pytest.mark.parametrize("name", ON_TESTBEDS)
def test_a_network_on_a_testbed_is_near_the_exact_denoiser(name):
    """Its excess error is small beside the loss that no denoiser can avoid, at middle levels."""
    numbers = ft.zoo.load(name).card["numbers"]
    for rho in ("0.2", "0.5", "1", "2"):
        assert numbers[f"excess at {rho}"]["mean"] < 0.1 * numbers[f"least at {rho}"]["mean"]


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n.startswith("digits") and n != "digits-classifier"]
)
def test_samples_of_digits_are_nearer_than_those_of_a_gaussian_fit(name):
    """At most half the Frechet distance of the Gaussian with the digits' mean and covariance."""
    from fewtheory.metrics import frechet_distance

    classifier = ft.zoo.load("digits-classifier").network
    train, held_out = ft.zoo.digits().x, ft.zoo.digits("held-out").x
    fitted = ft.testbeds.fit_gaussian(train.flatten(1).double().numpy())
    drawn = torch.from_numpy(fitted.sample(360, rng=np.random.default_rng(0))).float()
    with torch.no_grad():
        made, real = (
            classifier.features(x.reshape(-1, 1, 8, 8)).double() for x in (drawn, held_out)
        )
    gaussian = float(frechet_distance(made, real))
    assert ft.zoo.load(name).card["numbers"]["frechet distance"]["mean"] < gaussian / 2


@pytest.mark.parametrize("name", DENOISERS)
def test_half_precision_is_off_by_as_much_more_as_its_eps(name):
    """Errors of rounding scale with eps: bfloat16 against float32, both against float64."""
    loaded = ft.zoo.load(name)
    shape = (16, *loaded.recipe.shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = loaded.model.path.t_at(0.0)
    out = {}
    with torch.no_grad():
        for dtype in (torch.bfloat16, torch.float32, torch.float64):
            network = copy.deepcopy(loaded.network).to(dtype)
            out[dtype] = dataclasses.replace(loaded, network=network).model(x, t)
    assert all(o.dtype == torch.float64 for o in out.values())
    wide, narrow = (
        float((out[d] - out[torch.float64]).square().mean().sqrt())
        for d in (torch.float32, torch.bfloat16)
    )
    # 65,536 to one, but that the errors of some 60 layers add up, or cancel, otherwise
    ratio = torch.finfo(torch.bfloat16).eps / torch.finfo(torch.float32).eps
    assert ratio / 20 < narrow / wide < 20 * ratio


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_network_with_classes_draws_the_class_that_is_asked(name):
    loaded, classifier = ft.zoo.load(name), ft.zoo.load("digits-classifier").network
    label = torch.arange(10).repeat(4)
    noise = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = card.sampled(loaded.guided(2.0), noise, class_labels=label)
        named = classifier(made).argmax(1)
    # P(36 or more of 40 by chance) < 1e-30; the classifier itself errs on 2% of real digits
    assert int((named == label).sum()) >= 36


def test_the_classifier_guides_a_network_without_classes():
    loaded, classifier = ft.zoo.load("digits-mlp"), ft.zoo.load("digits-classifier").network
    path, label = loaded.model.path, torch.arange(10).repeat(4)

    def grad_log_prob(x, t):
        return classifier.grad_log_prob(x / path.alpha(t), path.sigma(t), label) / path.alpha(t)

    noise = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    guided = ft.classifier_guided(loaded.model, grad_log_prob, 3.0)
    with torch.no_grad():
        made = card.sampled(guided, noise)
        named = classifier(made).argmax(1)
    assert int((named == label).sum()) >= 30  # by chance 4; P(30 or more) < 1e-20


def test_the_page_of_cards_is_that_of_the_cards():
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("docs_cards", root / "docs/cards.py")
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert (root / "docs/zoo.md").read_text(encoding="utf-8") == writer.page(), "`make readme`"


@pytest.mark.parametrize("name", ["digits-classifier", "digits-ar"])
def test_what_is_no_denoiser_is_no_model(name):
    with pytest.raises(ValueError, match=f"'{name}' must be a denoiser"):
        _ = ft.zoo.load(name).model


def test_an_unknown_network_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match=r"name must be one of .*digits-mlp.*, got .digits."):
        ft.zoo.load("digits")


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    ft.zoo.load("mixture-mlp")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_spread_of_one_more_number_is_students():
    """Logarithms 1, 2, 3: mean 2, sd 1, t_{0.995, 2} = 9.92484 (tables), times sqrt(4/3).

    Equal numbers leave room for roundings alone.
    """
    e = np.exp(1.0)
    low, high = card.expected(card.spread([{"a": e}, {"a": e**2}, {"a": e**3}])["a"])
    assert np.log([low, high]) == pytest.approx([2 - 11.46022, 2 + 11.46022], abs=1e-4)
    assert card.expected(card.spread([{"a": 2.0}] * 3)["a"]) == pytest.approx((2, 2), abs=3e-5)


# training and commands


def test_training_again_with_the_same_seed_gives_the_same_weights(tmp_path):
    files = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        files.append(entry.train("mixture-mlp-flow", tmp_path / folder, seed=3, steps=4))
    assert files[0].read_bytes() == files[1].read_bytes()
    log = json.loads((tmp_path / "one" / "mixture-mlp-flow-log.json").read_text())
    assert log["seed"] == 3
    assert log["log"][-1]["step"] == 4


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains(name, tmp_path):
    entry.train(name, tmp_path, steps=2)
    again = ft.zoo.load(name, tmp_path)
    fresh = recipes.RECIPES[name].network()
    assert [p.shape for p in again.network.parameters()] == [p.shape for p in fresh.parameters()]
    assert again.card == {}


def test_the_command_lists_what_there_is(capsys):
    assert commands.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES


def test_checking_a_network_that_is_not_the_one_of_its_card_fails(tmp_path, monkeypatch, capsys):
    """Three steps of training are far from the card; the committed weights are within it."""
    monkeypatch.setattr(commands, "train", lambda *a, **k: entry.train(*a, **{**k, "steps": 3}))
    assert commands.main(["check", "digits-classifier", "--into", str(tmp_path)]) == 1
    assert "not as the card says" in capsys.readouterr().out
    monkeypatch.setattr(commands, "train", lambda *a, **k: tmp_path)
    monkeypatch.setattr(commands, "load", lambda name, folder=None: ft.zoo.load(name))
    assert commands.main(["check", "digits-classifier", "--into", str(tmp_path)]) == 0
    assert "0 of 6 numbers lie outside: as the card says" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_name(capsys):
    with pytest.raises(SystemExit):
        commands.main(["train", "digits"])
    assert "invalid choice: 'digits'" in capsys.readouterr().err
