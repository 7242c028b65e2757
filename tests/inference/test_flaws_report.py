"""Files of results: read as they stand, reported, drawn; the command line."""

import builtins
import json
import math
import sys

import pytest

from fewtheory.cli import main
from fewtheory.inference import Counts, beta_fit, flaws, flaws_report, read_results
from fewtheory.testbeds import BetaTasks

LLAMA = BetaTasks(0.337, 0.268, 0.8067)


def written(folder, text, name="r.csv"):
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def counts(rng):
    """150 tasks of the world fitted to Llama 3.1 8B, 40 attempts each."""
    tp, fp, _ = LLAMA.draw(150, 40, rng=rng)
    return Counts(40, tp, fp)


@pytest.fixture
def results(tmp_path, counts):
    """The same in a file."""
    rows = zip(counts.tp, counts.fp, strict=True)
    lines = [f"p{i},40,{a},{b}" for i, (a, b) in enumerate(rows)]
    return written(tmp_path, "\n".join(["task,n,tp,fp", *lines]) + "\n")


def same(a, b):
    return a.tp.tolist() == b.tp.tolist() and a.fp.tolist() == b.fp.tolist()


def test_every_form_of_the_same_results_gives_the_same_counts(tmp_path, results, counts):
    assert same(read_results(results)[0], counts)
    lines, attempts = [], ["task,accepted,correct"]
    for i, (a, b) in enumerate(zip(counts.tp.tolist(), counts.fp.tolist(), strict=True)):
        lines.append(json.dumps({"n": 40, "tp": a, "fp": b}))
        attempts += [f"p{i},true,1"] * a + [f"p{i},1,False"] * b + [f"p{i},0,0"] * (40 - a - b)
    assert same(read_results(written(tmp_path, "\n".join(lines), "r.jsonl"))[0], counts)
    read, verified = read_results(written(tmp_path, "\n".join(attempts), "a.csv"))
    assert same(read, counts)
    assert verified
    assert read.fn.sum() == 0


def test_right_attempts_alone_have_no_verifier(tmp_path):
    read, verified = read_results(written(tmp_path, "n,c\n5,2\n5,0\n"))
    assert (read.tp.tolist(), read.fp.tolist(), verified) == ([2, 0], [0, 0], False)
    report = flaws_report(read, verified=verified, fp_costs=[1.0])
    assert "soundness" in str(report.plans[1.0])
    assert report.precision is None
    right = Counts(10, [0, 3, 10, 6, 1], [0] * 5)
    given = flaws_report(right, verified=False, soundness=0.9, fp_costs=[1.0]).plans[1.0]
    a, b = beta_fit(10, right.tp).alpha
    assert given.K == math.ceil(a / 0.1 - b)


MALFORMED = {
    "n,tp,fp\n5,x,1\n": r"line 2, column tp must be a whole number of at least 0, got 'x'",
    "n,tp,fp\n5,2,1\n5,-1,1\n": r"line 3, column tp must be a whole number",
    "n,tp,fp\n5,2,1\n5,1.0,1\n": r"line 3, column tp",
    "n,tp,fp\n5,2, 1\n": r"line 2, column fp",
    "n,tp,fp\n5,,1\n": r"line 2, column tp",
    "n,tp,fp\n5,4,2\n": r"line 2, column tp \+ fp must be at most n = 5, got 6",
    "n,c\n5,6\n": r"line 2, column c must be at most n = 5",
    "n,tp,fp,fn\n5,3,2,1\n": r"tp \+ fp \+ fn must be at most",
    "n,tp,fp\n0,0,0\n": r"line 2, column n must be at least 1",
    "n,tp,fp\n5,1\n": r"line 2 must be of 3 fields, got 2",
    "task,n,tp,fp\na,5,1,1\na,5,1,1\n": r"line 3, column task must be a label not used before",
    "task,accepted,correct\na,1,maybe\n": r"line 2, column correct must be true or false",
    "task,accepted,correct\n,1,1\n": r"line 2, column task must be a label",
    "n,tp\n5,1\n": r"columns must be n, tp, fp",
    "n,tp,fp,c\n5,1,1,2\n": r"columns must be .* one of these three",
    "n,n,tp,fp\n": r"line 1 must name each column once",
    "n,tp,fp\n": r"file must be with a row of data",
    "": r"line 1 must name each column once",
}


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_malformed_is_named_by_line_and_column(tmp_path, text):
    with pytest.raises(ValueError, match=MALFORMED[text]):
        read_results(written(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"n": 5, "tp": 1.5, "fp": 0}', "line 2, column tp must be a whole number"),
        ('{"n": 5, "tp": true, "fp": 0}', "line 2, column tp"),
        ('{"n": 5, "tp": 1}', "line 2, column fp must be there"),
        ('{"n": 5, "tp": 1, "fp": 0', "line 2 must be a JSON object"),
        ("[5, 1, 0]", "line 2 must be a JSON object"),
    ],
)
def test_malformed_json_lines_are_named(tmp_path, line, message):
    text = '{"n": 5, "tp": 1, "fp": 0}\n' + line + "\n"
    with pytest.raises(ValueError, match=message):
        read_results(written(tmp_path, text, "r.jsonl"))


