"""A run's files: whole, its own, and nothing of another run is lost."""

import json

import pytest

from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.training.workdir import Workdir


def test_a_run_from_before_a_key_was_there_had_its_default(tiny_config, tmp_path):
    files, config = Workdir(tmp_path), tiny_config()
    files.claim(config)
    stored = json.loads(files.config.read_text())
    del stored["train"]["decoder_from"]
    files.config.write_text(json.dumps(stored))
    files.check(config, base_config())
    with pytest.raises(UsageError, match="train.decoder_from is '' there and 'runs/a' here"):
        files.check(tiny_config(**{"train.decoder_from": "runs/a"}), base_config())


def test_the_same_config_again_is_welcome(tmp_path, tiny_config):
    files = Workdir(tmp_path / "run")
    files.check(tiny_config())
    assert not files.folder.exists()  # checking writes nothing
    files.claim(tiny_config())
    files.check(tiny_config())
    content = json.loads(files.config.read_text())
    assert content["model"]["hidden_sizes"] == [16, 8]
    assert "published" not in content


def test_another_config_is_refused_and_the_difference_shown(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.claim(tiny_config())
    before = files.config.read_bytes()
    with pytest.raises(UsageError) as caught:
        files.check(tiny_config(**{"train.steps": 99, "seed": 5}))
    message = str(caught.value)
    assert "seed is 0 there and 5 here" in message
    assert "train.steps is 12 there and 99 here" in message
    assert "objective" not in message
    assert "\n" not in message
    assert files.config.read_bytes() == before


def test_what_is_measured_may_change_but_not_when(tmp_path, tiny_config):
    """The steps of evaluations cut training into calls; the rest comes after it."""
    files = Workdir(tmp_path)
    files.claim(tiny_config())
    changes = {"evaluations.names": ("iwae_bound",), "evaluations.iwae_bound.num_samples": 7}
    files.check(tiny_config(**changes))
    files.check(tiny_config(**{"train.compilation_cache": False}))
    with pytest.raises(UsageError, match="evaluations.steps is"):
        files.check(tiny_config(**{"evaluations.steps": (3,)}))


def test_folders_that_cannot_be_written(tmp_path, tiny_config):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="cannot write to workdir"):
            Workdir(path).check(tiny_config())


def test_somebody_elses_files_are_left_alone(tmp_path, tiny_config):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"holds checkpoints but no config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_a_broken_config_json_is_told(tmp_path, tiny_config):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"cannot read .*config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    files = Workdir(tmp_path)
    assert files.read_metrics() == []
    files.append_metrics({"step": step, "loss": 0.1 * step} for step in (1, 2, 3, 4))
    with files.metrics.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while it wrote
    files.cut_metrics(3)
    files.append_metrics([{"step": 4, "loss": 0.4}])
    assert [record["step"] for record in files.read_metrics()] == [1, 2, 3, 4]
    assert all(json.loads(line) for line in files.metrics.read_text().splitlines())


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff\xfe"])
def test_a_config_json_that_is_none_is_told(tmp_path, tiny_config, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read .*config\.json"):
        Workdir(tmp_path).check(tiny_config())


def test_a_name_that_is_too_long(tmp_path, tiny_config):
    with pytest.raises(UsageError, match="cannot write to workdir"):
        Workdir(tmp_path / ("x" * 300)).check(tiny_config())


def test_old_results_never_speak_for_a_new_run(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    files.write_results(tiny_config(seed=1), metrics={"kl": 1.0})
    with pytest.raises(UsageError, match=r"holds results\.json but no config\.json"):
        files.check(tiny_config())
    files.write_results(tiny_config(seed=2), metrics={"kl": 2.0})
    assert files.read_results()["config"]["seed"] == 2


def test_results_keep_what_is_not_replaced(tmp_path, tiny_config):
    files = Workdir(tmp_path)
    assert files.read_results() == {}
    files.write_results(tiny_config(), history={"5": {"kl": 1.0}})
    files.write_results(tiny_config(), step=12, metrics={"kl": 2.0})
    results = json.loads(files.results.read_text())
    assert results["history"] == {"5": {"kl": 1.0}}
    assert results["metrics"] == {"kl": 2.0}
    assert results["published"]["source"] == "SFVAE, Table 4"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
