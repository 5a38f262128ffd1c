"""Molecules by RDKit: which SMILES can be read, one name for each molecule, scores, drawings.

RDKit comes with the extra `molecules` and is imported when it is first asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sfvae_jax.evaluation.trained_model import NotApplicable


def rdkit_missing() -> str:
    """Why RDKit cannot be used, in words; empty if it can."""
    if importlib.util.find_spec("rdkit") is not None:
        return ""
    return "molecules need RDKit, which is not installed; pip install 'sfvae_jax[molecules]'"


def is_valid(smiles: str) -> bool:
    """Whether RDKit reads it as a molecule of one atom or more.

    Raises:
        NotApplicable: if RDKit is not installed, as all functions here.
    """
    return _read(smiles) is not None


def canonical(smiles: str) -> str | None:
    """RDKit's own SMILES of the molecule, the same however it is written; None if it reads none."""
    molecule = _read(smiles)
    return None if molecule is None else _chem().MolToSmiles(molecule)


def log_p(smiles: str) -> float:
    """The octanol-water partition coefficient log P, by Crippen's contributions of atoms.

    Raises:
        ValueError: if RDKit does not read the SMILES.
    """
    return float(_log_p(_molecule(smiles)))


@dataclasses.dataclass(frozen=True)
class ScoreStatistics:
    """What `penalized_log_p` standardises its three terms by, each [3].

    Attributes:
        means: of log P, minus the SA score and minus the ring's excess.
        stddevs: their standard deviations; 1 where a term is the same for all molecules.
    """

    means: np.ndarray
    stddevs: np.ndarray


def score_statistics(smiles: Iterable[str]) -> ScoreStatistics:
    """Means and standard deviations of the terms of `penalized_log_p` over a set of molecules.

    SMILES that RDKit does not read are left out.

    Raises:
        ValueError: if it reads none of them.
    """
    molecules = (_read(text) for text in smiles)
    terms = np.array([_score_terms(molecule) for molecule in molecules if molecule is not None])
    if not len(terms):
        raise ValueError("there is no molecule to take statistics of")
    stddevs = np.std(terms, axis=0)
    return ScoreStatistics(np.mean(terms, axis=0), np.where(stddevs > 0.0, stddevs, 1.0))


def penalized_log_p(smiles: str, statistics: ScoreStatistics) -> float:
    """The score that GrammarVAE maximises: log P, less what makes a molecule hard to come by.

        z(log P) + z(-SA) + z(-max(0, largest ring - 6)),   z(t) = (t - mean) / standard deviation

    SA is the synthetic accessibility score of Ertl and Schuffenhauer (2009), from 1, easy, to 10.
    The largest ring is that of RDKit's smallest set of smallest rings; GrammarVAE's own code takes
    a cycle basis, which may hold larger cycles of fused rings and depends on the atoms' order.

    Args:
        smiles: of the molecule.
        statistics: of the training set.

    Raises:
        ValueError: if RDKit does not read the SMILES.
    """
    terms = _score_terms(_molecule(smiles))
    return float(np.sum((terms - statistics.means) / statistics.stddevs))


def molecule_image(smiles: str, size: tuple[int, int]) -> np.ndarray | None:
    """The structural formula, uint8 [height, width, 3]; None if RDKit does not read it.

    Args:
        smiles: of the molecule.
        size: width and height in pixels.
    """
    molecule = _read(smiles)
    if molecule is None:
        return None
    from rdkit.Chem import Draw

    return np.asarray(Draw.MolToImage(molecule, size=size).convert("RGB"))


def _chem() -> Any:
    """The module rdkit.Chem."""
    if reason := rdkit_missing():
        raise NotApplicable(reason)
    from rdkit import Chem

    return Chem


def _read(smiles: str) -> Any:
    """RDKit's molecule of one atom or more, or None; without what RDKit itself would print."""
    chem = _chem()
    from rdkit import rdBase

    with rdBase.BlockLogs():
        molecule = chem.MolFromSmiles(smiles)
    return molecule if molecule is not None and molecule.GetNumAtoms() else None


def _molecule(smiles: str) -> Any:
    molecule = _read(smiles)
    if molecule is None:
        raise ValueError(f"RDKit reads no molecule in {smiles!r}")
    return molecule


def _score_terms(molecule: Any) -> np.ndarray:
    """log P, minus SA, minus the atoms of the largest ring beyond six, [3]."""
    largest = max(map(len, molecule.GetRingInfo().AtomRings()), default=0)
    accessibility = _sa_scorer().calculateScore(molecule)
    return np.array([_log_p(molecule), -accessibility, -max(0, largest - 6)], np.float64)


def _log_p(molecule: Any) -> float:
    from rdkit.Chem import Crippen

    return Crippen.MolLogP(molecule)


@functools.cache
def _sa_scorer() -> Any:
    """The module sascorer of RDKit's contributions, which no package of its own holds."""
    from rdkit.Chem import RDConfig

    path = Path(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
    if not path.is_file():
        raise NotApplicable(f"this RDKit comes without its SA score, {path}; install its wheel")
    spec = importlib.util.spec_from_file_location("sascorer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
