"""Files of equations and molecules: what is read, and what is refused."""

import os
import shutil
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import text_file
from sequence_data import group, refused, texts

from sfvae_jax import data
from sfvae_jax.config import base_config, validate
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import EXPRESSIONS

pytestmark = pytest.mark.usefixtures("own_cache")


# ---- files ----


def test_lines_of_a_file_keep_their_order_and_duplicates(write):
    config = group(write("x + 1\r\n\n  sin(x)\nx + 1\n\t\n1/2"))
    source = data.open_source(config)
    language = data.language(config)
    lines = [language.write(source["train"][i]) for i in range(len(source["train"]))]
    assert lines == ["x + 1", "sin( x )", "x + 1", "1 / 2"]
    examples = data.load(config, "train")
    assert (examples.dtype, examples.shape) == (np.int16, (4, 15))
    assert sorted(texts(config)) == sorted(lines)
    assert jnp.issubdtype(data.to_unit_interval(jnp.asarray(examples)).dtype, jnp.integer)


def test_further_columns_of_a_smi_file_are_not_read(write):
    config = group(write("\ufeffCCO ethanol 46.07\n[Na+].[Cl-]\tsalt\nC/C=C\\C\n", "molecules"))
    assert sorted(texts(config)) == sorted(["CCO", "[Na+].[Cl-]", "C/C=C\\C"])


def test_names_of_molecules_in_another_encoding(write):
    config = group(write(b"CCO caf\xe9ine\nC\t\xff\xfe\n", "molecules"))
    assert sorted(texts(config)) == ["C", "CCO"]


def test_line_endings(write):
    name = write(b"\xef\xbb\xbfx\r1\r\n2\n\r\n3\r\rx + y\r")
    assert sorted(texts(group(name, skip_corrupt=True))) == ["1", "2", "3", "x"]
    assert "line 7, column 5: unexpected 'y'" in refused(group(name))


def test_a_long_line_does_not_widen_the_others(write):
    """A table of all lines, as wide as the longest, would take 32 MB."""
    config = group(write("x\n" * 4000 + "1+" * 2000 + "1\n2\n"), skip_corrupt=True)
    EXPRESSIONS.parse("x")  # makes the parser
    tracemalloc.start()
    examples = data.open_source(config)["train"]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(examples) == 4001
    assert most < 16e6


def test_numbers_of_places(write):
    equations, molecules = write("x\n1"), write("C", "molecules")
    for name, tokens, places in (
        (equations, "grammar", 15),
        (equations, "characters", 20),
        (molecules, "grammar", 128),
        (molecules, "characters", 121),
    ):
        for max_length in (0, 30):
            config = group(name, tokens=tokens, max_length=max_length)
            language = data.language(config)
            assert language is data.language(config)  # so that compiled programs are found again
            assert language.num_places == (max_length or places)
            assert data.load(config, "train").shape[1] == (max_length or places)
    assert data.language(group("mnist_5k")) is None


@pytest.mark.slow
@pytest.mark.parametrize("tokens", ["grammar", "characters"])
@pytest.mark.parametrize(
    ("name", "kind"), [("equations_100k.txt", "equations"), ("zinc_20k.smi", "molecules")]
)
def test_all_lines_of_real_files(name, kind, tokens, tmp_path):
    shutil.copyfile(text_file(name), tmp_path / name)
    config = group(f"{kind}:{tmp_path / name}", tokens=tokens)
    part, language = data.open_source(config)["train"], data.language(config)
    spaces = " " if tokens == "characters" else ""
    lines = (tmp_path / name).read_text().replace(spaces, "").splitlines()
    assert [language.write(part[i]) for i in range(len(part))] == lines


def forget():
    """Clears the cache, as in a new process."""
    from sfvae_jax.data.sequences import text

    text._open.cache_clear()


@pytest.mark.parametrize("number", [3, 1000, 1001])
def test_progress_reaches_the_end_of_the_file(write, capsys, number):
    data.load(group(write("x\n" * number)), "train")
    assert f"parsing equations.txt {number}/{number}\n" in capsys.readouterr().err


# ---- what is refused ----


def test_a_line_that_is_not_a_sentence(write, tmp_path):
    name = write("x\n\n   x + y\n1 +")
    assert refused(group(name)) == (
        f"{tmp_path}/equations.txt line 3, column 8: unexpected 'y'; correct it, or leave"
        " such lines out with --config.data.skip_corrupt=True"
    )
    message = refused(group(write("CCO ethanol\nC(C\n", "molecules")))
    assert "molecules.txt line 2, column 4: unexpected end of the text" in message
    message = refused(group(write("x\n  x + y"), tokens="characters"))
    assert "line 2, column 7: unexpected 'y'" in message


def test_lines_left_out_are_counted(write, caplog):
    name = write("x\n\nx + y\nx + 1 + 2 + 3 + x + 1 + 2 + 3\n1 +\n2")
    for _ in range(2):  # the second from what was kept
        caplog.clear()
        assert sorted(texts(group(name, skip_corrupt=True))) == ["2", "x"]
        assert (
            "leaving out 3 of the 5 lines; the first: line 3, column 5: unexpected 'y'"
            in caplog.text
        )
        forget()
    assert "line 3, column 5" in refused(group(name))
    message = refused(group(write("y\nz"), skip_corrupt=True))
    assert "no line can be used. Left out: 2 of the 2 lines; the first: line 1, column 1" in message


