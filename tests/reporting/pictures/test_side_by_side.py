"""Figures of several runs side by side: what is shown of each, and where."""

import numpy as np
import pytest
from PIL import Image

from sfvae_jax import report
from sfvae_jax.evaluation import figures
from sfvae_jax.evaluation.pictures import latent_codes
from sfvae_jax.evaluation.pictures.latent_codes import Encoded
from sfvae_jax.reporting.pictures import side_by_side
from sfvae_jax.reporting.pictures.side_by_side import Tile, arrange, draw_tiles, read_panel


def _run(seed=0, **changes):
    config = {
        "seed": seed,
        "data": {"scale": 1.0},
        "objective": {"name": "bilbo"},
        "train": {"steps": 2},
        "evaluations": {"part": "test"},
    }
    for key, value in changes.items():
        group, name = key.split("__")
        config[group] = {**config.get(group, {}), name: value}
    return {"config": config, "step": 2, "metrics": {"loss": 1.0}}


def _write(folder, runs, gray=0.5):
    """Draws the samples of some runs in one shade of grey; returns the runs by path."""
    found = {}
    for number, run in enumerate(runs):
        place = folder / f"run{number}"
        rows = {"row 1": np.full((3, 8, 8), gray), "row 2": np.full((3, 8, 8), gray)}
        figures.draw_images(rows, "a title", place / "figures" / "samples.png")
        found[place / "results.json"] = run
    return found


def test_a_panel_has_the_images_only(tmp_path):
    """Two rows and three columns of them, with gaps, without title and names of the rows."""
    rows = {"a row": np.full((3, 16, 16), 0.5), "another": np.full((3, 16, 16), 0.5)}
    figures.draw_images(rows, "a title", tmp_path / "a.png")
    panel = read_panel(tmp_path / "a.png")
    whole = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert panel.shape[0] < whole.shape[0] - 20
    assert panel.shape[1] / panel.shape[0] == pytest.approx(50 / 33, rel=0.03)
    inner = panel[2:-2, 2:-2]
    assert set(np.unique(inner[:, : inner.shape[1] // 4])) <= set(range(120, 256))
    assert np.mean(np.abs(inner.astype(int) - 128) < 4) > 0.9


def test_a_panel_of_points_has_the_numbers_of_its_ticks_and_the_means_only(tmp_path):
    codes = np.random.default_rng(0).normal(size=(50, 2))
    encoded = Encoded(codes, None, codes + 1)
    latent_codes.draw_latent_plane(encoded, None, "a title", tmp_path / "a.png")
    panel = read_panel(tmp_path / "a.png")
    height, width = panel.shape[:2]
    assert width / height == pytest.approx(1.0, abs=0.1)  # one of the two, and square
    assert width < 0.55 * Image.open(tmp_path / "a.png").width


def test_files_that_are_no_pictures_are_left_out(tmp_path):
    assert read_panel(tmp_path / "none.png") is None
    (tmp_path / "a.png").write_bytes(b"cut short")
    assert read_panel(tmp_path / "a.png") is None
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "b.png")  # marks no panel
    assert read_panel(tmp_path / "b.png").shape == (5, 7, 3)


def test_two_keys_are_rows_and_columns():
    """Keys that follow from another key do not count, nor does what is measured."""
    methods = {
        f"{tau} {scale}": {
            "objective.tau": tau,
            "data.scale": scale,
            "train.steps": {0.1: 400, 1.0: 800, 10.0: 80}[scale],
            "data.fingerprint": str(scale * tau),
            "evaluations.names": (str(scale * tau),),
            "seed": int(10 * scale),
        }
        for tau in (0.2, 1.0)
        for scale in (10.0, 0.1, 1.0)
    }
    expected = [
        (f"objective.tau={tau}", f"data.scale={scale}")
        for tau in (0.2, 1.0)
        for scale in (10.0, 0.1, 1.0)
    ]
    assert arrange(methods) == expected
    one = {name: own for name, own in methods.items() if name.startswith("1.0")}
    assert arrange(one) == [("", f"data.scale={scale}") for scale in (10.0, 0.1, 1.0)]
    three = {name: {**own, "x": int(name == "0.2 0.1")} for name, own in methods.items()}
    assert arrange(three) == [("", name) for name in methods]


def test_tiles_are_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(side_by_side, "save", lambda figure, path: figures.append(figure))
    panels = {10.0: 30, 0.1: 10, 1.0: 20}
    tiles = [
        Tile(f"b={row}", f"a={scale}", np.full((4, 6, 3), value + row, np.uint8))
        for row in (2, 1)
        for scale, value in panels.items()
        if (row, scale) != (2, 1.0)
    ]
    draw_tiles(tiles, "a title", tmp_path / "a.png")
    axes = np.reshape(figures[0].axes, (2, 3))
    values = [[int(a.images[0].get_array()[0, 0, 0]) if a.images else 0 for a in r] for r in axes]
    assert values == [[11, 21, 31], [12, 0, 32]]
    assert [a.get_title() for a in axes[0]] == ["a=0.1", "a=1.0", "a=10.0"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["b=1", "b=2"]
    draw_tiles([Tile("", f"method {i}", tiles[0].panel) for i in range(5)], "t", tmp_path / "a")
    assert [a.get_title() for a in figures[1].axes[:5]] == [f"method {i}" for i in range(5)]


def test_each_method_shows_one_run_and_a_single_method_none(tmp_path):
    runs = _write(tmp_path, [_run(1), _run(0), _run(data__scale=2.0)])
    drawn = side_by_side.side_by_side(runs)
    assert [tile.column for tile in drawn["samples.png"]] == ["data.scale=1.0", "data.scale=2.0"]
    assert drawn["manifold.png"] == drawn["latent_plane.png"] == []
    assert side_by_side.side_by_side(dict(list(runs.items())[:2]))["samples.png"] == []
    many = {path / str(i): _run(data__scale=i) for i in range(41) for path in list(runs)[:1]}
    assert side_by_side.side_by_side(many)["samples.png"] == []


def test_a_report_draws_tiles_and_removes_those_of_an_earlier_report(tmp_path, monkeypatch):
    for name in ("draw_report", "draw_panels"):
        monkeypatch.setattr(report, name, lambda *drawn: drawn[-1].touch())
    runs = _write(tmp_path, [_run(), _run(data__scale=2.0)])
    monkeypatch.setattr(report, "read_runs", lambda paths: ({p: runs[p] for p in paths}, {}))
    found = report.write_report(list(runs), tmp_path / "out")
    assert "report_samples.png" in found.files
    picture = np.asarray(Image.open(tmp_path / "out" / "report_samples.png").convert("L"))
    assert np.mean(np.abs(picture.astype(int) - 128) < 6) > 0.4
    found = report.write_report(list(runs)[:1], tmp_path / "out")
    assert not (tmp_path / "out" / "report_samples.png").exists()
    assert "report_samples.png" not in found.files
