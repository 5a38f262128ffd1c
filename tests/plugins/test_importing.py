"""Which files and modules are plugins, when they are imported, and how their errors read."""

import logging
import shutil
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from sfvae_jax import plugins
from sfvae_jax.config import base_config, groups, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.likelihoods import LIKELIHOODS
from sfvae_jax.objectives import OBJECTIVES

pytestmark = pytest.mark.usefixtures("no_plugins")

RENYI = str(ROOT / "examples/plugins/renyi_objective.py")
LAPLACE = str(ROOT / "examples/plugins/laplace_likelihood.py")
RENYI_TEXT, LAPLACE_TEXT = (Path(name).read_text() for name in (RENYI, LAPLACE))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a plugin into the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def to(text, name="my_parts.py"):
        (tmp_path / name).write_text(text)
        return name

    return to


def _with(*names, **changes):
    config = base_config()
    config.plugins = names
    config.update_from_flattened_dict(changes)
    return config


def test_only_configs_that_name_a_plugin_have_what_it_adds():
    config = _with(RENYI, **{"objective.name": "renyi"})
    config.objective.alpha = 0  # before anything is imported
    found = resolve(config)
    assert repr(found.objective.alpha) == "0.0"
    assert found.plugins == (RENYI,)
    assert resolve(found) == found
    assert "alpha" not in groups()["objective"]
    told = r"unknown objective 'renyi'.*Known: autoencoder, .*; others need --config\.plugins=FILE"
    with pytest.raises(UsageError, match=told):
        resolve(_with(**{"objective.name": "renyi"}))
    with pytest.raises(UsageError, match=r"unknown config key objective\.alpha"):
        resolve(_with(**{"objective.alpha": 0.5}))


def test_data_of_a_plugin_that_is_not_named_are_refused():
    rings = str(ROOT / "examples/plugins/rings_data.py")
    assert resolve(_with(rings, **{"data.name": "rings"})).data.ring_width == 2.0
    with pytest.raises(UsageError, match="data.name 'rings' comes from a plugin; name its file"):
        resolve(_with(**{"data.name": "rings"}))


def test_names_options_and_help_are_those_of_a_built_in_part():
    group = groups([RENYI])["objective"]
    assert "renyi" in group["name"].rule.names
    assert "renyi" in group["num_samples"].help
    assert group["alpha"].help == "Order of the Renyi divergence"
    with pytest.raises(UsageError, match=r"unknown objective 'reny'; did you mean 'renyi'\?"):
        resolve(_with(RENYI, **{"objective.name": "reny"}))
    with pytest.raises(
        UsageError, match=r"objective\.alpha must be a number in \[0, 1\), got 1\.5"
    ):
        resolve(_with(RENYI, **{"objective.name": "renyi", "objective.alpha": 1.5}))
    with pytest.raises(
        UsageError, match=r"objective\.alpha; did you mean|did you mean objective\.alpha"
    ):
        resolve(_with(RENYI, **{"objective.name": "renyi", "objective.alhpa": 0.5}))
    with pytest.raises(
        UsageError, match=r"objective\.alpha only applies to objective 'renyi'; obj"
    ):
        resolve(_with(RENYI, **{"objective.name": "sampling", "objective.alpha": 0.25}))
    base = base_config(plugins=[RENYI])
    assert (base.objective.alpha, base.plugins) == (0.5, (RENYI,))


def test_the_same_file_counts_once_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(RENYI, "copy.py")
    first = plugins.import_plugins([RENYI])[0]
    for name in ("copy.py", "./copy.py", str(tmp_path / "copy.py"), RENYI):
        assert plugins.import_plugins([name])[0] is first
    spec = OBJECTIVES["renyi"]
    found = resolve(_with("copy.py", "./copy.py", **{"objective.name": "renyi"}))
    assert found.plugins == (str(tmp_path / "copy.py"),)
    assert OBJECTIVES["renyi"] is spec


def test_an_edited_file_takes_the_place_of_what_it_was(write):
    text = LAPLACE_TEXT
    name = write(text)
    first = plugins.import_plugins([name])[0]
    write(text.replace("Option(0.1", "Option(0.2"))
    second = plugins.import_plugins([name])[0]
    assert second.digest != first.digest
    assert base_config(plugins=[name]).likelihood.scale == 0.2
    write("raise OSError('the disk')")  # what was there stays
    with pytest.raises(UsageError, match=r"my_parts\.py, line 1: OSError: the disk"):
        plugins.import_plugins([name])
    assert LIKELIHOODS["laplace"] is second.specs[0]


