"""A notebook as a page of the site, with its kept outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def as_page(path: Path) -> str:
    """Returns a page in Markdown, which offers the notebook itself first."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title, *others = (part for cell in cells for part in _parts(cell))
    heading, _, text = title.partition("\n")
    download = f'<a href="../{path.name}" download>Download this notebook</a>'
    return "\n\n".join([heading, download, text.strip(), *others]) + "\n"


def _parts(cell: dict[str, Any]) -> list[str]:
    """Returns the parts of a page that show a cell; badge and install cell have none."""
    source = "".join(cell["source"])
    if cell.get("id") in ("badge", "install"):
        return []
    if cell["cell_type"] == "markdown":
        return [source]
    code = f"````python\n{source}\n````"
    return [code, *(part for output in cell["outputs"] for part in _shown(output))]


def _shown(output: dict[str, Any]) -> list[str]:
    """Returns how a page shows an output: a picture, or text."""
    if output["output_type"] == "stream":
        return [f"````text\n{''.join(output['text']).rstrip()}\n````"]
    data = output.get("data", {})
    if "image/png" in data:
        encoded = "".join(data["image/png"].split())
        return [f'<p><img alt="" src="data:image/png;base64,{encoded}"></p>']
    return [f"````text\n{''.join(data['text/plain'])}\n````"] if "text/plain" in data else []
