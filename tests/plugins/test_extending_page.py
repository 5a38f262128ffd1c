"""docs/extending.md: its plugin, config file and code run; its tables name what there is."""

import re

import pytest
from helpers import ROOT, TINY, records

from sfvae_jax import plugins
from sfvae_jax.command_line import console
from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.config import groups, resolve
from sfvae_jax.train import train

pytestmark = pytest.mark.usefixtures("no_plugins")

PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the files of the page."""
    monkeypatch.chdir(tmp_path)
    for block in BLOCKS:
        name = re.match(r"# (\w+\.py)\n", block)
        if name:
            (tmp_path / name[1]).write_text(block)
    return tmp_path


def test_the_plugin_and_the_config_file_of_the_page_train(folder):
    given = "--config.objective.capacity=4"
    config = resolve(parse_config(["--config=my_config.py", given, "--config.data.num_test=5"]))
    assert config.objective.capacity == 4.0
    changes = {**TINY, "train.steps": 2}
    del changes["objective.name"]  # the file chooses it
    tiny = [f"--config.{key}={value}" for key, value in changes.items()]
    train(parse_config(["--config=my_config.py", *tiny, "--config.evaluations.part=train"]), "run")
    assert all("kl" in record for record in records(folder / "run"))


def test_its_commands_run(folder, capsys):
    commands = re.findall(r"`(sfvae_jax (?:list|show) [^`]*)`", PAGE)
    assert len(commands) == 2
    for command in commands:
        assert console.main(command.split()[1:]) == 0
        assert "controlled_capacity" in capsys.readouterr().out
    run = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1].replace("\\\n", "").split()
    assert run[:3] == ["python", "-m", "sfvae_jax.main"]
    assert resolve(parse_config(run[3:])).objective.capacity == 10.0


def test_its_tests_pass(folder):
    exec(BLOCKS[-1], {})
    assert plugins.imported() == ()


def test_its_table_has_the_examples_and_their_options():
    rows = re.findall(r"^\| `(\w+\.py)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    paths = sorted((ROOT / "examples" / "plugins").glob("*.py"))
    assert sorted(name for name, _ in rows) == [path.name for path in paths]
    for name, keys in rows:
        known = groups([str(ROOT / "examples" / "plugins" / name)])
        for key in re.findall(r"`([\w.]+)`", keys):
            entry = known
            for part in key.split("."):
                entry = entry[part]
            assert entry.help
