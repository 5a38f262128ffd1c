"""Plugins on the command line: their options are keys, in whatever order the flags come."""

import json
import re
import shutil

import pytest
from helpers import ROOT, TINY

import sfvae_jax
from launch.backends import ray
from launch.runs import expand
from launch.sweep import main as sweep
from sfvae_jax import evaluate, plugins, train
from sfvae_jax.command_line import console
from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.command_line.recorded import config_flag, get_config
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import measure_named
from sfvae_jax.reporting.runs import read_runs

pytestmark = pytest.mark.usefixtures("no_plugins")

CONFIG = f"--config={ROOT}/configs/mnist_collapse.py:laptop"
FOLDER = ROOT / "examples/plugins"
RENYI, UNITS = FOLDER / "renyi_objective.py", FOLDER / "active_units.py"

OWN = """
from sfvae_jax.config import base_config

def get_config(preset=""):
    config = base_config(preset)
    config.plugins = ("parts.py",)
    config.objective.name = "renyi"
    config.objective.alpha = 0
    return config.lock()

def sweep(add):
    for alpha in (0.0, 0.5):
        add(**{"objective.alpha": alpha})
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a config file and the plugin that it names; the current folder is another."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own_config.py").write_text(OWN)
    shutil.copy(RENYI, folder / "parts.py")
    return folder


@pytest.mark.parametrize("first", [0, 1, 2])
def test_flags_in_any_order(first):
    flags = [
        f"--config.plugins={RENYI},{UNITS}",
        "--config.objective.name=renyi",
        "--config.objective.alpha=0",
    ]
    flags = flags[first:] + flags[:first]
    names = "--config.evaluations.names=active_units,reconstruction"
    found = resolve(parse_config([CONFIG, *flags, names]))
    assert repr(found.objective.alpha) == "0.0"
    assert found.plugins == (str(RENYI), str(UNITS))
    assert found.evaluations.names == ("active_units", "reconstruction")
    assert found.evaluations.active_units.threshold == 0.01


def test_the_setting_of_a_paper_names_no_plugins():
    setting = parse_config([CONFIG, f"--config.plugins={RENYI}"]).published.setting
    assert "objective" in setting
    assert [key for key in setting if "plugin" in key] == []


def test_a_plugin_lies_beside_its_config_file(own):
    config = parse_config([f"--config={own}/own_config.py"])
    assert resolve(config).plugins == (str(own / "parts.py"),)
    assert repr(config.objective.alpha) == "0.0"
    changed = parse_config([f"--config={own}/own_config.py", "--config.objective.alpha=0.75"])
    assert changed.objective.alpha == 0.75
    with pytest.raises(
        UsageError, match=r"plugins=parts\.py: there is no file '.*/here/parts\.py'"
    ):
        parse_config([f"--config={own}/own_config.py", "--config.plugins=parts.py"])


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("objective.alhpa=1", "unknown config key objective.alhpa; did you mean objective.alpha?"),
        ("objective.alpha=low", "objective.alpha must be a number in [0, 1), got 'low'"),
        ("objective.alpha=2", "objective.alpha must be a number in [0, 1), got 2.0"),
        ("objective.name=renj", "unknown objective 'renj'; did you mean 'renyi'?"),
    ],
)
def test_slips_are_told_as_for_a_built_in_option(flag, told):
    flags = [CONFIG, f"--config.{flag}", f"--config.plugins={RENYI}"]
    with pytest.raises(UsageError) as caught:
        resolve(parse_config(flags))
    assert told in str(caught.value)


def test_a_plugin_that_fails_is_told_with_its_line(own, tmp_path):
    (tmp_path / "here" / "bad.py").write_text("import sfvae_jax\nsfvae_jax.nothing\n")
    with pytest.raises(UsageError) as caught:
        parse_config([CONFIG, "--config.plugins=bad.py"])
    assert str(caught.value).startswith("plugin bad.py, line 2: AttributeError: ")
    (own / "parts.py").write_text("1 +")
    with pytest.raises(UsageError, match=r"^plugin .*parts\.py, line 1: SyntaxError"):
        parse_config([f"--config={own}/own_config.py"])


def test_show_and_list_have_what_a_plugin_adds(capsys):
    assert (
        console.main(["show", CONFIG.removeprefix("--config="), f"--config.plugins={RENYI}"]) == 0
    )
    out = capsys.readouterr().out
    assert re.search(r"objective\.alpha = 0\.5\n +Order of the Renyi divergence", out)
    assert console.main(["list", "objectives", "plugins", f"--plugins={RENYI}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^  renyi +the variational Renyi bound$", out, re.MULTILINE)
    # The file's path follows in brackets: on the next line where it is long.
    row = r"^  objective renyi +the variational Renyi bound\s+\("
    assert re.search(row, out, re.MULTILINE)
    assert str(RENYI) in out.replace("\n", "").replace(" ", "")


def test_list_says_when_there_are_none(capsys):
    console.main(["list", "plugins"])
    assert "--plugins=FILE" in capsys.readouterr().out


def test_the_runs_of_a_sweep_have_the_options(own, tmp_path):
    runs = expand(f"{own}/own_config.py", tmp_path / "sweep")
    assert [run.config.objective.alpha for run in runs] == [0.0, 0.5]
    assert {run.config.plugins for run in runs} == {(str(own / "parts.py"),)}


def test_the_runs_of_a_grid_have_the_options(tmp_path):
    config, given = CONFIG.removeprefix("--config="), [f"--config.plugins={RENYI}"]
    grid = ["--grid.objective.alpha=0,0.5", "--grid.seed=0,1"]
    given.append("--config.objective.name=renyi")
    runs = expand(config, tmp_path / "sweep", given, grid=grid)
    found = [(run.config.objective.alpha, run.config.seed) for run in runs]
    assert found == [(0.0, 0), (0.0, 1), (0.5, 0), (0.5, 1)]
    with pytest.raises(UsageError, match="did you mean objective.alpha"):
        expand(config, tmp_path / "sweep", given, grid=["--grid.objective.alhpa=0,0.5"])


def test_a_cluster_is_shipped_plugins_of_the_repository_alone(own, tmp_path):
    name = "examples/plugins/renyi_objective.py"
    added = [f"--config.plugins={RENYI}", "--config.objective.name=renyi"]
    run = expand("configs/mnist_collapse.py:laptop", tmp_path / "sweep", added, ["seed=0"])[0]
    arguments = ray._shipped_arguments(run)
    assert arguments[-1] == f"--config.plugins=('{name}',)"
    assert [flag for flag in arguments if "plugins" in flag] == [arguments[-1]]
    other = expand(f"{own}/own_config.py", tmp_path / "sweep")[0]
    with pytest.raises(UsageError, match="is not in .*, which is shipped to the cluster"):
        ray._shipped_arguments(other)


def test_a_sweep_over_an_option_of_a_plugin(tmp_path, capfd):
    """In processes of their own, with a table at the end that knows the plugin's measure."""
    tiny = {**TINY, "evaluations.steps": (), "train.steps": 2, "plugins": (str(RENYI), str(UNITS))}
    tiny |= {"objective.name": "renyi", "evaluations.names": ("active_units",)}
    tiny["evaluations.part"] = "train"
    text = OWN.replace('("parts.py",)', "()").replace(
        'config.objective.name = "renyi"', f"config.update_from_flattened_dict({tiny!r})"
    )
    (tmp_path / "own_config.py").write_text(text)
    flags = [f"--config={tmp_path}/own_config.py", f"--workdir={tmp_path}/sweep"]
    assert sweep(flags) == 0
    out = capfd.readouterr().out
    assert "objective.alpha=0.0" in out
    assert "objective.alpha=0.5" in out
    assert "active units" in out
    results = sorted((tmp_path / "sweep").glob("objective.alpha=*/results.json"))
    kept = [json.loads(path.read_text())["config"]["objective"]["alpha"] for path in results]
    assert kept == [0.0, 0.5]


