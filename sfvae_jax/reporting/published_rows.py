"""The published figures that stand beside a run's measures: which row, and which of its steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from sfvae_jax.reporting.runs import RUNS, Run
from sfvae_jax.runs.files.config_file import flatten
from sfvae_jax.runs.published import meets, other_data


class PublishedFigure(NamedTuple):
    """A paper's figure for a measure.

    Attributes:
        mean: the mean over its runs.
        std: the standard deviation over its runs; None if the paper has none.
        step: the paper's step, as a text.
        data: the paper's data set, if the run's is another one; else None.
    """

    mean: float
    std: float | None
    step: str
    data: str | None


def published_figures(run: Run) -> dict[str, Any]:
    """Returns what a run's config file quotes: "source", "num_runs", "setting" and "rows"."""
    return run.get("published") or {}


class PublishedRow:
    """The paper's row for a run: the first whose "where" the run's config meets.

    A row without "where" is for the objective that it is named after.
    """

    def __init__(self, run: Run) -> None:
        """Finds the row, if there is one.

        Args:
            run: the contents of results.json, as from `read_run`.
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
        """Returns the figure for a measure at a step.

        At a run's last step it is the one at the paper's last step, or the one under "end", which
        is from the end of the paper's training.
        """
        cells = {key: cell for key, cell in self._row.get(measure, {}).items() if key != RUNS}
        if step not in cells and not (last and cells):
            return None
        key = step if step in cells else "end" if "end" in cells else max(cells, key=int)
        mean, std = cells[key]
        return PublishedFigure(mean, std, step if key == "end" else key, self._data)
