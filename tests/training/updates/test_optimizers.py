"""Every optimizer: against NumPy in double precision, against PyTorch, and refusals."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.training.state import make_optimizer
from sfvae_jax.training.updates.optimizers import OPTIMIZERS, OptimizerSpec

RNG = np.random.default_rng(0)
# A linear model y = x w + b under the mean squared error.
X, Y = RNG.normal(size=(12, 4)), RNG.normal(size=(12, 3))
START = {"kernel": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)}
RATE, STEPS = 0.05, 7


def _train(**changes):
    config = base_config()
    config.train.learning_rate = RATE
    config.train.update(changes)
    return config.train


def _gradient(w):
    error = 2 * (X @ w["kernel"] + w["bias"] - Y) / Y.size
    return {"kernel": X.T @ error, "bias": error.sum(0)}


def _ours(train, steps=STEPS):
    """The parameters after each step."""
    optimizer = make_optimizer(train)
    params = {"params": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), START)}
    state, found = optimizer.init(params), []

    @jax.jit
    def step(params, state):
        def loss(params):
            w = params["params"]
            return jnp.mean(jnp.square(jnp.asarray(X) @ w["kernel"] + w["bias"][None] - Y))

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
        found.append(params["params"])
    return found


def _numpy(update, decay=0.0):
    """The same with `update(memory, g, t) -> change`; `decay` is in the gradient of the kernel."""
    w, found = {key: value.copy() for key, value in START.items()}, []
    memories = {key: {} for key in w}
    for t in range(1, STEPS + 1):
        gradient = _gradient(w)
        gradient["kernel"] = gradient["kernel"] + decay * w["kernel"]
        w = {key: w[key] - RATE * update(memories[key], gradient[key], t, w[key]) for key in w}
        found.append(w)
    return found


def _compare(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-5, atol=2e-5)


def _moment(memory, key, beta, value):
    memory[key] = beta * memory.get(key, 0.0) + (1 - beta) * value
    return memory[key]


def _adam(memory, g, t, w, b1=0.9, b2=0.999, eps=1e-8):
    m = _moment(memory, "m", b1, g) / (1 - b1**t)
    return m / (np.sqrt(_moment(memory, "v", b2, g**2) / (1 - b2**t)) + eps)


def _kernel_only(decay, w):
    return decay * w if w.ndim == 2 else 0.0


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam(decay):
    """Its weight decay is part of the gradient and passes through the moments."""
    train = _train(weight_decay=decay, b1=0.8, b2=0.95, eps=1e-3)
    update = lambda *of: _adam(*of, b1=0.8, b2=0.95, eps=1e-3)  # noqa: E731
    _compare(_ours(train), _numpy(update, decay))


def test_adamw():
    """Its weight decay is decoupled: 1e-4 unless a config says otherwise."""
    for given, decay in ((None, 1e-4), (0.3, 0.3), (0.0, 0.0)):
        update = lambda memory, g, t, w, d=decay: _adam(memory, g, t, w) + _kernel_only(d, w)  # noqa: E731
        _compare(_ours(_train(optimizer="adamw", weight_decay=given)), _numpy(update))


def test_amsgrad():
    """The largest mean square is that after the correction of its start; in PyTorch before it."""

    def update(memory, g, t, w):
        m = _moment(memory, "m", 0.9, g) / (1 - 0.9**t)
        v = _moment(memory, "v", 0.6, g**2) / (1 - 0.6**t)
        memory["most"] = np.maximum(memory.get("most", 0.0), v)
        return m / (np.sqrt(memory["most"]) + 1e-8)

    _compare(_ours(_train(optimizer="amsgrad", b2=0.6)), _numpy(update))


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"), [(0.0, False, 0.2), (0.9, False, 0.0), (0.9, True, 0.2)]
)
def test_sgd(momentum, nesterov, decay):
    def update(memory, g, t, w):
        memory["trace"] = g + momentum * memory.get("trace", 0.0)
        return g + momentum * memory["trace"] if nesterov else memory["trace"]

    changes = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    _compare(_ours(_train(optimizer="sgd", **changes)), _numpy(update, decay))


def test_rmsprop():
    """Its eps is inside the root, and its momentum is that of whole updates."""

    def update(memory, g, t, w):
        step = g / np.sqrt(_moment(memory, "v", 0.8, g**2) + 1e-4)
        memory["trace"] = step + 0.5 * memory.get("trace", 0.0)
        return memory["trace"]

    changes = {"b2": 0.8, "eps": 1e-4, "momentum": 0.5}
    _compare(_ours(_train(optimizer="rmsprop", **changes)), _numpy(update))


def test_lion():
    def update(memory, g, t, w):
        m = memory.get("m", 0.0)
        memory["m"] = 0.97 * m + 0.03 * g
        return np.sign(0.85 * m + 0.15 * g) + _kernel_only(0.3, w)

    changes = {"b1": 0.85, "b2": 0.97, "weight_decay": 0.3}
    _compare(_ours(_train(optimizer="lion", **changes)), _numpy(update))


def test_adagrad():
    def update(memory, g, t, w):
        memory["sum"] = memory.get("sum", 0.1) + g**2
        return g / np.sqrt(memory["sum"] + 1e-7)

    _compare(_ours(_train(optimizer="adagrad")), _numpy(update))


def test_lamb():
    def update(memory, g, t, w):
        step = _adam(memory, g, t, w, eps=1e-6) + _kernel_only(0.3, w)
        return step * np.linalg.norm(w) / np.linalg.norm(step)

    _compare(_ours(_train(optimizer="lamb", weight_decay=0.3)), _numpy(update))


def test_adafactor_multiplies_its_decay_by_the_rate():
    """The optimizer alone, which is optax's, and then -rate * decay * w for the kernel."""
    alone, decayed = (
        _ours(_train(optimizer="adafactor", weight_decay=decay), 1)[0] for decay in (None, 0.3)
    )
    np.testing.assert_allclose(
        decayed["kernel"], alone["kernel"] - RATE * 0.3 * START["kernel"], rtol=1e-5
    )
    np.testing.assert_array_equal(decayed["bias"], alone["bias"])
    params = jax.tree.map(jnp.asarray, START)
    optimizer = optax.adafactor(RATE)
    gradient = jax.tree.map(jnp.asarray, _gradient(START))
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    jax.tree.map(
        lambda ours, new: np.testing.assert_allclose(ours, new, rtol=1e-5),
        alone,
        optax.apply_updates(params, updates),
    )


