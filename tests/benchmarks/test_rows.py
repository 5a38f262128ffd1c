"""What `benchmarks.step_time` and `benchmarks.growth` print and write."""

import dataclasses
import itertools
import json
import math

import jax
import jax.numpy as jnp
import pytest

from benchmarks import growth
from benchmarks import rows as measuring
from benchmarks.implementations import jax_step
from benchmarks.measuring import timing
from benchmarks.measuring.cases import GROUPS, Case
from benchmarks.measuring.peak import Peak
from benchmarks.measuring.table import check_writable, markdown, write_json
from sfvae_jax.errors import UsageError

PEAK = Peak(1e9, "float32")
TINY = Case("sampling_free", "tiny", {"hidden_sizes": (8,)}, (4, 4, 1), 2, 3)
NUMBERS = ("step_seconds", "ratio", "share_of_peak", "flops", "peak_bytes")
TEXTS = ("objective", "model", "implementation", "device", "note")


@pytest.fixture(scope="module")
def tiny_rows():
    return measuring.rows([TINY], PEAK, budget=0.1)


@pytest.mark.slow
def test_rows_are_json_with_all_keys(tiny_rows, tmp_path):
    write_json(tiny_rows, str(tmp_path / "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text())
    expected = list(filter(measuring.installed, measuring.IMPLEMENTATIONS))
    assert [row["implementation"] for row in rows] == expected
    for row in rows:
        assert all(row[key] > 0 for key in NUMBERS)
        assert all(isinstance(row[key], str) for key in TEXTS)
        assert (row["latent_size"], row["batch_size"]) == (2, 3)
        assert row["spread_seconds"][0] <= row["step_seconds"] <= row["spread_seconds"][1]
        assert (row["compile_seconds"] is None) == (row["implementation"] == "pytorch")
        rate = row["flops"] / row["step_seconds"]
        assert row["share_of_peak"] * row["matmul_flops_per_second"] == pytest.approx(rate)
        assert row["ratio"] == pytest.approx(row["step_seconds"] / rows[0]["step_seconds"])


@pytest.mark.slow
def test_a_process_for_each_has_the_same_step(tiny_rows):
    (row,) = measuring.rows([TINY], PEAK, ["ours"], budget=0.1, keep_memory=["ours"])
    assert row["keeps_memory"]
    assert row["step_seconds"] > 0
    same = ("flops", "peak_bytes", "objective", "device")
    assert all(row[key] == tiny_rows[0][key] for key in same)


@pytest.mark.slow
def test_an_error_in_another_process_is_told():
    wrong = dataclasses.replace(TINY, latent_size=0)
    with pytest.raises(RuntimeError, match=r"_ours of Case.*model\.latent_size must be"):
        measuring.rows([wrong], PEAK, ["ours"], budget=0.1, keep_memory=[])


@pytest.mark.slow
def test_implementations_count_alike(tiny_rows):
    """The same products; some of the decoder at the mean are taken twice."""
    flops = [row["flops"] for row in tiny_rows]
    assert max(flops) < 1.6 * min(flops)


@pytest.mark.slow
def test_table_has_a_line_for_each_row(tiny_rows):
    head, rule, *lines = markdown(tiny_rows).splitlines()
    assert len(lines) == len(tiny_rows)
    assert {line.count("|") for line in (head, rule, *lines)} == {head.count("|")}
    assert lines[0].startswith("| `sampling_free` | tiny | 2 | 3 | ours | ")


def test_rows_that_do_not_fit_are_planned_and_not_run(monkeypatch):
    monkeypatch.setattr(jax_step, "available_bytes", lambda: 100)
    row, *_ = measuring.rows([TINY], PEAK, ["plain"], budget=0.1)
    assert row["step_seconds"] is row["ratio"] is row["share_of_peak"] is None
    assert row["peak_bytes"] > 100
    assert row["note"].startswith("not run: needs 0.0 GiB")
    assert "| - | - |" in markdown([row])


def test_planned_memory_has_arguments_and_results():
    step = jax_step.prepare(lambda x: (x, 2.0 * x), jnp.ones((256, 256)))
    assert step.peak_bytes >= 3 * 256 * 256 * 4
    assert [part.shape for part in step.call()] == [(256, 256)] * 2
    assert jax.config.jax_enable_compilation_cache  # as it was before


def test_pytorch_is_left_out_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(measuring, "installed", lambda name: name != "pytorch")
    rows = measuring.rows([TINY], PEAK, ["ours", "pytorch"], budget=0.1)
    assert [row["implementation"] for row in rows] == ["ours"]


def test_groups_are_the_papers_models():
    for group, cases in GROUPS.items():
        objectives = [case.objective for case in cases]
        assert objectives == ["sampling_free", "sampling"] * (1 if group == "table3" else 2)
        assert all(case.config().objective.name == case.objective for case in cases)
    sizes = {g: {(c.latent_size, c.batch_size) for c in cases} for g, cases in GROUPS.items()}
    assert sizes == {"table4": {(200, 200)}, "table3": {(50, 20)}, "conv": {(16, 64), (64, 64)}}


def _durations(seconds):
    """Calls that are their own durations; `order` gets each as it is made."""
    order = []
    return {name: lambda name=name: order.append(name) or seconds[name] for name in seconds}, order


def test_calls_take_turns():
    calls, order = _durations({"a": 0.3, "b": 0.05})
    measured = timing.in_turns(calls, budget=10.0)
    rounds = len(measured["a"])
    assert 5 <= rounds <= 15
    assert measured["b"] == [[0.05] * 4] * rounds  # four fill a turn
    counted = [name for name, _ in itertools.groupby(order[4:])]
    assert counted == ["a", "b"] * rounds


def test_slow_calls_are_made_three_times_in_all():
    calls, order = _durations({"slow": 60.0, "fast": 1.0})
    measured = timing.in_turns(calls, budget=40.0)
    assert measured == {"slow": [[60.0]] * 3, "fast": [[1.0]] * 5}
    assert order.count("slow") == 3


def test_a_ratio_has_its_range_over_turns():
    ratio, spread = measuring._ratio([[2.0, 4.0, 6.0], [9.0]], [[1.0], [3.0], [2.0]])
    assert ratio == pytest.approx(5.0 / 2.0)
    assert spread == [3.0, 4.0]


def test_exponents_are_fitted_between_8_and_64():
    def row(model, m, seconds):
        sizes = {"model": model, "latent_size": m, "implementation": "ours"}
        return {**sizes, "step_seconds": seconds}

    cubic = [row("mlp", m, 1e-6 * m**3) for m in (8, 16, 64)] + [row("mlp", 256, 1.0)]
    short = [row("conv", 8, 1.0), row("conv", 16, None)]
    first, second = growth.exponents(cubic + short, "latent_size")
    assert first["exponent"] == pytest.approx(3.0)
    assert (first["model"], first["sizes"]) == ("mlp", [8, 16, 64])
    assert (second["exponent"], second["sizes"]) == (None, [8])


@pytest.mark.slow
def test_growth_prints_and_writes(monkeypatch, tmp_path, capsys):
    sizes = [dataclasses.replace(TINY, latent_size=m) for m in (2, 3)]
    monkeypatch.setattr(growth, "SWEEPS", {"latent_size": sizes})
    monkeypatch.setattr(growth, "FITTED_LATENT_SIZES", (2, 3))
    monkeypatch.setattr(growth, "matmul_peak", lambda: PEAK)
    monkeypatch.setattr(growth, "IMPLEMENTATIONS", ("plain",))
    monkeypatch.setattr(growth, "BUDGET", 0.1)
    monkeypatch.setattr("sys.argv", ["growth", f"--json={tmp_path}/growth.json"])
    growth.main()
    results = json.loads((tmp_path / "growth.json").read_text())
    assert [row["latent_size"] for row in results["rows"]] == [2, 3]
    small, large = (row["step_seconds"] for row in results["rows"])
    (fit,) = results["exponents"]
    assert fit["exponent"] == pytest.approx(math.log(large / small) / math.log(3 / 2))
    assert f"tiny, plain: m^{fit['exponent']:.2f} over m = 2, 3" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot write .*No such file"):
        check_writable(str(tmp_path / "missing" / "rows.json"))
