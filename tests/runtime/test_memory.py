"""Freed memory is used again: page faults counted in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
if sys.argv[1] == "keep":
    from sfvae_jax.runtime.memory import keep_freed_memory
    if not keep_freed_memory():
        sys.exit(3)
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(64 * 2**20)[::4096]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_a_second_large_array_takes_no_new_pages(root):
    def faults(how):
        command = [sys.executable, "-c", PROGRAM, how]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode == 3:
            pytest.skip("not glibc")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    # Large pages, where the machine has them, make both numbers smaller.
    assert 10 * faults("keep") < faults("leave")
