"""The names that a config accepts, with a line each, from the tables of specs.

Each table is imported when it is listed: `list configs` does not wait for JAX.
"""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sfvae_jax.errors import unknown_name
from sfvae_jax.shipped import FOLDER

CONFIGS = FOLDER / "configs"

_WIDTH = 100  # columns of a line

# A line of the paragraph "Presets:" in a config file that begins with a name, or with several.
_PRESETS = re.compile(r"^    (\w+(?:, \w+)*)  ", re.MULTILINE)

# A name and its description.
Row = tuple[str, str]


def _configs() -> list[Row]:
    rows = []
    for path in sorted(CONFIGS.glob("*.py")):
        text, presets = first_line(path), presets_of(path)
        rows.append((f"configs/{path.name}", f"{text}; presets: {presets}" if presets else text))
    return rows


def _of_table(module: str, table: str) -> Callable[[], list[Row]]:
    """Returns a function that lists a table of specs."""

    def rows() -> list[Row]:
        specs = getattr(importlib.import_module(module), table)
        return [(name, spec.summary) for name, spec in specs.items()]

    return rows


def _data() -> list[Row]:
    # Imported here so that other kinds do not wait for it.
    from sfvae_jax.data.image_sources.tfds import TFDS
    from sfvae_jax.data.sources import SOURCES

    rows = [(source.usage, source.help) for source in SOURCES.values()]
    return [*rows, ("any other name", TFDS.help)]


def _sequences() -> list[Row]:
    from sfvae_jax.data.sources import SOURCES

    sources: dict[str, list[Any]] = {}
    for source in SOURCES.values():
        if source.kind is not None:
            sources.setdefault(source.kind.name, []).append(source)
    return [
        (kind, f"data.name={' or '.join(source.usage for source in of_kind)}")
        for kind, of_kind in sources.items()
    ]


def _plugins() -> list[Row]:
    from sfvae_jax.plugins import imported
    from sfvae_jax.plugins.rooms import room_of

    rows: list[Row] = []
    for plugin in imported():
        for spec in plugin.specs:
            text = getattr(spec, "summary", "") or spec.help
            rows.append((f"{room_of(spec).noun} {spec.name}", f"{text} ({plugin.name})"))
    return rows or [("none", "`sfvae_jax list plugins --plugins=FILE` shows what a file adds")]


_OPTIMIZERS = "sfvae_jax.training.updates.optimizers"


_ROWS: dict[str, tuple[str, Callable[[], Iterable[Row]]]] = {
    "configs": ("--config=NAME[:PRESET]", _configs),
    "objectives": ("--config.objective.name=NAME", _of_table("sfvae_jax.objectives", "OBJECTIVES")),
    "posteriors": ("--config.posterior.name=NAME", _of_table("sfvae_jax.posteriors", "POSTERIORS")),
    "likelihoods": (
        "--config.likelihood.name=NAME",
        _of_table("sfvae_jax.likelihoods", "LIKELIHOODS"),
    ),
    "models": ("--config.model.name=NAME", _of_table("sfvae_jax.models", "MODELS")),
    "optimizers": ("--config.train.optimizer=NAME", _of_table(_OPTIMIZERS, "OPTIMIZERS")),
    "data": ("--config.data.name=NAME", _data),
    "sequences": ("kinds of sequences", _sequences),
    "evaluations": (
        "--config.evaluations.names=NAME,NAME",
        _of_table("sfvae_jax.evaluation", "EVALUATIONS"),
    ),
    "plugins": ("--config.plugins=FILE,...", _plugins),
}

# What can be listed.
KINDS = tuple(_ROWS)


def listed(kinds: Sequence[str] = (), plugins: Sequence[str] = ()) -> str:
    """Returns the names of some kinds with their descriptions, below a heading for each kind.

    Args:
        kinds: from KINDS; empty: all of them.
        plugins: files and modules to import, whose parts are listed too.

    Raises:
        UsageError: if a kind is unknown, or a plugin cannot be imported.
    """
    if plugins:
        # Imported here so that other lists do not wait for it.
        from sfvae_jax.plugins import import_plugins

        import_plugins(plugins)
    for kind in kinds:
        if kind not in _ROWS:
            raise unknown_name("kind", kind, KINDS)
    return "\n\n".join(_section(kind) for kind in dict.fromkeys(kinds or KINDS))


def first_line(path: Path) -> str:
    """Returns the first line of the docstring of a Python file, without its full stop."""
    return _docstring(path).partition("\n")[0].removesuffix(".")


def presets_of(path: Path) -> str:
    """Returns the presets of a config file, as its docstring has them under "Presets:"."""
    paragraph = _docstring(path).partition("\nPresets:\n")[2].partition("\n\n")[0]
    return ", ".join(_PRESETS.findall(paragraph))


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _section(kind: str) -> str:
    key, rows = _ROWS[kind]
    found = list(rows())
    width = max((len(name) for name, _ in found), default=0) + 4
    lines = [
        textwrap.fill(
            text,
            max(_WIDTH, width + 40),
            initial_indent=f"  {name}".ljust(width),
            subsequent_indent=" " * width,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in found
    ]
    return "\n".join([f"{kind} ({key})", *lines])
