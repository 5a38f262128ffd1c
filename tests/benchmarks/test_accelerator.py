"""The record of an accelerator: errors before times, what is kept of a run that is stopped."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import ROOT

from benchmarks import accelerator
from benchmarks.accelerator import PAPERS_RATIO, Record, as_markdown, measure
from benchmarks.measuring import correctness
from benchmarks.measuring.cases import Case
from benchmarks.rows import IMPLEMENTATIONS, installed
from sfvae_jax.errors import UsageError

TINY = Case("sampling_free", "tiny", {"hidden_sizes": (8,)}, (4, 4, 1), 2, 3)
SIZE = accelerator._small()


@pytest.fixture(scope="module")
def reference():
    return correctness.reference(TINY)


def test_errors_are_relative_to_the_reference(monkeypatch, reference):
    """Of a gradient that is 1.25 times the right one, a quarter; of the right one, its rounding."""
    value, gradient = reference
    monkeypatch.setattr(correctness, "reference", lambda case: reference)
    for scale, expected in ((1.25, 0.25), (1.0, 0.0)):
        found = jax.tree.map(lambda leaf, by=scale: np.float32(by * leaf), gradient)
        step = lambda params, rng, x, found=found: (np.float32(value + 0.5), found)  # noqa: E731
        build = lambda config, shape, step=step: step  # noqa: E731
        monkeypatch.setattr(correctness.ours, "value_and_grad", build)
        rows = correctness.errors(TINY)
        assert [row["matmul_precision"] for row in rows][:2] == ["float32", "tensorfloat32"]
        assert [row["is_correct"] for row in rows] == [scale == 1.0, None, None]
        for row in rows:
            assert row["gradient_error"] == pytest.approx(expected, abs=1e-6)
            assert row["loss_error"] == pytest.approx(0.5, abs=1e-5)


def test_the_librarys_step_is_correct_in_float32(monkeypatch, reference):
    monkeypatch.setattr(correctness, "reference", lambda case: reference)
    rows = correctness.errors(TINY)
    assert rows[0]["gradient_error"] < 1e-5
    assert 1e-4 < rows[-1]["gradient_error"] < 0.05  # of tangents in bfloat16
    assert rows[-1]["jacobian_dtype"] == "bfloat16"


def test_a_wrong_step_is_not_timed(monkeypatch, tmp_path):
    wrong = {"model": "tiny", "is_correct": False, "loss": 1.0, "loss_error": 0.5}
    wrong |= {"latent_size": 2, "batch_size": 3, "gradient_error": 0.25}
    wrong |= {"matmul_precision": "float32", "jacobian_dtype": "float32"}
    monkeypatch.setattr(accelerator, "errors", lambda case: [wrong])
    monkeypatch.setattr(accelerator, "matmul_peak", lambda precision: pytest.fail("timed"))
    with pytest.raises(RuntimeError, match=r"tiny: .* 0\.001 of its norm; nothing was timed"):
        measure(Record(str(tmp_path / "it")), SIZE)
    assert json.loads((tmp_path / "it.json").read_text())["steps"] == []
    assert "| 1.000, +5.0e-01 nats | 2.5e-01 WRONG |" in (tmp_path / "it.md").read_text()


def test_what_is_too_late_is_left_out_and_named(tmp_path):
    measure(Record(str(tmp_path / "it"), last_begin=-1.0), SIZE)
    left_out = json.loads((tmp_path / "it.json").read_text())["left_out"]
    assert len(left_out) == len(SIZE.compared) + len(SIZE.timed) * len(SIZE.precisions) + 2
    assert f"Left out for lack of time: {'; '.join(left_out)}." in (tmp_path / "it.md").read_text()


def test_ratios_are_those_of_the_steps(monkeypatch):
    """Sampling-free 3 s and sampling 2 s: 1.5, beside the paper's 14.5 / 9.7 hours = 1.49."""
    seconds = {"sampling_free": 3.0, "sampling": 2.0}
    rows = lambda cases, peak, budget: [  # noqa: E731
        {"implementation": name, "objective": c.objective, "step_seconds": seconds[c.objective]}
        for c in cases
        for name in filter(installed, IMPLEMENTATIONS)
    ]
    monkeypatch.setattr(accelerator, "rows", rows)
    found = accelerator._steps(TINY, accelerator.Peak(1e9, "float32"), 0.1)
    assert [row["implementation"] for row in found["ratios"]][:2] == ["ours", "plain"]
    assert {row["sampling_free_by_sampling"] for row in found["ratios"]} == {1.5}
    machine = {"device": "it", "driver": None, "versions": {"jax": "1"}, "at": "now"}
    empty = {key: [] for key in ("correctness", "steps", "loop", "left_out")}
    content = {"machine": machine, **empty, "ratios": found["ratios"]}
    text = as_markdown(content)
    assert "Section 4.5, has a ratio of 1.49:" in text
    assert "| tiny | 2 | float32 | ours | 1.50 |" in text
    assert pytest.approx(1.4948, abs=1e-4) == PAPERS_RATIO


def test_files_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot write .*choose another --output"):
        Record(str(tmp_path / "missing" / "it"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("timeout") is None, reason="there is no `timeout`")
def test_the_command_in_small(tmp_path):
    """All of it, on whatever is here."""
    command = ["bash", str(ROOT / "benchmarks" / "accelerator.sh"), "--small", "--output=it"]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "it.json").read_text())
    assert not record["left_out"]
    assert [row["is_correct"] for row in record["correctness"]] == [True, None, None] * 2
    found = len(list(filter(installed, IMPLEMENTATIONS)))
    assert (len(record["steps"]), len(record["ratios"])) == (4 * found, 2 * found)
    assert all(row["sampling_free_by_sampling"] > 0 for row in record["ratios"])
    assert [row["objective"] for row in record["loop"]] == ["sampling_free", "sampling"]
    assert (tmp_path / "it.md").read_text() in done.stdout + "\n"
