"""A kind of sequences that is added from outside: the example of docs/sequences.md."""

import re

import numpy as np
import pytest
from helpers import ROOT, load_config
from sequence_models import trained_copy

from sfvae_jax import data, evaluation
from sfvae_jax.config import base_config, resolve
from sfvae_jax.grammars import Language, sequence_grammar
from sfvae_jax.plugins import import_plugins

LINES = ("ab", "aab", "b", "abba", "bb", "a")


@pytest.fixture
def words(tmp_path, own_cache, no_plugins, monkeypatch):
    """The name of a data set of the kind that the page defines, in words.py of this folder."""
    page = (ROOT / "docs" / "sequences.md").read_text().split("## A kind of your own")[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.py").write_text(re.search(r"```python\n(.*?)```", page, re.S)[1])
    import_plugins(["words.py"])
    path = tmp_path / "words.txt"
    path.write_text("\n".join(LINES))
    return f"words:{path}"


def test_it_is_read_checked_and_told_in_a_config(words):
    config = load_config("equations").get_config("laptop")
    config.unlock()
    config.plugins = ("words.py",)
    config.data.update(name=words, num_test=2)
    resolved = resolve(config)
    language = data.language(resolved.data)
    assert (language.kind, language.num_places) == ("words", 12)
    found = [data.load(resolved.data, split) for split in ("train", "test")]
    assert sorted(language.write(x) for x in np.concatenate(found)) == sorted(LINES)


@pytest.mark.parametrize("tokens", ["grammar", "characters"])
def test_its_texts_are_judged_searched_and_drawn(words, tokens, tmp_path):
    config = base_config().data
    config.update(name=words, tokens=tokens, max_length=6)
    language, x = data.language(config), data.load(config, "train")
    trained = trained_copy(language, x, parts={"train": x}, stddev=0.5)
    trained.config.names = ("sequence_samples", "bayesian_optimization", "sequence_pictures")
    trained.config.sequence_samples.update(sources=("prior",), num_samples=20)
    trained.config.sequence_pictures.update(sources=("prior",), num_steps=3)
    options = dict(num_trials=1, num_iterations=1, batch_size=4)
    trained.config.bayesian_optimization.update(options)
    metrics, _, _, texts = evaluation.measure(trained)
    assert tokens == "characters" or metrics["valid_prior"] == 1.0
    assert metrics["search_best_1"] == texts["search_best_1"].count("a")
    for name in trained.config.names:
        evaluation.draw(trained, name, {}, "title", tmp_path)
    names = {"reconstructions.png", "sentences.png", "interpolations.png", "search.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == names


def test_a_kind_that_nobody_has_added_is_told():
    unknown = Language("runes", sequence_grammar("ab"), 4)
    with pytest.raises(evaluation.NotApplicable, match="unknown kind of sequences 'runes'"):
        evaluation.is_valid(unknown, "a")
