"""docs/ambient_grid.py: what is committed is of one piece, and an interrupted run goes on."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def grid():
    """The script as a module, its neighbours importable as when it is run."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        spec = importlib.util.spec_from_file_location("docs_ambient", ROOT / "docs/ambient_grid.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["docs_ambient"] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        import ambient_grid_page as page

        yield module, page
    finally:
        sys.path.remove(str(ROOT / "docs"))
        sys.modules.pop("docs_ambient", None)


@pytest.fixture(scope="module")
def table():
    return json.loads((ROOT / "docs/ambient-grid.json").read_text(encoding="utf-8"))


def test_the_committed_grid_is_of_these_settings_and_of_60_models_at_least(grid, table):
    module, _ = grid
    trained = [module._run_of(row) for row in table["rows"]]
    assert table["settings"] == module.SETTINGS
    assert len(set(trained)) == len(trained) >= 60
    assert set(trained) <= set(module.runs())


def test_the_page_is_made_of_the_committed_numbers(grid, table):
    _, page = grid
    text = (ROOT / "docs/ambient-grid.md").read_text(encoding="utf-8")
    assert text == page.page(table), "`make ambient-grid`"


def test_the_data_of_a_run_are_nested_and_their_noise_is_fixed(grid):
    module, _ = grid
    few, many, clean = (
        module.data_of(module.Run(0, *rest)) for rest in ((29, 450, 0.4), (144, 1293, 0.4), (1437,))
    )
    assert len(few["x"]) == 479
    assert len(many["x"]) == 1437
    assert few["noise_level"].unique().tolist() == pytest.approx([0.0, 0.4])
    assert bool((few["x"][144:] == many["x"][144:479]).all())
    # 64 * 1293 normal numbers: their standard deviation is known to 1 / sqrt(2 n) = 0.25%
    noise = (many["x"] - clean["x"])[144:]
    assert float(noise.std()) == pytest.approx(0.4, rel=5 * 0.0025)


def test_the_price_of_denoising_is_the_ratio_of_slopes_of_a_linear_denoisers_excess(
    grid, monkeypatch
):
    _, page = grid
    c, sigma_n, sigma, sizes = np.array([1.5]), 0.4, 0.8, (400, 900)
    rng, A = np.random.default_rng(0), (1 - 0.25) ** 2

    def excess(n1, n2):
        """E |D - D*|^2 over 40,000 data sets, by M6, and its relative standard error."""
        c1 = c * rng.chisquare(n1, 40000) / n1
        c2 = (c + sigma_n**2) * rng.chisquare(n2, 40000) / n2 - sigma_n**2
        pooled = (n1 * c1 + n2 * A * c2) / (n1 + n2 * A)
        off = (pooled / (pooled + sigma**2) - c / (c + sigma**2)) ** 2 * (c + sigma**2)
        return off.mean(), off.std() / 200

    def closed(n1, n2):
        """The same, from the slopes: it is homogeneous of degree -1 in the sizes."""
        monkeypatch.setattr(page, "REFERENCE", (n1, n2))
        of_clean, of_noisy = page.denoising_slopes(c, sigma_n, sigma)[1]
        return -2 * (n1 * of_clean + n2 * of_noisy), of_clean, of_noisy

    value, _, _ = closed(*sizes)
    found, error = excess(*sizes)
    # the next order of 1/n is some 1/400 of it, some times over
    assert abs(found - value) < 5 * error + 0.01 * value
    h = 1e-3
    up, down = closed(sizes[0] + h, sizes[1])[0], closed(sizes[0] - h, sizes[1])[0]
    assert 2 * closed(*sizes)[1] == pytest.approx((up - down) / (2 * h), rel=1e-4)


def test_an_interrupted_run_keeps_its_models_and_trains_the_others_alone(
    grid, tmp_path, monkeypatch, capsys
):
    module, _ = grid
    kept, trained = tmp_path / "grid.json", []

    def row_of(run):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(run)
        return {**module.asdict(run), "seconds": 0.0}

    monkeypatch.setattr(module, "row_of", row_of)
    with pytest.raises(KeyboardInterrupt):
        module.computed(1, kept, 5)
    assert len(json.loads(kept.read_text())["rows"]) == 3
    before = list(trained)
    monkeypatch.setattr(module, "row_of", lambda run: {**module.asdict(run), "seconds": 1.0})
    module.computed(1, kept, 2)
    rows = json.loads(kept.read_text())["rows"]
    assert len(rows) == 5
    assert {module._run_of(r) for r in rows if r["seconds"] == 0.0} == set(before)
    assert "2 of 2" in capsys.readouterr().out