@pytest.mark.parametrize(
    ("name", "changes", "theirs", "options"),
    [
        ("adam", {"weight_decay": 0.2}, "Adam", {"weight_decay": 0.2}),
        ("adamw", {"weight_decay": 0.2, "b1": 0.7}, "AdamW", {"betas": (0.7, 0.999)}),
        ("radam", {}, "RAdam", {}),
        ("adamax", {"b2": 0.9}, "Adamax", {"betas": (0.9, 0.9)}),
        ("adadelta", {"weight_decay": 0.2}, "Adadelta", {"weight_decay": 0.2}),
        (
            "sgd",
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.2},
            "SGD",
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.2},
        ),
    ],
)
def test_the_same_names_take_pytorchs_steps(name, changes, theirs, options):
    """In PyTorch biases decay unless they have a group of their own."""
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    w = {key: torch.tensor(value, requires_grad=True) for key, value in START.items()}
    if name == "adamw":
        options = {**options, "weight_decay": 0.2}
    groups = [{"params": [w["kernel"]]}, {"params": [w["bias"]], "weight_decay": 0.0}]
    optimizer, expected = getattr(torch.optim, theirs)(groups, lr=RATE, **options), []
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(x @ w["kernel"] + w["bias"], y).backward()
        optimizer.step()
        expected.append({key: value.detach().numpy().copy() for key, value in w.items()})
    _compare(_ours(_train(optimizer=name, **changes)), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends_and_has_its_own_defaults(name):
    """These are optax's."""
    spec = OPTIMIZERS[name]
    losses = [
        np.mean(np.square(X @ np.float64(w["kernel"]) + np.float64(w["bias"]) - Y))
        for w in _ours(_train(optimizer=name), 40)
    ]
    assert losses[-1] < losses[0] < np.mean(np.square(X @ START["kernel"] + START["bias"] - Y))
    theirs = inspect.signature(getattr(optax, name)).parameters
    renamed = {"rmsprop": {"b2": "decay"}, "adadelta": {"b2": "rho"}}.get(name, {})
    for key, value in spec.options.items():
        assert value == (theirs[renamed.get(key, key)].default or 0.0)
    if spec.decoupled and name != "adafactor":
        assert spec.weight_decay == theirs["weight_decay"].default


def test_the_default_is_plain_adam_to_the_last_bit():
    """Runs of earlier versions have its state in their checkpoints."""
    params = {"params": jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), START)}
    ours, adam = make_optimizer(base_config().train), optax.adam(1e-3)
    states = ours.init(params), adam.init(params)
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    gradient = jax.tree.map(jnp.sin, params)
    for _ in range(3):
        moved = [
            jax.jit(one.update)(gradient, state, params)
            for one, state in zip((ours, adam), states, strict=True)
        ]
        jax.tree.map(np.testing.assert_array_equal, *moved)
        states = [state for _, state in moved]


