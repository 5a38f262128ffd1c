"""Why runs that a table wants cannot be carried out here."""

from __future__ import annotations

import importlib.util

import ml_collections

from launch.ledger.entries import Entry
from sfvae_jax import data
from sfvae_jax.errors import UsageError, in_one_line


class Obstacles:
    """Why runs cannot be carried out here; data sets are opened once."""

    def __init__(self) -> None:
        self._of_data: dict[str, str] = {}

    def of(self, entry: Entry) -> str:
        """Why a run cannot be carried out: a refused configuration, or missing data."""
        try:
            config = entry.config
        except UsageError as error:
            return in_one_line(error).removeprefix(f"run {entry.path}: ")
        # A run downloads and prepares a set where it can, which here would take too long.
        downloads = data.source_of(config.data.name).downloads
        if downloads and importlib.util.find_spec("tensorflow"):
            return ""
        key = str(config.data.to_dict())
        if key not in self._of_data:
            self._of_data[key] = _obstacle(config.data)
        return self._of_data[key]


def _obstacle(group: ml_collections.ConfigDict) -> str:
    try:
        data.Splits(group).open_examples("train")
    except UsageError as error:
        return in_one_line(error)
    return ""
