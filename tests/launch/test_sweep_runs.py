"""The runs of a sweep: names, configurations, filters, refusals. No process is started."""

import json
import shlex

import pytest
from helpers import ROOT
from tiny_sweeps import write_config

from launch.configs import load_sweep, parse_config
from launch.runs import expand, is_finished
from launch.sweep import main
from sfvae_jax import data
from sfvae_jax.errors import UsageError
from sfvae_jax.runs.files.config_file import plain
from sfvae_jax.runs.run_names import name_of
from sfvae_jax.runtime.files import write_json

RUNS = [
    {"seed": 0},
    {"seed": 1, "objective.name": "iwae"},
    {"seed": 2, "objective.name": "iwae", "model.hidden_sizes": (6, 5)},
    {"likelihood.variance": 1, "data.skip_corrupt": True, "objective.beta": 0.1, "seed": 2},
]


def test_every_run_has_its_changes_a_name_and_a_workdir(tmp_path):
    file = write_config(tmp_path, RUNS)
    runs = expand(file, tmp_path / "sweep", ["--config.train.steps=7", "--config.seed=9"])
    assert [run.name for run in runs[:2]] == ["seed=0", "seed=1,objective.name=iwae"]
    assert runs[2].name.startswith("seed=2,objective.name=iwae,model.hidden_sizes=6,5-")
    assert [run.workdir for run in runs] == [tmp_path / "sweep" / run.name for run in runs]
    assert [run.config.seed for run in runs] == [0, 1, 2, 2]
    assert [run.steps for run in runs] == [7] * 4
    assert runs[2].config.model.hidden_sizes == (6, 5)
    assert runs[3].config.likelihood.variance == 1.0
    assert runs[3].config.data.skip_corrupt is True
    assert runs[3].config.objective.beta == 0.1
    assert {run.config.preset for run in runs} == {"laptop"}
    # The configurations are resolved.
    assert {run.config.posterior.name for run in runs} == {"diagonal"}
    assert not (tmp_path / "sweep").exists()


def test_names_are_safe_short_and_unique():
    assert name_of({}) == "defaults"
    assert name_of({"seed": 3, "objective.name": "rae_l2"}) == "seed=3,objective.name=rae_l2"
    assert name_of({"objective.beta": 1e-05}) == "objective.beta=1e-05"
    odd = [
        {"data.name": "npz:/data/a b.npz"},
        {"data.name": "npz:/data/a-b.npz"},
        {"data.name": "npz:data/ab.npz"},
        {"data.name": "../../etc"},
        *({"data.name": "x" * 300, "seed": seed} for seed in range(3)),
    ]
    names = [name_of(overrides) for overrides in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        assert len(name) <= 100
        assert "/" not in name
        assert not set(name) & set(" :*?'\"$&();<>|\\")
    assert names == [name_of(overrides) for overrides in odd]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_a_laptop_sweep_downloads_nothing_and_ends_within_the_hour(tmp_path, path):
    """The table of docs/launching.md has the numbers of runs and steps of every sweep."""
    runs = expand(f"{path}:laptop", tmp_path)
    assert len({run.name for run in runs}) == len(runs) > 1
    for config in (run.config for run in runs):
        source = data.source_of(config.data.name)
        assert not source.downloads
        assert not source.takes_path
        assert config.evaluations.generated.features == "classifier" or not (
            {"frechet", "precision_recall"} & set(config.evaluations.names)
        )
    table = (ROOT / "docs" / "launching.md").read_text()
    row = next(line for line in table.splitlines() if line.startswith(f"| `configs/{path.name}:"))
    told, steps, minutes = (int(cell.replace(",", "")) for cell in row.split("|")[2:5])
    assert (told, steps) == (len(runs), sum(run.steps for run in runs))
    assert minutes <= 60


def test_a_sweep_receives_the_preset_if_it_asks_for_it(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def sweep(add, preset):\n    add(**{'data.name': preset or 'none'})\n")
    assert load_sweep(f"{file}:laptop") == [{"data.name": "laptop"}]
    assert load_sweep(str(file)) == [{"data.name": "none"}]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["seed=0"], ["seed=0"]),
        (["seed=[12]", "objective.name=iwa*"], ["seed=1", "seed=2"]),
        (["seed=[12],objective.name=iwa*"], ["seed=1", "seed=2"]),
        (["model.hidden_sizes=(6, 5),seed=*"], ["seed=2"]),
        (["model.hidden_sizes=*"], ["seed=2"]),
    ],
)
def test_filters(tmp_path, filters, names):
    runs = expand(write_config(tmp_path, RUNS), tmp_path, filters=filters)
    assert [run.name.partition(",")[0] for run in runs] == names


