"""Grids on the command line: the runs that they make, and what is refused. No process starts."""

import itertools
import shlex

import pytest
from helpers import ROOT
from tiny_sweeps import write_config

from launch.runs import expand
from launch.sweep import main
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.run_names import names_of


def grid(folder, *flags, runs=None, **others):
    file = write_config(folder, runs)
    return expand(file, folder / "grid", grid=[f"--grid.{flag}" for flag in flags], **others)


def test_the_runs_are_those_of_a_sweep_that_adds_the_product(tmp_path):
    rates, sizes, names = (1e-3, 1e-4), ((6, 5), (7,), ()), ("sampling", "iwae")
    added = [
        {"train.learning_rate": rate, "model.hidden_sizes": size, "objective.name": name}
        for rate, size, name in itertools.product(rates, sizes, names)
    ]
    made = grid(
        tmp_path,
        "train.learning_rate=1e-3,1e-4",
        "model.hidden_sizes=(6, 5),(7,),()",
        "objective.name=sampling, iwae",
        overrides=["--config.train.steps=7"],
    )
    file = write_config(tmp_path, added)
    assert made == expand(file, tmp_path / "grid", ["--config.train.steps=7"])
    assert [run.name for run in made] == names_of(added)
    assert made[0].name.startswith("train.learning_rate=0.001,model.hidden_sizes=6,5,objective.")


def test_it_replaces_the_sweep_of_the_config_file(tmp_path):
    made = grid(tmp_path, "seed=0,1,2", runs=[{"seed": 7, "objective.name": "iwae"}])
    assert [run.name for run in made] == ["seed=0", "seed=1", "seed=2"]
    assert {run.config.objective.name for run in made} == {"sampling"}


def test_a_filter_chooses_from_it(tmp_path):
    made = grid(tmp_path, "seed=0,1", "objective.beta=0.5,1", filters=["objective.beta=1.0"])
    assert [run.name for run in made] == [
        "seed=0,objective.beta=1.0",
        "seed=1,objective.beta=1.0",
    ]


@pytest.mark.parametrize(
    ("flag", "key", "values"),
    [
        ("data.skip_corrupt=true,False", "data.skip_corrupt", [True, False]),
        ("likelihood.variance=1,0.5", "likelihood.variance", [1.0, 0.5]),
        ("model.hidden_sizes=(3),[4,5]", "model.hidden_sizes", [(3,), (4, 5)]),
        ("objective.log_det_weight=gamma,0.5", "objective.log_det_weight", ["gamma", 0.5]),
        (
            "evaluations.names=(collapse,lower_bound),('bias',)",
            "evaluations.names",
            [("collapse", "lower_bound"), ("bias",)],
        ),
        ("train.decoder_from='a,b',c d", "train.decoder_from", ["a,b", "c d"]),
    ],
)
def test_values_are_written_as_after_config(tmp_path, flag, key, values):
    group, _, name = key.partition(".")
    made = grid(tmp_path, "objective.name=sampling_free", flag)
    assert [run.config[group][name] for run in made] == values


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["train.lerning_rate=1"], r"unknown config key train\.lerning_rate; did you mean"),
        (["seed=0,x"], "seed must be a whole number from 0 .* got 'x'"),
        (["train.learning_rate=1e-3,-1"], r"run train\.learning_rate=-1\.0: .*must be a positive"),
        (["objective.name=sampling,sampling_fre"], "did you mean 'sampling_free'"),
        (["seed=0,1,0"], r"--grid\.seed has the value 0 twice"),
        (["train.learning_rate=1e-3,0.001"], "the value 0.001 twice"),
        (["seed=0", "seed=1"], r"--grid\.seed is given twice; give all its values in one flag"),
        (["seed="], "a value is missing in ''"),
        (["seed=0,,1"], "a value is missing in '0,,1'"),
        (["model.hidden_sizes=(6,5"], "a bracket or a quote is not closed"),
        (["model.hidden_sizes=6,5"], r"parentheses, such as --grid\.model\.hidden_sizes='\(6,5\),"),
        (["train=3"], r"train must be given key by key"),
        (["preset=laptop"], "would change the name of the preset"),
        (["objective.name=rae,iwae", "objective.num_samples=1,x"], "num_samples must be a whole"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        grid(tmp_path, *flags)


def test_a_key_is_not_both_fixed_and_in_the_grid(tmp_path):
    with pytest.raises(UsageError, match=r"--config\.seed and --grid\.seed are both given"):
        grid(tmp_path, "seed=0,1", overrides=["--config.seed=3"])


def test_the_command_prints_its_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    base = [f"--config={write_config(tmp_path, None)}", f"--workdir={tmp_path / 'grid'}"]
    flags = ["--grid.train.learning_rate=1e-3,1e-4", "--grid.seed=0,1,2", "--dry-run"]
    assert main([*base, *flags]) == 0
    out, err = capsys.readouterr()
    commands = [shlex.split(line) for line in out.splitlines()]
    assert err == ""
    assert [command[4].rpartition("/")[2] for command in commands] == [
        f"train.learning_rate={rate},seed={seed}"
        for rate in ("0.001", "0.0001")
        for seed in (0, 1, 2)
    ]
    assert commands[3][5:] == ["--config.train.learning_rate=0.0001", "--config.seed=0"]
    assert main([*base, "--gird.seed=0"]) == 2
    assert "unexpected argument '--gird.seed=0'" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("page", ["docs/command.md", "docs/launching.md"])
def test_the_commands_of_the_pages(page, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text().replace("\\\n", " ")
    command = next(line for line in text.splitlines() if "sweep" in line and "--grid." in line)
    flags = shlex.split(command.strip().removeprefix("sfvae_jax sweep"), comments=True)
    assert main([*flags, "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
