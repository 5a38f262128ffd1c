"""Lists with commas on the command line, and names of config files that are nearly right."""

import pytest

from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.command_line.tuples import with_tuples
from sfvae_jax.config import resolve
from sfvae_jax.errors import UsageError

CONFIG = "--config=configs/mnist_collapse.py:laptop"


@pytest.mark.parametrize(
    ("flag", "key", "value"),
    [
        ("evaluations.names=collapse,reconstruction", "names", ("collapse", "reconstruction")),
        ("evaluations.names=collapse, reconstruction", "names", ("collapse", "reconstruction")),
        ("evaluations.names=collapse,", "names", ("collapse",)),
        ("evaluations.names=collapse", "names", ("collapse",)),
        ("evaluations.names=('collapse','kl_divergence')", "names", ("collapse", "kl_divergence")),
        ("evaluations.steps=5,10", "steps", (5, 10)),
        ("evaluations.steps=()", "steps", ()),
    ],
)
def test_a_list_is_a_tuple(flag, key, value):
    config = resolve(parse_config([CONFIG, f"--config.{flag}"]))
    assert config.evaluations[key] == value


@pytest.mark.parametrize(
    "flag",
    [
        "--config.data.name=folder:a,b",  # a text may have commas
        "--config.evaluations.names=collapse,,kl_divergence",
        "--config.evaluations.names=('collapse,kl_divergence'",
        "--config.evaluations.steps=1,2",
        "--config.nothing.there=a,b",
        "--workdir=a,b",
    ],
)
def test_everything_else_stays_as_typed(flag):
    assert with_tuples(["main", flag]) == ["main", flag]


def test_a_wrong_name_in_a_list_is_told():
    config = parse_config([CONFIG, "--config.evaluations.names=colapse,kl_divergence"])
    with pytest.raises(UsageError, match="unknown evaluation 'colapse'; did you mean 'collapse'"):
        resolve(config)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("configs/mnist_colapse.py:laptop", "configs/mnist_collapse.py:laptop"),
        ("mnist_colapse", "configs/mnist_collapse.py"),
        ("{tmp}/my_runn.py:a", "{tmp}/my_run.py:a"),
    ],
)
def test_a_misspelt_config_file_gets_a_suggestion(tmp_path, given, meant):
    (tmp_path / "my_run.py").touch()
    given, meant = given.format(tmp=tmp_path), meant.format(tmp=tmp_path)
    with pytest.raises(UsageError) as caught:
        parse_config([f"--config={given}"])
    text = str(caught.value)
    assert "No such file" in text
    assert f"did you mean --config={meant}? `sfvae_jax list configs`" in text
    assert "\n" not in text


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(UsageError, match="No such file.*'configs/zzz.py'; `sfvae_jax list"):
        parse_config(["--config=configs/zzz.py"])