def assert_refused(capsys, arguments, *parts):
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("sfvae_jax: error: ")
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("runs", "flags", "parts"),
    [
        (None, [], ["own_config.py has no sweep(add)"]),
        ([], [], ["adds no run"]),
        (RUNS, ["--filter=seed=7"], ["no run", "seed=7", "seed=0 | 1 | 2", "objective.name=iwae"]),
        (RUNS, ["--filter=sed=0"], ["no run", "Known: seed="]),
        (RUNS, ["--filter=seed"], ["--filter must be KEY=GLOB", "'seed'"]),
        ([{"seed": 1}, {"seed": 0}, {"seed": 1}], [], ["runs seed=1 and seed=1", "are the same"]),
        ([{}, {"seed": 0}], [], ["runs defaults and seed=0", "the same"]),
        ([{"objective.gama": 1}], [], ["run objective.gama=1: unknown config key"]),
        ([{"objective.gamma": 7}], [], ["run objective.gamma=7", "[0, 1], got 7"]),
        ([{"seed": "many"}], [], ["run seed=many", "whole number", "'many'"]),
        ([{"objective": {"gamma": 1}}], [], ["cannot be given on the command line"]),
        ([{"objective.beta": None}], [], ["objective.beta", "None"]),
        (RUNS, ["--config.objective.gamma=7"], ["run seed=0", "[0, 1], got 7"]),
        (RUNS, ["--config.nogroup.x=7"], ["unknown config key"]),
        (RUNS, ["--seed=7"], ["unexpected argument '--seed=7'"]),
        (RUNS, ["--config.seed", "7"], ["unexpected argument", "--flag=value"]),
        (RUNS, ["--jobs=0"], ["--jobs", "1 or more, got '0'"]),
        (RUNS, ["--num_cpus=2"], ["--num_cpus only applies to --backend=ray"]),
        (RUNS, ["--backend=ray", "--jobs=2"], ["--jobs only applies to --backend=local"]),
        (
            RUNS,
            ["--backend=ray", "--num_cpus=1.5"],
            ["whole number or a fraction below 1, got '1.5'"],
        ),
        (RUNS, ["--backend=ray", "--resources=TPU"], ["NAME=NUMBER, such as TPU=4, got 'TPU'"]),
        (RUNS, ["--backend=slurm"], ["--backend", "slurm"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, capsys, runs, flags, parts):
    base = [f"--config={write_config(tmp_path, runs)}", f"--workdir={tmp_path / 'sweep'}"]
    assert_refused(capsys, [*base, *flags], *parts)
    assert not (tmp_path / "sweep").exists()


def test_files_that_cannot_be_used_are_refused(tmp_path, capsys):
    assert_refused(capsys, [f"--workdir={tmp_path}"], "required: --config")
    nothing = f"--config={tmp_path}/none.py"
    assert_refused(capsys, [nothing, f"--workdir={tmp_path}/s"], "No such file", "none.py")
    (tmp_path / "file").touch()
    own = f"--config={write_config(tmp_path, RUNS)}"
    assert_refused(capsys, [own, f"--workdir={tmp_path}/file"], "cannot write to", "--workdir")
    assert_refused(capsys, [own, "--workdir=~nouser/s"], "'~nouser/s' is not a usable path")
    assert_refused(capsys, [own, "--workdir=gs://bucket/s"], "--workdir=gs://bucket/s is a URL")
    preset = own.replace(":laptop", ":desktop")
    assert_refused(capsys, [preset, f"--workdir={tmp_path}/s"], "unknown preset 'desktop'")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--dry-run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import math\n\ndef get_config(preset=''):\n    return math.nonsense",
            "AttributeError: module 'math'",
        ),
        ("def get_config(preset=''):\n    return {}['missing']", "KeyError: 'missing'"),
        ("x = 1 +", "SyntaxError: invalid syntax"),
    ],
)
def test_a_broken_config_file_is_reported_in_one_line(tmp_path, capsys, code, message):
    (tmp_path / "own.py").write_text(code)
    flags = [f"--config={tmp_path}/own.py", f"--workdir={tmp_path}/s"]
    assert_refused(capsys, flags, f"error: --config: {message}")


