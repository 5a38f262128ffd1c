"""The grammar of SMILES, against RDKit."""

import re
from pathlib import Path

import pytest

import sfvae_jax.data
from sfvae_jax.grammars import SMILES

MOLECULES = Path(sfvae_jax.data.__file__).with_name("molecules.smi").read_text().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "[13CH4]",
        "[Na+].[Cl-]",
        "C%12CC%12",
        "C=%11CC=%11",
        "[*:1]c1ccccc1",
        "F/C=C\\F",
        "F\\C=C\\F",
        "C1CC=1",
        "C(.C)O",
        "[2H]O[2H]",
        "[Fe+2]",
        "[Fe++]",
        "[N@@H+]",
        "[12C@H-:123]",
        "C1:C:C:C:C:C:1",
        "[O-]S(=O)(=O)[O-].[Cu+2]",
        "C12C3C4C1C5C2C3C45",
        "[H][H]",
        "CSc1nccs1",
        "Clc1ccc(Br)cc1B(O)O",
    ],
)
def test_what_the_notation_allows(text):
    assert SMILES.write(SMILES.parse(text)) == text


def test_it_is_small():
    assert SMILES.size < 150


def test_all_that_rdkit_writes_of_known_molecules():
    """Canonical, from a random atom, without aromatic atoms, with all bonds or all hydrogens."""
    chem = pytest.importorskip("rdkit.Chem", reason="RDKit is not installed")
    styles = [
        {},
        {"doRandom": True},
        {"kekuleSmiles": True},
        {"allBondsExplicit": True},
        {"allHsExplicit": True},
    ]
    for line in MOLECULES:
        molecule = chem.MolFromSmiles(line.split()[0])
        for style in styles:
            text = chem.MolToSmiles(molecule, **style)
            assert SMILES.write(SMILES.parse(text)) == text


def elements(formula):
    """Its elements with their numbers, and its charge; without carbon they have no set order."""
    return sorted(re.findall(r"[A-Z][a-z]?\d*|[+-]\d*", formula))


def test_known_molecules_are_what_their_names_say():
    """Each has the formula that stands beside it, and none occurs twice."""
    chem = pytest.importorskip("rdkit.Chem", reason="RDKit is not installed")
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    canonical = set()
    for line in MOLECULES:
        text, formula, _ = line.split("\t")
        molecule = chem.MolFromSmiles(text)
        assert molecule is not None, line
        assert elements(CalcMolFormula(molecule)) == elements(formula), line
        canonical.add(chem.MolToSmiles(molecule))
    assert len(canonical) == len(MOLECULES) >= 200