def _resolved(tiny_config, **changes):
    return resolve(tiny_config(**{f"train.{key}": value for key, value in changes.items()}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"momentum": 0.9},
            r"^train\.momentum only applies to rmsprop, adafactor, sgd; train\.optimizer is 'adam',"
            r" which has train\.b1, train\.b2, train\.eps$",
        ),
        (
            {"optimizer": "sgd", "b1": 0.9},
            r"^train\.b1 only applies to .*; train\.optimizer is 'sgd'",
        ),
        (
            {"optimizer": "rmsprop", "b1": 0.9},
            r"^train\.b1 only applies to .*; train\.optimizer is 'rmsprop', which has train\.b2,",
        ),
        ({"nesterov": True}, r"^train\.nesterov only applies to rmsprop, sgd;"),
        ({"optimizer": "lion", "eps": 1e-3}, r"^train\.eps only applies to"),
        (
            {"optimizer": "sgd", "nesterov": True},
            r"^train\.nesterov requires momentum; set train\.momentum too, such as 0\.9$",
        ),
        ({"optimizer": "adamv"}, r"^train\.optimizer: unknown optimizer 'adamv'; did you mean"),
        ({"b2": 1.0}, r"^train\.b2 must be a number in \[0, 1\), got 1\.0$"),
        ({"weight_decay": -0.1}, r"^train\.weight_decay must be a finite number, 0 or more"),
        ({"clip_norm": -1.0}, r"^train\.clip_norm must be a finite number, 0 or more"),
        ({"eps": 0.0}, r"^train\.eps must be a positive"),
    ],
)
def test_what_does_not_apply_is_refused(tiny_config, changes, message):
    with pytest.raises(UsageError, match=message):
        _resolved(tiny_config, **changes)


def test_what_applies_is_accepted(tiny_config):
    _resolved(tiny_config, optimizer="sgd", momentum=0.9, nesterov=True, weight_decay=0.1)
    _resolved(tiny_config, optimizer="rmsprop", b2=0.99, momentum=0.9, nesterov=True)
    _resolved(tiny_config, optimizer="lion", b1=0.95, clip_norm=1.0, ema_decay=0.9)


def test_one_entry_adds_an_optimizer(tiny_config, monkeypatch):
    """As optax.sign_sgd; an option that no config has is an error of the spec."""
    build = lambda learning_rate, b1: optax.sign_sgd(b1 * learning_rate)  # noqa: E731
    spec = OptimizerSpec("sign", "signs", build, options={"b1": 0.5})
    monkeypatch.setitem(OPTIMIZERS, "sign", spec)
    config = _resolved(tiny_config, optimizer="sign", learning_rate=0.5)
    params = {"params": {"kernel": jnp.array([[2.0, -3.0]])}}
    optimizer = make_optimizer(config.train)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["params"]["kernel"], [[-0.25, 0.25]])
    with pytest.raises(ValueError, match="optimizer 'sign' has unknown options .'b3'"):
        OptimizerSpec("sign", "signs", build, options={"b3": 0.5})
