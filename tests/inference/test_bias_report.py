"""Files of decisions: read as they stand, reported cell by cell, drawn; the command line."""

import csv
import json
import math

import numpy as np
import pytest

from fewtheory.cli import main
from fewtheory.inference import bias, bias_report, read_decisions
from fewtheory.testbeds import BalancingSeries, MarkovCoin


def written(folder, header, rows, name="d.csv"):
    """A CSV file of these rows."""
    file = folder / name
    with open(file, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def lines(folder, records, name="d.jsonl"):
    """A file of JSON lines."""
    file = folder / name
    file.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return file


@pytest.fixture
def three_cells(tmp_path, rng):
    """A fair cell, a biased one and one that alternates; a refusal in the first."""
    rows = []
    for name, p, rho in (("fair", 0.5, 0.0), ("biased", 0.9, 0.0), ("alternating", 0.5, -0.5)):
        x = MarkovCoin(p, rho).sample(200, rng=rng)
        rows += [[name, "coin", "1.0", "Yes" if v else " no "] for v in x]
    rows.insert(3, ["fair", "coin", "1", "refusal"])
    return written(tmp_path, ["model", "prompt", "temperature", "answer"], rows)


def test_cells_are_told_apart_and_temperatures_compared_as_numbers(three_cells):
    found = read_decisions(three_cells)
    assert [c.name for c in found.cells] == [
        "fair, coin, 1",
        "biased, coin, 1",
        "alternating, coin, 1",
    ]
    assert [c.rows for c in found.cells] == [201, 200, 200]
    assert [c.refusals for c in found.cells] == [1, 0, 0]
    assert found.cells[0].series[0].size == 200


def test_the_report_finds_what_is_there(three_cells):
    report = bias(three_cells)
    fair, biased, alternating = report.cells
    assert fair.q > 0.05
    assert biased.battery.rejected == ("rate",)
    assert "recency" in alternating.battery.rejected
    text = str(report)
    assert "1 of 201 refusals" in text
    assert "2 of 3 cells are not fair, memoryless coins" in text
    # p .9: about 2.197 / .2007
    assert biased.temperature == pytest.approx(
        abs(math.log(biased.battery.rate / (1 - biased.battery.rate))) / math.log(0.55 / 0.45)
    )


def test_across_cells_the_false_discovery_rate_is_held(three_cells):
    cells = bias(three_cells).cells
    p, q = np.array([c.p for c in cells]), np.array([c.q for c in cells])
    order = np.argsort(p)
    assert q[order[-1]] == pytest.approx(p[order[-1]])
    assert np.all(q >= p)


def test_calls_are_series_of_their_own(tmp_path, rng):
    x = BalancingSeries(1.0, 1.0).sample(12, rng=rng, series=30)
    rows = [[i, int(v)] for i, one in enumerate(x) for v in one]
    shuffled = [rows[k] for t in range(12) for k in range(t, len(rows), 12)]  # calls interleaved
    found = read_decisions(written(tmp_path, ["call", "answer"], shuffled))
    assert np.array_equal(np.array(found.cells[0].series), x)
    assert found.cells[0].name == "all"


def test_json_lines_carry_probabilities(tmp_path, rng):
    q = rng.random(300)
    records = [
        {"model": "m", "answer": bool(rng.random() < p), "p_yes": 0.8 * p, "p_no": 0.8 * (1 - p)}
        for p in q
    ]
    (cell,) = bias(lines(tmp_path, records)).cells
    assert cell.exact_rate == pytest.approx(q.mean())
    assert cell.leak == pytest.approx(0.2)
    assert cell.battery.followed.p_value > 1e-4
    assert cell.battery.followed.mean == pytest.approx(q.mean())


def test_probabilities_alone_need_no_answers(tmp_path):
    records = [{"p_yes": p} for p in (0.2, 0.4)]
    report = bias(lines(tmp_path, records))
    assert report.cells[0].exact_rate == pytest.approx(0.3)
    assert report.cells[0].battery is None
    assert "nothing to test" in str(report)


def test_a_refusal_among_probabilities_is_left_out_of_both(tmp_path):
    records = [{"answer": a, "p_yes": p} for a, p in (("yes", 0.9), ("refusal", 0.1), ("no", 0.2))]
    (cell,) = bias(lines(tmp_path, records)).cells
    assert cell.battery.followed.mean == pytest.approx(0.55)
    assert cell.refusals == 1


def test_words_are_the_callers(tmp_path):
    file = written(tmp_path, ["answer", "who"], [["heads", "a"], ["TAILS", "b"], ["edge", "a"]])
    found = read_decisions(file, yes=["heads"], no=["tails"], refusal=["edge"], cells=["who"])
    assert [c.name for c in found.cells] == ["a", "b"]
    assert [s.tolist() for c in found.cells for s in c.series] == [[1], [0]]


def test_columns_that_are_not_used_are_named(tmp_path):
    file = written(tmp_path, ["answer", "note"], [["yes", "x"], ["no", "y"]])
    report = bias(file)
    assert report.ignored == ("note",)
    assert "columns not used: note" in str(report)


MALFORMED = [
    ("answer\nyes\nmaybe\n", "line 3, column answer must be one of 'yes', '1', 'no', '0', 'ref"),
    ("answer,model\nyes\nno,m\n", "line 2 must be of 2 fields, got 1"),
    ("answer,temperature\nyes,hot\n", "line 2, column temperature must be a number, 0 or more"),
    ("answer,temperature\nyes,-1\n", "line 2, column temperature must be a number, 0 or more"),
    ("answer,model\nyes, \n", "line 2, column model must be a value, got ' '"),
    ("answer,call\nyes,\n", "line 2, column call must be a value, got ''"),
    ("answer,model\n,m\n", "line 2, column answer must be given where p_yes is not, got ''"),
    ("answer,p_yes\nyes,1.5\n", r"line 2, column p_yes must be a number in \[0, 1\], got '1.5'"),
    ("answer,p_yes\nyes,often\n", "line 2, column p_yes must be a number in"),
    ("answer,p_yes,p_no\nyes,.7,.6\n", "line 2, column p_no must be such that 0 < p_yes"),
    ("answer,p_yes,p_no\nyes,0,0\n", "line 2, column p_no must be such that 0 < p_yes"),
    ("answer,answer\nyes,no\n", "line 1 must name each column once"),
    ("model\nm\n", "must have a column answer or p_yes"),
    ("", "line 1 must name each column once"),
    ("answer\n", "must hold at least one row below its header"),
]


@pytest.mark.parametrize(("text", "message"), MALFORMED)
def test_what_is_malformed_is_named_by_line_and_column(tmp_path, text, message):
    file = tmp_path / "d.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_decisions(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"answer": "yes"}\n[1]\n', r"line 2 must be a JSON object, got '\[1\]'"),
        ('{"answer": "yes"}\n{"answer": "no"', "line 2 must be a JSON object"),
        ('{"answer": "yes"} {"answer": "no"}\n', "line 1 must be a JSON object"),
        ('{"answer": "yes"}\n{"reply": "no"}\n', "line 2, column answer must be there, got None"),
        ('{"answer": "yes"}\n{"reply": "no"}\n', "line 2, column reply must be in the first"),
        ('{"answer": 7}\n', "line 1, column answer must be one of"),
        ('{"answer": ["yes"]}\n', "line 1, column answer must be one of"),
        ('{"answer": "yes", "model": {}}\n', "line 1, column model must be a value"),
        ('{"answer": "yes", "p_yes": true}\n', "line 1, column p_yes must be a number in"),
        ('{"answer": "yes", "p_yes": NaN}\n', "line 1, column p_yes must be a number in"),
        ('{"answer": null}\n', "line 1, column answer must be given where p_yes is not"),
        ("", "must have a column answer or p_yes"),
    ],
)
def test_so_is_a_malformed_line_of_json(tmp_path, text, message):
    file = tmp_path / "d.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_decisions(file)


