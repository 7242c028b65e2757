"""Where a run runs: precisions, Accelerators, two processes, CUDA; and what it leaves behind."""

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import nn

from fewtheory.train import Diverged, Player, checkpoint, fit

ROOT = Path(__file__).parents[2]
EPS = np.finfo(np.float64).eps
DATA = torch.arange(20.0).view(10, 2) / 20 - 0.5


def sgd(rate):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def weight(*start):
    """A module that is one vector, in double precision."""
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    return module


def run(players, steps, **settings):
    settings = {"rng": torch.Generator(), "batch": 4, "device": "cpu", **settings}
    return fit(players, DATA, steps, **settings)


def saved(folder):
    return torch.load(checkpoint.file_in(folder), weights_only=True)


# precision


class Watched(nn.Module):
    """A network that says in which dtype its layer works."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.inside = []

    def forward(self, x):
        out = self.layer(x)
        self.inside.append(out.dtype)
        return out


def watched(precision, net=None, **settings):
    """The network after two steps, and the dtypes that its loss saw."""
    net, seen = net or Watched(), []

    def loss(networks, batch, rng):
        out = networks["net"](batch["x"])
        seen.append((out.dtype, nn.functional.linear(batch["x"], batch["x"]).dtype))
        return out.float().square().mean()

    run({"net": Player(net, loss, ema=0.9)}, 2, precision=precision, **settings)
    return net, seen


def test_bf16_works_in_bf16_and_keeps_weights_and_outputs_in_float32():
    net, seen = watched("bf16")
    assert net.inside == [torch.bfloat16] * 2
    assert seen == [(torch.float32, torch.bfloat16)] * 2
    assert net.layer.weight.dtype == torch.float32


def test_the_modules_forward_is_its_own_afterwards():
    net, _ = watched("bf16")
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & vars(net).keys()
    net(DATA)
    assert net.inside[-1] == torch.float32


def test_a_forward_that_the_module_brought_stays():
    net = Watched()
    own = net.forward
    net.forward = own
    watched("bf16", net)
    assert net.__dict__["forward"] is own


@pytest.mark.parametrize("order", [("no", "bf16"), ("bf16", "no"), ("bf16", "bf16")])
def test_a_second_run_may_have_another_precision(order):
    net = Watched()
    for precision in order:
        _, seen = watched(precision, net)
        inner = torch.bfloat16 if precision == "bf16" else torch.float32
        assert seen == [(torch.float32, inner)] * 2


def failing_at(place, folder):
    """A run in bf16 that ends badly at this place."""
    net = Watched()
    players = {"net": Player(net, lambda n, b, rng: n["net"](b["x"]).sum())}
    if place == "the loss":
        players["late"] = Player(weight(0.0), lambda n, b, rng: n["late"].w.sum() * math.nan)
    if place == "the optimizer":
        players["late"] = Player(weight(0.0), lambda n, b, rng: n["late"].w.sum(), lambda p: 1 / 0)
    if place == "the checkpoint":
        checkpoint.file_in(folder).write_bytes(b"none")
    with pytest.raises((Diverged, ZeroDivisionError, ValueError)):
        run(players, 2, precision="bf16", folder=folder)
    return net


@pytest.mark.parametrize("place", ["the loss", "the optimizer", "the checkpoint"])
def test_a_run_that_fails_leaves_the_modules_as_they_were(tmp_path, place):
    net = failing_at(place, tmp_path)
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & vars(net).keys()
    assert all(p.requires_grad for p in net.parameters())
    watched("no", net)  # and the process as it was
    assert net.inside[-1] == torch.float32


@pytest.fixture
def of_another():
    """Forgets the Accelerator that the test makes."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("of_another")
def test_a_given_accelerator_is_used_and_kept():
    given = Accelerator(mixed_precision="bf16", cpu=True)
    net, _ = watched("no", accelerator=given)  # "no" asks for nothing
    assert net.inside == [torch.bfloat16] * 2
    assert AcceleratorState._shared_state


