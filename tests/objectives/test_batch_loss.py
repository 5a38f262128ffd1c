"""Objectives of a batch by name: docs/your_own_model.md holds, and what does not fit is refused."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from sfvae_jax import likelihoods, objectives, plugins, posteriors
from sfvae_jax.objectives import DenseOutput
from sfvae_jax.objectives import batch_loss as call
from sfvae_jax.objectives.batch_loss import _reads
from sfvae_jax.objectives.numerics.streams import ExampleStream, stream_key
from sfvae_jax.training.losses.options import option_group

N, M, BATCH = 5, 2, 4
_rng = np.random.default_rng(1)
WEIGHTS = jnp.float32(_rng.normal(size=(M, N)))
X, MEANS = (jnp.float32(_rng.normal(size=(BATCH, size))) for size in (N, M))
STDDEVS = jnp.float32(_rng.uniform(0.3, 1.0, size=(BATCH, M)))
Q, GAUSSIAN, KEY = posteriors.DiagonalGaussian(MEANS, STDDEVS), likelihoods.Gaussian(0.1), 3
FULL = posteriors.FullCovarianceGaussian(MEANS, jnp.tile(0.3 * jnp.eye(M), (BATCH, 1, 1)))
FLOW = posteriors.PlanarFlow(MEANS, STDDEVS, *(jnp.ones((BATCH, 1, M)),) * 2, jnp.ones((BATCH, 1)))


def _decode(z):
    return jnp.tanh(z @ WEIGHTS)


def _loss(name, posterior=Q, likelihood=GAUSSIAN, x=X, **options):
    @jax.jit  # which compiles faster than each operation by itself
    def loss(rng, x, posterior):
        return call(name, rng, _decode, x, posterior, likelihood, decoder_params=WEIGHTS, **options)

    return loss(jax.random.key(KEY), x, posterior)


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs" / "your_own_model.md").read_text()


@pytest.fixture(scope="module")
def space(page):
    """What the page's code defines."""
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for number, code in enumerate(blocks):
        exec(compile(code, f"your_own_model.md, block {number}", "exec"), names)
    assert len(blocks) == 6
    return names


def test_the_code_of_the_page_runs(space):
    """Its step of gradient descent lowers the loss, and its last call keeps the vectors."""
    assert set(space["metrics"]) == {"log_likelihood", "kl", "beta", "entropy_weight", "gamma"}
    after, _ = space["loss"](space["params"], jax.random.key(1), space["x"])
    assert after < space["loss_value"]
    assert set(space["vectors"]) == {"layer/kernel"}
    assert np.any(space["gradient"]["layer"]["kernel"] != 0.0)


def test_the_decoders_of_the_page_are_what_they_replace(space):
    image = jnp.float32(_rng.normal(size=(3, 2, 5)))
    layer, native = space["Upsample"](4), nn.ConvTranspose(4, (4, 4), (2, 2))
    params = native.init(jax.random.key(0), image)
    assert jax.tree.structure(params) == jax.tree.structure(layer.init(jax.random.key(0), image))
    expected = native.apply(params, image)
    np.testing.assert_allclose(layer.apply(params, image), expected, rtol=1e-5, atol=1e-6)

    layers = [(WEIGHTS, X[0]), (WEIGHTS.T, MEANS[0])]
    expected = jax.nn.relu(MEANS[1] @ WEIGHTS + X[0]) @ WEIGHTS.T + MEANS[0]
    np.testing.assert_allclose(space["decoder_of"](layers)(MEANS[1]), expected, rtol=1e-6)


def test_the_calls_of_the_page_are_those_of_batch_loss(space):
    given = {
        "iwae": {"num_samples": 5},
        "rae_l2": {"penalty_weight": 0.1},
        "rae_gp": {"penalty_weight": 0.1},
    }

    @jax.jit
    def both(rng):
        expected = dict(space["losses_of_batch"](rng, _decode, X, MEANS))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(BATCH))
        each = jax.vmap(lambda key, x, q: space["losses"](key, _decode, x, q, WEIGHTS))(keys, X, Q)
        expected |= {name: jnp.mean(values) for name, values in each.items()}
        return expected, {name: _loss(name, **given.get(name, {}))[0] for name in expected}

    expected, obtained = both(jax.random.key(KEY))
    assert set(expected) | {"rae_sn"} == set(objectives.OBJECTIVES)
    for name, value in expected.items():
        np.testing.assert_allclose(obtained[name], value, rtol=1e-6, err_msg=name)


