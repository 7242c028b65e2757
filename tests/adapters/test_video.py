"""Video classifiers as judges: transformers' own small models, plain callables, skimmers."""

from types import SimpleNamespace as Record

import pytest
import torch

from fewtheory.adapters.video import VideoJudge, chosen_frames, skim
from fewtheory.subsets.frames import training
from fewtheory.subsets.frames._torch import OneStepPolicy, SubsetPolicy
from fewtheory.subsets.frames.rewards import clip_reward
from fewtheory.train import fit

transformers = pytest.importorskip("transformers")

SMALL = {
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 3,
}


def video_mae():
    config = transformers.VideoMAEConfig(num_frames=4, tubelet_size=2, **SMALL)
    return transformers.VideoMAEForVideoClassification(config)


def timesformer():
    config = transformers.TimesformerConfig(num_frames=4, **SMALL)
    return transformers.TimesformerForVideoClassification(config)


def built(build):
    """The network with weights of a generator of its own, evaluating."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


JUDGES = {"VideoMAE": built(video_mae), "TimeSformer": built(timesformer)}


@pytest.fixture
def clips():
    """Five clips of six frames."""
    return torch.randn(5, 6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", JUDGES)
def test_a_judges_scores_are_the_models_own(name, clips):
    model = JUDGES[name]
    found = VideoJudge(model)(clips[:, :4])
    with torch.no_grad():
        expected = model(pixel_values=clips[:, :4]).logits.softmax(-1)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("name", JUDGES)
def test_two_frames_for_a_model_of_four_are_shown_twice_each(name, clips):
    judge = VideoJudge(JUDGES[name])
    torch.testing.assert_close(judge(clips[:, :2]), judge(clips[:, [0, 0, 1, 1]]))


@pytest.mark.parametrize("name", JUDGES)
def test_the_judge_is_left_as_it_was(name, clips):
    model = JUDGES[name].train()
    try:
        one, two = (VideoJudge(model)(clips[:, :4]) for _ in range(2))
        torch.testing.assert_close(one, two)  # no dropout within
        assert model.training
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
    finally:
        model.eval()


@pytest.mark.parametrize("name", JUDGES)
def test_a_policy_learns_what_a_real_judge_rewards(name, clips):
    # all clips are the same six frames, so that the best of the fifteen pairs is known by listing
    judge, label = VideoJudge(JUDGES[name]), torch.zeros(32, dtype=torch.int64)
    same = clips[:1].expand(32, *clips.shape[1:])
    reward = judge.reward("clips", "label")
    x = skim(torch.nn.Flatten(), clips[:1]).expand(32, 6, 64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = OneStepPolicy(64, width=16)
    players = training.policy_gradient(
        network, reward, 2, entropy=0.0, optimizer=lambda p: torch.optim.Adam(p, lr=0.04)
    )
    data = {"x": x, "clips": same, "label": label}
    fit(players, data, 30, rng=torch.Generator().manual_seed(0), batch=32)
    pairs = torch.combinations(torch.arange(6), 2)
    every = reward({"clips": same[:1].expand(15, *same.shape[1:]), "label": label[:15]}, pairs)
    learned = SubsetPolicy(network(x[:1]), 2).mode()
    found = reward({"clips": same[:1], "label": label[:1]}, learned).item()
    assert found > every.mean() + 0.8 * (every.max() - every.mean())


def test_a_plain_callable_judges_too(clips):
    def model(frames):
        return frames.mean((1, 2, 3, 4))[:, None] * torch.tensor([1.0, -1.0])

    found = VideoJudge(model)(clips[:, :3])
    torch.testing.assert_close(found, model(clips[:, :3]).softmax(-1))


def test_a_plain_network_is_called_with_the_frames_alone(clips):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    found = VideoJudge(network)(clips[:, :3])
    torch.testing.assert_close(found, network(clips[:, :3]).softmax(-1).detach())


def test_the_reward_is_that_of_the_scores_of_the_chosen_frames(clips):
    judge = VideoJudge(JUDGES["VideoMAE"])
    label = torch.tensor([0, 1, 2, 0, 1])
    chosen = torch.tensor([[5, 1, 0, 2]]).expand(5, 4)
    scores = judge(clips[:, [0, 1, 2, 5]])
    for kind in ("stated", "confidence"):
        found = judge.reward("v", "y", kind=kind)({"v": clips, "y": label}, chosen)
        torch.testing.assert_close(found, clip_reward(scores, label, kind=kind))


def test_frames_are_taken_in_order_of_time():
    clips = torch.arange(10).reshape(2, 5)
    found = chosen_frames(clips, torch.tensor([[4, 0], [1, 3]]))
    assert found.tolist() == [[0, 4], [6, 8]]


def test_a_skimmer_sees_every_frame_on_its_own(clips):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7))
    found = skim(network, clips, batch=4)
    expected = torch.stack([network(clips[:, t]) for t in range(6)], dim=1)
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad


def test_a_skimmer_may_give_maps_tokens_or_a_pooled_record(clips):
    maps = skim(lambda x: x.expand(-1, 3, 8, 8), clips)
    torch.testing.assert_close(maps, clips.mean((3, 4)).expand(5, 6, 3))
    tokens = skim(lambda x: Record(last_hidden_state=x.flatten(2)), clips)
    torch.testing.assert_close(tokens, clips.flatten(3)[:, :, 0])
    pooled = skim(lambda x: Record(pooler_output=x.flatten(1)[:, :2]), clips)
    torch.testing.assert_close(pooled, clips.flatten(2)[..., :2])


def test_a_vision_transformer_skims(clips):
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    backbone = built(lambda: transformers.ViTModel(config))
    assert skim(backbone, clips).shape == (5, 6, 8)


FRAMES = torch.zeros(2, 3, 1, 8, 8)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: VideoJudge(None), TypeError, "model must"),
        (lambda: VideoJudge(len, frames=0), ValueError, "frames must"),
        (lambda: VideoJudge(len)(torch.zeros(2, 3)), ValueError, "clips must"),
        (lambda: VideoJudge(JUDGES["VideoMAE"])(FRAMES), ValueError, "k must be a divisor"),
        (lambda: VideoJudge(lambda x: x)(FRAMES), ValueError, "the model's logits must"),
        (lambda: VideoJudge(lambda x: x[:1, 0, 0, 0])(FRAMES), ValueError, "the model's logits"),
        (lambda: VideoJudge(len).reward(kind="best frame"), ValueError, "kind must"),
        (lambda: chosen_frames(FRAMES, torch.tensor([0])), ValueError, "chosen must"),
        (lambda: chosen_frames(FRAMES, torch.tensor([[0], [3]])), ValueError, "chosen must"),
        (lambda: skim(len, torch.zeros(2)), ValueError, "clips must"),
        (lambda: skim(len, FRAMES, batch=0), ValueError, "batch must"),
        (lambda: skim(lambda x: x.sum(), FRAMES), ValueError, "the backbone's output must"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
