"""Files of torch.save, read without PyTorch: what comes back, and what should not be read."""

import collections
import io
import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from damage import mutated

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.generation.features import opcodes, torch_file
from sfvae_jax.evaluation.generation.features.torch_file import read_torch_file


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_comes_back_bit_by_bit(tmp_path, zipped):
    """In both formats, with several views of one storage, a scalar and int64."""
    torch = pytest.importorskip("torch")
    base = torch.randn(20)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    state = module.state_dict()  # an OrderedDict with `_metadata`
    state["first"], state["second"] = base[:6].view(2, 3), base[6:]
    state["turned"] = torch.randn(5, 4, 3, 2).permute(3, 2, 0, 1)  # as ported kernels may lie
    state["repeated"], state["empty"] = base[:1].expand(7), base[:0].view(0, 3)
    torch.save(state, tmp_path / "state.pth", _use_new_zipfile_serialization=zipped)
    found = read_torch_file(tmp_path / "state.pth")
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())
    assert found["1.num_batches_tracked"].shape == ()


class Marker:
    """Unpickled by `pickle`, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _as_zip(content, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)


def _as_legacy(content, path):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(map(pickle.dumps, head)) + content + pickle.dumps([]))


@pytest.mark.parametrize("write", [_as_zip, _as_legacy])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path, write):
    made, path = tmp_path / "made", tmp_path / "evil.pth"
    content = pickle.dumps(collections.OrderedDict(weights=Marker(made)), protocol=2)
    write(content, path)
    with pytest.raises(UsageError, match="it asks for posix.mkdir, which no weights need"):
        read_torch_file(path)
    assert not made.exists()
    pickle.loads(content)  # it would have
    assert made.exists()


@pytest.mark.parametrize("name", [b"cbuiltins\neval\n", b"ctorch\nload\n", b"cnumpy\nndarray\n"])
def test_no_other_name_is_looked_up(tmp_path, name):
    _as_zip(name + b"(S'1'\ntR.", tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="it asks for"):
        read_torch_file(tmp_path / "evil.pth")


@pytest.mark.parametrize("write", [_as_zip, _as_legacy])
@pytest.mark.parametrize(
    "name", [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n"]
)
@pytest.mark.parametrize("attribute", ["__defaults__", "__doc__", "__setstate__"])
def test_a_pickle_cannot_change_what_it_names(tmp_path, write, name, attribute):
    """The opcode BUILD could set attributes of a function in two ways, by dictionary and slots."""
    for state in ({attribute: None}, (None, {attribute: ("changed",)})):
        # A protocol 2 pickle of the state, without its frame: header before, STOP after.
        write(b"\x80\x02" + name + pickle.dumps(state, 2)[2:-1] + b"b.", tmp_path / "evil.pth")
        with pytest.raises(UsageError, match="sets attributes of a function, which no weights"):
            read_torch_file(tmp_path / "evil.pth")
    assert torch_file._pack_tensor.__defaults__ is None
    assert torch_file._pack_tensor.__doc__ is None


def test_a_storage_of_many_tensors_is_read_once(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    base, read = torch.randn(400), []
    torch.save({str(i): base[i : i + 2] for i in range(300)}, tmp_path / "state.pth")
    plain = zipfile.ZipFile.read
    count = lambda archive, name, *rest: read.append(name) or plain(archive, name, *rest)  # noqa: E731
    monkeypatch.setattr(zipfile.ZipFile, "read", count)
    found = read_torch_file(tmp_path / "state.pth")
    np.testing.assert_array_equal(found["299"], base[299:301].numpy())
    assert len(found) == 300
    assert [name for name in read if "/data/" in name] == ["state/data/0"]


@pytest.mark.parametrize("zipped", [True, False])
def test_names_do_not_multiply_a_storage(tmp_path, zipped):
    """A storage used twice is a tied weight; used 500 times, 100 kB would become 8 MB."""
    torch = pytest.importorskip("torch")
    base, path = torch.randn(4000), tmp_path / "state.pth"
    torch.save({"a": base, "b": base}, path, _use_new_zipfile_serialization=zipped)
    np.testing.assert_array_equal(read_torch_file(path)["b"], base.numpy())
    torch.save({str(i): base for i in range(500)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match=f"more numbers than the file's {path.stat().st_size} by"):
        read_torch_file(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_file_whose_entries_overlap_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "state.pth"
    torch.save({"a": torch.randn(4000)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.filelist += [archive.getinfo("state/data/0")] * 3
        archive.writestr("state/more", b"")  # so that the directory is written again
    with pytest.raises(UsageError, match="a zip file whose entries overlap"):
        read_torch_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "state.pth"
    torch.save({"a": torch.randn(500)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in (0, 3, 40, len(whole) // 3, len(whole) - 100, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="cannot read arrays from"):
            read_torch_file(path)


class Tensor:
    """Pickles as a view of 4 numbers with an offset, shape and strides of its own."""

    def __init__(self, *layout):
        self.layout = layout

    def __reduce__(self):
        import torch

        rebuild = torch._utils._rebuild_tensor_v2
        return rebuild, (
            torch.zeros(4)._typed_storage(),
            *self.layout,
            False,
            collections.OrderedDict(),
        )


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ((1, (4,), (1,)), "a reaches beyond its storage"),
        ((0, (2, 2), (3, 1)), "a reaches beyond its storage"),
        ((0, (10**9, 10**9), (0, 0)), "a reaches beyond its storage"),
        ((5, (0,), (1,)), "a reaches beyond its storage"),
        ((-1, (4,), (1,)), "a has no valid shape"),
        ((0, (2,), (-1,)), "a has no valid shape"),
        ((0, (2, 2), (1,)), "a has no valid shape"),
        ((0, (2.0,), (1,)), "a has no valid shape"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path, layout, message, zipped):
    """A file may also lie about offsets and strides."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "state.pth"
    torch.save({"a": Tensor(*layout)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UsageError, match=message):
        read_torch_file(path)


def test_other_contents_than_arrays_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "state.pth"
    for content, message in (
        ({"a": torch.randn(4).double()}, "it asks for torch.DoubleStorage"),
        ({"a": 3.0}, "a is not a tensor"),
        ([1, 2], "it holds a list"),
    ):
        torch.save(content, path)
        with pytest.raises(UsageError, match=message):
            read_torch_file(path)


# ---- hostile and damaged files, made without PyTorch ----


def piece(value):
    """The opcodes that build a value: a protocol 2 pickle without header and STOP."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(offset=0, shape=(2, 3), strides=(3, 1), size=6):
    """The opcodes of a float32 tensor in storage "0"."""
    storage = b"(" + piece("storage") + b"ctorch\nFloatStorage\n" + piece("0") + piece("cpu")
    storage += piece(size) + b"tQ"
    layout = piece(offset) + piece(shape) + piece(strides) + piece(False)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + layout + b"}tR"


def state_dict(body=None, before=b""):
    """A pickle of one entry, `weight` unless another is given."""
    body = piece("weight") + tensor() if body is None else body
    return b"\x80\x02" + before + b"ccollections\nOrderedDict\n)R(" + body + b"u."


NUMBERS = np.arange(6, dtype="<f4").tobytes()


def write_zip(content, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", NUMBERS)


def write_legacy(content, path):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    end = pickle.dumps(["0"]) + (6).to_bytes(8, "little") + NUMBERS
    path.write_bytes(b"".join(map(pickle.dumps, head)) + content + end)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_a_file_made_by_hand_is_read(tmp_path, write):
    """Each hostile pickle below differs from this one in a single place."""
    write(state_dict(), tmp_path / "state.pth")
    found = read_torch_file(tmp_path / "state.pth")
    np.testing.assert_array_equal(found["weight"], [[0, 1, 2], [3, 4, 5]])


DEEP = b"N" + b"\x85" * 150_000  # a tuple in a tuple in a tuple ...
HOSTILE = {
    "a great index": (state_dict(before=b"Nr\xff\xff\xff\x7f0"), "under the index 2147483647"),
    "a great index in text": (
        state_dict(before=b"Np99999999999\n0"),
        "under the index 99999999999",
    ),
    "nothing under an index": (
        state_dict(before=b"j\xff\xff\xff\x7f0"),
        "reads the index 2147483647, which is empty",
    ),
    "a long text": (state_dict(before=b"\x8d" + b"\x00\xff" * 4 + b"x0"), "cannot read arrays"),
    "many bytes": (state_dict(before=b"\x96" + b"\x00\xff" * 4 + b"x0"), "cannot read arrays"),
    "a long number": (state_dict(before=b"\x8b\xff\xff\xff\x7f10"), "cannot read arrays"),
    "a long frame": (state_dict(before=b"\x95" + b"\xff" * 7 + b"\x7f"), "cannot read arrays"),
    "a deep key": (state_dict(DEEP + b"N"), "nested more than 30 levels deep"),
    "a deep list": (state_dict(before=b"]" * 50 + b"a" * 49 + b"0"), "nested more than"),
    "many opcodes": (state_dict(before=b"N0" * 2000), "more than 3000 opcodes"),
    "many axes": (
        state_dict(piece("a") + tensor(shape=(1,) * 99, strides=(1,) * 99)),
        "a has no valid shape",
    ),
    "a length beyond all": (
        state_dict(piece("a") + tensor(shape=(2**2000, 0), strides=(1, 1))),
        "a has no valid shape",
    ),
    "an offset beyond all": (
        state_dict(piece("a") + tensor(offset=2**70)),
        "a has no valid shape",
    ),
    "a text for a shape": (
        state_dict(piece("a") + tensor(shape="x" * 9, strides="x" * 9)),
        "a has no valid shape",
    ),
    "a storage beyond all": (
        state_dict(piece("a") + tensor(size=2**60)),
        "of 1152921504606846976|",
    ),
    "a name that is none": (state_dict(piece(7) + tensor()), "one of its names is a int"),
    "a long name": (
        state_dict(piece("w") + tensor() + piece("a\x1b\n" * 9999) + b"N"),
        "a\\? a\\?",
    ),
    "nothing to take": (b"\x80\x02u.", "takes more than is on its stack"),
    "no end": (state_dict()[:-1], "cannot read arrays"),
}


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pickles_are_refused_in_little_memory(tmp_path, kind, write, monkeypatch):
    monkeypatch.setattr(opcodes, "MOST_OPCODES", 3000)
    content, message = HOSTILE[kind]
    write(content, tmp_path / "state.pth")
    tracemalloc.start()
    with pytest.raises(UsageError, match=message) as caught:
        read_torch_file(tmp_path / "state.pth")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 30e6
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.filterwarnings("error")
def test_any_damage_of_weights_is_a_usage_error(tmp_path, write, inside):
    """The damage is in the pickle of the state dict, or in the file around it."""
    path, rng, refused = tmp_path / "state.pth", np.random.default_rng([7, inside]), []
    content = state_dict(piece("a") + tensor() + piece("b") + tensor(3, (3,), (1,)))
    write(content, path)
    whole = path.read_bytes()
    for _ in range(500):
        if inside:
            write(mutated(content, rng), path)
        else:
            path.write_bytes(mutated(whole, rng))
        try:
            read_torch_file(path)
        except UsageError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert max(map(len, refused)) < 500
    assert "".join(refused).isprintable()


def test_the_check_follows_the_opcodes_of_all_kinds_of_pickles():
    """The check reads any pickle of Python to its end without building anything."""
    shared = ["x"]
    values = [
        {"a": (1, 2.5, None, True, b"bytes", 2**80), "b": [shared, shared], "c": {1, 2}},
        collections.OrderedDict(a=(), b=(1,), c=(1, 2), d=(1, 2, 3, 4)),
        [list(range(3000)), dict.fromkeys(range(3000)), frozenset("ab"), bytearray(b"c")],
        np.arange(5),
    ]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in values:
            content = pickle.dumps(value, protocol)
            stream = io.BytesIO(content + b"rest")
            opcodes.check_pickle(stream)
            assert stream.read() == b"rest"


def test_weights_must_be_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for given in (tmp_path / "pipe", tmp_path, tmp_path / "none", "/dev/zero", "gs://b/x.pth"):
        with pytest.raises(UsageError, match="regular file|no file|is a URL"):
            read_torch_file(given)
