"""`fewtheory audit`: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json

import pytest

from fewtheory import plan
from fewtheory.cli import main

pytestmark = pytest.mark.usefixtures("own_checks")
BRIEF = ["--steps", "4", "--every", "6"]

WRONG = '''
def sample(model, x, steps):
    """Flow matching's sampler with half of each step."""
    for i in range(steps):
        x = x - 0.5 * model(x, 1 - i / steps) / steps
    return x
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of one's own in the working folder."""
    (tmp_path / "my_own_sampler.py").write_text(WRONG)
    (tmp_path / "my_right_sampler.py").write_text(WRONG.replace("0.5 * ", ""))
    monkeypatch.chdir(tmp_path)
    return tmp_path


FLOW = ["--path", "rectified-flow", "--prediction", "flow"]


def test_status_0_without_defects_and_1_with_one(mine, capsys):
    assert main(["audit", "my_right_sampler:sample", *FLOW, *BRIEF]) == 0
    assert "0 defects" in capsys.readouterr().out
    assert main(["audit", "my_own_sampler:sample", *FLOW, *BRIEF]) == 1
    assert "DEFECT" in capsys.readouterr().out


def test_the_json_holds_the_report(mine, capsys):
    main(["audit", "my_own_sampler:sample", *FLOW, *BRIEF, "--named", "1", "--json", "r.json"])
    record = json.loads((mine / "r.json").read_text())
    assert record["order"]["named"] == 1
    assert record["order"]["algebra"] == 0  # half of each step converges to something else
    assert record["findings"][0]["what"] in capsys.readouterr().out


def test_the_mended_plan_is_written(mine):
    target = "fewtheory.samplers:dpm_solver_pp"
    assert main(["audit", target, "--set", "order=2", *BRIEF, "--plan", "plan.json"]) == 0
    assert plan.load(mine / "plan.json").nfe == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonesuch_at_all:Thing"], "audit: the target 'nonesuch_at_all:Thing': No module named"),
        (
            ["diffusers:Nonesuch"],
            "audit: the target 'diffusers:Nonesuch': diffusers has no Nonesuch",
        ),
        (["diffusers"], "audit: the target must look like PACKAGE:OBJECT, got 'diffusers'"),
        (
            ["diffusers:UNet2DModel"],
            "audit: UNet2DModel must have the method set_timesteps and step",
        ),
        (["json:dumps"], "audit: "),
        (["diffusers:DDIMScheduler", "--set", "eta"], "audit: --set must look like KEY=VALUE"),
        (["diffusers:DDIMScheduler", "--set", "nonesuch=1"], "audit: DDIMScheduler cannot be made"),
        (["diffusers:DDIMScheduler", "--steps", "8;9"], "audit: --steps must look like 8,16,32"),
        (["my_own_sampler:sample"], "audit: path must be given"),
        (["my_own_sampler:sample", "--path", "table"], "audit: --path must be one of vp-linear"),
        (["diffusers:DDIMScheduler", "--json", "no/such/r.json"], "audit: --json must lie in a"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_misuse_is_said_by_name_with_status_2(arguments, message, capsys):
    assert main(["audit", *arguments]) == 2
    assert f"fewtheory: {message}" in capsys.readouterr().err