def test_twenty_places_are_named_and_the_rest_counted(tmp_path):
    file = written(tmp_path, ["answer"], [["yes"]] + [["?"]] * 30)
    with pytest.raises(ValueError, match="30 malformed") as caught:
        read_decisions(file)
    assert str(caught.value).count("column answer") == 20
    assert str(caught.value).endswith("and 10 more")


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    file = tmp_path / "d.csv"
    file.write_bytes(b"answer\n\xff\xfe\n")
    with pytest.raises(ValueError, match="must be a text file in UTF-8"):
        read_decisions(file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"yes": ["a"], "no": ["A "]}, "no must not repeat another's word 'A '"),
        ({"yes": []}, r"yes must be a list of words, got \[\]"),
        ({"no": "no"}, "no must be a list of words, got 'no'"),
        ({"cells": ["colour"]}, "cells must be columns of the file, got 'colour'"),
        ({"alpha": 0}, "bias_report: alpha must be strictly"),
        ({"margin": 0.7}, "bias_report: margin must be below 1/2"),
        ({"alternatives": "luck"}, "bias_report: alternatives must be one of"),
        ({"json_file": "/nowhere/x.json"}, "bias: json_file must be in a folder that exists"),
        ({"figure": "x.bmp"}, "bias: figure's suffix must be one of"),
    ],
)
def test_bad_settings_are_named(three_cells, settings, message):
    with pytest.raises(ValueError, match=message):
        bias(three_cells, **settings)


