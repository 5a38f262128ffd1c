"""Reasons why runs of a table cannot be carried out on this machine."""

from __future__ import annotations

import importlib.util

import ml_collections

from launch.ledger.entries import Entry
from sfvae_jax import data
from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.runs.decoder_from import check_source


class Obstacles:
    """Finds out why runs cannot be carried out here; opens each data set once."""

    def __init__(self) -> None:
        self._of_data: dict[str, str] = {}

    def of(self, entry: Entry) -> str:
        """Returns why a run cannot be carried out, or "".

        It looks at the settings, at a run whose decoder is needed, and at the data.
        """
        try:
            config = entry.config
            if config.train.decoder_from:
                check_source(config)
        except UsageError as error:
            return in_one_line(error).removeprefix(f"run {entry.path}: ")
        # With TensorFlow a run downloads and prepares its data set, which would take too long here.
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
