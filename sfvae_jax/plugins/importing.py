"""Imports plugins: files and modules that register specs.

A plugin is known by what its file contains: a copy of it under another path is the same plugin, and
a file that has been edited is imported anew.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sfvae_jax.data import SOURCES, source_of
from sfvae_jax.errors import UsageError, in_one_line
from sfvae_jax.options import Group
from sfvae_jax.paths import regular_file, shown
from sfvae_jax.plugins import rooms
from sfvae_jax.plugins.checks import check_spec
from sfvae_jax.plugins.trials import try_spec

_LIBRARY = str(Path(__file__).resolve().parents[1])
_DIGITS = 16  # of a digest


class Plugin(NamedTuple):
    """A plugin that this process has imported.

    Attributes:
        name: the absolute path of its file, or the name of its module.
        file: its file.
        content: what the file holds.
        digest: that of the content; of a package, that of all its files.
        specs: what it has registered.
    """

    name: str
    file: Path
    content: bytes
    digest: str
    specs: tuple[Any, ...]


# The plugins that the tables have, by their names.
_PLUGINS: dict[str, Plugin] = {}
# The specs of the plugins that are being imported, the innermost last.
_COLLECTING: list[list[Any]] = []
# What modules registered while no plugin was imported, by the names of the modules.
_ELSEWHERE: dict[str, list[Any]] = {}
# What modules registered when they were imported as plugins; Python imports them once.
_OF_MODULES: dict[str, tuple[Any, ...]] = {}
_LOCK = threading.RLock()


def register(*specs: Any) -> None:
    """Adds parts to the library, for all configs that name the calling file in `config.plugins`.

    Each spec is checked at once: types, numbers of arguments, options, and shapes as far as they
    can be told without data. Where no config is read, as in a notebook or by `python my_parts.py`,
    the specs are only checked.

    Args:
        specs: `ObjectiveInfo`, `PosteriorSpec`, `LikelihoodSpec`, `ModelSpec`, `DataSource`,
            `Evaluation` or `OptimizerSpec`.

    Raises:
        UsageError: saying what is wrong with a spec.
    """
    for spec in specs:
        room = rooms.room_of(spec)
        check_spec(room, spec)
        try_spec(room, spec)
    if _COLLECTING:
        _COLLECTING[-1].extend(specs)
    else:
        rooms.check_beside_library(specs)
        module = str(sys._getframe(1).f_globals.get("__name__", ""))
        _ELSEWHERE.setdefault(module, []).extend(specs)


def import_plugins(names: Sequence[str | os.PathLike]) -> tuple[Plugin, ...]:
    """Imports plugins, each once, and adds what they register to the tables.

    Args:
        names: paths of files, from the current folder, or names of modules.

    Raises:
        UsageError: if one is missing, raises an error, or registers what is refused; it names the
            file and, where it can, the line.
    """
    with _LOCK:
        found = [_imported(os.fspath(name)) for name in names]
        return tuple({plugin.name: plugin for plugin in found}.values())


def tables(names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Returns the tables as a config sees them, by their groups.

    Args:
        names: the plugins that it names, which are imported; None: all that this process has
            imported.

    Raises:
        UsageError: as `import_plugins` does.
    """
    if names is None:
        return rooms.tables_with(None)
    return rooms.tables_with([plugin.name for plugin in import_plugins(names)])


def option_groups(names: Sequence[str] | None) -> dict[str, Group]:
    """Returns the groups of options that plugins may add to, as a config sees them.

    Args:
        names: as for `tables`.

    Raises:
        UsageError: as `import_plugins` does.
    """
    found = tables(names)
    return {room.group: room.options(found[room.group]) for room in rooms.ROOMS}


def check_source(name: str, names: Sequence[str]) -> None:
    """Checks that a `data.name` is not that of a plugin which a config does not name.

    Args:
        name: the `data.name`.
        names: the plugins of the config.

    Raises:
        UsageError: if it is.
    """
    source = source_of(name).name
    if source in SOURCES and source not in tables(names)["data"]:
        raise UsageError(f"data.name {name!r} comes from a plugin; name its file in plugins")


