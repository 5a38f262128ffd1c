"""The published figures that stand beside a run's measures: which row, and which of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from sfvae_jax.reporting.runs import RUNS, Run
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.published import meets, other_data


class PublishedFigure(NamedTuple):
    """What a paper has of a measure.

    Attributes:
        mean: over its runs.
        std: over its runs; None where the paper has none.
        step: at which it stands there, as a text.
        data: the paper's data set where the run's is another; else None.
    """

    mean: float
    std: float | None
    step: str
    data: str | None


def published_figures(run: Run) -> dict[str, Any]:
    """All that the config file of a run has published: "source", "num_runs", "setting", "rows"."""
    return run.get("published") or {}


class PublishedRow:
    """The paper's row for a run: the one whose "where" the config meets; without, by objective."""

    def __init__(self, run: Run) -> None:
        """Finds it; a run may have none.

        Args:
            run: contents of results.json, as from `read_run`.
        """
        figures, config = published_figures(run), flatten(run["config"])
        self._row: dict[str, Any] = {}
        for name, row in figures.get("rows", {}).items():
            where = flatten(row.get("where", {"objective": {"name": name}}))
            if meets(config, where):
                self._row = row
                break
        self._data = other_data(config, figures) if self._row else None

    def at(self, measure: str, step: str, *, last: bool) -> PublishedFigure | None:
        """The figure of a measure at a step; at the end of a run, the one at the paper's own end.

        A figure without a step, of the end of its training, has the key "end".
        """
        cells = {key: cell for key, cell in self._row.get(measure, {}).items() if key != RUNS}
        if step in cells:
            return PublishedFigure(*cells[step], step, self._data)
        if not (last and cells):
            return None
        final = "end" if "end" in cells else max(cells, key=int)
        return PublishedFigure(*cells[final], step if final == "end" else final, self._data)
