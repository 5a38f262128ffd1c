"""Molecules: those that are shipped, and which elements the grammar has."""

import importlib.resources
import json

import pytest
from helpers import load_config
from sequence_data import group, refused, texts

from sfvae_jax import data
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import COMMON_SMILES, SMILES
from sfvae_jax.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("tokens", ["grammar", "characters"])
def test_well_known_molecules(tokens):
    config = group("molecules", tokens=tokens, num_test=50)
    found = texts(config) + texts(config, "test")
    assert "CC(=O)Oc1ccccc1C(=O)O" in found  # aspirin
    assert len(set(found)) == len(found) >= 200
    assert data.load_labels(config, "train") is None


@pytest.mark.parametrize("tokens", ["grammar", "characters"])
def test_all_well_known_molecules_in_their_order(tokens):
    config = group("molecules", tokens=tokens)
    part, language = data.open_source(config)["train"], data.language(config)
    package = importlib.resources.files("sfvae_jax.data.sequences")
    lines = package.joinpath("molecules.smi").read_text().splitlines()
    expected = [line.split("\t")[0] for line in lines]
    assert len(part) == 350
    assert [language.write(part[i]) for i in range(len(part))] == expected


@pytest.mark.parametrize("tokens", ["grammar", "characters"])
def test_elements_of_molecules(write, tokens):
    name = write("[Cs+].[Cl-]\nCC[Na]\n", "molecules")
    for elements in ("", "all"):
        config = group(name, elements=elements, tokens=tokens)
        assert sorted(texts(config)) == ["CC[Na]", "[Cs+].[Cl-]"]
    config = group(name, elements="common", tokens=tokens)
    if tokens == "grammar":
        assert "line 1, column 3: unexpected 's'" in refused(config)
        assert data.language(config).grammar is COMMON_SMILES
        assert data.language(group("molecules")).grammar is SMILES
    else:
        assert data.language(config).grammar.size < data.language(group(name)).grammar.size


def test_elements_are_kept_with_a_run(write, tmp_path):
    """A run from before the option existed has the common elements and can be resumed."""
    config = load_config("molecules").get_config("laptop")
    assert config.data.elements == ""
    resolved = resolve(config)
    assert resolved.data.elements == "all"
    assert resolve(resolved) == resolved
    assert resolve(load_config("equations").get_config("laptop")).data.elements == ""
    files = Workdir(tmp_path)
    files.claim(resolved)
    kept = json.loads(files.config.read_text())
    del kept["data"]["elements"]
    files.config.write_text(json.dumps(kept))
    with pytest.raises(
        UsageError, match="data.elements is 'common' in that run and 'all' in this one"
    ):
        files.check(resolved, base_config())
    config.data.elements = "common"
    files.check(resolve(config), base_config())
