"""The grammar of SMILES, against OpenSMILES and RDKit."""

import hashlib
import re
from pathlib import Path

import pytest

import sfvae_jax.data.sequences
from sfvae_jax.grammars import COMMON_SMILES, SMILES, ParseError

MOLECULES = (
    Path(sfvae_jax.data.sequences.__file__).with_name("molecules.smi").read_text().splitlines()
)


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
def test_notation(text):
    for grammar in (SMILES, COMMON_SMILES):
        assert grammar.write(grammar.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "[Cs+].[I-]",
        "[Xe]",
        "O=[W](=O)=O",
        "[Fe+3].[Cl-].[Cl-].[Cl-]",
        "[238U+6]",
        "[Hs+12]",
        "[SiH2-10]",
        "[Sc+3]c1ccsc1",
        "C[Sn](C)(C)C",
        "c1cc[te]c1",
        "c1cc[si]cc1",
        "[AsH4+]",
        "[C@TH1H](F)(Cl)Br",
        "C[C@AL2]",
        "[Pt@SP3](F)(Cl)(Br)I",
        "S[As@TB15](F)(Cl)(Br)N",
        "[59Co@OH30H2+2:7]",
        "[As@TB1H]",
        "[Ga-]$[As+]",
        "C1CCCC$1",
    ],
)
def test_notation_of_opensmiles(text):
    assert SMILES.write(SMILES.parse(text)) == text


def test_brackets_take_every_element_and_nothing_else():
    """All 118 elements, with the names that RDKit has if it is installed."""
    names = {
        rule.right[0][1:-1] for rule in SMILES.rules if rule.left == "element" and rule.right
    } - set(["b", "c", "n", "o", "p", "s", "se", "as", "si", "te", "*"])
    assert len(names) == 118
    table = pytest.importorskip("rdkit.Chem", reason="RDKit is not installed").GetPeriodicTable()
    assert names == {table.GetElementSymbol(number) for number in range(1, 119)}
    for name in names:
        for text in (f"[{name}]", f"[12{name}@@H3+2:1]"):
            assert SMILES.write(SMILES.parse(text)) == text
    for other in ("Xx", "D", "cs", "Uuo"):
        with pytest.raises(ParseError):
            SMILES.parse(f"[{other}]")


def test_the_grammar_of_common_elements_never_changes():
    """A run does not keep what its indices mean: the rules and their order must never change."""
    rules = "\n".join(map(str, COMMON_SMILES.rules)).encode()
    assert hashlib.sha256(rules).hexdigest()[:16] == "5ce9180bf1c324b5"
    assert (COMMON_SMILES.size, SMILES.size) == (147, 234)
    terminals = set(COMMON_SMILES.terminals)
    assert terminals < set(SMILES.terminals)


def test_both_grammars_take_the_same_number_of_rules():
    for line in MOLECULES:
        text = line.split()[0]
        assert len(COMMON_SMILES.parse(text)) == len(SMILES.parse(text))


def test_every_smiles_that_rdkit_writes_for_known_molecules():
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
    """Returns the elements of a formula with their numbers, and its charge."""
    return sorted(re.findall(r"[A-Z][a-z]?\d*|[+-]\d*", formula))


def test_known_molecules_have_the_formulas_beside_them():
    """Each has the formula beside it, and none occurs twice."""
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