def _results(folder, path, digest):
    folder.mkdir()
    config = {"seed": 0, "objective": {"name": "sampling"}, "train": {"steps": 2}}
    config |= {"plugins": [str(path)], "plugin_digests": [digest]}
    content = {"config": config, "step": 2, "metrics": {"active_units": 3.0}, "published": {}}
    (folder / "results.json").write_text(json.dumps(content))
    return folder / "results.json"


def test_a_report_describes_the_measures_of_a_plugin(tmp_path, caplog):
    """If its file is as it was; a report does not need it."""
    found = _results(tmp_path / "a", UNITS, plugins.digest_of(UNITS))
    with plugins.isolated():
        assert len(read_runs([found])[0]) == 1
        assert measure_named("active_units").better == "more"
    assert measure_named("active_units").better == ""
    changed = _results(tmp_path / "b", UNITS, "0" * 16)
    with plugins.isolated():
        assert len(read_runs([changed])[0]) == 1
        assert plugins.imported() == ()
    assert "measures of" in caplog.text
    assert "which was not found unchanged" in caplog.text


def test_a_run_is_evaluated_from_its_folder_alone(tmp_path, monkeypatch):
    """With its plugin where it was, elsewhere under its name, or given; else it is told."""
    (tmp_path / "a").mkdir()
    path = shutil.copy(RENYI, tmp_path / "a" / "parts.py")
    tiny = {
        **TINY,
        "train.steps": 2,
        "evaluations.steps": (),
        "evaluations.names": ("lower_bound",),
    }
    flags = [f"--config.{key}={value}" for key, value in tiny.items()]
    given = [f"--config.plugins={path}", "--config.objective.name=renyi"]
    run = tmp_path / "run"
    with plugins.isolated():
        train.train(parse_config([CONFIG, *flags, *given]), run)
    with plugins.isolated():
        assert get_config(str(run)).objective.alpha == 0.5
    path = shutil.move(path, tmp_path / "parts.py")
    monkeypatch.chdir(tmp_path)  # the same content under the same name
    with plugins.isolated():
        config = get_config(str(run))
        assert config.plugins == (str(path),)
        assert evaluate.evaluate(config, run)["lower_bound"] < 0.0
    path = shutil.move(path, tmp_path / "a" / "other.py")
    with plugins.isolated(), pytest.raises(UsageError) as caught:
        get_config(str(run))
    with plugins.isolated(), pytest.raises(UsageError, match="needs the plugin"):
        sfvae_jax.load(run)
    told = str(caught.value)
    assert f"needs the plugin {tmp_path}/a/parts.py, which was not found" in told
    copy = re.search(r"give the path of its copy (\S+)$", told)[1]
    assert (tmp_path / copy).read_bytes() == RENYI.read_bytes()
    with plugins.isolated():
        plugins.import_plugins([path])
        assert get_config(str(run)).objective.name == "renyi"
    with plugins.isolated():
        assert sfvae_jax.load(run, plugins=(path,)).config.objective.name == "renyi"
    with plugins.isolated():  # the copy, if it is named
        assert sfvae_jax.load(run, plugins=(tmp_path / copy,)).config.objective.alpha == 0.5


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_measures_a_run_that_was_trained_without_it(trained_run):
    run = trained_run
    evaluate.evaluate(get_config(str(run)), run)
    names = [f"--config.plugins={UNITS}", "--config.evaluations.names=active_units"]
    config = parse_config([config_flag(str(run)), *names])
    assert {"active_units", "collapse_fraction"} <= set(evaluate.evaluate(config, run))
    assert [path.read_bytes() for path in (run / "plugins").iterdir()] == [UNITS.read_bytes()]


