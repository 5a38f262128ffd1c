"""Runs notebooks as a program, one after another; their pictures are made, and not shown.

python run_notebooks.py {NOTEBOOK: SETTINGS, ...}, a literal dictionary. The dictionary SETTINGS
replaces values in the notebook's own. Each runs in a new folder; then a line `ran NAME` is printed.
"""

import ast
import json
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt


def run(path, settings):
    """Runs the cells in order."""
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    shown = []
    plt.show = lambda: shown.append(plt.gcf())
    space = {}
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        code = "".join(cell["source"])
        exec(compile(code, f"{Path(path).name}, code cell {number + 1}", "exec"), space)
        if "SETTINGS" in space and settings:
            assert settings.keys() <= space["SETTINGS"].keys()
            space["SETTINGS"].update(settings)
            settings = {}
    assert not settings
    assert shown
    assert all(figure.axes for figure in shown)


if __name__ == "__main__":
    begun_in = Path.cwd()
    for path, settings in ast.literal_eval(sys.argv[1]).items():
        folder = begun_in / Path(path).stem
        folder.mkdir()
        os.chdir(folder)
        run(path, settings)
        plt.close("all")
        print(f"ran {folder.name}")