def test_a_config_file_may_have_any_name(tmp_path):
    file, _, _ = write_config(tmp_path, RUNS).partition(":")
    (tmp_path / "own.txt").write_text((tmp_path / "own_config.py").read_text())
    runs = expand(f"{tmp_path}/own.txt:laptop", tmp_path)
    assert [run.overrides for run in runs] == [
        run.overrides for run in expand(f"{file}:laptop", tmp_path)
    ]


def test_without_ray_the_error_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("launch.backends.ray_cluster.importlib.util.find_spec", lambda name: None)
    base = [f"--config={write_config(tmp_path, RUNS)}", f"--workdir={tmp_path / 'sweep'}"]
    assert_refused(capsys, [*base, "--backend=ray"], "pip install 'sfvae_jax[sweep]'")
    assert not (tmp_path / "sweep").exists()
    assert main([*base, "--backend=ray", "--dry_run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(RUNS)


def test_a_dry_run_prints_commands_that_stand_alone(tmp_path, capsys, monkeypatch, root):
    monkeypatch.chdir(root)
    flags = ["--config.train.steps=7", "--filter=seed=[12]", "--dry-run", "--workdir=a b"]
    assert main([f"--config={write_config(tmp_path, RUNS)}", *flags]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    commands = [shlex.split(line) for line in out.splitlines()]
    runs = expand(write_config(tmp_path, RUNS), tmp_path, ["--config.train.steps=7"], ["seed=[12]"])
    assert len(commands) == len(runs) == 3
    for command, run in zip(commands, runs, strict=True):
        assert command[:3] == ["python", "-m", "sfvae_jax.main"]
        assert command[4] == f"--workdir={root}/a b/{run.name}"
        parsed = parse_config([command[3], *command[5:]])
        assert parsed.seed == run.config.seed
        assert parsed.train.steps == 7
        assert parsed.model.hidden_sizes == run.config.model.hidden_sizes
    assert not (root / "a b").exists()


def test_when_a_run_is_finished(tmp_path):
    (run,) = expand(write_config(tmp_path, [{"seed": 0}]), tmp_path)
    assert not is_finished(run)
    run.workdir.mkdir()
    write_json(run.workdir / "config.json", plain(run.config))
    results = {"config": plain(run.config), "history": {}}
    for entries, finished in [
        ({}, False),
        ({"step": 8, "metrics": {"kl_divergence": 1.0}}, False),
        ({"step": 12, "metrics": {}}, False),
        ({"step": 12, "metrics": {"kl_divergence": 1.0}}, True),
    ]:
        write_json(run.workdir / "results.json", {**results, **entries})
        assert is_finished(run) is finished
    for flag, finished in [
        ("--config.evaluations.names=('reconstruction',)", True),  # one of those that were measured
        ("--config.evaluations.names=('bias',)", False),
        ("--config.evaluations.reconstruction.num_samples=7", False),
        ("--config.evaluations.part=valid", False),
        (
            "--config.evaluations.iwae_bound.num_samples=7",
            True,
        ),  # of an evaluation that is not named
    ]:
        (other,) = expand(write_config(tmp_path, [{"seed": 0}]), tmp_path, [flag])
        assert is_finished(other) is finished
    (other,) = expand(
        write_config(tmp_path, [{"seed": 0}]), tmp_path, ["--config.train.learning_rate=0.5"]
    )
    with pytest.raises(
        UsageError, match=r"learning_rate is 0\.001 in that run and 0\.5 in this one"
    ):
        is_finished(other)
    assert json.loads((run.workdir / "results.json").read_text())["step"] == 12