def test_only_decisions_are_reported(own_checks):
    with pytest.raises(TypeError, match="bias_report: decisions must come from read_decisions"):
        bias_report([0, 1])


# the command


def test_the_command_prints_the_report_and_writes_its_files(three_cells, tmp_path, capsys):
    numbers, picture = tmp_path / "o.json", tmp_path / "o.svg"
    status = main(["bias", str(three_cells), "--json", str(numbers), "--figure", str(picture)])
    told = capsys.readouterr().out
    assert status == 0
    assert "== model biased, prompt coin, temperature 1" in told
    assert f"wrote {picture}" in told
    record = json.loads(numbers.read_text())
    assert [c["name"] for c in record["cells"]][1] == "biased, coin, 1"
    assert record["cells"][1]["battery"]["tests"][0]["name"] == "rate"
    assert "<svg" in picture.read_text()


def test_a_report_without_numbers_is_valid_json(tmp_path):
    file = written(tmp_path, ["answer"], [["yes"]] * 5)
    out = tmp_path / "o.json"
    bias(file, json_file=out)
    found = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert found["cells"][0]["battery"]["correlation"] is None


def test_misuse_is_status_2_and_one_line(tmp_path, capsys):
    assert main(["bias", str(tmp_path / "none.csv")]) == 2
    assert main(["bias", str(written(tmp_path, ["answer"], [["?"]]))]) == 2
    assert "line 2, column answer" in capsys.readouterr().err


def test_the_words_and_the_cells_are_options(tmp_path, capsys):
    file = written(tmp_path, ["answer", "who"], [["up", "a"], ["down", "b"]])
    assert main(["bias", str(file), "--yes", "up", "--no", "down", "--cells", "who"]) == 0
    assert "== who a" in capsys.readouterr().out


def test_many_cells_are_drawn_as_the_sixty_that_tell_most(tmp_path, rng):
    rows = [[f"m{i}", "yes" if rng.random() < 0.5 else "no"] for i in range(62) for _ in range(3)]
    file = written(tmp_path, ["model", "answer"], rows)
    picture = tmp_path / "o.svg"
    bias(file, figure=picture)
    assert picture.stat().st_size > 10_000
