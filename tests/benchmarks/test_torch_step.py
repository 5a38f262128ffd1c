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