@pytest.mark.usefixtures("of_another")
@pytest.mark.parametrize("hand_over", [True, False])
def test_another_precision_than_the_accelerators_is_refused(hand_over):
    made = Accelerator(mixed_precision="no", cpu=True)
    with pytest.raises(ValueError, match="fit: precision"):
        watched("bf16", accelerator=made if hand_over else None)
    assert AcceleratorState._shared_state


def test_a_run_leaves_no_accelerator_behind():
    watched("bf16")
    assert not AcceleratorState._shared_state
    assert not PartialState._shared_state


# several processes


SCRIPT = """
import os, sys, torch
from torch import nn
from fewtheory.train import Player, fit

def line(start):
    module = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        module.weight.fill_(start)
    return module

seeds = []
def loss(name):
    def function(networks, batch, rng):
        seeds.append(rng.initial_seed())
        return (networks[name](batch["x"]) - batch["y"]).square().mean()
    return function

def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)

def players(start):
    return {"a": Player(line(start), loss("a"), sgd, ema=0.9),
            "b": Player(line(start), loss("b"), sgd, every=3, clip=0.5)}

def work(rank, folder, data):
    for steps in (7, 20):
        # the other process starts elsewhere, with another seed: the first one's count
        fitted = fit(players(0.5 - rank), torch.load(data), steps, batch=16, folder=folder,
                     rng=torch.Generator().manual_seed(5 + rank), device="cpu", log_every=20)
    weights = {name: net.weight.detach() for name, net in fitted.networks.items()}
    return {**weights, "average": fitted.averages["a"].weight, "seeds": seeds, "log": fitted.log,
            "bare": [type(m).__name__ for m in fitted.networks.values()]}

if __name__ == "__main__":
    rank, folder = int(os.environ["RANK"]), sys.argv[1]
    torch.save(work(rank, folder, sys.argv[2]), f"{folder}/out-{rank}.pt")
    torch.distributed.destroy_process_group()
"""