def test_two_plugins_with_one_name_are_refused(write):
    name = write(RENYI_TEXT + "# another file\n")
    with pytest.raises(UsageError) as caught:
        resolve(_with(RENYI, name, **{"objective.name": "renyi"}))
    told = str(caught.value)
    assert told.startswith("plugin my_parts.py: objective 'renyi': ")
    assert f"{RENYI} has one of this name; choose another name, or name one of the two" in told
    text = RENYI_TEXT.replace('"renyi"', '"iwae"')
    with pytest.raises(UsageError, match="objective 'iwae': the library has one of this name"):
        plugins.import_plugins([write(text)])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ny = (", "plugin my_parts.py, line 2: SyntaxError: '(' was never closed"),
        ("x = 1\n\nz = y", "plugin my_parts.py, line 3: NameError: name 'y' is not defined"),
        ("import nowhere_at_all", "line 1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f():\n    return 1 / 0\nf()", "line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "plugin my_parts.py, line 2: SystemExit: 3"),
        ("x = 1", "plugin my_parts.py registers nothing; call sfvae_jax.plugins.register(SPEC)"),
        (
            "from sfvae_jax import plugins\nplugins.register(3)",
            "line 2: register() takes specs (PosteriorSpec, LikelihoodSpec, ModelSpec, DataSource,",
        ),
    ],
)
def test_an_error_in_a_plugin_is_one_line_with_its_place(write, text, told):
    with pytest.raises(UsageError) as caught:
        resolve(_with(write(text)))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_no_name_is_told(write, tmp_path):
    with pytest.raises(UsageError, match=r"plugins=gone\.py: there is no file '.*/gone\.py'; give"):
        resolve(_with("gone.py"))
    with pytest.raises(
        UsageError, match="there is no module 'my_parts'; give the name of a module"
    ):
        resolve(_with("my_parts"))
    config = base_config()
    with config.ignore_type():
        config.plugins = "my_parts.py"
    with pytest.raises(UsageError, match=r"plugins must be files and modules, such as \('my_parts"):
        resolve(config)


def test_a_plugin_adds_all_or_nothing(write):
    text = LAPLACE_TEXT + RENYI_TEXT.replace('"renyi"', '"iwae"')
    before = {**LIKELIHOODS}
    with pytest.raises(UsageError, match="'iwae'"):
        plugins.import_plugins([write(text)])
    assert before == LIKELIHOODS


def test_a_module_is_imported_by_its_name(tmp_path, monkeypatch):
    package = tmp_path / "own_parts"
    package.mkdir()
    (package / "__init__.py").write_text("from own_parts import bounds")
    shutil.copy(RENYI, package / "bounds.py")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with plugins.isolated():
            found = resolve(_with("own_parts", **{"objective.name": "renyi"}))
        assert (found.plugins, len(found.plugin_digests)) == (("own_parts",), 1)
        assert "renyi" not in OBJECTIVES
        with plugins.isolated():  # Python does not import it again
            assert resolve(_with("own_parts", **{"objective.name": "renyi"})) == found
    finally:
        for name in ("own_parts", "own_parts.bounds"):
            sys.modules.pop(name, None)


def test_a_module_that_was_imported_before_is_a_plugin_too(tmp_path, monkeypatch):
    shutil.copy(LAPLACE, tmp_path / "own_laplace.py")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        module = __import__("own_laplace")
        assert "laplace" not in LIKELIHOODS  # no config names it
        resolve(
            _with("own_laplace", **{"likelihood.name": "laplace", "objective.name": "sampling"})
        )
        assert LIKELIHOODS["laplace"].build(_scale(0.5), None) == module.Laplace(0.5)
    finally:
        sys.modules.pop("own_laplace", None)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_module_that_another_plugin_imports(is_first, tmp_path, monkeypatch):
    """Its parts come with the other, unless it is named before."""
    inner, outer = (f"{name}_{is_first}" for name in ("inner", "outer"))
    shutil.copy(LAPLACE, tmp_path / f"{inner}.py")
    (tmp_path / f"{outer}.py").write_text(f"{RENYI_TEXT}\nimport {inner}\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        if is_first:
            found = [p.specs for p in plugins.import_plugins([inner, outer])]
            assert [[spec.name for spec in specs] for specs in found] == [["laplace"], ["renyi"]]
            return
        (found,) = plugins.import_plugins([outer])
        assert [spec.name for spec in found.specs] == ["renyi", "laplace"]
        with pytest.raises(UsageError, match="another plugin.*name it before the other"):
            plugins.import_plugins([outer, inner])
    finally:
        for name in (inner, outer):
            sys.modules.pop(name, None)


def _scale(scale):
    settings = base_config().likelihood
    settings.scale = scale
    return settings


def test_a_plugin_of_its_own_process_only_checks(write, caplog):
    """`python my_parts.py` shows whether it would be taken."""
    with caplog.at_level(logging.INFO):
        exec(compile(RENYI_TEXT, RENYI, "exec"), {"__name__": "__main__"})
    assert "renyi" not in OBJECTIVES
    text = RENYI_TEXT.replace("0.5, plugins.BELOW_1", "2.0, plugins.BELOW_1")
    with pytest.raises(TypeError, match="the default 2.0 must be a number"):
        exec(text, {"__name__": "__main__"})
    text = RENYI_TEXT.replace('name="renyi"', 'name="iwae"')
    with pytest.raises(UsageError, match="'iwae': the library has one of this name"):
        exec(text, {"__name__": "__main__"})


def test_a_file_that_is_a_plugin_already_may_be_imported_by_python():
    plugins.import_plugins([RENYI])
    exec(compile(RENYI_TEXT, RENYI, "exec"), {"__name__": "renyi_objective"})


def test_nothing_is_left_of_a_plugin_that_a_test_imported():
    with plugins.isolated():
        plugins.import_plugins([RENYI])
        assert "renyi" in OBJECTIVES
    assert "renyi" not in OBJECTIVES
    assert plugins.imported() == ()
