"""Architectures: what is drawn, what is read, and what is refused."""

import json
import logging
import math

import numpy as np
import pytest
from helpers import text_file

from sfvae_jax import data
from sfvae_jax.config import base_config
from sfvae_jax.data.sequences.architecture_files import ENAS_TYPES, enas_skips
from sfvae_jax.data.sequences.random_networks import SIDE
from sfvae_jax.errors import UsageError

LINES = [
    [["conv", 0.5], ["relu", 0], ["dense", 1]],
    [["pool", -2.5], ["conv", 1e3]],
    [["dense", 0.25]],
]


def group(name="architectures", **changes):
    config = base_config().data
    config.update({"name": name, **changes})
    return config


@pytest.fixture
def write(tmp_path):
    """Writes a file of lines; returns the `data` group that names it."""

    def write(*lines, kind="architectures", **changes):
        path = tmp_path / "lines.txt"
        encoded = [line if isinstance(line, bytes) else as_text(line).encode() for line in lines]
        path.write_bytes(b"\n".join(encoded))
        return group(f"{kind}:{path}", **changes)

    return write


def as_text(line):
    return line if isinstance(line, str) else json.dumps(line)


def refused(config, message):
    with pytest.raises(UsageError, match=message) as error:
        data.open_source(config)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=message):
        data.language(config)


def drawn():
    """Yields the split and the layers (type, value) of every network that is drawn."""
    config = group()
    names = data.language(config).grammar.terminals
    for part, source in data.open_source(config).items():
        for x in (source[i] for i in range(len(source))):
            rules = x[:, 0].astype(int)
            n = int(np.argmax(rules == len(names)))
            yield part, [(names[rule], float(x[i, 1])) for i, rule in enumerate(rules[:n])]


def test_drawn_networks_are_counted_and_distinct():
    networks = list(drawn())
    parts = [part for part, _ in networks]
    assert (parts.count("train"), parts.count("test")) == (10_000, 1_000)
    assert len({tuple(layers) for _, layers in networks}) == 11_000
    lengths = {len(layers) for _, layers in networks}
    assert min(lengths) <= 4
    assert 25 <= max(lengths) <= 31
    assert {name for _, layers in networks for name, _ in layers} == set(
        data.language(group()).grammar.terminals
    )


def test_drawn_networks_could_be_built():
    for _, layers in drawn():
        side, channels, dense, widths = SIDE, 0, False, []
        activations = {name for name, _ in layers if name in ("relu", "elu")}
        assert len(activations) == 1
        for i, (name, value) in enumerate(layers):
            assert 0 <= value <= 1
            number = 2 ** (10 * value)
            if name.startswith("conv"):
                assert not dense
                assert round(number) >= channels
                channels = round(number)
                assert channels in (8, 16, 32, 64, 128, 256)
            elif name.endswith("pool"):
                assert not dense
                assert round(number) in (2, 4)
                side //= round(number)
                assert side >= 2
            elif name == "dense":
                dense = True
                widths.append(round(number))
                assert math.isclose(number, widths[-1], rel_tol=1e-5)
            elif name == "dropout":
                assert 0.1 <= value <= 0.5
            else:
                assert value == 0
                before = layers[i - 1][0]
                assert before == "batch_norm" or before.startswith(("conv", "dense"))
        assert layers[0][0].startswith("conv")
        assert layers[-1][0] == "dense"
        assert widths[-1] == 10
        assert widths == sorted(widths, reverse=True)


def test_drawn_networks_are_the_same_everywhere():
    language, source = data.language(group()), data.open_source(group())
    assert language is data.language(group())
    assert language.num_places == 32
    assert language.write(source["train"][3]) == (
        "conv3x3(0.5) elu(0) dense(1) elu(0) dropout(0.5) dense(0.332)"
    )


def test_more_places_are_padding():
    longer = data.open_source(group(max_length=40))["train"][0]
    assert longer.shape == (40, 2)
    shorter = data.open_source(group())["train"][0]
    np.testing.assert_array_equal(longer[:32], shorter)
    np.testing.assert_array_equal(longer[32:], [[11, 0]] * 8)
    refused(group(max_length=31), "data.max_length must be 0, or at least 32 .* got 31")


def test_more_places_than_fit_in_memory_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("sfvae_jax.data.stored_examples.MAX_BYTES", 2**20)
    said = "sequences of {} places need 0.. GiB of memory, .*; lower data.max_length"
    refused(group(max_length=5001), said.format(5001))
    path = tmp_path / "many.txt"
    path.write_text("x + x\n" * 200)
    with pytest.raises(UsageError, match="200 " + said.format(5001)):
        data.open_source(group(name=f"equations:{path}", max_length=5001))