def two_processes(folder, data):
    """What each of two processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": ""}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", SCRIPT, str(folder), str(data)]
    running = [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:  # one that waits for another that failed
            process.kill()
    assert [process.returncode for process in running] == [0, 0], errors
    return [torch.load(folder / f"out-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs gloo",
)
def test_two_processes_give_the_weights_of_one(tmp_path, rng):
    x, y = rng.uniform(-1, 1, (48, 3)), rng.uniform(-1, 1, (48, 1))
    torch.save({"x": torch.tensor(x), "y": torch.tensor(y)}, tmp_path / "data.pt")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    space = {"__name__": "reference"}
    exec(SCRIPT, space)
    one = space["work"](0, tmp_path / "one", tmp_path / "data.pt")
    first, second = two_processes(tmp_path / "two", tmp_path / "data.pt")
    # |x|, |y| <= 1 and |w| <= 2 bound a gradient's terms by 2 (6 + 1); each sum of 16 rows is off
    # by 24 roundings of them in each run, and 20 steps of 0.1 (H <= 2 |x|^2 <= 6: no growth) add up
    bound = 20 * 0.1 * 2 * 24 * EPS * 2 * 7
    for name in ("a", "b", "average"):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], one[name], rtol=0, atol=bound)
        assert (first[name] - 0.5).abs().max() > 1e-3  # it moved
    assert first["log"][-1]["loss"] == pytest.approx(one["log"][-1]["loss"], abs=49 * bound)
    assert first["bare"] == ["Linear", "Linear"]
    # each process draws for itself, and only the first writes
    assert not set(first["seeds"]) & set(second["seeds"])
    assert first["seeds"] == one["seeds"]
    assert sorted(f.name for f in (tmp_path / "two").iterdir()) == [
        "checkpoint.pt",
        "log.jsonl",
        "out-0.pt",
        "out-1.pt",
    ]


# CUDA


needs_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def cuda(test):
    for mark in needs_cuda:
        test = mark(test)
    return test


def rows(dtype):
    generator = np.random.default_rng(8)
    shapes = {"x": (16, 3), "y": (16, 1)}
    return {k: torch.tensor(generator.uniform(-1, 1, s), dtype=dtype) for k, s in shapes.items()}


def regression(device, dtype, steps=20, precision="no", scale=1.0, **settings):
    """Least squares on all rows at once: no order of rows, no noise."""
    net = nn.Linear(3, 1, bias=False).to(dtype)
    with torch.no_grad():
        net.weight.fill_(0.5)

    def loss(networks, batch, rng):
        return scale * (networks["net"](batch["x"]) - batch["y"]).square().mean()

    players = {"net": Player(net, loss, sgd(0.1 / scale), ema=0.9)}
    rng = torch.Generator("cpu").manual_seed(1)
    settings = {"rng": rng, "batch": 16, "device": device, "precision": precision, **settings}
    return fit(players, rows(dtype), steps, **settings)


@cuda
@pytest.mark.parametrize("order", [("cpu", "cuda"), ("cuda", "cpu")])
def test_cuda_trains_to_the_weights_of_the_cpu(order):
    found = {device: regression(device, torch.float64) for device in order}
    bound = 20 * 0.1 * 2 * 24 * EPS * 2 * 7  # as for two processes
    a, b = (found[device].averages["net"].weight for device in ("cpu", "cuda"))
    assert b.device.type == "cuda"
    torch.testing.assert_close(b.cpu(), a, rtol=0, atol=bound)


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "bf16"),
        pytest.param("cuda", "bf16", marks=needs_cuda),
        pytest.param("cuda", "fp16", marks=needs_cuda),
    ],
)
def test_half_precision_follows_full_precision_to_its_rounding(device, precision, tmp_path):
    settings = {"scale": 1 / 16, "folder": tmp_path}  # so that the first scale of fp16 fits
    exact, half = (
        regression(device, torch.float32, precision=p, **given).networks["net"].weight.cpu()
        for p, given in (("no", {}), (precision, settings))
    )
    assert half.dtype == torch.float32
    assert saved(tmp_path)["players"]["net"]["moves"] == 20
    # u = eps / 2 of x, w and the output, then of x, the residual and the gradient: 3 u each of
    # |x| |w| and of |residual|, in 20 steps of 0.1 (nothing grows); all weights stay below one
    x, y = (v.abs() for v in rows(torch.float64).values())
    out = x.sum(1, keepdim=True)
    u = torch.finfo(HALF[precision]).eps / 2
    bound = 20 * 0.1 * 2 * (x * (3 * u * out + 3 * u * (out + y))).mean(0).max()
    assert 0 < (half - exact).abs().max() < bound < (exact - 0.5).abs().max()


@cuda
def test_fp16_skips_what_overflows_and_lowers_its_scale(tmp_path):
    # 65536, the first scale, times a gradient of 1e3 leaves half precision: skipped until it fits
    settings = {"precision": "fp16", "scale": 1e3, "steps": 40, "log_every": 10}
    fitted = regression("cuda", torch.float32, folder=tmp_path, **settings)
    state = saved(tmp_path)
    moves = state["players"]["net"]["moves"]
    assert 0 < moves < 40
    assert state["scaler"]["scale"] == 65536.0 * 2.0 ** -(40 - moves)
    assert torch.isfinite(fitted.networks["net"].weight).all()
    assert fitted.log[-1]["loss"] < fitted.log[0]["loss"]


@cuda
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_run_in_parts_is_the_run_in_one_on_cuda(tmp_path, precision, same):
    settings = {"precision": precision, "scale": 1e3, "log_every": 4}
    for folder, stops in {"one": [13], "parts": [4, 5, 13]}.items():
        for steps in stops:
            regression("cuda", torch.float32, steps, folder=tmp_path / folder, **settings)
    assert same(saved(tmp_path / "one"), saved(tmp_path / "parts"))


@cuda
def test_global_random_state_of_cuda_is_left_as_it_was():
    before = torch.cuda.get_rng_state()
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5))

    def loss(networks, batch, rng):
        noise = torch.randn(batch["x"].shape, generator=rng, device=rng.device)
        return networks["net"](batch["x"] + noise).square().mean()

    run({"net": Player(net, loss)}, 3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