def test_the_variants_of_the_page_are_those_of_batch_loss(space):
    """The bend is measured with a key of its own."""
    rng = jax.random.key(KEY)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(BATCH))
    of_example = jax.jit(jax.vmap(lambda key, *given: space["variants"](key, _decode, *given)))
    each = of_example(keys, X, Q, FULL.scale_tril)
    of_bend = jax.vmap(lambda key: stream_key(key, ExampleStream.BEND))(keys)
    each["bend_weight"] = of_example(of_bend, X, Q, FULL.scale_tril)["bend_weight"]
    obtained = {
        "num_probes": _loss("linearized", num_probes=2),
        "full_covariance": _loss("linearized", posterior=FULL),
        "bend_weight": _loss("linearized", bend_weight=1.0),
    }
    for name, (loss, _) in obtained.items():
        np.testing.assert_allclose(loss, -jnp.mean(each[name]), rtol=1e-6, err_msg=name)


def test_the_page_names_the_options_of_each_objective(page):
    table = page.partition("| objective | of the posterior |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:-1] for row in table.splitlines()[2:]]
    named = {
        name: set(re.findall(r"`(\w+)`", row[-1])) - {"decoder_params"}
        for row in rows
        for name in re.findall(r"`(\w+)`", row[0])
    }
    of_elbos = {"beta", "entropy_weight", "free_bits", "free_bits_groups", "free_bits_of_batch"}
    assert named == {
        name: {option for option in _options() if _reads(info, option)}
        - (of_elbos if info.parts else set())
        for name, info in objectives.OBJECTIVES.items()
    }


def _options():
    """The options of `batch_loss` that are options of a config, and their defaults."""
    others = {"decoder_params", "tangent_decode", "decode_given", "axis_name"}
    parameters = inspect.signature(call).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in others
    }


def test_defaults_are_those_of_a_config():
    options = _options()
    assert options.pop("posterior_variance") == 1.0
    known = option_group()
    assert options == {name: known[name].default for name in options}


def test_weights_of_a_step_may_be_traced():
    """Under jit, gamma and beta are arrays of which nothing is known."""

    @jax.jit
    def at(gamma, beta):
        return _loss("sampling_free", gamma=gamma, beta=beta)

    loss, metrics = at(0.3, 2.0)
    expected, _ = _loss("sampling_free", gamma=0.3)
    np.testing.assert_allclose(loss - expected, metrics["kl"], rtol=1e-4)
    assert (metrics["gamma"], metrics["beta"]) == (jnp.float32(0.3), 2.0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("sampling", {"beta": 2.0, "entropy_weight": 0.5}),
        ("linearized", {"free_bits": 0.7, "bend_weight": 3.0}),
        ("sampling_free", {"log_det_weight": 0.5, "bend_weight": 0.0, "free_bits": 0.0}),
        ("rae_l2", {"beta": 0.3, "penalty_weight": 2.0}),
        ("wae_mmd", {"penalty_weight": 2.0}),
    ],
)
def test_every_weight_of_a_step_may_be_traced(name, weights):
    traced, _ = jax.jit(lambda weights: _loss(name, **weights))(weights)
    known, _ = _loss(name, **weights)
    np.testing.assert_allclose(traced, known, rtol=1e-5)


