"""CLIP's scores, by a tiny model made from a config: nothing is downloaded."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from fewtheory.adapters import quality
from fewtheory.adapters.quality import CLIPScores
from fewtheory.search.qsched import JAQ

pytestmark = pytest.mark.usefixtures("one_thread")
EOS = 1


@pytest.fixture(scope="module")
def clip():
    layers = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    layers["num_attention_heads"] = 2
    config = CLIPConfig(
        text_config={
            **layers,
            "vocab_size": 99,
            "max_position_embeddings": 24,
            "eos_token_id": EOS,
        },
        vision_config={**layers, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CLIPModel(config).eval()


def letters(texts, padding, return_tensors):
    """A tokenizer: a letter a token, the end, and padding."""
    assert (padding, return_tensors) == (True, "pt")
    rows = [[2 + ord(c) % 97 for c in text[:20]] + [EOS] for text in texts]
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([r + [0] * (longest - len(r)) for r in rows]),
        "attention_mask": torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
    }


@pytest.fixture
def scores(clip):
    return CLIPScores(clip, letters)


@pytest.fixture
def images():
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_an_image_has_one_score_of_each_kind_between_zero_and_one(scores, images):
    for found in (scores.compatibility(images, ["a", "b", "c"]), scores.quality(images)):
        assert found.shape == (3,)
        assert not found.requires_grad
        assert torch.all((found > 0) & (found < 1))


def test_the_alignment_is_its_formula(scores, clip, images):
    def features(text):
        given = letters([text], True, "pt")
        with torch.no_grad():
            out = clip.get_text_features(**given)
        return torch.nn.functional.normalize(getattr(out, "pooler_output", out), dim=1)[0]

    with torch.no_grad():
        seen = scores._images("test", images)[0]
    asked = features("a dog") - features("")
    cosine = float(seen @ asked / seen.norm() / asked.norm())
    found = float(scores.compatibility(images, ["a dog", "b", "c"])[0])
    assert found == pytest.approx(1 / (1 + 2.718281828459045 ** (-10 * cosine)), abs=1e-5)


def test_parts_of_a_prompt_are_averaged(scores, images):
    one, two = (scores.compatibility(images[:1], [p]) for p in ("a dog", "on a beach"))
    both = scores.compatibility(images[:1], [["a dog", "on a beach"]])
    torch.testing.assert_close(both, (one + two) / 2)


def test_the_opposites_share_all_probability(clip, images):
    good = CLIPScores(clip, letters).quality(images)
    bad = CLIPScores(clip, letters, opposites=quality.OPPOSITES[::-1]).quality(images)
    torch.testing.assert_close(good + bad, torch.ones(3))


def test_a_batch_is_its_images_one_by_one_and_grey_is_colour_three_times(scores, images):
    prompts = ["a", "b", "c"]
    alone = [scores.compatibility(images[k : k + 1], prompts[k : k + 1]) for k in range(3)]
    torch.testing.assert_close(scores.compatibility(images, prompts), torch.cat(alone))
    torch.testing.assert_close(scores.quality(images.expand(-1, 3, -1, -1)), scores.quality(images))


def test_the_range_of_the_images_is_the_one_that_is_said(clip, images):
    unit = CLIPScores(clip, letters, low=0.0).quality((images + 1) / 2)
    torch.testing.assert_close(unit, CLIPScores(clip, letters).quality(images))


def test_it_is_a_score_for_the_search(scores, images):
    jaq = JAQ(scores.compatibility, scores.quality, k=2)
    prompts = ["a", "b", "c"]
    expected = scores.compatibility(images, prompts).mean() + 2 * scores.quality(images).mean()
    assert jaq(images, prompts) == pytest.approx(float(expected), rel=1e-6)


def test_weights_that_are_not_there_are_not_downloaded_but_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="name must be a CLIP model on this machine"):
        quality.load(str(tmp_path / "none"))


def test_weights_in_a_folder_are_loaded(clip, tmp_path, monkeypatch, images):
    clip.save_pretrained(tmp_path)
    import transformers

    found = SimpleNamespace(from_pretrained=lambda name, local_files_only: letters)
    monkeypatch.setattr(transformers, "AutoTokenizer", found)
    scores = quality.load(str(tmp_path), low=-1.0)
    torch.testing.assert_close(scores.quality(images), CLIPScores(clip, letters).quality(images))


def test_torchmetrics_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.setitem(sys.modules, "torchmetrics.multimodal", None)
    with pytest.raises(ImportError, match="needs torchmetrics"):
        quality.torchmetrics_quality()


def test_torchmetrics_is_shown_colour_images_in_its_range(monkeypatch, images):
    fake = ModuleType("torchmetrics.multimodal")
    fake.CLIPImageQualityAssessment = lambda data_range: lambda x: x.amax((1, 2, 3)) * x.shape[1]
    monkeypatch.setitem(sys.modules, "torchmetrics", ModuleType("torchmetrics"))
    monkeypatch.setitem(sys.modules, "torchmetrics.multimodal", fake)
    found = quality.torchmetrics_quality()(images)
    torch.testing.assert_close(found, 3 * (images.amax((1, 2, 3)) + 1) / 2)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda c, x: CLIPScores(len, letters), TypeError, "model must have 'get_text_features'"),
        (lambda c, x: CLIPScores(c, "bpe"), TypeError, "tokenizer must be callable"),
        (lambda c, x: CLIPScores(c, letters, high=-1.0), ValueError, "high must be above low"),
        (lambda c, x: CLIPScores(c, letters).quality(x[0]), ValueError, "images must be of shape"),
        (lambda c, x: CLIPScores(c, letters).quality([1]), TypeError, "images must be a floating"),
        (lambda c, x: CLIPScores(c, letters).compatibility(x, ["a"]), ValueError, "3 texts"),
        (lambda c, x: CLIPScores(c, letters).compatibility(x, "abc"), ValueError, "3 texts"),
        (
            lambda c, x: CLIPScores(c, letters).compatibility(x, ["a", "b", []]),
            ValueError,
            "parts?",
        ),
    ],
)
def test_a_bad_argument_is_named(clip, images, call, error, named):
    with pytest.raises(error, match=named):
        call(clip, images)
