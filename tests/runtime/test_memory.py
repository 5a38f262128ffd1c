"""Freed memory is used again: page faults counted in a process of its own."""

import json
import subprocess
import sys

import pytest

from sfvae_jax.runtime import memory

# The page faults of the third call of `touch`, which needs an array of 64 MiB or more.
PROGRAM = """
import resource, sys
if sys.argv[1] == "keep":
    from sfvae_jax.runtime.memory import keep_freed_memory
    if not keep_freed_memory():
        sys.exit(3)
{touch}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    touch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(), faults()
print(faults())
"""
TOUCHES = {
    "python": """
def touch():
    bytearray(64 * 2**20)[::4096]
""",
    # Long enough that JAX would give it to a thread of its own.
    "jax": """
import jax, jax.numpy as jnp
x = jnp.ones(5_000)
product = jax.jit(lambda x: jnp.sin(jnp.outer(x, x)))
def touch():
    product(x).block_until_ready()
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
@pytest.mark.parametrize("by", TOUCHES)
def test_later_large_arrays_take_no_new_pages(root, by):
    def faults(how):
        command = [sys.executable, "-c", PROGRAM.format(touch=TOUCHES[by]), how]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode == 3:
            pytest.skip("not glibc")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # Large pages, where the machine has them, make both numbers smaller.
    assert 10 * faults("keep") < faults("leave")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_the_command_sets_it_before_jax_is_imported(root):
    program = """
import json, runpy, sys
from sfvae_jax.runtime import memory
called = []
memory.keep_freed_memory = lambda: called.append("jax" in sys.modules)
sys.argv = ["main", "--help"]
try:
    runpy.run_module("sfvae_jax.main", run_name="__main__")
except SystemExit:
    print(json.dumps(called), file=sys.stderr)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert json.loads(done.stderr.splitlines()[-1]) == [False]


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        ("", (), True),
        ("", ("libtpu",), False),
        ("", ("jax_plugins",), False),
        ("cpu", ("jax_plugins",), True),
        ("cpu,cuda", (), True),
        ("cuda,cpu", (), False),
    ],
)
def test_where_jax_will_compute(monkeypatch, asked, found, expected):
    monkeypatch.setenv("JAX_PLATFORMS", asked)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name in found or None)
    assert memory.computes_on_cpu() is expected
