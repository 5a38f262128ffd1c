"""The config files of the papers' tables, from the folder configs/."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import ml_collections


def paper_config(name: str, preset: str = "") -> ml_collections.ConfigDict:
    """Returns the config of configs/NAME.py for a preset."""
    path = Path(__file__).parents[2] / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)
