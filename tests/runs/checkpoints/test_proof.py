"""A checkpoint whose files are changed in any way is found damaged, or is what was saved."""

import json
import os
import pickle
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts

from sfvae_jax.errors import RunError
from sfvae_jax.runs.checkpoints import proof
from sfvae_jax.runs.checkpoints.saving import Checkpoints
from sfvae_jax.training.state import TrainState


def _state(step):
    noise = jax.random.normal(jax.random.key(step), (30, 20))
    halves = noise.astype(jnp.bfloat16).at[0, 0].set(jnp.nan)
    return TrainState(jnp.array(step), {"kernel": noise}, (halves, jnp.array([True, False])))


def _read(folder):
    return proof.read(folder, lambda layout: None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a checkpoint, with a name that is no plain URL."""
    folder = tmp_path_factory.mktemp("a run%20#1?") / "checkpoints"
    with Checkpoints(folder, 1) as checkpoints:
        checkpoints.save(_state(5))
    return folder / "5"


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "5")


def _assert_whole(arrays):
    expected = proof.by_name(_state(5))
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        assert array.tobytes() == np.asarray(expected[name]).tobytes()


def _is_found_damaged(folder):
    try:
        arrays, _ = _read(folder)
    except proof.Damaged as error:
        return len(str(error).splitlines()) == 1
    _assert_whole(arrays)
    return False


def test_read_to_the_bit_and_proved(saved):
    arrays, proved = _read(saved)
    assert proved
    _assert_whole(arrays)


def test_each_file_cut_short_or_emptied(copy):
    found = 0
    for path in filter(os.path.isfile, sorted(copy.rglob("*"))):
        content = path.read_bytes()
        for length in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            found += _is_found_damaged(copy)
        path.write_bytes(content)
    assert found >= 11  # metadata, manifest, its tree and the numbers
    assert not _is_found_damaged(copy)


def test_one_byte_of_each_file_changed(copy):
    found = 0
    for path in filter(os.path.isfile, sorted(copy.rglob("*"))):
        content = path.read_bytes()
        for place in np.linspace(0, len(content) - 1, 9).astype(int):
            changed = content[place] ^ (1 << (place % 8))
            path.write_bytes(content[:place] + bytes([changed]) + content[place + 1 :])
            found += _is_found_damaged(copy)
        path.write_bytes(content)
    assert found >= 30
    assert not _is_found_damaged(copy)


def test_each_file_and_folder_removed(copy, tmp_path):
    found = []
    for path in sorted(copy.rglob("*")):
        path.rename(tmp_path / "aside")
        if _is_found_damaged(copy):
            found.append(path.relative_to(copy).as_posix())
        (tmp_path / "aside").rename(path)
    assert {"_CHECKPOINT_METADATA", "default", "default/manifest.ocdbt"} <= set(found)
    assert not _is_found_damaged(copy)


def test_numbers_of_another_checkpoint_are_told_by_name(copy, tmp_path):
    """The files are complete by themselves, but are not those that were saved here."""
    with Checkpoints(tmp_path / "other", 1) as checkpoints:
        checkpoints.save(_state(6))
    shutil.rmtree(copy / "default")
    shutil.copytree(tmp_path / "other" / "6" / "default", copy / "default")
    with pytest.raises(proof.Damaged, match=r"^opt_state.0 has changed$"):
        _read(copy)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("[]", "cannot be read"),
        ("null", "cannot be read"),
        ('{"custom_metadata": null}', "cannot be read"),
        ('{"custom_metadata": {"arrays": {}}}', "cannot be read"),
        ('{"custom_metadata": {"arrays": {"step": 1}, "digest": ""}}', "has changed"),
        ("[" * 100_000, "cannot be read"),
        ('{"custom_metadata": {}, "custom_metadata": {}}', "cannot be read"),
        (" " * 2**24 + "{}", "has more than 16,777,216 bytes"),
    ],
)
def test_metadata_of_another_kind(copy, metadata, message):
    (copy / "_CHECKPOINT_METADATA").write_text(metadata)
    with pytest.raises(proof.Damaged, match=f"^_CHECKPOINT_METADATA {message}$"):
        _read(copy)


def test_a_checkpoint_of_an_earlier_version_is_read_unproved(copy):
    path = copy / "_CHECKPOINT_METADATA"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"custom_metadata": {}}))
    arrays, proved = _read(copy)
    assert not proved
    _assert_whole(arrays)


@pytest.mark.parametrize(
    "name",
    ["", "_CHECKPOINT_METADATA", "default", "default/manifest.ocdbt", "default/ocdbt.process_0/d"],
)
def test_a_link_out_of_the_folder_is_not_followed(copy, tmp_path, name):
    path = copy / name
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(proof.Damaged, match=f"{path.name} is a symbolic link"):
        _read(copy)


def test_what_is_no_file_or_no_folder_is_refused(copy):
    os.mkfifo(copy / "default" / "pipe")  # would wait for ever to be read
    with pytest.raises(proof.Damaged, match="pipe is neither a folder nor a file"):
        _read(copy)
    shutil.rmtree(copy)
    copy.write_text("")
    with pytest.raises(proof.Damaged, match="5 is neither a folder nor a file"):
        _read(copy)


class _Program:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_never_executed(copy, tmp_path):
    program = pickle.dumps(_Program(tmp_path / "executed"))
    for name in ("state.pkl", "default/checkpoint", "default/d/pickle", "default/aggregate"):
        (copy / name).write_bytes(program)
    _assert_whole(_read(copy)[0])
    for path in filter(os.path.isfile, sorted(copy.rglob("*"))):
        content = path.read_bytes()
        path.write_bytes(program)
        _is_found_damaged(copy)
        path.write_bytes(content)
    assert not (tmp_path / "executed").exists()


def _crc32c(content):
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def _write_plain_checkpoint(folder, numbers, shape=(100,)):
    """Writes a checkpoint as Orbax does, one database inside another, but without compression.

    If the declared shape is not that of the numbers, nothing is written.
    """
    context = ts.Context()

    def database(place):
        base = {"driver": "file", "path": f"{place}/"}
        config = {"compression": None, "max_inline_value_bytes": 0}
        return {"driver": "ocdbt", "base": base, "config": config}

    inner = database(folder / "default" / "ocdbt.process_0")
    spec = {"driver": "zarr", "kvstore": {**inner, "path": "step/"}}
    store = ts.open(spec, context=context, create=True, dtype="int32", shape=shape).result()
    if numbers.shape == shape:
        store[:] = numbers
    stores = [database(folder / "default"), inner]
    outer, inner = (ts.KvStore.open(store, context=context).result() for store in stores)
    inner.experimental_copy_range_to(outer).result()
    metadata = {"custom_metadata": proof.proof({"step": numbers})}
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(metadata))


def test_a_database_cannot_lead_out_of_its_folder(tmp_path):
    """Its index says "../outside_db_0", where the numbers indeed are."""
    folder, numbers = tmp_path / "5", np.arange(100, dtype=np.int32)
    _write_plain_checkpoint(folder, numbers)
    np.testing.assert_array_equal(_read(folder)[0]["step"], numbers)
    inside, outside = b"ocdbt.process_0", b"../outside_db_0"
    (folder / "default" / inside.decode()).rename(folder / "outside_db_0")
    (index,) = (folder / "default" / "d").iterdir()
    content = index.read_bytes()[:-4].replace(inside, outside)
    assert outside in content
    index.write_bytes(content + _crc32c(content).to_bytes(4, "little"))
    with pytest.raises(proof.Damaged, match=r"Invalid key: .*\.\./outside_db_0"):
        _read(folder)


def test_what_is_declared_is_compared_before_there_is_room_for_it(tmp_path):
    """2^40 numbers in a few hundred bytes, once in the metadata and once in the database alone."""
    folder, numbers = tmp_path / "5", np.arange(100, dtype=np.int32)
    _write_plain_checkpoint(folder, numbers, shape=(2**20, 2**20))
    with pytest.raises(proof.Damaged, match="^step has changed$"):
        _read(folder)

    metadata = json.loads((folder / "_CHECKPOINT_METADATA").read_text())
    for kept in (metadata["custom_metadata"], {}):
        if kept:
            kept["arrays"]["step"][1] = [2**20, 2**20]
            kept["digest"] = proof._of_text(kept["arrays"])
        (folder / "_CHECKPOINT_METADATA").write_text(json.dumps({"custom_metadata": kept}))
        found = []

        def check(layout, found=found):
            found.append(layout)
            raise RunError("too large")

        with pytest.raises(RunError, match="too large"):
            proof.read(folder, check)
        assert found == [{"step": ("int32", (2**20, 2**20))}]


def test_only_what_is_wanted_is_read(copy):
    arrays, proved = proof.read(copy, lambda layout: None, lambda name: name == "step")
    assert proved
    assert arrays == {"step": 5}


def test_a_name_cannot_lead_out_of_the_database(copy):
    (copy / "_CHECKPOINT_METADATA").write_text(
        json.dumps({"custom_metadata": proof.proof({"../../outside": np.zeros(3)})})
    )
    with pytest.raises(proof.Damaged, match="outside"):
        _read(copy)


def test_a_file_that_may_not_be_read_is_no_damage(copy, monkeypatch):
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: allowed(path, mode) and path.name != "d")
    with pytest.raises(RunError, match="default/d: permission denied"):
        _read(copy)


def test_a_read_that_the_system_refuses_is_no_damage(saved, monkeypatch):
    """Files cannot be opened for a moment, but the checkpoint is not damaged."""
    recorded = proof._recorded(saved)
    monkeypatch.setattr(proof, "_check_files", lambda folder: None)
    monkeypatch.setattr(proof, "_recorded", lambda folder: recorded)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(RunError, match="cannot read .*: Too many open files"):
            _read(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert _read(saved)[1]