def test_bytes_that_are_not_utf_8(write, tmp_path, caplog):
    """Columns count characters, without a byte order mark."""
    name = write("\ufeff x + é\n".encode() + b" x * \xff\n\xef\n2\n")
    for _ in range(2):  # the second from what was kept
        assert texts(group(name, skip_corrupt=True)) == ["2"]
        assert "3 of the 4 lines; the first: line 1, column 6: unexpected 'é'" in caplog.text
        forget()
    for content, place in (
        (b"x\nx\xff", "line 2, column 2: byte 0xff"),
        (b"x\n\xc3", "line 2, column 1: byte 0xc3"),
    ):
        assert refused(group(write(content))) == (
            f"{tmp_path}/equations.txt {place} is not UTF-8; correct it, or leave such lines out"
            " with --config.data.skip_corrupt=True"
        )
    message = refused(group(write(b"\xef\xbb\xbfCC\xe9C\n", "molecules")))
    assert "line 1, column 3: byte 0xe9 is not UTF-8" in message


def test_a_sequence_of_too_many_rules(write, tmp_path):
    name = write("x\nx + 1\nx + 1 + 2 + 3 + x + 1 + 2 + 3\n")
    assert refused(group(name, max_length=3)) == (
        f"{tmp_path}/equations.txt line 2: it takes 4 places, more than 3; set"
        " --config.data.max_length=16, which fits all, or leave such lines out with"
        " --config.data.skip_corrupt=True"
    )
    assert texts(group(name, max_length=3, skip_corrupt=True)) == ["x"]
    assert len(texts(group(name, max_length=16))) == 3
    assert "data.max_length is 1, but the shortest sequence of equations takes 2 places" in refused(
        group(name, max_length=1)
    )
    assert "drawn equations take up to 15 places" in refused(group("equations", max_length=14))
    assert data.load(group("equations", max_length=16, num_examples=9), "train").shape == (9, 16)


def test_files_that_cannot_be_used(write, tmp_path):
    for content in ("", "\n \n\r\n"):
        message = refused(group(write(content)))
        assert message.endswith("is empty; expected a text file of expressions, one per line")
    message = refused(group(f"molecules:{tmp_path}/none.smi"))
    path = f"data.name=molecules:{tmp_path}/none.smi"
    assert message == f"{path}: there is no file '{tmp_path}/none.smi'"
    os.mkfifo(tmp_path / "pipe")
    assert "is a named pipe; expected a reg" in refused(group(f"molecules:{tmp_path}/pipe"))
    assert "is a folder; expected a regular file" in refused(group(f"equations:{tmp_path}"))
    assert "data.name=molecules:gs://b/x.smi is a URL" in refused(group("molecules:gs://b/x.smi"))
    assert refused(group("equations:")).startswith("data.name=equations:PATH requires")
    message = refused(group("molecules:~no_such_user/x.smi"))
    assert "data.name=molecules:'~no_such_user/x.smi' is not a usable path" in message
    for name in ("equations", "architectures", "enas", "npz", "folder"):
        message = refused(group(f"{name}:{tmp_path}/a\0b"))
        assert message.startswith(f"data.name '{name}:{tmp_path}/a\\x00b' contains a NUL")


def test_nothing_in_a_file_is_executed(write, tmp_path):
    code = f"__import__('pathlib').Path('{tmp_path}/executed').touch()"
    assert "line 1, column 1: unexpected '_'" in refused(group(write(code)))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "option",
    [
        {"crop": 10},
        {"channels": 1},
        {"image_size": 8},
        {"pad_to": 32},
        {"scale": 2.0},
        {"binarization": "static"},
    ],
)
def test_options_of_images_are_refused(option):
    (key,) = option
    message = refused(group("equations", **option))
    assert message.startswith(f"data.{key} only applies to images; data.name is 'equations', so")
    config = base_config()
    config.data.update({"name": "equations", **option})
    with pytest.raises(UsageError, match=f"data.{key} only applies to images"):
        validate(config)


def test_options_of_sequences_are_refused():
    owners = {
        "data.tokens only applies to equations and molecules": {"tokens": "characters"},
        "data.max_length only applies to sequences": {"max_length": 20},
        "data.layer_types only applies to architectures:PATH": {"layer_types": ("conv",)},
        "data.elements only applies to molecules": {"elements": "common"},
    }
    for words, option in owners.items():
        assert words in refused(group("mnist_5k", **option))
    for name in ("equations", "molecules", "molecules:x.smi"):
        message = refused(group(name, layer_types=("conv",)))
        assert message.startswith("data.layer_types only applies to architectures:PATH; data.name")
    for name in ("equations", "architectures"):
        message = refused(group(name, elements="all"))
        assert message.startswith("data.elements only applies to molecules; data.name is")
    assert "data.tokens: unknown tokens 'words'. Known: characters, grammar" in refused(
        group("equations", tokens="words")
    )
    assert "unknown data set 'equation'; did you mean 'equations'?" in refused(group("equation"))


def test_more_examples_than_there_are(write):
    name = write("x\n1\n2\n")
    message = refused(group(name, num_examples=4))
    assert message.startswith("data.num_examples is 4, but equations:")
    assert "has only 3 training sequences; lower" in message
    assert "hold some sequences out with" in refused(group(name), "test")
    assert len(data.load(group(name, num_test=1), "test")) == 1
