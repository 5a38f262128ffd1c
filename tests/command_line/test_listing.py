"""`sfvae_jax list`: every name that a config accepts stands there once, with a description."""

import re

import pytest
from helpers import load_config

from sfvae_jax.command_line.console import main
from sfvae_jax.command_line.listing import KINDS, listed
from sfvae_jax.data import SOURCES
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import EVALUATIONS
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.models import MODELS
from sfvae_jax.objectives import OBJECTIVES
from sfvae_jax.posteriors import POSTERIORS


def _rows(kind):
    """Name and description of each row; further lines of a description are indented more."""
    text = re.sub(r"\n {4,}", " ", listed([kind]))
    return dict(
        re.fullmatch(r"  (\S+(?: \S+)*?) {2,}(.+)", line).groups() for line in text.splitlines()[1:]
    )


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("objectives", OBJECTIVES),
        ("posteriors", POSTERIORS),
        ("likelihoods", LIKELIHOODS),
        ("models", MODELS),
        ("evaluations", EVALUATIONS),
    ],
)
def test_every_spec_is_listed_with_its_summary(kind, table):
    assert _rows(kind) == {name: " ".join(spec.summary.split()) for name, spec in table.items()}


def test_data_and_kinds_of_sequences():
    data = _rows("data")
    assert {name.removesuffix("PATH") for name in data} == {*SOURCES, "any other name"}
    assert data["npz:PATH"]
    sequences = _rows("sequences")
    assert set(sequences) == {source.kind.name for source in SOURCES.values() if source.kind}
    assert "molecules:PATH" in sequences["molecules"]


def test_every_config_file_has_a_line(root):
    rows = _rows("configs")
    assert set(rows) == {f"configs/{path.name}" for path in (root / "configs").glob("*.py")}
    for name, text in rows.items():
        assert (root / name).read_text().startswith(f'"""{text.partition("; presets: ")[0]}.')


def test_a_config_file_is_listed_with_its_presets():
    """They are those that it names when it refuses another one; the objectives have one word."""
    for name, text in _rows("configs").items():
        with pytest.raises(UsageError) as refused:
            load_config(name.removeprefix("configs/").removesuffix(".py")).get_config("zzz")
        known = set(str(refused.value).partition("Known: ")[2].split(", "))
        listed = set(text.partition("; presets: ")[2].split(", "))
        if name == "configs/vae.py":
            known = known - set(OBJECTIVES) | {"OBJECTIVE"}
        assert listed == known


def test_all_kinds_or_some_in_the_order_asked_for(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+) \(", out, re.MULTILINE) == [*KINDS]
    assert max(map(len, out.splitlines())) <= 100
    assert main(["list", "models", "posteriors"]) == 0
    assert re.findall(r"^(\w+) \(", capsys.readouterr().out, re.MULTILINE) == [
        "models",
        "posteriors",
    ]


def test_an_unknown_kind_gets_a_suggestion(capsys):
    assert main(["list", "objectves"]) == 2
    assert "unknown kind 'objectves'; did you mean 'objectives'?" in capsys.readouterr().err
