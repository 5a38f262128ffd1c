"""The library, plain JAX and PyTorch take the same step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.implementations import ours, plain
from benchmarks.measuring.cases import GROUPS, Case
from benchmarks.measuring.flops import count_flops

MLP = ("small mlp", {"hidden_sizes": (12, 9), "activation": "tanh"}, (6, 5, 1))
SIGMOID = ("small sigmoid mlp", {**MLP[1], "output_activation": "sigmoid"}, MLP[2])
CONV = ("small conv", {"name": "conv", "channels": (4, 5, 6)}, (16, 16, 3))

RNG = jax.random.key(7)
CASES = [
    pytest.param((objective, model), marks=[pytest.mark.slow] * (model is CONV))
    for objective, model in itertools.product(["sampling_free", "sampling"], [MLP, SIGMOID, CONV])
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1][0]}")
def small(request):
    objective, model = request.param
    return Case(objective, *model, latent_size=3, batch_size=4)


@pytest.fixture(scope="module")
def ours_step(small):
    step = jax.jit(ours.value_and_grad(small.config(), small.data_shape))
    return step(small.params(), RNG, small.batch())


def _noise(case):
    """What the library draws: `objectives.sampling_elbo` splits the key of each example's place."""
    first_step = jax.random.fold_in(RNG, 0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(first_step, jnp.arange(case.batch_size))
    draw = jax.vmap(lambda key: jax.random.normal(jax.random.split(key, 1)[0], (case.latent_size,)))
    return draw(keys)


def _assert_same(obtained, expected):
    (value, gradient), (expected_value, expected_gradient) = obtained, expected
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    assert jax.tree.structure(gradient) == jax.tree.structure(expected_gradient)
    scale = max(jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(expected_gradient))
    for one, other in zip(*map(jax.tree.leaves, (gradient, expected_gradient)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * scale)


def test_ours_is_plain(small, ours_step):
    loss = plain.make_loss(small.config(), small.data_shape)
    step = jax.jit(jax.value_and_grad(loss))
    _assert_same(ours_step, step(small.params(), _noise(small), small.batch()))


def test_pytorch_is_ours(small, ours_step):
    torch = pytest.importorskip("torch")
    from benchmarks.implementations import torch_loss, torch_models

    networks = torch_models.build(small.config(), small.data_shape)
    torch_models.load_params(networks, small.params())
    batch = torch.tensor(np.asarray(small.batch())).permute(0, 3, 1, 2)
    for jacobian in (torch_loss.jacobian_of_each, torch_loss.jacobian_of_batch):
        loss = torch_loss.make_loss(small.config(), networks, jacobian)
        value = loss(batch, torch.tensor(np.asarray(_noise(small))))
        gradient = torch.autograd.grad(value, networks.parameters())
        obtained = value.detach().numpy(), torch_models.as_params(networks, gradient)
        _assert_same(obtained, ours_step)


def test_the_step_of_table_4_takes_less_arithmetic(monkeypatch):
    """Counted in traces, without computing: at most 0.6 of the plain form's, example by example.

    A count for the units that a batch has in common would depend on its images.
    """
    monkeypatch.setattr(
        "sfvae_jax.objectives.batch_tangents.known_tangents.shares_units", lambda *_: False
    )
    case, _ = (case for case in GROUPS["table4"] if case.objective == "sampling_free")
    arguments = case.params(), RNG, case.batch()
    counts = [
        count_flops(implementation.value_and_grad(case.config(), case.data_shape), *arguments).value
        for implementation in (ours, plain)
    ]
    assert 150e9 < counts[1] < 200e9
    assert counts[0] < 0.6 * counts[1]
