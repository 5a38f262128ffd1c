"""Pages of the site from files outside of docs/: README as its front page, and what pages link to.

A link from a page to a file of the repository, such as `../examples/linen.py`, leads to a copy of
that file in the site, so that the site is whole without the repository.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # MkDocs runs this file by its path, and `book` is not installed

from book.notebook_pages import as_page  # noqa: E402

FOLDER = "outside"  # of the site, for these copies
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md")  # pages that the navigation names
LANGUAGES = {".py": "python", ".sh": "sh", ".sbatch": "sh"}
SHOWN = (*LANGUAGES, "", ".txt")  # files that become a page; others are copied as they are
NOTEBOOK = ".ipynb"  # becomes a page and is copied, so that the page can offer it

_FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the front page and a copy of each file outside of docs/ that a page links to."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    docs = PurePosixPath(Path(config.docs_dir).relative_to(ROOT).as_posix())
    waiting = ["README.md", *ALWAYS, *(str(docs / f.src_uri) for f in files.documentation_pages())]
    waiting.remove(str(docs / "index.md"))
    seen = {"README.md", *ALWAYS}
    for name in ALWAYS:
        files.append(_copy(name, config))
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            inside = PurePosixPath(target).is_relative_to(docs)
            if inside or target in seen or not (ROOT / target).is_file():
                continue
            seen.add(target)
            files.append(_copy(target, config))
            if target.endswith(NOTEBOOK):
                path = str(ROOT / target)
                files.append(File.generated(config, f"{FOLDER}/{target}", abs_src_path=path))
            waiting += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Leads links to files outside of docs/ to their copies."""
    docs = Path(config.docs_dir).relative_to(ROOT).as_posix()
    source = _source(page.file.src_uri, docs)

    def led(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        return posixpath.relpath(_place(target, docs), posixpath.dirname(page.file.src_uri) or ".")

    pieces = _FENCED.split(markdown)
    return "".join(piece if piece.startswith("```") else _LINK.sub(led, piece) for piece in pieces)


def _targets(page: str) -> list[str]:
    """The files that a page links to, relative to the repository."""
    text = _FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    folder = posixpath.dirname(page)
    return [posixpath.normpath(posixpath.join(folder, link)) for link in _LINK.findall(text)]


def _source(uri: str, docs: str) -> str:
    """Where a page of the site comes from, relative to the repository."""
    if uri == "index.md":
        return "README.md"
    if uri.startswith(f"{FOLDER}/"):
        return uri.removeprefix(f"{FOLDER}/")
    return f"{docs}/{uri}"


def _place(target: str, docs: str) -> str:
    """Where a file of the repository is in the site."""
    if target == "README.md":
        return "index.md"
    if target.startswith(f"{docs}/"):
        return target.removeprefix(f"{docs}/")
    stem, suffix = posixpath.splitext(target)
    if suffix == NOTEBOOK:
        return f"{FOLDER}/{stem}.md"
    return f"{FOLDER}/{target}{'.md' if suffix in SHOWN else ''}"


def _copy(target: str, config: MkDocsConfig) -> File:
    """A file of the site: Markdown and data as they are, code and text in a page of their own."""
    docs = Path(config.docs_dir).relative_to(ROOT).as_posix()
    place, suffix = _place(target, docs), posixpath.splitext(target)[1]
    if suffix in SHOWN:
        text = (ROOT / target).read_text(encoding="utf-8")
        page = f"# {target}\n\n````{LANGUAGES.get(suffix, 'text')}\n{text}````\n"
        file = File.generated(config, place, content=page)
    elif suffix == NOTEBOOK:
        file = File.generated(config, place, content=as_page(ROOT / target))
    else:
        file = File.generated(config, place, abs_src_path=str(ROOT / target))
    if target not in ALWAYS:
        file.inclusion = InclusionLevel.NOT_IN_NAV
    return file
