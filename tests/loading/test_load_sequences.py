"""Runs of sequences: texts in, texts out."""

import json

import jax
import numpy as np
import pytest
from helpers import load_config
from jax import export
from run_folders import of_early_version, save_untrained

import sfvae_jax
from sfvae_jax import data
from sfvae_jax.errors import UsageError

NETWORKS = [
    [["conv", 0.5], ["pool", 0.25], ["dense", 1]],
    [["dense", 0.125]],
    [["conv", 0.75], ["conv", 0.5]],
]
KINDS = {
    "equations": {},
    "expressions by characters": {"data.tokens": "characters"},
    "molecules": {"data.elements": "common"},
    "molecules by characters": {"data.tokens": "characters"},
    "architectures": {},
    "architectures of a file": {"model.value_activation": "sigmoid"},
}
CONFIGS = {"expressions": "equations"}


def _config(kind, tmp_path):
    name = kind.partition(" ")[0]
    config = load_config(CONFIGS.get(name, name)).get_config("laptop")
    changes = {
        "objective.name": "sampling",
        "model.latent_size": 3,
        "model.hidden_sizes": (8,),
        "model.decoder_sizes": (8,),
        "data.num_test": 0,
        "data.num_examples": 3,
        "train.batch_size": 3,
    }
    if kind.endswith("file"):
        path = tmp_path / "networks.jsonl"
        path.write_text("".join(json.dumps(network) + "\n" for network in NETWORKS))
        changes["data.name"] = f"architectures:{path}"
    for key, value in {**changes, **KINDS[kind]}.items():
        config.update_from_flattened_dict({key: value})
    return config


@pytest.mark.parametrize("kind", KINDS)
def test_texts_go_in_and_come_out(kind, tmp_path, monkeypatch):
    config = save_untrained(_config(kind, tmp_path), tmp_path / "run")
    stored = data.open_examples(config.data, "train")[:3]
    language = data.language(config.data)
    texts = [language.write(example) for example in stored]
    (tmp_path / "networks.jsonl").unlink(missing_ok=True)
    monkeypatch.setattr("sfvae_jax.data.splits.open_source", None)

    run = sfvae_jax.load(tmp_path / "run")
    by_text, by_rules = run.encode(texts).mean, run.encode(stored).mean
    assert by_text.shape == (3, 3)
    np.testing.assert_allclose(by_text, by_rules, rtol=1e-2, atol=1e-3)  # values have 3 digits
    found = run.reconstruct(texts)
    assert len(found) == 3
    assert all(isinstance(text, str) for text in found)
    assert found == run.decode(by_text)
    assert len(run.sample(0, 2)) == 2
    assert np.isfinite(run.log_prob(0, texts[:2], num_samples=4)).all()
    assert jax.tree.leaves(run.likelihood_parameters(by_text))[0].shape[0] == 3
    for nothing in (run.decode(np.zeros((0, 3))), run.reconstruct([]), run.sample(0, 0)):
        assert nothing == []
    assert run.encode([]).mean.shape == (0, 3)

    with pytest.raises(UsageError, match=r"x\[1\] '§' is not a sentence of the") as caught:
        run.encode([texts[0], "§"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"x must be a list of texts, such as \[x\]; got one text"):
        run.encode(texts[0])
    with pytest.raises(UsageError, match="x must be texts, or rules of shape"):
        run.encode(np.zeros((2, 3)))
    with pytest.raises(UsageError, match="rules in x must be whole numbers in 0"):
        run.encode(np.full((2, *run.example_shape), 1000))

    path = run.export(tmp_path / "decoder.stablehlo")
    rules = export.deserialize(bytearray(path.read_bytes())).call(by_text)
    assert [language.write(np.asarray(example)) for example in rules] == found


def test_texts_that_are_too_long_or_lack_a_value(tmp_path):
    save_untrained(_config("architectures of a file", tmp_path), tmp_path / "run")
    run = sfvae_jax.load(tmp_path / "run")
    with pytest.raises(UsageError, match="it takes 5 rules, more than the 4 places"):
        run.encode(["conv(1) conv(1) conv(1) conv(1)"])
    for text in ("conv", "conv(", "conv(x)", "conv(inf)", "(1)"):
        with pytest.raises(UsageError, match=r"x\[0\] .* is not a sentence of the architectures"):
            run.encode([text])


def test_the_length_that_an_early_run_took_from_its_file(tmp_path):
    """It is asked for if the file is gone."""
    config = save_untrained(_config("architectures of a file", tmp_path), tmp_path / "new")
    folder = of_early_version(tmp_path / "new", tmp_path / "run")
    stored = data.open_examples(config.data, "train")[:3]
    assert sfvae_jax.load(folder).example_shape == (4, 2)
    (tmp_path / "networks.jsonl").unlink()
    with pytest.raises(UsageError, match=r"networks\.jsonl.*; give load\(\.\.\., shape=\.\.\.\)"):
        sfvae_jax.load(folder)
    run = sfvae_jax.load(folder, shape=(4, 2))
    assert np.isfinite(run.log_prob(0, stored, num_samples=4)).all()
    with pytest.raises(UsageError, match=r"shape must be \(4, 2\) for 'architectures:"):
        sfvae_jax.load(folder, shape=(4,))