def test_json_lines(write):
    config = write(*LINES)
    source, language = data.open_source(config), data.language(config)
    assert language.grammar.terminals == ("conv", "dense", "pool", "relu")  # 4 ends, 5 pads
    np.testing.assert_array_equal(
        np.stack([source["train"][i] for i in range(3)]),
        np.float32(
            [
                [[0, 0.5], [3, 0], [1, 1], [4, 0]],
                [[2, -2.5], [0, 1e3], [4, 0], [5, 0]],
                [[1, 0.25], [4, 0], [5, 0], [5, 0]],
            ]
        ),
    )
    assert source["train"].dtype == np.float32
    assert source["train"].labels(np.arange(3)) is None
    assert (language.kind, language.num_places, language.has_values) == ("architectures", 4, True)
    assert [language.write(source["train"][i]) for i in (0, 1)] == [
        "conv(0.5) relu(0) dense(1)",
        "pool(-2.5) conv(1e+03)",
    ]
    loaded = data.load(config, "train")
    assert sorted(map(language.write, loaded)) == sorted(
        language.write(source["train"][i]) for i in range(3)
    )


def test_a_changed_file_is_read_again(write):
    assert len(data.open_source(write(*LINES))["train"]) == 3
    config = write(*LINES, LINES[0])
    assert len(data.open_source(config)["train"]) == 4
    assert data.open_source(config) is data.open_source(config)


def test_a_given_vocabulary_keeps_its_order(write):
    config = write(*LINES, layer_types=("relu", "dense", "conv", "pool", "norm"))
    assert data.language(config).grammar.terminals == ("relu", "dense", "conv", "pool", "norm")
    np.testing.assert_array_equal(data.open_source(config)["train"][0][:, 0], [2, 0, 1, 5])
    refused(
        write(*LINES, layer_types=("conv", "dense", "relu")),
        "the first is line 2: layer type 'pool' is not among data.layer_types",
    )


def test_a_given_length(write):
    config = write(*LINES, max_length=4)
    assert data.open_source(config)["train"][2].shape == (4, 2)
    refused(
        write(*LINES, max_length=3),
        "line 1: 3 layers and the end take 4 places, more than data.max_length 3; correct",
    )
    config = write(*LINES, max_length=3, skip_corrupt=True)
    assert len(data.open_source(config)["train"]) == 2


def test_line_endings_blank_lines_and_a_byte_order_mark_do_not_matter(write):
    lines = [b"\xef\xbb\xbf" + json.dumps(LINES[0]).encode() + b"\r", b"", b"  ", LINES[1], b""]
    assert len(data.open_source(write(*lines))["train"]) == 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('[["conv", 1] ["relu", 0]]', "line 2, column 14: Expecting ',' delimiter"),
        ("{}", "line 2: expected a list of"),
        ("[]", "line 2: expected a list of"),
        ('[["conv", 1], ["relu"]]', r'line 2: layer 2 is \["relu"\]; expected \[layer type, value'),
        ('[["conv", 1, 2]]', "line 2: layer 1 is"),
        ("[[1, 1]]", "line 2: layer 1 is"),
        ('[["conv", true]]', r'layer 1 is \["conv", true\]; .* a finite number'),
        ('[["conv", "1"]]', "a finite number"),
        ('[["conv", null]]', "a finite number"),
        ('[["conv", NaN]]', "a finite number"),
        ('[["conv", -Infinity]]', "a finite number"),
        ('[["conv", 1e39]]', "a finite number"),
        (f'[["conv", {10**400}]]', "a finite number"),
        ('[["conv 3", 1]]', 'line 2: "conv 3" cannot be a layer type'),
        ('[["", 1]]', "cannot be a layer type"),
        ('[["a->b", 1]]', "cannot be a layer type"),
        (r'[["\"", 1]]', "cannot be a layer type"),
        ("[" * 100_000, "line 2: lists are nested too deeply"),
        ("__import__('os').getcwd()", "line 2, column 1: Expecting value"),
        (b'[["conv\xff", 1]]', "line 2, byte 8: not UTF-8"),
    ],
)
def test_bad_lines(write, caplog, line, reason):
    config = write(LINES[0], line, LINES[1])
    refused(
        config,
        f"1 of the 3 lines of .*; the first is {reason}" if reason.startswith("line") else reason,
    )
    with caplog.at_level(logging.WARNING, "sfvae_jax"):
        kept = data.open_source(write(LINES[0], line, LINES[1], line, skip_corrupt=True))["train"]
    assert len(kept) == 2
    assert "leaving out 2 of the 4 lines" in caplog.text
    assert "the first is line 2" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("architectures:", "architectures:PATH requires"),
        ("enas:", "enas:PATH requires"),
        ("architectures:/no/such/file", "architectures:/no/such/file: there is no file"),
        ("architectures:/", "data.name=architectures:/ is a folder; expected a regular file"),
        ("enas:/dev/zero", "data.name=enas:/dev/zero is a device"),
        ("enas:gs://bucket/file", "data.name=enas:gs://bucket/file is a URL"),
        ("architectures:~no-such-user-here/file", "is not a usable path"),
    ],
)
def test_no_file(name, message):
    refused(group(name), message)


