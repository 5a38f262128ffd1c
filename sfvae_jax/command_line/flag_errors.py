"""The errors of absl and ml_collections about a flag or a config file, in one line."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags

from sfvae_jax.command_line.typed import typed_values
from sfvae_jax.errors import UsageError
from sfvae_jax.shipped import FOLDER

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)


def check_overrides(argv: Sequence[str]) -> None:
    """Refuses --config.preset=NAME, which would change only a name, and --config.KEY[0].

    Args:
        argv: the flags as typed.

    Raises:
        UsageError: with the flag to give instead.
    """
    files = typed_values(argv, "config")
    for key, value in _overrides(argv):
        if key == "preset":
            file = files[-1].partition(":")[0] if files else "FILE.py"
            raise UsageError(
                f"--config.preset={value} would change the name of the preset but no value; give"
                f" --config={file}:{value}"
            )
        if "[" in key:
            whole = key.partition("[")[0]
            raise UsageError(
                f"--config.{key}: an entry of a tuple cannot be changed alone; give all entries,"
                f" --config.{whole}='(..., ...)'"
            )


def one_line(error: Exception, argv: Sequence[str] = ()) -> str:
    """Returns the message of an error in parsing flags, without the traceback that it may hold.

    Args:
        error: the error.
        argv: the flags as typed.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, flags.UnrecognizedFlagError) and error.flagname.startswith("config."):
        return (
            f"--{error.flagname} changes a configuration; give --config=FILE.py[:PRESET] too, which"
            " only --mode=evaluate of a run that is there does without"
        )
    if _concerns_override(error) and (message := _unknown_override(argv)):
        return message
    if isinstance(error, flags.IllegalFlagValueError) and (message := _refused_value(lines, argv)):
        return message
    if message := _config_file_message(error):
        return f"--config: {message}"
    if message := _missing_file(lines[-1], argv):
        return message
    if isinstance(error, OSError) or "Traceback" in str(error):
        # ml_collections includes a traceback; the last line says what went wrong.
        return f"--config: {lines[-1].strip().removeprefix('sfvae_jax.errors.UsageError: ')}"
    if isinstance(error, (flags.Error, ValueError, TypeError)):
        return " ".join(lines)
    return f"--config: {type(error).__name__}: {' '.join(lines)}"  # raised in the file


def _overrides(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields key and text of each --config.KEY=TEXT."""
    for match in map(_OVERRIDE.fullmatch, argv):
        if match:
            yield match[1], match[2] or ""


def _missing_file(line: str, argv: Sequence[str]) -> str:
    """Returns the message for a config file that is not there, with a similar name; else ""."""
    given = typed_values(argv, "config")
    file, colon, preset = given[-1].partition(":") if given else ("", "", "")
    if not file or "[Errno 2]" not in line or repr(file) not in line:
        return ""
    shipped = {path.stem: path.name for path in (FOLDER / "configs").glob("*.py")}
    beside = {path.stem: path.name for path in Path(file).parent.glob("*.py")}
    folder = str(Path(file).parent / "_").removesuffix("_")
    names = {stem: f"configs/{name}" for stem, name in shipped.items()}
    names |= {stem: f"{folder}{name}" for stem, name in beside.items()}
    near = difflib.get_close_matches(Path(file).stem, names, n=1)
    hint = f"did you mean --config={names[near[0]]}{colon}{preset}? " if near else ""
    return f"--config: {line.strip()}; {hint}`sfvae_jax list configs` lists all"


def _concerns_override(error: Exception) -> bool:
    """Whether ml_collections raised the error for a --config.a.b, not for a config file."""
    files = (Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__))
    return "config_path.py" in files


def _unknown_override(argv: Sequence[str]) -> str:
    """Returns the message for a flag with an unknown key; "" if there is none."""
    from sfvae_jax import config, options  # the config file has imported them already

    known = options.keys(config.groups(None))
    unknown = [key for key, _ in _overrides(argv) if key not in known]
    return str(options.unknown_key(unknown[0], known)) if unknown else ""


def _refused_value(lines: Sequence[str], argv: Sequence[str]) -> str:
    """Says what a value that absl refuses must be; "" if the flag is not a --config.KEY."""
    from sfvae_jax import config, options

    for key, text in reversed([*_overrides(argv)]):  # the last of several equal flags counts
        if not lines[0].startswith(f"flag --config.{key}="):
            continue
        entry = options.entry_of(config.groups(None), key)
        expected = "given key by key, as --config.KEY.NAME"
        if isinstance(entry, options.Option):
            expected = entry.rule.expected
        return f"{key} must be {expected}, got {options.shown(text)}"
    return ""


def _config_file_message(error: Exception) -> str:
    """Returns the message for an unknown key or wrong value in a config file, or ""."""
    from sfvae_jax import config, options

    place = _refused_place(error)
    if place is None:
        return ""
    key, value = place
    groups = config.groups(None)
    entry = options.entry_of(groups, key)
    if entry is None:
        return str(options.unknown_key(key, options.keys(groups)))
    expected = entry.rule.expected if isinstance(entry, options.Option) else "a group of options"
    return f"{key} must be {expected}, got {options.shown(value)}"


def _refused_place(error: BaseException | None) -> tuple[str, Any] | None:
    """Finds the whole key that ml_collections refused to set, and the refused value."""
    found: tuple[ml_collections.ConfigDict, str, Any] | None = None
    roots: list[ml_collections.ConfigDict] = []
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            names = frame.f_locals
            holder, key = names.get("self"), names.get("key")
            if isinstance(holder, ml_collections.ConfigDict) and isinstance(key, str):
                found = holder, key, names.get("value")
            roots += [v for v in names.values() if isinstance(v, ml_collections.ConfigDict)]
        error = error.__cause__ or error.__context__
    if found is None:
        return None
    holder, key, value = found
    prefixes = [p for root in roots if "evaluations" in root for p in _prefixes(root, holder)]
    return (f"{prefixes[0]}{key}", value) if prefixes else None


def _prefixes(
    root: ml_collections.ConfigDict, holder: ml_collections.ConfigDict, prefix: str = ""
) -> Iterator[str]:
    """Yields what whole keys begin with in a group of a config, such as "train."."""
    if root is holder:
        yield prefix
    for name, value in root.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from _prefixes(value, holder, f"{prefix}{name}.")
