"""Writes what all notebooks share, and the picture of each that docs/notebooks.md shows.

  python -m book.notebooks

Every notebook gets the same install cell, and a badge that opens it in Colab once setup.py has the
address of the repository on GitHub. The install cell then installs sfvae_jax from there, since the
notebooks of a repository may need more than its last release. Without an address it installs the
release, or a wheel in the folder of the notebook.

A notebook names further packages that it needs in its metadata, such as `"packages": ["equinox"]`.
Its picture is the first among its outputs, or that of the cell with the tag `front`. Pictures are
kept in 256 colours, which makes them smaller.
"""

from __future__ import annotations

import base64
import io
import json
import re
import runpy
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures" / "notebooks"

_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")
_INSTALL = """\
import importlib.util
import subprocess
import sys

NEEDED = {needed}
missing = [NEEDED[name] for name in NEEDED if importlib.util.find_spec(name) is None]
if missing:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--find-links=.", *missing]
    if subprocess.run(pip).returncode:
        sys.exit("pip failed, see above; it also takes a wheel from the folder of this notebook")
    importlib.invalidate_caches()"""
_BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/main/colabs/{name}.ipynb)"
)


def repository() -> str:
    """Returns the web address of the repository, or "" as long as setup.py has none."""
    return runpy.run_path(str(ROOT / "setup.py"))["REPOSITORY"]


def notebooks() -> Iterator[Path]:
    """Yields the path of every notebook."""
    yield from sorted((ROOT / "colabs").glob("*.ipynb"))


def with_frame(notebook: dict[str, Any], name: str, address: str) -> dict[str, Any]:
    """Returns a notebook with its badge and its install cell, and without the times of its run.

    Args:
        notebook: what the file holds.
        name: the name of the file, without its suffix.
        address: the web address of the repository, or "".
    """
    cells = [
        {**cell, "metadata": {k: v for k, v in cell["metadata"].items() if k != "execution"}}
        for cell in notebook["cells"]
    ]
    old = {cell["id"]: cell for cell in cells if cell.get("id") in ("badge", "install")}
    title, *others = (cell for cell in cells if cell.get("id") not in old)
    count = old.get("install", {}).get("execution_count")
    install = {
        "cell_type": "code",
        "execution_count": count,
        "id": "install",
        "metadata": {},
        "outputs": [],
        "source": _INSTALL.format(needed=_needed(notebook, address)).splitlines(keepends=True),
    }
    cells = [*_badge(name, address), title, install, *others]
    return {**notebook, "cells": cells}


def picture(notebook: dict[str, Any]) -> bytes:
    """Returns the picture that stands for a notebook, as PNG; empty if it kept none."""
    tagged = [cell for cell in notebook["cells"] if "front" in cell["metadata"].get("tags", ())]
    for cell in (*tagged, *notebook["cells"]):
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    return b""


def with_small_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """Returns a notebook with pictures of 256 colours, and what a cell prints in one piece."""
    cells = [
        {**cell, "outputs": _joined(map(_small, cell["outputs"]))} if "outputs" in cell else cell
        for cell in notebook["cells"]
    ]
    return {**notebook, "cells": cells}


def _joined(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Joins pieces of a stream that follow each other."""
    joined: list[dict[str, Any]] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if "name" in output and output["name"] == last.get("name"):
            joined[-1] = {**last, "text": [*last["text"], *output["text"]]}
        else:
            joined.append(output)
    return joined


def _small(output: dict[str, Any]) -> dict[str, Any]:
    encoded = output.get("data", {}).get("image/png")
    if encoded is None:
        return output
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        if image.mode == "P":
            return output
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    made = io.BytesIO()
    small.save(made, format="png", optimize=True)
    text = base64.b64encode(made.getvalue()).decode()
    return {**output, "data": {**output["data"], "image/png": text}}


def as_text(notebook: dict[str, Any]) -> str:
    """Returns what the file of a notebook holds."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _needed(notebook: dict[str, Any], address: str) -> str:
    """Returns the code of a dictionary: what pip installs for each module."""
    needed = {"sfvae_jax": f"sfvae_jax @ git+{address}" if address else "sfvae_jax"}
    needed |= {name: name for name in notebook["metadata"].get("packages", ())}
    return json.dumps(needed)


def _badge(name: str, address: str) -> list[dict[str, Any]]:
    """Returns the cell with the badge, if the repository is on GitHub."""
    match = _GITHUB.fullmatch(address)
    if not match:
        return []
    source = [_BADGE.format(repository=match[1], name=name)]
    return [{"cell_type": "markdown", "id": "badge", "metadata": {}, "source": source}]


def main() -> int:
    """Writes the notebooks and their pictures; returns the exit status."""
    address = repository()
    FIGURES.mkdir(parents=True, exist_ok=True)
    for path in notebooks():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        notebook = with_small_outputs(with_frame(notebook, path.stem, address))
        path.write_text(as_text(notebook), encoding="utf-8")
        shown = picture(notebook)
        if shown:
            (FIGURES / f"{path.stem}.png").write_bytes(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