def test_many_malformed_rows_are_counted(tmp_path):
    with pytest.raises(ValueError, match=r"30 malformed[^$]*and 10 more"):
        read_results(written(tmp_path, "n,tp,fp\n" + "5,x,0\n" * 30))


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "r.csv"
    file.write_bytes(b"n,tp,fp\n\xff\xfe,1,1\n")
    with pytest.raises(ValueError, match="must be UTF-8"):
        read_results(file)


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_parquet_names_what_to_install(tmp_path, monkeypatch, missing):
    file, real = written(tmp_path, "", "r.parquet"), builtins.__import__

    def without(name, *rest, **kwargs):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"{missing} is missing.*pip install pandas pyarrow"):
        read_results(file)


def test_a_parquet_file_is_read(tmp_path, counts):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    file = tmp_path / "r.parquet"
    pandas.DataFrame({"n": counts.n, "tp": counts.tp, "fp": counts.fp}).to_parquet(file)
    assert same(read_results(file)[0], counts)


def test_the_report_says_what_the_parts_say(results, counts):
    report = flaws(results, fp_costs=[0.5, 1.0])
    assert report.tasks == 150
    assert report.curve.accuracy[1].value == pytest.approx(counts.tp.sum() / counts.n.sum())
    bounds = [report.ceilings[n].value for n in ("wrong", "dropped", "right")]
    assert bounds == sorted(bounds)
    assert [report.plans[c].K for c in (0.5, 1.0)] == [
        report.plans[c].fit.world.best_attempts(c) for c in (0.5, 1.0)
    ]
    text = str(report)
    assert "K* = " in text
    assert "soundness" in text


def test_the_report_as_json_holds_infinity_as_a_word(counts):
    record = json.loads(flaws_report(counts, fp_costs=[0.0, 4.0]).to_json())
    assert record["plans"][0]["K"] == "inf"
    assert record["plans"][1]["K"] in (0, 1)
    assert record["curve"][1]["K"] == 1


def test_a_report_without_a_law_says_why():
    report = flaws_report(Counts(5, [2, 2], [1, 1]), fp_costs=[1.0])
    assert "no spread" in str(report)
    nothing = flaws_report(Counts(5, [0, 0], [0, 0]), fp_costs=[1.0])
    assert set(nothing.ceilings) == {"wrong", "right"}


def test_the_command_prints_writes_and_draws(results, tmp_path, capsys):
    png, out = tmp_path / "f.png", tmp_path / "r.json"
    command = ["flaws", str(results), "--fp-cost", "1", "4", "--figure", str(png)]
    assert main([*command, "--json", str(out), "--sample-cost", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "150 tasks" in said
    assert "wrote" in said
    assert png.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(out.read_text())["plans"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--figure", "/nowhere/f.png"], "--figure must be in a folder that exists"),
        (["--figure", "f.txt"], "--figure must be a .png"),
        (["--json", "/nowhere/f.json"], "--json must be in a folder that exists"),
        (["--fp-cost", "-1"], "fp_costs must be"),
        (["--law", "luck"], "law must be one of"),
        (["--level", "2"], "level must be"),
    ],
)
def test_misuse_is_named_and_exits_with_two(results, capsys, own_checks, options, message):
    assert main(["flaws", str(results), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_exits_with_two(capsys):
    assert main(["flaws", "/nowhere/r.csv"]) == 2
    assert "No such file" in capsys.readouterr().err
