"""The reference of the API: a page for each room, and links to it wherever a name is mentioned.

The pages show what `__all__` of a room names, from its docstrings.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

# What the page of each room shows: a module, and which of its names (all in `__all__`, if empty).
PAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "sfvae_jax": {
        "sfvae_jax.run": ("load", "Run"),
        "sfvae_jax.train": ("train",),
        "sfvae_jax.evaluate": ("evaluate",),
        "sfvae_jax.config": ("base_config", "resolve"),
        "sfvae_jax.errors": ("UsageError",),
    },
    "objectives": {"sfvae_jax.objectives": ()},
    "posteriors": {"sfvae_jax.posteriors": ()},
    "likelihoods": {"sfvae_jax.likelihoods": ()},
    "models": {"sfvae_jax.models": ()},
    "data": {"sfvae_jax.data": ()},
    "grammars": {"sfvae_jax.grammars": ()},
    "evaluation": {"sfvae_jax.evaluation": ()},
    "plugins": {"sfvae_jax.plugins": ()},
}

_HEADED = "    options:\n      show_root_heading: true\n      show_root_full_path: false\n"
_CODE = re.compile(r"(?<!<pre>)<code>([\w.]+)((?:\([^<]*\))?)</code>(?!</a>)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the API."""
    for room, modules in PAGES.items():
        shown = [f"# {room}\n", *(_shown(module, names) for module, names in modules.items())]
        files.append(File.generated(config, f"api/{room}.md", content="\n".join(shown)))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Makes each mention of a public name, such as `objectives.rae_loss`, a link to it."""

    def linked(match: re.Match[str]) -> str:
        target = TARGETS.get(match[1])
        code = match[0]
        return f'<autoref identifier="{target}">{code}</autoref>' if target else code

    return _CODE.sub(linked, html)


def _shown(module: str, names: tuple[str, ...]) -> str:
    """The directives that show names of a module; a package comes with its own docstring."""
    alone = names or [name for name in exported(module) if _is_hidden(module, name)]
    of_each = [f"::: {_full(module, name)}\n{_HEADED}" for name in alone]
    if names:
        return "\n".join(of_each)
    members = [f"        - {name}\n" for name in exported(module) if name not in alone]
    whole = f"::: {module}\n    options:\n      members:\n{''.join(members)}"
    return "\n".join([whole, *of_each])


def _full(module: str, name: str) -> str:
    """The name under which a member of a module is found."""
    return f"{module}.{name}.{name}" if _is_hidden(module, name) else f"{module}.{name}"


def _is_hidden(module: str, name: str) -> bool:
    """Whether a file of the package has the name of what it exports: both are `module.name`."""
    return (ROOT / module.replace(".", "/") / f"{name}.py").exists()


def exported(module: str) -> list[str]:
    """Returns `__all__` of a package."""
    source = (ROOT / module.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{module} has no __all__; the API's page needs one")


def targets() -> dict[str, str]:
    """Returns the full name of every public name, by the names that pages use for it."""
    found = {}
    for room, modules in PAGES.items():
        for module, names in modules.items():
            for name in names or exported(module):
                full = _full(module, name)
                found |= {f"{module}.{name}": full, f"{room}.{name}": full}
    return found


TARGETS = targets()
