"""The code of docs/watching.md runs, and does what the page says."""

import re
import sys
import types

import pytest
from helpers import ROOT, records

from sfvae_jax.watching.event_file import tag_of

SMALL = "--config.train.steps=4", "--config.evaluations.steps=(4,)", "--config.model.latent_size=4"
SMALL += "--config.model.hidden_sizes=16,8", "--config.data.num_examples=40"


@pytest.fixture
def snippets(monkeypatch, tmp_path):
    """The Python code of the page, of which each piece trains a tiny model in a new folder."""
    text = (ROOT / "docs" / "watching.md").read_text()
    flags = ", ".join(f'"{flag}"' for flag in SMALL)
    monkeypatch.chdir(tmp_path)
    steps = '"--config.train.steps=20"'
    assert text.count(steps) == 2
    return re.findall(r"```python\n(.*?)```", text.replace(steps, flags), re.DOTALL)


def test_a_function_of_your_own(snippets, tmp_path, capsys):
    space = {}
    exec(snippets[0], space)
    logged = records(tmp_path / "runs" / "watched")
    assert space["losses"] == {record["step"]: record["loss"] for record in logged}
    assert re.search(r"^step 4: \d+% of the latents collapsed$", capsys.readouterr().out, re.M)


def test_weights_and_biases_in_ten_lines(snippets, tmp_path, monkeypatch):
    logged, begun = [], []

    class Run:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            assert error == (None, None, None)

        def log(self, values, step):
            logged.append((step, values))

    def init(**settings):
        begun.append(settings)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    code = snippets[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(code, {})
    [settings] = begun
    assert settings["config"]["train"]["steps"] == 4
    of_training = [(step, values) for step, values in logged if "loss" in values]
    assert [{"step": step, **values} for step, values in of_training] == records(
        tmp_path / "runs" / "wandb"
    )
    assert logged[-1][0] == 4
    assert "measures/collapse_fraction" in logged[-1][1]


def test_tags_of_the_page_are_those_of_the_files():
    text = (ROOT / "docs" / "watching.md").read_text()
    tags = re.findall(r"`((?:loss|schedules|norms|speed)/\w+)`", text)
    assert len(tags) > 9
    assert all(tag_of(tag.partition("/")[2]) == tag for tag in tags)
