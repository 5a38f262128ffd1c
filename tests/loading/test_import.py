"""`import sfvae_jax` costs no more than `import jax`, and `load` comes with its first use."""

import subprocess
import sys

from helpers import ROOT

import sfvae_jax


def _modules(code):
    lines = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_import_is_as_light_as_that_of_jax():
    assert _modules("import sfvae_jax") <= _modules("import jax") | {"sfvae_jax"}


def test_what_is_imported_late_is_there():
    assert {"load", "Run"} <= set(dir(sfvae_jax))
    assert sfvae_jax.load.__module__ == sfvae_jax.Run.__module__ == "sfvae_jax.run"
    assert "folder" in sfvae_jax.load.__doc__
