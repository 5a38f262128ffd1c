"""Validity, canonical forms, scores and drawings of SMILES, computed by RDKit.

RDKit comes with the extra `molecules` and is imported when a function here first needs it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


class NoMolecule(ValueError):
    """RDKit cannot read a molecule from a text, or from any of several texts."""


def rdkit_missing() -> str:
    """Returns why RDKit cannot be used and what to do, or an empty string if it can be used."""
    if importlib.util.find_spec("rdkit") is not None:
        return ""
    return "molecules need RDKit, which is not installed; pip install 'sfvae_jax[molecules]'"


def is_valid(smiles: str) -> bool:
    """Returns whether RDKit reads a molecule with at least one atom from a text.

    Raises:
        ModuleNotFoundError: if RDKit is not installed; all functions that need it raise this.
    """
    return _read(smiles) is not None


def canonical(smiles: str) -> str | None:
    """Returns the one SMILES that RDKit writes for a molecule; None if it reads no molecule."""
    molecule = _read(smiles)
    return None if molecule is None else _chem().MolToSmiles(molecule)


def log_p(smiles: str) -> float:
    """Returns the octanol-water partition coefficient log P, from Crippen's atom contributions.

    Raises:
        NoMolecule: if RDKit does not read the SMILES.
    """
    return float(_log_p(_molecule(smiles)))


@dataclasses.dataclass(frozen=True)
class ScoreStatistics:
    """Statistics that standardise the three terms of `penalized_log_p`, each [3].

    Attributes:
        means: the means of log P, of minus the SA score, and of minus the atoms beyond six in the
            largest ring.
        stddevs: the standard deviations of the same terms; 1 for a term that is constant.
    """

    means: np.ndarray
    stddevs: np.ndarray


def score_statistics(smiles: Iterable[str]) -> ScoreStatistics:
    """Returns means and standard deviations of the terms of `penalized_log_p` over molecules.

    SMILES that RDKit cannot read are left out.

    Raises:
        NoMolecule: if RDKit can read none of them.
    """
    molecules = (_read(text) for text in smiles)
    terms = np.array([_score_terms(molecule) for molecule in molecules if molecule is not None])
    if not len(terms):
        raise NoMolecule(
            "RDKit cannot read any of the molecules from which statistics are computed"
        )
    stddevs = np.std(terms, axis=0)
    return ScoreStatistics(np.mean(terms, axis=0), np.where(stddevs > 0.0, stddevs, 1.0))


def penalized_log_p(smiles: str, statistics: ScoreStatistics) -> float:
    """Returns the score that GrammarVAE maximises: log P minus two penalties.

        z(log P) + z(-SA) + z(-max(0, largest ring - 6)),   z(t) = (t - mean) / standard deviation

    SA is the synthetic accessibility score of Ertl and Schuffenhauer (2009), from 1 (easy) to 10.
    The largest ring is that of RDKit's smallest set of smallest rings. GrammarVAE's own code takes
    a cycle basis instead, which may hold larger cycles of fused rings and depends on the order of
    the atoms.

    Args:
        smiles: the molecule.
        statistics: the statistics of the training set.

    Raises:
        NoMolecule: if RDKit does not read the SMILES.
    """
    terms = _score_terms(_molecule(smiles))
    return float(np.sum((terms - statistics.means) / statistics.stddevs))


def molecule_image(smiles: str, size: tuple[int, int]) -> np.ndarray | None:
    """Returns the structural formula, uint8 [height, width, 3]; None if RDKit does not read it.

    Args:
        smiles: the molecule.
        size: width and height in pixels.
    """
    molecule = _read(smiles)
    if molecule is None:
        return None
    from rdkit.Chem import Draw

    return np.asarray(Draw.MolToImage(molecule, size=size).convert("RGB"))


def _chem() -> Any:
    """Returns the module rdkit.Chem."""
    if reason := rdkit_missing():
        raise ModuleNotFoundError(reason)
    from rdkit import Chem

    return Chem


def _read(smiles: str) -> Any:
    """Returns RDKit's molecule if it has an atom, else None; RDKit's log is silenced."""
    chem = _chem()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        molecule = chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def _molecule(smiles: str) -> Any:
    molecule = _read(smiles)
    if molecule is None:
        raise NoMolecule(f"RDKit cannot read {smiles!r} as a molecule")
    return molecule


def _score_terms(molecule: Any) -> np.ndarray:
    """Returns log P, minus SA, and minus the atoms of the largest ring beyond six, [3]."""
    largest = max(map(len, molecule.GetRingInfo().AtomRings()), default=0)
    accessibility = _sa_scorer().calculateScore(molecule)
    return np.array([_log_p(molecule), -accessibility, -max(0, largest - 6)], np.float64)


def _log_p(molecule: Any) -> float:
    # It is imported by name because MolLogP is a lambda without a type.
    return importlib.import_module("rdkit.Chem.Crippen").MolLogP(molecule)


@functools.cache
def _sa_scorer() -> Any:
    """Returns RDKit's contributed module sascorer, which is a file outside any package."""
    from rdkit.Chem import RDConfig

    path = Path(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    spec = importlib.util.spec_from_file_location("sascorer", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(
            f"this installation of RDKit lacks {path}, which computes the SA score; reinstall it"
            " with pip install 'sfvae_jax[molecules]'"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
