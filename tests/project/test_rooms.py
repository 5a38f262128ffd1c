"""The rooms of the library: which may import which, no circles of imports, and their sizes.

A room is a package in sfvae_jax/ or a module beside these packages. docs/architecture.md explains
what each of them is for.
"""

import ast
import graphlib

import pytest
from helpers import ROOT

PACKAGES = ("sfvae_jax", "launch")
MOST_LINES, MOST_FILES = 400, 14  # of a file and of a folder

# The rooms that each room may import. Arrows only point to rooms further up in this table.
ROOMS = {
    "errors": "",
    "options": "errors",
    "paths": "errors",
    "shipped": "",
    "left_open": "",
    "runtime": "errors paths",
    "objectives": "",
    "grammars": "objectives",
    "posteriors": "errors options objectives",
    "likelihoods": "errors options grammars objectives",
    "data": "errors options paths runtime grammars",
    "models": "errors options objectives grammars posteriors likelihoods data",
    "evaluation": "errors options paths runtime objectives grammars posteriors likelihoods data"
    " models",
    "training": "errors options runtime objectives posteriors likelihoods data models",
    "plugins": "errors options paths objectives grammars posteriors likelihoods data models"
    " evaluation training",
    "runs": "errors paths runtime objectives data models evaluation training plugins",
    "config": "errors options left_open objectives posteriors likelihoods data models evaluation"
    " training plugins",
    "reporting": "errors options paths runtime objectives posteriors likelihoods data models"
    " evaluation training plugins runs",
    "measuring": "errors runtime objectives likelihoods data models evaluation training runs"
    " config",
    "watching": "errors options paths runtime evaluation runs config",
    "train": "errors left_open runtime objectives likelihoods data models evaluation training runs"
    " config measuring watching",
    "evaluate": "errors paths runtime data models evaluation training runs config measuring"
    " watching",
    "loading": "errors options paths runtime grammars likelihoods data models evaluation runs"
    " config",
    "run": "errors objectives likelihoods data models evaluation training plugins runs measuring"
    " evaluate loading",
    "report": "errors paths runtime reporting",
    "command_line": "errors options shipped left_open runtime objectives posteriors likelihoods"
    " models data evaluation training plugins runs config loading",
    "reference": "errors paths runtime config reporting command_line",
    "experiments": "errors left_open objectives likelihoods data",
    "main": "errors paths shipped runtime runs command_line watching train evaluate",
    "__main__": "runtime command_line",
}

# Modules that import others of the project inside functions, and why.
LAZY = {
    "sfvae_jax.main": "a mistyped flag does not wait for Orbax",
    "sfvae_jax.command_line.console": "a run does not wait for `list` and `show`",
    "sfvae_jax.command_line.guide": "`list` does not wait for the options of all rooms",
    "sfvae_jax.command_line.listing": "`list configs` does not wait for JAX",
    "sfvae_jax.command_line.tuples": "most flags need no options",
    "sfvae_jax.command_line.plugin_flags": "a command without plugins needs no options",
    "sfvae_jax.command_line.flag_errors": "only an error needs the options of all rooms",
    "sfvae_jax.runtime.signals": "Ctrl-C does not wait for JAX",
    "sfvae_jax.evaluation.figures": "training does not wait for Matplotlib",
    "launch.reproduce": "--help does not wait for JAX",
    "launch.sweep": "--help does not wait for JAX",
}


def _modules():
    """The file of each module, by its name."""
    found = {}
    for path in (path for package in PACKAGES for path in sorted(ROOT.glob(f"{package}/**/*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[: -1 if parts[-1] == "__init__" else None])] = path
    return found


MODULES = _modules()


def _imports(tree, in_function=False):
    """Yields what a module imports, and whether a function does; modules of this project only."""
    for node in ast.iter_child_nodes(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in whole]
        else:
            inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _imports(node, inside)
        for name in names:
            if name in MODULES:
                yield name, in_function


IMPORTS = {
    module: list(_imports(ast.parse(path.read_text(encoding="utf-8"))))
    for module, path in MODULES.items()
}


def _room(module):
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "sfvae_jax" else package


def test_every_room_is_in_the_table():
    rooms = {_room(module) for module in MODULES} - {"", "launch"}
    assert sorted(rooms) == sorted(ROOMS)
    assert all(set(ROOMS[room].split()) < set(ROOMS) for room in ROOMS)
    order = list(ROOMS)
    for room, others in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in others.split())


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    allowed = {room, *ROOMS[room].split()}
    for module, imports in IMPORTS.items():
        if _room(module) != room:
            continue
        for name, _ in imports:
            # The package itself has the version.
            assert name == "sfvae_jax" or _room(name) in allowed, f"{module} imports {name}"


def test_modules_do_not_import_each_other_in_a_circle():
    graph = {
        module: {name for name, _ in imports} - {module} for module, imports in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_imports_inside_functions_have_a_reason():
    """So a circle of imports cannot hide in a function, and a reader finds them at the top."""
    lazy = {
        module
        for module, imports in IMPORTS.items()
        if any(in_function for _, in_function in imports)
    }
    assert lazy == set(LAZY)


def test_files_and_folders_have_a_readable_size():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values()}
    assert {path: number for path, number in lines.items() if number > MOST_LINES} == {}
    folders = {path.parent for path in MODULES.values()}
    files = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: number for folder, number in files.items() if number > MOST_FILES} == {}
