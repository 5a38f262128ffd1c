"""What is counted of PyTorch's steps."""

import math

import jax
import pytest

from benchmarks.implementations import ours
from benchmarks.measuring.cases import Case
from benchmarks.measuring.flops import count_flops

torch = pytest.importorskip("torch")

from benchmarks.implementations import torch_step  # noqa: E402


def test_peak_memory_is_of_what_lives_at_a_time():
    def two_at_a_time():
        first = torch.ones(256, 256)
        second = first + 1.0
        del first
        return second + 1.0

    def three_at_a_time():
        first = torch.ones(256, 256)
        return (first + 1.0) + first

    peaks = [torch_step._peak_on_cpu(step) for step in (two_at_a_time, three_at_a_time)]
    each = 256 * 256 * 4  # bytes; a number that is added takes some more
    assert peaks == [pytest.approx(2 * each, rel=1e-3), pytest.approx(3 * each, rel=1e-3)]


def test_factorisations_count_as_in_jax():
    matrix = torch.eye(6)
    columns = torch.ones(6, 5)
    triangular = torch.linalg.solve_triangular
    assert torch_step._flops(lambda: torch.linalg.cholesky(matrix)) == 6**3 // 3
    assert torch_step._flops(lambda: triangular(matrix, columns, upper=False)) == 6**2 * 5


def test_a_steps_products_count_as_in_jax():
    case = Case("sampling", "tiny", {"hidden_sizes": (8, 7)}, (4, 4, 1), 2, 3)
    step = ours.value_and_grad(case.config(), case.data_shape)
    counted = count_flops(step, case.params(), jax.random.key(0), case.batch())
    prepared = torch_step.prepare(case.config(), case.batch(), case.params())
    assert prepared.flops == counted.value
    resident = sum(leaf.nbytes for leaf in jax.tree.leaves(case.params())) + case.batch().nbytes
    assert prepared.peak_bytes > resident
    value, gradient = prepared.call()
    assert math.isfinite(value)
    assert len(gradient) == 12


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sampling_free", "sampling"])
def test_a_compiled_step_is_the_eager_one(objective):
    """Two layers of one size once made the compiler overwrite PyTorch's zeros."""
    settings = {"hidden_sizes": (8, 8), "activation": "tanh"}
    case = Case(objective, "tiny", settings, (4, 4, 1), 2, 3)
    arguments = case.config(), case.batch(), case.params()
    steps = [torch_step.prepare(*arguments, compiled=compiled) for compiled in (False, True)]
    assert (steps[0].compile_seconds, steps[1].runs) == (None, True), steps[1].note
    assert steps[1].compile_seconds > 0
    (value, gradient), (compiled_value, compiled_gradient) = map(_seeded, steps)
    torch.testing.assert_close(compiled_value, value)
    torch.testing.assert_close(compiled_gradient, gradient)


def _seeded(step):
    torch.manual_seed(0)
    return step.call()


def test_what_cannot_be_compiled_is_not_run(monkeypatch):
    def fail(*_):
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr(torch_step, "_compile", lambda _: fail)
    case = Case("sampling", "tiny", {"hidden_sizes": (8,)}, (4, 4, 1), 2, 3)
    step = torch_step.prepare(case.config(), case.batch(), case.params(), compiled=True)
    assert (step.runs, step.note) == (False, "torch.compile: no such operation")