def test_no_code_inside_a_workdir_is_executed(trained_run):
    """Whatever its config.json says."""
    run = trained_run
    (run / "evil.py").write_text("raise SystemExit('executed')")
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**content, "plugins": [str(run / "evil.py")]}))
    with pytest.raises(UsageError, match="which was not found"):
        get_config(str(run))


@pytest.mark.parametrize("inner", ["evil.py", "evil/__init__.py", "__init__.py"])
def test_no_module_inside_a_workdir_is_executed(inner, tmp_path, monkeypatch):
    """The current folder is one where Python looks for modules; a workdir may be below it."""
    file = tmp_path / "run" / inner
    file.parent.mkdir(parents=True)
    file.write_text("raise SystemExit('executed')")
    names = {"plugins": ["run.evil"], "plugin_digests": ["0" * 16]}
    (tmp_path / "run/config.json").write_text(json.dumps(names))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with pytest.raises(UsageError, match=r"the plugin run\.evil, a module that lies inside this"):
        get_config(str(tmp_path / "run"))
    names["plugins"] = ["json"]  # one that is elsewhere is imported, and is no plugin
    (tmp_path / "run/config.json").write_text(json.dumps(names))
    with pytest.raises(UsageError, match="registers nothing"):
        get_config(str(tmp_path / "run"))


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_an_earlier_version_has_no_plugins(trained_run, tiny_config):
    config, run = tiny_config(), trained_run
    content = json.loads((run / "config.json").read_text())
    for key in ("plugins", "plugin_digests"):
        del content[key]
    (run / "config.json").write_text(json.dumps(content))
    assert get_config(str(run)).plugins == ()
    train.train(config, run)  # it goes on
    evaluate.evaluate(config, run)
