"""The plugins of a run: copies of their files, whether they changed, and where they are now."""

from __future__ import annotations

import glob
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from sfvae_jax import plugins
from sfvae_jax.errors import UsageError
from sfvae_jax.paths import shown
from sfvae_jax.runs.workdir import Workdir
from sfvae_jax.runtime import processes
from sfvae_jax.runtime.files import read_json, write_bytes

log = logging.getLogger("sfvae_jax")

_FOLDER = "plugins"


def keep_plugins(config: ml_collections.ConfigDict, files: Workdir) -> None:
    """Copies the files of a run's plugins into its workdir, which nothing there ever executes.

    Args:
        config: resolved.
        files: those of the run, which has locked them.

    Raises:
        RunError: if they cannot be written.
    """
    if not processes.is_main():
        return
    for plugin in plugins.import_plugins(config.plugins):
        path = files.folder / _FOLDER / _name_of_copy(plugin.file, plugin.digest)
        with files.writing(path):
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                write_bytes(path, plugin.content)


def tell_changed_plugins(config: ml_collections.ConfigDict, files: Workdir) -> None:
    """Warns of plugins that are not what they were when the run began.

    Args:
        config: resolved.
        files: those of the run, which may not have begun.
    """
    if not files.config.exists() or not processes.is_main():
        return
    for name, digest in _recorded(read_json(files.config)):
        if digest not in config.plugin_digests:
            log.warning(
                "plugin %s has changed since this run began, or is no longer named; plugins are"
                " used as they are now, and %s has copies of the earlier ones",
                shown(Path(name)),
                shown(files.folder / _FOLDER),
            )


def recorded_plugins(
    content: Mapping[str, Any], files: Workdir, *, unchanged: bool = False
) -> tuple[str, ...]:
    """Returns the names of the plugins that a run needs, as they are found here.

    A plugin is a file with the same content that this process has imported; or the file that the
    run names; or a file of that name and content in the current folder; or an imported file of that
    name; or the module that the run names. A file or module inside the workdir is never taken: who
    writes a workdir does not choose what code is executed.

    Args:
        content: the run's configuration, as config.json and results.json have it.
        files: those of the run.
        unchanged: whether the content must be that with which the run began.

    Raises:
        UsageError: if one is not found, with what to do.
    """
    return tuple(_found(name, digest, files, unchanged) for name, digest in _recorded(content))


def _name_of_copy(file: Path, digest: str) -> str:
    return f"{file.stem}-{digest}.py"


def _recorded(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    names, digests = content.get("plugins", ()), content.get("plugin_digests", ())
    if not _are_texts(names) or not _are_texts(digests):
        return []
    return [*zip(names, [*digests, *[""] * len(names)], strict=False)]


def _are_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(entry, str) for entry in value)


def _found(name: str, digest: str, files: Workdir, unchanged: bool) -> str:
    here = plugins.imported()
    same = [plugin.name for plugin in here if plugin.digest == digest]
    if same:
        return same[0]
    if not plugins.is_file(name):
        is_imported = name in [plugin.name for plugin in here]
        if not is_imported and _holds_module(files.folder, name):
            raise UsageError(
                f"{files.name} needs the plugin {name}, a module that lies inside this workdir,"
                " from which no code is executed unasked; if you trust this run, give"
                f" --config.plugins={name} or load(..., plugins=({name!r},))"
            )
        return name
    for path in (Path(name), Path.cwd() / Path(name).name):
        if path.resolve().is_relative_to(files.folder) or not path.is_file():
            continue
        if plugins.digest_of(path) == digest or (path == Path(name) and not unchanged):
            return str(path)
    of_name = [plugin.name for plugin in here if plugin.file.name == Path(name).name]
    if of_name and not unchanged:
        return of_name[0]
    copy = f"{files.name}/{_FOLDER}/{_name_of_copy(Path(name), digest)}"
    where = "which was not found unchanged" if unchanged else "which was not found"
    raise UsageError(
        f"{files.name} needs the plugin {name}, {where}. Give its path, as"
        " --config.plugins=PATH or load(..., plugins=(PATH,)); if you trust this run, give the"
        f" path of its copy {copy}"
    )


def _holds_module(folder: Path, name: str) -> bool:
    """Whether a module, or a package that it is in, could be imported from a folder."""
    parts = name.split(".")
    for start in sys.path:
        for number in range(1, len(parts) + 1):
            try:
                path = Path(start, *parts[:number]).resolve()
            except (OSError, ValueError):  # such as a NUL: nothing has this name
                continue
            is_there = path.is_dir() or any(path.parent.glob(f"{glob.escape(path.name)}.*"))
            if is_there and path.is_relative_to(folder):
                return True
    return False
