"""Every cell of every notebook runs, from top to bottom, with small settings."""

import json

import matplotlib.pyplot as plt
import pytest
from helpers import ROOT

SMALL = {
    "jacobian_quality": {
        "steps": 4,
        "latent_size": 3,
        "hidden_sizes": (8,),
        "num_images": 3,
        "num_truth": 40,
        "sample_counts": (3, 6, 12),
        "widths": (0.5, 2.0),
    }
}
NOTEBOOKS = sorted(path.stem for path in (ROOT / "colabs").glob("*.ipynb"))


def _cells(name):
    notebook = json.loads((ROOT / "colabs" / f"{name}.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_runs(name, monkeypatch):
    plt.switch_backend("agg")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    space = {}
    for number, cell in enumerate(_cells(name)):
        code = compile("".join(cell["source"]), f"{name}, cell {number}", "exec")
        exec(code, space)
        if "SETTINGS" in space and not shown:
            assert SMALL[name].keys() == space["SETTINGS"].keys()
            space["SETTINGS"].update(SMALL[name])
    assert len(shown) == sum("plt.show()" in "".join(cell["source"]) for cell in _cells(name))
    assert all(figure.axes for figure in shown)
    plt.close("all")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_is_kept_is_one_whole_run(name):
    cells = _cells(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (ROOT / "colabs" / f"{name}.ipynb").stat().st_size < 300_000