def test_an_empty_file(write):
    refused(write("", "  "), "is empty; expected architectures, one per line")
    refused(write("[", skip_corrupt=True), "1 of the 1 lines .*; correct them$")


@pytest.mark.parametrize(
    ("name", "layer_types", "message"),
    [
        (
            "architectures",
            ("conv",),
            "only applies to architectures:PATH; data.name is 'architectures', so",
        ),
        ("enas:x", ("conv",), "data.name is 'enas:x', so leave data.layer_types at"),
        ("architectures:x", ("conv", "a b"), "'a b' cannot be a layer type"),
        ("architectures:x", ("conv", 3), "3 cannot be a layer type"),
        ("architectures:x", ("conv", "conv"), "has a type twice"),
    ],
)
def test_impossible_vocabularies(name, layer_types, message):
    refused(group(name, layer_types=layer_types), message)


ENAS = "[[1], [4, 0], [5, 1, 0], [0, 1, 1, 0]], 0.7302"


def test_skips_are_binary_fractions_of_the_nearest_layer_first(write):
    config = write(ENAS, kind="enas")
    source, language = data.open_source(config)["train"], data.language(config)
    assert language.grammar.terminals == ENAS_TYPES
    np.testing.assert_array_equal(
        source[0], np.float32([[1, 0], [4, 0], [5, 0.25], [0, 0.375], [6, 0]])
    )
    labels = source.labels(np.array([0]))
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.float32([0.7302]))


def test_skips_of_any_value():
    assert enas_skips(0.0, 0) == []
    assert enas_skips(0.26, 2) == [1, 0]
    assert enas_skips(-3.0, 3) == [0, 0, 0]
    assert enas_skips(7.0, 3) == [1, 1, 1]
    rng = np.random.default_rng(0)
    for layer in range(1, 25):
        skips = rng.integers(0, 2, layer).tolist()
        value = sum(skips[layer - j] / 2**j for j in range(1, layer + 1))
        assert enas_skips(np.float32(value), layer) == skips


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[[1], [4, 2]], 0.7", r"layer 1 is \[4, 2\]; expected an operation in 0..5 and 1 skips"),
        ("[[6], [4, 0]], 0.7", "layer 0 is"),
        ("[[1], [4, true]], 0.7", "layer 1 is"),
        ("[[1], [4]], 0.7", "layer 1 is"),
        ("[[1], [4, 0]]", "expected a list of layers, a comma and an accuracy"),
        ("[], 0.7", "expected a list of layers, a comma and an accuracy"),
        ("[[1]], true", "the accuracy is true; expected a finite number"),
        ("[[1]], NaN", "the accuracy is NaN"),
        ("[[1], [4 0]], 0.7", "line 1, column 10: Expecting ',' delimiter"),
        ("[[1]], eval('1')", "line 1, column 8: Expecting value"),
        (f"{[[0] * (i + 1) for i in range(26)]}, 0.7", "26 layers; at most 25"),
    ],
)
def test_bad_lines_of_enas(write, line, reason):
    refused(write(line, kind="enas"), reason)


def test_every_line_of_enas_is_recovered():
    path = text_file("enas_architectures_20k.txt")
    config = group(f"enas:{path}")
    source = data.open_source(config)["train"]
    lines = path.read_text().splitlines()
    x = np.stack([source[i] for i in range(len(source))])
    assert x.shape == (len(lines), 7, 2)
    assert (x[:, 6] == [6, 0]).all()
    for example, line in zip(x.tolist(), lines, strict=True):
        layers = [[int(rule), *enas_skips(value, i)] for i, (rule, value) in enumerate(example[:6])]
        assert line.startswith(f"{layers}, ")
    accuracies = [float(line.rpartition(", ")[2]) for line in lines]
    np.testing.assert_array_equal(source.labels(np.arange(len(x))), np.float32(accuracies))
