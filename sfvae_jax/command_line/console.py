"""Trains and evaluates models, compares runs, and shows what there is to choose from.

  sfvae_jax --config=FILE.py[:PRESET] ...  trains and evaluates: python -m sfvae_jax.main
  sfvae_jax report RUN [RUN ...]           makes a table of runs: python -m sfvae_jax.report
  sfvae_jax sweep --config=...             carries out many runs: python -m launch.sweep
  sfvae_jax reproduce TABLE                the tables of the papers: python -m launch.reproduce
  sfvae_jax list [KIND ...]                configs, objectives, posteriors, likelihoods, models,
                                           data, sequences, evaluations, plugins: names with a
                                           line each
  sfvae_jax show FILE.py[:PRESET] [KEY ..] every key of a configuration, or these: its value,
                                           whether it differs from the default, and what it does

`python -m sfvae_jax` is the same command. --help after a subcommand shows its flags, and
`sfvae_jax --helpfull` those of a run.
"""

from __future__ import annotations

import difflib
import os
import runpy
import sys
from collections.abc import Sequence
from contextlib import suppress

from sfvae_jax.errors import UsageError
from sfvae_jax.runtime import output
from sfvae_jax.runtime.signals import let_interrupts_end_the_process
from sfvae_jax.shipped import put_launch_on_path

_RUN = "sfvae_jax.main"
# The module that each subcommand runs, as `python -m` would.
_MODULES = {"report": "sfvae_jax.report", "sweep": "launch.sweep", "reproduce": "launch.reproduce"}
_GUIDES = ("list", "show")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments after the name of the command; None: those of this process.

    Returns:
        The exit status of `list` and `show`, and of an unknown subcommand. Other subcommands end
        the process.
    """
    let_interrupts_end_the_process()
    argv = list(sys.argv[1:] if argv is None else argv)
    _find_plugins_here()
    output.prepare()
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    try:
        if name in ("", "help", "-h", "--help"):
            output.say(__doc__.rstrip())
            return 0
        if name in _GUIDES:
            # Imported here so that other subcommands do not wait for it.
            from sfvae_jax.command_line import guide

            return guide.main(name, rest)
        if name.startswith("-"):
            _run(_RUN, argv)
        elif name in _MODULES:
            _run(_MODULES[name], rest)
        else:
            raise _unknown(name)
    except UsageError as error:
        output.say_error(str(error))
        return error.exit_status
    return 0


def _find_plugins_here() -> None:
    """Adds the current folder, which `python -m` searches too, to the places of modules."""
    with suppress(OSError):  # the folder is gone
        here = os.getcwd()
        if not getattr(sys.flags, "safe_path", False) and not {"", here} & {*sys.path}:
            sys.path.append(here)


def _run(module: str, arguments: Sequence[str]) -> None:
    """Runs a module as `python -m MODULE ARGUMENTS` does, in this process."""
    put_launch_on_path()
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _unknown(name: str) -> UsageError:
    known = [*_MODULES, *_GUIDES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return UsageError(
        f"unknown subcommand {name!r}{hint} give one of {', '.join(known)}, or the flags of a run,"
        " --config=FILE.py[:PRESET]; see --help"
    )
