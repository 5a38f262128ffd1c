"""Molecules against published values, RDKit's own test data and counts by hand."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import text_file

from sfvae_jax.grammars import chemistry

pytest.importorskip("rdkit", reason="needs RDKit: pip install 'sfvae_jax[molecules]'")

ASPIRIN, CAFFEINE = "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CCO", True),
        ("c1ccccc1", True),
        ("c1ccccc", False),  # a ring that does not close
        ("C(C", False),
        ("C(C)(C)(C)(C)C", False),  # carbon of five bonds
        ("c1ccccc1C%", False),
        ("", False),
    ],
)
def test_validity_of_molecules(smiles, expected, capfd):
    assert chemistry.is_valid(smiles) is expected
    assert (chemistry.canonical(smiles) is not None) is expected
    assert capfd.readouterr() == ("", "")  # RDKit says nothing of its own


def test_one_molecule_has_one_canonical_text():
    toluene = ("Cc1ccccc1", "c1ccccc1C", "CC1=CC=CC=C1", "C1=CC(C)=CC=C1")
    assert len({chemistry.canonical(smiles) for smiles in toluene}) == 1
    assert chemistry.canonical("C[C@H](N)O") != chemistry.canonical("C[C@@H](N)O")


def test_log_p_is_the_sum_of_crippens_contributions():
    """Wildman and Crippen (1999), Table 1: C1 0.1441, C3 -0.2035, H1 0.1230, H2 -0.2677..."""
    assert chemistry.log_p("C") == pytest.approx(0.1441 + 4 * 0.1230)
    assert chemistry.log_p("c1ccccc1") == pytest.approx(6 * (0.1581 + 0.1230))  # C18, H1
    with pytest.raises(ValueError, match="RDKit cannot read 'C\\(' as a molecule"):
        chemistry.log_p("C(")


def _raw(smiles):
    """Returns the score with statistics that do not change its terms."""
    plain = chemistry.ScoreStatistics(np.zeros(3), np.ones(3))
    return chemistry.penalized_log_p(smiles, plain)


def test_the_score_matches_rdkits_published_test_set():
    """Its hundred molecules of ZINC with their synthetic accessibility, to three places."""
    from rdkit.Chem import RDConfig

    path = Path(RDConfig.RDContribDir, "SA_Score", "data", "zim.100.txt")
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    assert len(rows) == 100
    for row in rows:
        penalty = chemistry.log_p(row["smiles"]) - _raw(row["smiles"])
        excess = penalty - float(row["sa_score"])  # of the largest ring, a whole number
        assert excess == pytest.approx(max(0, round(excess)), abs=6e-4)


@pytest.mark.parametrize(
    ("smiles", "excess"),
    [
        ("CCO", 0),
        ("C1CCCCC1", 0),
        ("C1CC1", 0),
        ("C1CCCCCCC1", 2),
        ("C1CCCCCCC1C1CCCCCC1", 2),  # of eight and of seven
        ("c1ccc2ccccc2c1", 0),  # fused: two of six, not one of ten
    ],
)
def test_only_atoms_beyond_six_of_the_largest_ring_count(smiles, excess):
    ring_only = chemistry.ScoreStatistics(np.zeros(3), np.array([1e9, 1e9, 1.0]))
    found = chemistry.penalized_log_p(smiles, ring_only)
    assert found == pytest.approx(-excess, abs=1e-6)


def test_the_training_set_has_scores_of_mean_0():
    smiles = [ASPIRIN, CAFFEINE, "C1CCCCCCC1", "CCO", "C(("]
    statistics = chemistry.score_statistics(smiles)
    readable = smiles[:4]
    scores = [chemistry.penalized_log_p(text, statistics) for text in readable]
    assert np.mean(scores) == pytest.approx(0.0, abs=1e-12)
    log_p = [chemistry.log_p(text) for text in readable]
    assert statistics.means[0] == pytest.approx(np.mean(log_p))
    assert statistics.stddevs[0] == pytest.approx(np.std(log_p))
    assert statistics.means[2] == -0.5
    assert statistics.stddevs[2] == pytest.approx(np.sqrt(0.75))
    # Without large rings that term is the same for all, and counts in atoms.
    flat = chemistry.score_statistics([ASPIRIN, CAFFEINE])
    assert flat.stddevs[2] == 1.0
    with pytest.raises(ValueError, match="cannot read any of the molecules"):
        chemistry.score_statistics(["C(("])


@pytest.mark.slow
def test_statistics_of_zinc_match_published_ones():
    """Those of 10,000 lie within 4.5 standard errors of the junction tree VAE's, of all 250,000."""
    smiles = text_file("zinc_20k.smi").read_text().split()[:10_000]
    found = chemistry.score_statistics(smiles)
    means = np.array([2.4570953396190123, -3.0525811293166134, -0.0485696876403053])
    stddevs = np.array([1.434324401111988, 0.8335207024513095, 0.2860212110245455])
    assert np.all(np.abs(found.means - means) < 4.5 * stddevs / 100)
    np.testing.assert_allclose(found.stddevs[:2], stddevs[:2], rtol=0.05)


def test_a_formula_is_drawn_in_the_requested_size():
    image = chemistry.molecule_image(CAFFEINE, (150, 100))
    assert image.shape == (100, 150, 3)
    assert image.dtype == np.uint8
    inked = np.argwhere(image.min(axis=2) < 200)
    assert np.all(np.ptp(inked, axis=0) > 50)  # it fills the picture
    assert chemistry.molecule_image("C((", (150, 100)) is None


def test_without_rdkit_the_extra_is_named(monkeypatch):
    assert chemistry.rdkit_missing() == ""
    monkeypatch.setattr(chemistry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sfvae_jax\[molecules\]'"):
        chemistry.is_valid("CCO")
    with pytest.raises(ModuleNotFoundError, match="need RDKit"):
        chemistry.log_p("CCO")


@pytest.mark.slow  # a process of its own imports JAX
def test_rdkit_is_not_imported_before_it_is_needed():
    module = "sfvae_jax.grammars.chemistry"
    code = f"import sys; import {module}; sys.exit('rdkit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
