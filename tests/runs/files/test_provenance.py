"""Where a run was computed, by what, and what it took: provenance.jsonl."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta

import jax
import pytest
from helpers import wait_for

import sfvae_jax
from sfvae_jax.errors import RunError
from sfvae_jax.runs.files import provenance
from sfvae_jax.runs.files.provenance import Provenance
from sfvae_jax.runs.workdir import Workdir


@pytest.fixture
def files(tmp_path):
    return Workdir(tmp_path)


def seconds(files):
    return [piece["seconds"] for piece in provenance.read(files.provenance)]


def test_a_piece_of_work_tells_when_by_what_and_where(files):
    with Provenance() as work:
        work.begin(files, "train", 3)
    (piece,) = provenance.read(files.provenance)
    assert (piece["work"], piece["from_step"], piece["processes"]) == ("train", 3, 1)
    age = datetime.now(UTC) - datetime.fromisoformat(piece["began"])
    assert timedelta(0) <= age < timedelta(hours=1)
    assert piece["versions"]["jax"] == jax.__version__
    assert piece["versions"]["sfvae_jax"] == sfvae_jax.__version__
    assert piece["machine"]["accelerator"] is None
    assert piece["machine"]["cores"] >= 1
    assert piece["machine"]["processor"]


def test_the_processor_time_of_a_whole_process_or_of_the_work_alone(files):
    """Time used before the work began counts only if the process does nothing else."""
    before = sum(os.times()[:4])
    with Provenance() as work:
        work.begin(files, "train", 0)
    with Provenance(began=0.0) as work:
        work.begin(files, "evaluate", 0)
    alone, whole = provenance.read(files.provenance)
    assert alone["processor_seconds"] < 1 + sum(os.times()[:4]) - before
    assert whole["processor_seconds"] >= round(before, 1)
    assert whole["seconds"] > alone["seconds"]


def test_what_it_took_is_kept_true_while_it_lasts(files, monkeypatch):
    """A process that is killed has recorded almost all of it."""
    monkeypatch.setattr(provenance, "_SECONDS_BETWEEN_WRITES", 0.01)
    with Provenance() as work:
        work.begin(files, "train", 0)
        first = seconds(files)
        wait_for(lambda: seconds(files) > first)
    assert seconds(files) >= first


def test_damaged_lines_are_left_out(files):
    with Provenance() as work:
        work.begin(files, "train", 0)
    (line,) = files.provenance.read_text().splitlines()
    wrong = {**json.loads(line), "seconds": "1"}
    files.provenance.write_bytes(
        b"\n".join([line.encode(), line[:40].encode(), b"[]", b"\xff", json.dumps(wrong).encode()])
    )
    with Provenance() as work:
        work.begin(files, "train", 7)
    assert [piece["from_step"] for piece in provenance.read(files.provenance)] == [0, 7]


def test_a_workdir_that_is_lost_meanwhile_is_not_written(files, monkeypatch):
    """It ends neither during the run nor at its end; the run itself reports the error."""
    monkeypatch.setattr(provenance, "_SECONDS_BETWEEN_WRITES", 0.01)

    def lose():
        with files.locked(), Provenance() as work:
            work.begin(files, "train", 0)
            (files.folder / ".lock").unlink()
            work._thread.join()
            before.append(files.provenance.read_bytes())

    before = []
    with pytest.raises(RunError, match=r"its \.lock was deleted"):
        lose()
    assert [files.provenance.read_bytes()] == before


def test_the_commit_and_whether_the_code_differs_from_it(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    library = tmp_path / "sfvae_jax" / "__init__.py"
    library.parent.mkdir()
    library.write_text("")
    monkeypatch.setattr(sfvae_jax, "__file__", str(library))
    code = provenance.code.__wrapped__
    assert code() == {"commit": None, "changed": None}
    git("init", "-q")
    assert code() == {"commit": None, "changed": None}  # nothing is committed
    (tmp_path / "README").write_text("")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "README").write_text("other")
    (tmp_path / "sfvae_jax" / "own.py").write_text("not tracked")
    assert code() == {"commit": commit, "changed": False}
    library.write_text("changed = True")
    assert code() == {"commit": commit, "changed": True}
