"""What a run does before its first step: imports, compiled programs that are kept, the log."""

import ast
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest
from helpers import ROOT

from sfvae_jax.runtime.compilation_cache import use_compilation_cache
from sfvae_jax.runtime.start_up_time import StartUp, process_start

HEAVY = (
    "tensorflow",
    "tensorflow_datasets",
    "ray",
    "matplotlib",
    "sklearn",
    "grain",
    "blackjax",
    "lark",
    "orbax",
    "PIL",
    "pandas",
    "rdkit",
    "torch",
)


def _loaded(*codes):
    """The heavy modules that a fresh process has loaded after each code."""
    tell = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    code = "\n".join(f"{code}\n{tell}" for code in codes)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [ast.literal_eval(line) for line in done.stdout.splitlines()]


def test_no_heavy_module_is_imported_before_it_is_used():
    rooms = ("objectives", "posteriors", "likelihoods", "models", "config", "data", "evaluation")
    library = "".join(f"import sfvae_jax.{room};" for room in rooms)
    run = "import sfvae_jax.main, sfvae_jax.train, sfvae_jax.evaluate, sfvae_jax.report"
    tools = "import sys, launch.sweep, launch.reproduce; assert 'jax' not in sys.modules"
    assert _loaded(tools, library, run) == [[], [], []]


def test_training_imports_neither_pictures_nor_tensorflow(root, tmp_path):
    flags = [
        "main",
        f"--config={root}/configs/mnist_collapse.py:laptop",
        f"--workdir={tmp_path}",
        "--mode=train",
        "--config.data.num_examples=40",
        "--config.model.hidden_sizes=(8,)",
        "--config.model.latent_size=2",
        "--config.train.steps=2",
    ]
    code = f"""
import sys
sys.argv = {flags}
from absl import app
import sfvae_jax.main as m
try:
    app.run(m.main, flags_parser=m._parse)
except SystemExit as end:
    assert not end.code, end.code
"""
    (loaded,) = _loaded(code)
    assert not {"matplotlib", "sklearn", "tensorflow", "lark", "blackjax"} & set(loaded)


@pytest.fixture
def no_cache():
    """JAX's settings as they are without a cache, for the length of a test."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_programs_are_kept_in_the_user_s_folder(no_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "sfvae_jax" / "xla")
    assert (tmp_path / "sfvae_jax" / "xla").is_dir()
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.0


def test_a_folder_of_the_user_s_own_choice_stays(no_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", "/somewhere")
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == "/somewhere"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(no_cache, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with caplog.at_level("INFO", logger="sfvae_jax"):
        use_compilation_cache()
    assert [record.message for record in caplog.records] == [
        f"compiled programs are not kept: cannot write to {tmp_path}/file/sfvae_jax/xla"
    ]
    assert jax.config.jax_compilation_cache_dir is None


def test_a_process_begins_before_its_tests():
    code = (
        "import time; a = time.monotonic(); time.sleep(0.5); from sfvae_jax.runtime.start_up_time"
    )
    code += " import process_start; print(a - process_start())"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # It began before its first line, and after it was asked for; a tick is a hundredth.
    assert -0.02 < float(done.stdout) < time.monotonic() - start - 0.5
    assert process_start() <= time.monotonic()


def test_the_time_of_compilations_is_counted():
    start_up = StartUp(time.monotonic() - 100.0)
    assert str(start_up) == "100.0 s, 0.0 s of them compiling"
    before = time.monotonic()
    key = time.time_ns()  # of a program that no run has compiled before
    jax.jit(lambda x: jnp.linalg.inv(x @ x + key % 1_000_003))(jnp.eye(7)).block_until_ready()
    total, compiling = (float(part.split()[0]) for part in str(start_up).split(", "))
    assert total >= 100.0
    assert 0.0 < start_up._clock.seconds - start_up._compiled_before <= time.monotonic() - before
    assert compiling <= total