def test_free_bits_are_a_floor():
    """Far above every divergence, the floor is the cost of each of the M dimensions."""
    loss, metrics = _loss("linearized", free_bits=50.0)
    np.testing.assert_allclose(loss, M * 50.0 - metrics["log_likelihood"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sampling", {"free_bits": 0.5, "free_bits_of_batch": True}),
        ("bilbo", {"posterior_variance": 0.4}),
        ("wae_mmd", {}),
    ],
)
def test_a_shared_batch_is_the_whole_batch(name, options):
    """Two shares on a mapped axis: the mean of their losses."""

    def of_share(x, q):
        return _loss(name, q, x=x, axis_name="batch", **options)[0]

    shares = jax.tree.map(lambda leaf: leaf.reshape(2, BATCH // 2, -1), (X, Q))
    losses = jax.vmap(of_share, axis_name="batch")(*shares)
    np.testing.assert_allclose(losses.mean(), _loss(name, **options)[0], rtol=1e-6)


DECODERS = {"plain": lambda w: lambda z: z @ w, "dense": lambda w: DenseOutput(lambda z: z, w)}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["sampling", "sampling_free", "bilbo"])
def test_gradients_of_devices_under_shard_map(name, decoder):
    """Their mean is that of the whole batch. With `check_vma` it would be their sum."""
    options = {"posterior_variance": 0.4} if name == "bilbo" else {}

    def gradient(weights, x, q, axis_name=None):
        def loss(weights):
            decode, rng = DECODERS[decoder](weights), jax.random.key(KEY)
            return call(name, rng, decode, x, q, GAUSSIAN, axis_name=axis_name, **options)[0]

        return jax.grad(loss)(weights)

    def of_device(weights, x, q):
        return jax.lax.pmean(gradient(weights, x, q, "batch"), "batch")

    mesh = Mesh(np.array(jax.local_devices()[:2]), "batch")
    specs = (PartitionSpec(), PartitionSpec("batch"), PartitionSpec("batch"))
    shared = functools.partial(
        jax.shard_map, of_device, mesh=mesh, in_specs=specs, out_specs=PartitionSpec()
    )
    found = jax.jit(shared(check_vma=False))(WEIGHTS, X, Q)
    expected = jax.jit(gradient)(WEIGHTS, X, Q)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(objectives.ArgumentError, match="requires check_vma=False"):
        jax.eval_shape(shared(), WEIGHTS, X, Q)


def test_sequences_have_their_own_forms():
    """For sequences `linearized` is of second order, and `rae` in nats; a decoder may be fed x."""
    x, likelihood = jnp.array([[0, 2], [1, 1], [2, 0], [0, 0]]), likelihoods.Categorical()
    rng, weights = jax.random.key(0), WEIGHTS[:, :3]

    def decoder_of(x):
        return lambda z: jnp.tanh(z @ weights)[None] * (1.0 + x[:, None])

    def second_order(x, q):
        decode = decoder_of(x)
        return objectives.second_order_elbo(decode, x, q.mean, q.stddev, likelihood).value

    def rae(x, q):
        return objectives.rae_loss(decoder_of(x), x, q.mean, beta=1.0, likelihood=likelihood)

    for name, sign, of_one in (("linearized", -1, second_order), ("rae", 1, rae)):
        loss, _ = call(name, rng, _decode, x, Q, likelihood, decode_given=decoder_of)
        expected = sign * jnp.mean(jax.vmap(of_one)(x, Q))
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_squared_errors_need_no_likelihood_and_only_codes():
    codes = posteriors.Point(MEANS)
    for name in ("rae", "wae_mmd", "cv_vae", "bilbo_baggins"):
        obtained, _ = _loss(name, codes, None)
        np.testing.assert_array_equal(obtained, _loss(name)[0])


@pytest.mark.usefixtures("no_plugins")
def test_an_objective_of_a_plugin_has_its_own_options(root):
    """The Renyi bound of order 0 is the importance-weighted bound."""
    plugins.import_plugins([root / "examples" / "plugins" / "renyi_objective.py"])
    expected, _ = _loss("iwae", num_samples=3)
    np.testing.assert_allclose(_loss("renyi", num_samples=3, alpha=0.0)[0], expected, rtol=1e-5)
    assert _loss("renyi", num_samples=3)[0] > expected  # alpha is 0.5
    with pytest.raises(objectives.ArgumentError, match="alpha must be a number .*, got 2"):
        _loss("renyi", alpha=2)
    with pytest.raises(
        objectives.ArgumentError, match="'rae' has no option 'alpha'; its options: beta$"
    ):
        call("rae", jax.random.key(KEY), _decode, X, Q, None, alpha=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "hmc"}, "unknown objective 'hmc'; expected one of sampling, "),
        ({"name": "elbo"}, "unknown objective 'elbo'; did you mean 'bilbo'? Expected one of sampl"),
        (
            {"name": "controlvariate"},
            "unknown objective 'controlvariate'; did you mean 'control_variate'? Expected one of s",
        ),
        ({"name": None}, "unknown objective None; expected one of sampling, "),
        (
            {"name": "sampling", "num_sample": 3},
            "'sampling' has no option 'num_sample'; did you mean 'num_samples'? Its options: num_s",
        ),
        ({"name": "sampling", "gamma": 0.9}, "gamma only applies to sampling_free; leave it out"),
        ({"name": "bilbo", "beta": 2.0}, "beta only applies to sampling, "),
        ({"name": "rae", "penalty_weight": 1.0}, "applies to rae_l2, rae_gp, wae_mmd; leave"),
        ({"name": "sampling", "posterior_variance": 2.0}, "applies to constant_variance, bilbo, "),
        ({"name": "iwae", "free_bits": 1.0}, "free_bits only applies to sampling, "),
        ({"name": "sampling_free", "lanczos_steps": 4}, "lanczos_steps requires num_probes, such"),
        ({"name": "sampling", "likelihood": None}, "'sampling' requires a likelihood, such as"),
        (
            {"name": "sampling_free", "likelihood": likelihoods.Bernoulli()},
            "'sampling_free' does not take this likelihood, a Bernoulli; it takes a Gaussian",
        ),
        (
            {"name": "rae", "likelihood": likelihoods.HeteroscedasticGaussian()},
            "does not take this likelihood, a HeteroscedasticGaussian",
        ),
        (
            {"name": "linearized", "posterior": FLOW},
            "posterior must have a method deviation, as posteriors.DiagonalGaussian",
        ),
        ({"name": "sampling", "posterior": posteriors.Point(MEANS)}, "sample_and_log_prob"),
        ({"name": "rae", "posterior": MEANS}, "requires a posterior with a mean, such as"),
        (
            {"name": "sampling", "posterior": posteriors.DiagonalGaussian(MEANS, 0.1)},
            "must have a leading axis of 4, one entry for each example of x, got shape ()",
        ),
        (
            {"name": "sampling_free", "posterior": posteriors.DiagonalGaussian(MEANS, 0 * MEANS)},
            "the posterior's stddev must be positive, got 0.0",
        ),
        (
            {"name": "iwae", "posterior": posteriors.DiagonalGaussian(MEANS, np.nan * MEANS)},
            "the posterior's stddev must be positive, got nan",
        ),
        (
            {
                "name": "sampling",
                "x": X[:0],
                "posterior": posteriors.DiagonalGaussian(MEANS[:0], MEANS[:0]),
            },
            "x holds no example; a batch has at least one",
        ),
        (
            {"name": "iwae", "x": X.at[:].set(2), "likelihood": likelihoods.Bernoulli()},
            "x must lie in [0, 1] for Bernoulli, got 2.0 at [0, 0]",
        ),
        ({"name": "sampling", "decode": lambda z: (z, z)}, "mean must be an array, got a tuple"),
        ({"name": "sampling", "posterior": FLOW, "free_bits": 1.0}, "KL divergence in closed form"),
        (
            {"name": "sticking_the_landing", "free_bits": 1.0},
            "free_bits only applies to sampling, ",
        ),
        (
            {"name": "sampling", "free_bits": 1.0, "entropy_weight": 0.5},
            "free_bits and entropy_weight exclude each other; leave out one",
        ),
        (
            {"name": "linearized", "posterior": FULL, "free_bits": 1.0, "free_bits_groups": (1, 1)},
            "free_bits_groups (1, 1): the dimensions of this posterior are correlated",
        ),
        ({"name": "rae_l2", "decoder_params": None}, "'rae_l2' requires decoder_params"),
        ({"name": "rae", "rng": 0}, "rng must be a key such as jax.random.key(0), got 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    given = {
        "rng": jax.random.key(0),
        "posterior": Q,
        "likelihood": GAUSSIAN,
        "decoder_params": WEIGHTS,
        "x": X,
        "decode": _decode,
    } | arguments
    with pytest.raises(objectives.ArgumentError, match=re.escape(message)):
        call(**given)


def test_deviations_that_no_objective_reads_may_be_zero():
    """Nor is anything known of them under `jax.jit`."""
    degenerate = posteriors.DiagonalGaussian(MEANS, 0 * MEANS)
    loss, _ = call("rae", jax.random.key(0), _decode, X, degenerate, None)
    assert np.isfinite(loss)
    traced = jax.jit(lambda q: call("sampling", jax.random.key(0), _decode, X, q, GAUSSIAN)[0])
    assert not np.isfinite(traced(degenerate))
