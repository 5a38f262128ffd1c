"""Two host devices, a shared compilation cache, and errors where JAX would be silent.

The tests compile more than they compute, so that XLA is told not to optimise, and to write each
loop as LLVM's code directly: without its emitters for fused loops a program compiles in half the
time. Nor is a program split to be compiled by several threads: its parts cost more in all. What one
worker has compiled, however small, the others read from a shared cache. BLAS has one thread, for
each worker of the tests has a core. `run_main(quick=False)` compiles as a user's command does.

Files are written to memory where it has space for them, because the tests would wait for a disk.
"""

import ctypes
import gc
import importlib.metadata
import importlib.util
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
COMPILE = "--xla_backend_optimization_level=0"
# Later releases of jaxlib do not know it, and end at what they do not know.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    COMPILE += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=2 {COMPILE}")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import pytest
from helpers import HANG, ROOT, TINY, make_tiny_config
from jax.experimental.compilation_cache import compilation_cache

from sfvae_jax import plugins

jax.config.update("jax_numpy_rank_promotion", "raise")
gc.set_threshold(50_000, 20, 50)  # what JAX keeps of a program is walked through less often

# What these tests send must arrive, though a shell ignores SIGINT for its background jobs.
signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

# A worker that holds more memory than the first lets go what JAX keeps of compiled programs, and
# again once it has grown by a fifth. It needs no more than the second at any time, so that four of
# them fit where people work.
KEPT_MEMORY, MOST_MEMORY = 1.5 * 2**30, 2 * 2**30


# Their tests train and look at no picture.
ROOMS_WITHOUT_PICTURES = ("command_line", "launch", "loading", "plugins", "runs", "training")


# All files of the quick tests take 0.4 GiB. Some of them are programs that are run.
FILES_IN_MEMORY, SPACE_FOR_FILES = Path("/dev/shm"), 2 * 2**30


def pytest_configure(config):
    """Keeps the files of quick tests in memory; slow tests write gigabytes."""
    if config.option.markexpr != "not slow" or not os.access(FILES_IN_MEMORY, os.W_OK):
        return
    system = os.statvfs(FILES_IN_MEMORY)
    runs_programs = not system.f_flag & os.ST_NOEXEC
    if runs_programs and system.f_bavail * system.f_frsize > SPACE_FOR_FILES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(FILES_IN_MEMORY))


def pytest_collection_finish():
    # Modules stay until the end, so that the garbage collector can skip what they hold.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(6 * HANG))


@pytest.fixture(scope="session")
def _most_kept():
    return {"bytes": KEPT_MEMORY}


@pytest.fixture(autouse=True)
def _bounded_memory(_most_kept):
    """Drops the programs that earlier tests compiled before they fill the memory."""
    yield
    if _resident_memory() > _most_kept["bytes"]:
        jax.clear_caches()
        gc.collect()
        _return_freed_memory()
        left = _resident_memory()
        _most_kept["bytes"] = max(KEPT_MEMORY, 1.2 * left)
        assert left < MOST_MEMORY


def _resident_memory():
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _return_freed_memory():
    """Gives freed memory back to the system, which glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@pytest.fixture(autouse=True)
def _same_path(monkeypatch):
    """What a test adds to the places of modules is gone after it."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(autouse=True)
def _one_pixel_pictures(request, monkeypatch):
    """Where no test looks at pictures, a run writes them without rendering them."""
    if request.path.relative_to(ROOT / "tests").parts[0] in ROOMS_WITHOUT_PICTURES:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", _save_one_pixel)


def _save_one_pixel(_figure, file, *, metadata=None, **_):
    from PIL import Image, PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    for key, text in (metadata or {}).items():
        texts.add_text(key, text or "")
    Image.new("RGB", (1, 1)).save(file, format="png", pnginfo=texts)


@pytest.fixture
def keys():
    """Yields fresh keys, the same in every run; `next` takes one."""
    return map(jax.random.key, itertools.count(1234))


@pytest.fixture
def float64():
    """Enables double precision during a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def own_cache(tmp_path_factory, monkeypatch):
    """Gives the test a user's cache folder of its own; returns it."""
    folder = tmp_path_factory.mktemp("user") / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def no_plugins():
    """What plugins register in a test is forgotten at its end."""
    with plugins.isolated():
        yield


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def tiny_config():
    """The collapse experiment in a second: the sampling model, 40 images, one hidden layer.

    `changes` are made on top.
    """
    return make_tiny_config


@pytest.fixture(scope="session")
def _trained(tmp_path_factory):
    from sfvae_jax.train import train

    folder = tmp_path_factory.mktemp("trained")
    train(make_tiny_config(), folder)
    return folder


@pytest.fixture
def trained_run(_trained, tmp_path):
    """A copy, in tmp_path, of the workdir that `train(tiny_config(), ...)` leaves."""
    shutil.copytree(_trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Evaluating a run draws no pictures, and computes nothing for them."""
    monkeypatch.setattr("sfvae_jax.evaluate.draw", lambda *_: None)


@pytest.fixture
def run_main():
    """Runs `python -m sfvae_jax.main` with the tiny config as a user would; returns the process.

    It compiles quickly, as the tests do, unless quick is False. One that a test leaves at work
    ends with it.
    """
    started = []

    def run(
        workdir, *arguments, changes=(), devices=1, start=subprocess.run, quick=True, **environment
    ):
        flags = [f"--config.{key}={value}" for key, value in {**TINY, **dict(changes)}.items()]
        config = f"--config={ROOT}/configs/mnist_collapse.py:laptop"
        command = [sys.executable, "-m", "sfvae_jax.main", f"--workdir={workdir}", config]
        forced = f"--xla_force_host_platform_device_count={devices}"
        theirs = {"XLA_FLAGS": f"{forced} {COMPILE}" if quick else forced}
        theirs["OPENBLAS_NUM_THREADS"] = None
        variables = {**os.environ, **theirs, **environment}
        process = start(
            [*command, *flags, *arguments],
            env={name: value for name, value in variables.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if isinstance(process, subprocess.Popen) and process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def compiled(caplog):
    """The names of the programs that `with compiled() as names` has compiled in its block."""

    @contextmanager
    def watch():
        names = []
        caplog.clear()
        with jax.log_compiles(True):
            yield names
        lines = [record.getMessage() for record in caplog.records]
        names += [line.split()[1] for line in lines if line.startswith("Compiling ")]

    return watch


@pytest.fixture
def empty_cache(tmp_path_factory, caplog):
    """A compilation cache that is empty when the test begins.

    `with empty_cache() as found` counts the programs that are found in it ("hits") and those that
    are not ("misses").
    """

    @contextmanager
    def counted():
        found = {}
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "jax._src.compiler"):
            yield found
        text = caplog.text.lower()
        found["hits"] = text.count("compilation cache hit")
        found["misses"] = text.count("compilation cache miss")

    before = jax.config.jax_compilation_cache_dir
    _use_cache(str(tmp_path_factory.mktemp("xla")))
    yield counted
    _use_cache(before)


def _use_cache(folder):
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()
