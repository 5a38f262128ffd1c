"""Runs notebooks as a program, one after another; their pictures are made, and not shown.

python run_notebook.py {NOTEBOOK: SETTINGS, ...}, a literal dictionary. The dictionary SETTINGS
replaces values in the notebook's own. Each runs in an empty folder; the traceback of one that fails
begins after a line with its name, `failed: NAME`.
"""

import ast
import json
import os
import sys
import traceback
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


def run_all(settings_of):
    """Returns how many failed."""
    failed, begun_in = 0, Path.cwd()
    for path, settings in settings_of.items():
        folder = begun_in / Path(path).stem
        folder.mkdir()
        os.chdir(folder)
        try:
            run(path, settings)
        except Exception:
            failed += 1
            print(f"failed: {Path(path).stem}\n{traceback.format_exc()}", file=sys.stderr)
        plt.close("all")
    return failed


if __name__ == "__main__":
    sys.exit(run_all(ast.literal_eval(sys.argv[1])))
