"""Batches: epochs of tensors, draws of testbeds and functions, the shares of several processes."""

from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fewtheory import testbeds
from fewtheory.train import Player, fit
from fewtheory.train.data import batches


def process(rank=0, world=1):
    """What `batches` asks of an Accelerator."""
    return SimpleNamespace(process_index=rank, num_processes=world, device=torch.device("cpu"))


def generators(*key):
    """A generator for each key, as a run has them."""
    words = np.random.SeedSequence([5, *key]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> 1))


def rows_of(draw, steps):
    """The rows that each of these steps takes from data that count their rows."""
    return [draw(step, generators)["x"].tolist() for step in steps]


@pytest.mark.parametrize(("n", "batch"), [(12, 4), (13, 4), (7, 7), (5, 1)])
def test_an_epoch_takes_each_row_at_most_once(n, batch):
    draw, steps = batches(torch.arange(n), batch, process()), n // batch
    for epoch in range(3):
        taken = list(chain(*rows_of(draw, range(epoch * steps, (epoch + 1) * steps))))
        assert len(set(taken)) == len(taken) == steps * batch


def test_every_epoch_has_an_order_of_its_own():
    draw = batches(torch.arange(12), 12, process())
    orders = rows_of(draw, range(20))
    assert len({tuple(order) for order in orders}) == 20
    first = [order[0] for order in orders]  # 20 draws from 12: P(all equal) = 12^-19
    assert len(set(first)) > 1


def test_rows_left_over_in_one_epoch_come_in_another():
    draw = batches(torch.arange(5), 4, process())
    missed = {frozenset(range(5)) - frozenset(rows) for rows in rows_of(draw, range(40))}
    assert len(missed) == 5  # P(one of 5 never missed in 40) < 5 * 0.8^40 = 7e-4, seed fixed


@pytest.mark.parametrize("order", [[3, 0, 8, 5], [8, 8, 0]])
def test_a_batch_is_a_function_of_the_step_alone(order):
    fresh = [rows_of(batches(torch.arange(9), 3, process()), [step])[0] for step in order]
    assert rows_of(batches(torch.arange(9), 3, process()), order) == fresh


def test_the_processes_shares_make_up_the_batch_of_one():
    one = batches(torch.arange(12), 6, process())
    parts = [batches(torch.arange(12), 6, process(rank, 3)) for rank in range(3)]
    for step in range(5):
        shares = [rows_of(part, [step])[0] for part in parts]
        assert list(chain(*shares)) == rows_of(one, [step])[0]


def test_processes_draw_different_rows_from_a_testbed():
    bed = testbeds.Gaussian([0.0], 1.0)
    parts = [batches(bed, 4, process(rank, 2))(0, generators)["x"] for rank in range(2)]
    assert parts[0].shape == (2, 1)
    assert not torch.isin(parts[0], parts[1]).any()


def test_the_rows_of_a_mapping_stay_together():
    x = torch.arange(10)
    draw = batches({"x": x[:, None] * torch.ones(10, 2), "label": x}, 3, process())
    for step in range(6):
        drawn = draw(step, generators)
        assert torch.equal(drawn["x"][:, 0].long(), drawn["label"])


def test_a_testbed_is_sampled_in_the_default_dtype():
    drawn = batches(testbeds.Gaussian([0.0, 1.0], 1.0), 3, process())(0, generators)
    assert drawn["x"].shape == (3, 2)
    assert drawn["x"].dtype == torch.get_default_dtype()


def test_a_function_draws_its_share_with_the_generator_of_the_step():
    calls = []

    def function(n, rng):
        calls.append((n, rng.initial_seed()))
        return torch.zeros(n)

    draw = batches(function, 6, process(1, 2))
    draw(4, generators)
    assert calls == [(3, generators(4, 0, 1).initial_seed())]


def parameters_seen(data):
    """A run of three steps over these data."""
    net = torch.nn.Linear(1, 1)
    player = Player(net, lambda networks, batch, rng: net(batch["x"].float().view(-1, 1)).mean())
    return fit({"net": player}, data, 3, rng=torch.Generator(), batch=4, device="cpu")


TWO = torch.zeros(4)
BAD = {
    r"batch must be at most the 3 rows of data, got 4": torch.zeros(3),
    r"data must be a testbed, a tensor, .*, got list": [1.0, 2.0],
    r"data must be a testbed, a tensor, .*, got dict": {},
    r"data must be a testbed, a tensor, .*, got ndarray": np.zeros(4),
    r"data\['x'\] must be a tensor with rows": torch.tensor(1.0),
    r"data\['label'\] must be a tensor with rows": {"x": TWO, "label": [1, 2, 3, 4]},
    r"data\['x'\] must be finite": torch.tensor([1.0, 2.0, 3.0, float("nan")]),
    r"data\['y'\] must be finite": {"x": TWO, "y": TWO / 0},
    r"data must be tensors of the same number of rows, got \[4, 5\]": {
        "x": TWO,
        "y": torch.zeros(5),
    },
    r"data's 'x' must be of 4 rows, got \(5,\)": lambda n, rng: torch.zeros(n + 1),
    r"data must be a testbed, a tensor, .*, got NoneType": lambda n, rng: None,
    r"data\['x'\] must be finite, got": lambda n, rng: torch.full((n,), float("inf")),
}


@pytest.mark.parametrize("named", BAD)
def test_bad_data_are_named(named):
    with pytest.raises((ValueError, TypeError), match=f"fit: {named}"):
        parameters_seen(BAD[named])


def test_a_batch_that_does_not_divide_among_processes_is_named():
    with pytest.raises(ValueError, match="fit: batch must be a multiple of the 2 processes, got 5"):
        batches(torch.zeros(8), 5, process(0, 2))


def test_integers_are_data_too():
    assert parameters_seen(torch.arange(8)).steps == 3
