"""The FID's network and its weights: against PyTorch, and against files that should not be read."""

import collections
import hashlib
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest

from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation import inception, torch_file
from sfvae_jax.evaluation.torch_file import read_torch_file


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("torch")
    from fid_inception_torch import random_network

    return random_network()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    """The network's state dict in a file, as its publisher has it."""
    import torch

    path = tmp_path_factory.mktemp("weights") / inception.WEIGHTS_FILE
    torch.save(network.state_dict(), path)
    return path


def test_features_are_those_of_the_network_in_pytorch(network, weights):
    import torch

    variables = inception.load_weights(str(weights), _sha256(weights))
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 31, 1), np.uint8)
    found = inception.inception_features(variables, images)
    pixels = torch.tensor(images / 255.0, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network(pixels.expand(-1, 3, -1, -1)).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(2, 28, 31, 1), (1, 320, 300, 3), (1, 299, 299, 3)])
def test_images_are_resized_as_pytorch_does(shape):
    """Up and down, without antialiasing; then from [0, 1] to [-1, 1].

    In float32 both, which places the samples alike. On the larger image aligned corners would
    change 0.07 and antialiasing 0.2.
    """
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    pixels = (
        torch.tensor(images / 255.0, dtype=torch.float32).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
    )
    resized = torch.nn.functional.interpolate(
        pixels, size=(299, 299), mode="bilinear", align_corners=False
    )
    expected = 2 * resized.permute(0, 2, 3, 1).numpy() - 1
    np.testing.assert_allclose(inception.prepare(images), expected, atol=1e-5)


def test_weights_of_another_network_are_refused(weights):
    arrays = read_torch_file(weights)
    missing = {k: v for k, v in arrays.items() if k != "Mixed_6e.branch7x7_3.bn.running_var"}
    with pytest.raises(UsageError, match="have no Mixed_6e.branch7x7_3.bn.running_var"):
        inception.variables_from_torch(missing)
    with pytest.raises(UsageError, match="hold AuxLogits.conv0.conv.weight"):
        inception.variables_from_torch(
            arrays | {"AuxLogits.conv0.conv.weight": np.zeros(3, np.float32)}
        )
    name = "Conv2d_1a_3x3.conv.weight"
    with pytest.raises(UsageError, match=r"is float32 \(3, 3, 4, 32\), expected float32 \(3, 3, 3"):
        inception.variables_from_torch(arrays | {name: np.zeros((32, 4, 3, 3), np.float32)})


def test_a_missing_file_and_a_wrong_one(tmp_path, weights):
    with pytest.raises(UsageError, match=r"is empty.*needs pt_inception.*features=classifier"):
        inception.check_weights("")
    with pytest.raises(UsageError, match=r"no file '/nowhere/x.pth'.*needs pt_inception.*https://"):
        inception.check_weights("/nowhere/x.pth")
    with pytest.raises(UsageError, match="no file"):
        inception.check_weights(str(tmp_path))
    found, needed = _sha256(weights)[:16], inception.WEIGHTS_SHA256[:16]
    with pytest.raises(UsageError, match=f"bytes. has SHA-256 {found}..., expected {needed}"):
        inception.load_weights(str(weights))
    assert inception.WEIGHTS_SHA256[:8] == inception.WEIGHTS_FILE[-12:-4]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_comes_back_bit_by_bit(tmp_path, zipped):
    """Zip format and the one before; several views of one storage; a scalar; int64."""
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
    """Unpickled by the book, it would leave a file behind."""

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
    """BUILD, by the instance's dictionary and by slots; both would work on a function."""
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
    """Twice is a tied weight; 500 times 16 kB would be 8 MB of a file of 100 kB."""
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
    """Pickled as a tensor of 4 numbers whose place in them is made up."""

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
        ((-1, (4,), (1,)), "a has no proper shape"),
        ((0, (2,), (-1,)), "a has no proper shape"),
        ((0, (2, 2), (1,)), "a has no proper shape"),
        ((0, (2.0,), (1,)), "a has no proper shape"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_reach_beyond_their_storage_are_refused(tmp_path, layout, message, zipped):
    """Offsets and strides are the file's word, too."""
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
        ({"a": 3.0}, "a is no tensor"),
        ([1, 2], "it holds a list"),
    ):
        torch.save(content, path)
        with pytest.raises(UsageError, match=message):
            read_torch_file(path)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[N, H, W, 1 or 3\]"):
        inception.inception_features({}, np.zeros((2, 8, 8, 2), np.uint8))


def test_the_network_has_as_many_weights_as_inception_v3():
    """torchvision's 27,161,264 without the classifiers: 3,326,696 of the auxiliary, 2,049,000."""
    count = sum(leaf.size for leaf in jax.tree.leaves(inception._shapes()["params"]))
    assert count == 27_161_264 - 3_326_696 - 2_049_000