def identified(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the whole names of plugins, which are imported, and their digests, each once.

    Raises:
        UsageError: as `import_plugins` does.
    """
    found = {
        plugin.name: (_whole(n), plugin.digest) for n in names for plugin in import_plugins([n])
    }
    whole, digests = zip(*found.values(), strict=True) if found else ((), ())
    return whole, digests


def _whole(name: str) -> str:
    """Returns the absolute path of a plugin that is a file, or the name of a module."""
    if not is_file(name):
        return name
    try:
        return str(regular_file(name, "plugins"))
    except UsageError as error:
        raise UsageError(f"{error}; give its absolute path, or that from here") from error


def is_file(name: str) -> bool:
    """Whether a plugin's name means a file, not a module."""
    return name.endswith(".py") or "/" in name


def digest_of(path: Path) -> str:
    """Returns the digest of a plugin that is a file; "" if it cannot be read."""
    try:
        return _digest([path.read_bytes()])
    except OSError:
        return ""


def imported() -> tuple[Plugin, ...]:
    """Returns the plugins that this process has imported."""
    return tuple(_PLUGINS.values())


@contextmanager
def isolated() -> Iterator[None]:
    """Forgets at the end what plugins have registered inside; for tests."""
    before = dict(_PLUGINS)
    with rooms.kept():
        try:
            yield
        finally:
            _PLUGINS.clear()
            _PLUGINS.update(before)


def _imported(name: str) -> Plugin:
    if not is_file(name):
        return _PLUGINS.get(name) or _imported_module(name)
    path = Path(_whole(name))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"plugins={name}: cannot read it: {error.strerror}") from error
    digest, known = _digest([content]), _PLUGINS.get(str(path))
    if known is not None and known.digest == digest:
        return known
    for copy in _PLUGINS.values():
        if copy.digest == digest:
            return copy
    specs = _collected(path, lambda: _execute(path, content, digest))
    return _entered(Plugin(str(path), path, content, digest, specs), known)


def _imported_module(name: str) -> Plugin:
    path = _file_of(name)
    if name not in _OF_MODULES:
        _OF_MODULES[name] = _collected(path, lambda: _import_or_recall(name))
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = _digest([file.read_bytes() for file in files])
    return _entered(Plugin(name, path, path.read_bytes(), digest, _OF_MODULES[name]), None)


def _import_or_recall(name: str) -> None:
    """Imports a module; registers again what one that is imported already has registered."""
    if name not in sys.modules:
        importlib.import_module(name)
        return
    for module, specs in _ELSEWHERE.items():
        if f"{module}.".startswith(f"{name}."):
            _COLLECTING[-1].extend(specs)
    if not _COLLECTING[-1]:
        raise UsageError(
            f"{name} registers nothing, or Python imported it for another plugin, which then has"
            " its parts; leave it out, or name it before the other"
        )


def _file_of(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(
            f"plugins: there is no module {module!r}; give the name of a module that Python can"
            " import, or the path of a file that ends with .py"
        )
    return Path(spec.origin)


def _execute(path: Path, content: bytes, digest: str) -> None:
    module = types.ModuleType(f"sfvae_jax_plugin_{path.stem}_{digest}")
    module.__file__ = str(path)
    code = compile(content, str(path), "exec", dont_inherit=True)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[module.__name__]
        raise


def _collected(path: Path, run: Callable[[], Any]) -> tuple[Any, ...]:
    """Runs the code of a plugin; returns what it registers."""
    found: list[Any] = []
    _COLLECTING.append(found)
    try:
        run()
    except (Exception, SystemExit) as error:
        raise _failure(path, error) from error
    finally:
        _COLLECTING.pop()
    if not found:
        raise UsageError(
            f"plugin {shown(path)} registers nothing; call sfvae_jax.plugins.register(SPEC) in it"
        )
    return tuple(found)


def _entered(plugin: Plugin, before: Plugin | None) -> Plugin:
    """Adds the specs of a plugin to the tables, in place of those of an earlier content."""
    if before is not None:
        rooms.leave(before.name)
    try:
        rooms.enter(plugin.name, plugin.specs)
    except UsageError as error:
        if before is not None:
            rooms.enter(before.name, before.specs)
        raise UsageError(f"plugin {shown(plugin.file)}: {error}") from error
    _PLUGINS[plugin.name] = plugin
    return plugin


def _failure(path: Path, error: BaseException) -> UsageError:
    """Returns an error of a plugin in one line, with the file and the line where it arose."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        file, line, text = error.filename, error.lineno, f"{type(error).__name__}: {error.msg}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        inner = [f for f in frames if not f.filename.startswith((_LIBRARY, "<frozen"))]
        own = [f for f in frames if f.filename == str(path)] or inner
        file, line = (own[-1].filename, own[-1].lineno) if own else (str(path), None)
        text = in_one_line(error)
        if not isinstance(error, UsageError):
            text = f"{type(error).__name__}: {text}"
    place = f", line {line}" if line else ""
    return UsageError(f"plugin {shown(Path(file))}{place}: {text}")


def _digest(contents: Sequence[bytes]) -> str:
    found = hashlib.sha256()
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return found.hexdigest()[:_DIGITS]
