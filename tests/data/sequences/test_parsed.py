"""The cache of parsed files: where it is, and when it is not used."""

import logging
import os

import numpy as np
import pytest
from damage import mutated

from sfvae_jax.data.sequences import parsed
from sfvae_jax.data.sequences.parsed import Line, parse_file
from sfvae_jax.grammars import EXPRESSIONS, SMILES
from sfvae_jax.runtime.user_cache import user_cache_folder

pytestmark = pytest.mark.usefixtures("own_cache")
FIELDS = ("rules", "lengths", "lines", "bad_lines", "bad_columns", "reasons")


def numbered(*texts):
    return [Line(number, 1, text) for number, text in enumerate(texts, 1)]


LINES = numbered("x", "x + 1", "y", "sin( x )", "1 +")


@pytest.fixture
def file(tmp_path):
    """The path of a text file; only its name matters here."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder / "equations.txt"


@pytest.fixture
def parses(monkeypatch):
    """Counts the lines that are parsed."""
    calls, parse = [], parsed.parse

    def counted(lines, *arguments, **options):
        calls.append(len(lines))
        return parse(lines, *arguments, **options)

    monkeypatch.setattr(parsed, "parse", counted)
    return calls


def read(file, lines=LINES, grammar=EXPRESSIONS, go_on=True):
    """Parses the file; returns rules, lengths and so on as lists."""
    found = parse_file(file, lines, grammar, go_on=go_on)
    return [getattr(found, name).tolist() for name in FIELDS]


EXPECTED_LENGTHS = [2, 4, 4]


def test_lines_are_parsed_once_for_each_grammar_and_content(file, own_cache, parses):
    molecules = numbered("CCO", "C[Na]")
    first = read(file), read(file, molecules, SMILES)
    assert first[0][1:4] == [EXPECTED_LENGTHS, [1, 2, 4], [3, 5]]
    assert (read(file), read(file, molecules, SMILES)) == first
    assert parses == [5, 2]
    assert read(file, LINES[:2])[2] == [1, 2]
    assert read(file) == first[0]
    assert parses == [5, 2, 2, 5]
    kept = [path for path in own_cache.rglob("*") if path.is_file()]
    assert len(kept) == 2
    assert {path.parent for path in kept} == {own_cache / "sfvae_jax" / "sequences"}
    assert list(file.parent.iterdir()) == []


def test_unfinished_parsing_is_not_cached(file, own_cache, parses):
    for _ in range(2):
        assert read(file, go_on=False)[3] == [3]
    assert parses == [5, 5]
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


@pytest.fixture
def cache(file, own_cache):
    """The cache file for LINES."""
    read(file)
    (path,) = (own_cache / "sfvae_jax" / "sequences").iterdir()
    return path


def test_damaged_cache_files_are_not_used(file, cache, monkeypatch):
    """For any bytes in the cache file, the result is that of parsing the lines."""
    monkeypatch.setattr(parsed, "_save", lambda *arguments: None)
    whole, rng = cache.read_bytes(), np.random.default_rng(0)
    fresh = parsed.parse(LINES, EXPRESSIONS, go_on=True, label="")
    monkeypatch.setattr(parsed, "parse", lambda *arguments, **options: fresh)
    expected = [getattr(fresh, name).tolist() for name in FIELDS]
    for content in (b"", b"no archive", whole[:-30], *(mutated(whole, rng) for _ in range(600))):
        cache.write_bytes(content)
        assert read(file) == expected


def test_a_cache_file_with_a_flipped_bit_is_replaced(file, cache, parses):
    whole = cache.read_bytes()
    place = whole.index(b"rules.npy") + 80
    cache.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    for _ in range(2):
        assert read(file)[1] == EXPECTED_LENGTHS
    assert parses == [5]


def forged(cache, key=None, **changes):
    """Changes a cache file and seals it again, as another program could."""
    with np.load(cache) as archive:
        arrays = dict(archive)
    arrays.pop("seal")
    arrays |= changes
    seal = parsed._seal(key, parsed.Parsed(**arrays))
    np.savez(cache, seal=seal, **arrays)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rules", lambda old: old[::-1]),
        ("rules", lambda old: old * 0 + 11),
        ("rules", lambda old: old * 0 - 1),
        ("rules", lambda old: old.astype(np.float32)),
        ("rules", lambda old: old[:, None]),
        ("lengths", lambda old: old * 0),
        ("lengths", lambda old: np.array([6, 2, 2])),
        ("lengths", lambda old: np.array([2, 12, -4])),
        ("lengths", lambda old: old[:2]),
        ("lines", lambda old: np.array([1, 2, 3])),
        ("lines", lambda old: old[::-1]),
        ("bad_lines", lambda old: old[:0]),
        ("bad_lines", lambda old: np.array([3, 9])),
        ("bad_columns", lambda old: old[:1]),
        ("reasons", lambda old: old[:1]),
        ("reasons", lambda old: np.array([1, 2])),
    ],
)
def test_impossible_contents_are_not_used_even_with_a_valid_seal(
    file, cache, parses, monkeypatch, name, change
):
    keys, seal = [], parsed._seal
    monkeypatch.setattr(parsed, "_seal", lambda key, found: keys.append(key) or seal(key, found))
    expected = read(file)
    assert parses == []
    with np.load(cache) as archive:
        old = archive[name]
    forged(cache, keys[0])
    assert read(file) == expected
    assert parses == []  # sealed as it should be, it is believed
    forged(cache, keys[0], **{name: change(old)})
    assert read(file) == expected
    assert parses == [5]


def test_other_sentences_of_the_same_lengths_are_not_used(file, cache, parses, monkeypatch):
    """Good lines are called bad, and derivations are replaced by others of the same length."""
    other = numbered("1", "2 + x", "y", "exp( 3 )", "1 +")
    keys, seal = [], parsed._seal
    monkeypatch.setattr(parsed, "_seal", lambda key, found: keys.append(key) or seal(key, found))
    expected = read(file)
    found = parsed.parse(other, EXPRESSIONS, go_on=True, label="")
    forged(cache, keys[0], rules=found.rules)
    parses.clear()
    assert read(file) == expected
    assert parses == [5]
    fewer = parsed.parse(LINES[:2], EXPRESSIONS, go_on=True, label="")
    bad = {"bad_lines": [3, 4, 5], "bad_columns": [1, 1, 1], "reasons": ["a", "b", "c"]}
    arrays = {"rules": fewer.rules, "lengths": fewer.lengths, "lines": fewer.lines}
    forged(cache, keys[0], **arrays, **{name: np.array(value) for name, value in bad.items()})
    parses.clear()
    assert read(file) == expected
    assert parses == [5]


def test_a_pipe_in_place_of_the_cache_file_does_not_block(file, cache):
    cache.unlink()
    os.mkfifo(cache)
    assert read(file)[1] == EXPECTED_LENGTHS
    assert cache.is_file()


def test_a_cache_that_cannot_be_written(file, own_cache, caplog):
    own_cache.write_text("in the way")
    with caplog.at_level(logging.INFO, logger="sfvae_jax"):
        assert read(file)[1] == EXPECTED_LENGTHS
    assert "parsed lines are not cached: cannot write" in caplog.text


def test_a_relative_cache_folder_is_ignored(tmp_path, monkeypatch):
    """As the specification of XDG_CACHE_HOME demands."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given in ("relative", "", "gs://bucket"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        folder = tmp_path / "home/.cache/sfvae_jax/sequences"
        assert user_cache_folder("sequences") == (folder, True)
