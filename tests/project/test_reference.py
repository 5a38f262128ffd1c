"""The generated parts of the documentation are what the code says."""

import pytest

from sfvae_jax import reference
from sfvae_jax.config import base_config, groups
from sfvae_jax.errors import UsageError
from sfvae_jax.options import Option
from sfvae_jax.reporting.documentation.pages import page_with
from sfvae_jax.runs.files.config_file import flatten

PAGE = "# A page\n\nBy hand.\n\n<!-- generated: one -->\nold\n<!-- end -->\n\nBy hand, too.\n"


def test_the_pages_are_what_the_code_says():
    outdated = [page.path.name for page in reference.pages() if not page.is_current]
    assert outdated == [], "run `python -m sfvae_jax.reference --write`"


def test_every_key_is_listed_with_its_help(root):
    text = (root / "docs" / "config.md").read_text()
    for key in flatten(base_config().to_dict()):
        assert f"| `{key}` |" in text


def test_the_command_checks_and_writes(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "PAGES", {"page.md": {"one": lambda: "new\n"}})
    assert reference.main([]) == 1
    assert "differs from the code" in capsys.readouterr().out
    assert (tmp_path / "page.md").read_text() == PAGE
    assert reference.main(["--write"]) == 0
    assert (tmp_path / "page.md").read_text() == PAGE.replace("old", "new")
    assert reference.main([]) == 0


def test_a_missing_page_is_a_usage_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    assert reference.main([]) == 2
    assert "run this command from a checkout" in capsys.readouterr().err


@pytest.mark.parametrize(
    "blocks", [{}, {"two": ""}, {"one": "", "two": ""}], ids=["none", "another", "one more"]
)
def test_a_page_must_have_exactly_its_blocks(tmp_path, blocks):
    (tmp_path / "page.md").write_text(PAGE)
    with pytest.raises(UsageError, match="must have the blocks"):
        page_with(tmp_path / "page.md", blocks)


def _options(group):
    for entry in group.values():
        if isinstance(entry, Option):
            yield entry
        else:
            yield from _options(entry)


def test_help_texts_have_one_form():
    """Each is a phrase that begins with a capital or a value, without a period at its end."""
    texts = [option.help for option in _options(groups())]
    assert [text for text in texts if text.endswith(".") or text[:1].islower()] == []
