"""Clips: the bandit's scores by hand, and digits in motion frame by frame."""

import numpy as np
import pytest
import torch

from fewtheory.testbeds.clips import KINDS, ClipBandit, MovingDigits, _digits, clip_bandit

EPS = np.finfo(np.float64).eps


def test_scores_are_the_softmax_of_the_mean_evidence(asarray, rng):
    e, S = rng.standard_normal((5, 3)), np.array([[0, 3], [4, 1]])
    found = np.asarray(ClipBandit(e, 1).scores(asarray(S)))
    z = np.exp(e[S].mean(axis=1))
    np.testing.assert_allclose(found, z / z.sum(axis=1, keepdims=True), rtol=0, atol=8 * EPS)


def test_the_order_of_the_frames_does_not_matter():
    bed = clip_bandit("W")
    np.testing.assert_allclose(
        bed.scores(np.array([5, 0, 2])), bed.scores(np.array([0, 2, 5])), rtol=0, atol=8 * EPS
    )


def test_all_sets_are_listed_once_in_order():
    sets = clip_bandit("W").sets(3)
    assert sets.shape == (20, 3)
    assert sets.tolist() == sorted(map(list, {tuple(s) for s in sets.tolist()}))


def test_in_world_b_the_surest_clip_is_wrong():
    bed = clip_bandit("B")
    scores = bed.scores(bed.sets(3))
    assert scores[scores.max(axis=1).argmax()].argmax() != bed.label


@pytest.fixture(scope="module")
def clips():
    """Clean clips: no noise on the frames."""
    return MovingDigits(noise=0.0).sample(200, rng=np.random.default_rng(0))


def test_clips_have_their_shapes_and_a_clear_frame(clips):
    assert clips.frames.shape == (200, 10, 14, 14)
    assert clips.kind.shape == (200, 10)
    assert clips.frames.min() >= 0
    assert clips.frames.max() <= 1
    assert np.all((clips.kind == 0).any(axis=1))


def test_kinds_have_their_shares():
    kind = MovingDigits(T=20, clear=0.2).sample(500, rng=np.random.default_rng(1)).kind
    # one frame of twenty is clear for sure, the others with probability .2
    clear, n = (1 + 19 * 0.2) / 20, kind.size
    share = np.bincount(kind.ravel(), minlength=len(KINDS)) / n
    expected = np.array([clear, *[(1 - clear) / 4] * 4])
    assert np.all(np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / n))


def shown(frame):
    """The part of a canvas that is not 0."""
    rows, columns = np.nonzero(frame)
    return frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def test_a_clear_frame_shows_a_digit_of_the_label_and_all_of_a_clips_the_same(clips):
    images, labels = _digits("train")
    for frames, kind, label in zip(clips.frames[:10], clips.kind, clips.label, strict=False):
        views = [shown(f) for f in frames[kind == 0]]
        assert all(np.array_equal(v, views[0]) for v in views)
        same = [np.array_equal(shown(image), views[0]) for image in images[labels == label]]
        assert any(same)


def test_a_blank_frame_is_blank_and_an_advert_has_a_border_around_another_digit(clips):
    assert not clips.frames[clips.kind == KINDS.index("blank")].any()
    adverts = clips.frames[clips.kind == KINDS.index("advert")]
    assert np.all(adverts[:, [0, -1]] == 1)
    assert np.all(adverts[:, :, [0, -1]] == 1)
    others = clips.frames[(clips.kind == KINDS.index("clear"))]
    assert np.all(others[:, 0].min(axis=1) < 1)


def test_an_advert_shows_another_class():
    # on a large canvas the digit is mostly off the border; empty rows and columns do not count
    clips = MovingDigits(side=40, noise=0.0).sample(30, rng=np.random.default_rng(3))
    classes = {}
    for image, label in zip(*_digits("train"), strict=True):
        classes.setdefault(shown(image).tobytes(), set()).add(int(label))
    seen = 0
    for n, t in np.argwhere(clips.kind == KINDS.index("advert")):
        found = classes.get(shown(clips.frames[n, t, 1:-1, 1:-1]).tobytes(), set())
        seen += bool(found)
        assert int(clips.label[n]) not in found
    assert seen > 25


def test_half_of_an_occluded_digit_is_grey(clips):
    frames = clips.frames[clips.kind == KINDS.index("occluded")]
    grey = (frames == 0.5).sum(axis=(1, 2))
    assert np.all(grey >= 32)  # a bar of 4 rows of 8, and whatever the digit has of one half


def test_the_digit_moves_and_stays_on_the_canvas():
    clips = MovingDigits(T=12, clear=1.0, noise=0.0).sample(50, rng=np.random.default_rng(2))
    mass = clips.frames.sum(axis=(2, 3))
    np.testing.assert_allclose(mass, mass[:, :1] * np.ones(12), rtol=1e-12)  # nothing leaves it
    assert np.all((np.abs(np.diff(clips.frames, axis=1)).sum(axis=(2, 3)) > 0).any(axis=1))


def test_digits_of_the_two_parts_are_different_ones():
    (train, a), (held, b) = _digits("train"), _digits("held-out")
    assert len(a) + len(b) == 1797
    assert len(b) == 360
    held_out = {image.tobytes() for image in held}
    assert not any(image.tobytes() in held_out for image in train)


def test_clips_are_a_function_of_the_generator():
    bed = MovingDigits(T=3)
    for make in (np.random.default_rng, lambda s: torch.Generator().manual_seed(s)):
        one, two, three = (bed.sample(4, rng=make(s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(one.frames, two.frames)
        assert not np.array_equal(one.frames, three.frames)


def test_clips_come_as_the_array_that_is_asked_for(asarray):
    like = asarray(np.zeros(1, dtype=np.float32))
    clips = MovingDigits(T=2).sample(3, rng=np.random.default_rng(0), like=like)
    assert clips.frames.dtype == like.dtype
    assert type(clips.label) is type(clips.frames)
    plain = MovingDigits(T=2).sample(3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.asarray(clips.label), plain.label)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ClipBandit([1.0, 2.0], 0), ValueError, "evidence must"),
        (lambda: ClipBandit([[1.0]], 0), ValueError, "evidence must"),
        (lambda: ClipBandit([[1.0, np.nan]], 0), ValueError, "evidence must"),
        (lambda: ClipBandit([[1.0, 2.0]], 2), ValueError, "label must"),
        (lambda: clip_bandit("C"), ValueError, "name must"),
        (lambda: clip_bandit().sets(7), ValueError, "k must"),
        (lambda: clip_bandit().scores([0, 1]), TypeError, "chosen must"),
        (lambda: clip_bandit().scores(np.array([0, 6])), ValueError, "chosen must"),
        (lambda: clip_bandit().scores(np.array([0.5])), TypeError, "chosen must"),
        (lambda: MovingDigits(T=0), ValueError, "T must"),
        (lambda: MovingDigits(side=9), ValueError, "side must"),
        (lambda: MovingDigits(clear=1.5), ValueError, "clear must"),
        (lambda: MovingDigits(noise=-1.0), ValueError, "noise must"),
        (lambda: MovingDigits(part="x"), ValueError, "part must"),
        (lambda: MovingDigits().sample(-1, rng=np.random.default_rng(0)), ValueError, "n must"),
        (lambda: MovingDigits().sample(1, rng=0), TypeError, "rng must"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()
