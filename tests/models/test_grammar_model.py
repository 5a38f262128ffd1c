"""Convolutions and recurrent layers of the model 'grammar', against the papers and NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import EXPRESSIONS, Language, ParseError, sequence_grammar
from sfvae_jax.models import count_parameters, grammar
from sfvae_jax.training.normalization.batch_norm import batch_moments

EQUATIONS = Language("equations", EXPRESSIONS, 15)
# As many indices and places as the rules of molecules have.
MOLECULES = Language("molecules", sequence_grammar([f"<{i}>" for i in range(75)]), 277)
SMALL = Language("equations", EXPRESSIONS, 7)
CHARACTERS = sequence_grammar("x+*/()123")
SMALL_SIZES = {
    "model.channels": (2, 3),
    "model.kernel_sizes": (2, 3),
    "model.hidden_sizes": (6,),
    "model.decoder_sizes": (5, 4),
}

Z = np.array([0.3, -1.2, 0.7])


def _networks(language, num_outputs, **changes):
    config = base_config()
    config.update_from_flattened_dict(changes)
    return grammar.networks(config.model, num_outputs, language)


@functools.cache
def _small(batch_norm=False):
    """Returns a small encoder and decoder with 3 latents, and random variables, biases included."""
    networks = _networks(SMALL, 6, **SMALL_SIZES, **{"model.batch_norm": batch_norm})
    draws = np.random.default_rng(0)

    def random(network, argument):
        shapes = jax.eval_shape(network.init, jax.random.key(0), argument)
        draw = functools.partial(draws.normal, scale=0.5)
        return jax.tree.map(lambda s: jnp.asarray(draw(size=s.shape), jnp.float32), shapes)

    inputs = (jnp.zeros(7, jnp.int16), jnp.zeros(3))
    return (*networks, *map(random, networks, inputs))


@functools.cache
def _compiled(network):
    return jax.jit(network.apply)


def _examples(number):
    return np.random.default_rng(1).integers(0, EXPRESSIONS.size, (number, 7))


def _count(network, argument):
    return count_parameters(jax.eval_shape(network.init, jax.random.key(0), argument)["params"])


@pytest.mark.parametrize(
    ("language", "m", "convolutions", "dense", "units"),
    [
        (EQUATIONS, 25, [(2, 2), (3, 3), (4, 4)], 100, 100),
        (MOLECULES, 56, [(9, 9), (9, 9), (10, 11)], 435, 501),
    ],
    ids=["equations", "molecules"],
)
def test_sizes_are_those_of_kusner(language, m, convolutions, dense, units):
    num_places, num_rules = language.num_places, language.grammar.size
    encoder, decoder = _networks(language, 2 * m, **{"model.hidden_sizes": (dense,)})
    expected, channels, places = 0, num_rules, num_places
    for filters, length in convolutions:
        expected += (length * channels + 1) * filters
        channels, places = filters, places - length + 1
    expected += (places * channels + 1) * dense + (dense + 1) * 2 * m
    assert _count(encoder, jnp.zeros(num_places, jnp.int16)) == expected
    expected, inputs = (m + 1) * m, m
    for _ in range(3):
        # Three gates, each of the input with a bias; the candidate's has one of the state, too.
        expected += 3 * (inputs + units + 1) * units + units
        inputs = units
    expected += (units + 1) * num_rules
    assert _count(decoder, jnp.zeros(m)) == expected


@pytest.mark.parametrize("language", [EQUATIONS, MOLECULES], ids=["equations", "molecules"])
def test_shapes(language):
    encoder, decoder = _networks(language, 8, **{"model.hidden_sizes": (11,)})
    x, z = jnp.zeros(language.num_places, jnp.int16), jnp.zeros(4)

    def apply(network, argument):
        return network.apply(network.init(jax.random.key(0), argument), argument)

    assert jax.eval_shape(functools.partial(apply, encoder), x).shape == (8,)
    logits = jax.eval_shape(functools.partial(apply, decoder), z)
    assert logits.shape == (language.num_places, language.grammar.size)


def test_the_encoder_is_a_sum_over_places():
    encoder, _, variables, _ = _small()
    x = _examples(1)[0]
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    rows = np.eye(EXPRESSIONS.size)[x]
    for i in range(2):
        kernel, bias = params[f"Conv_{i}"]["kernel"], params[f"Conv_{i}"]["bias"]
        size, _, filters = kernel.shape
        answer = np.zeros((len(rows) - size + 1, filters))
        for place in range(len(answer)):
            for f in range(filters):
                answer[place, f] = bias[f] + (rows[place : place + size] * kernel[:, :, f]).sum()
        rows = np.maximum(answer, 0)
    hidden = np.maximum(rows.ravel() @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    expected = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    found = _compiled(encoder)(variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def _gru(inputs, params):
    """Computes the states of gated recurrent units, equation by equation."""

    def gate(name, u, state):
        return u @ params[f"i{name}"]["kernel"] + params[f"i{name}"]["bias"], (
            state @ params[f"h{name}"]["kernel"] + params[f"h{name}"].get("bias", 0)
        )

    states = [np.zeros(len(params["hn"]["bias"]))]
    for u in inputs:
        reset = expit(sum(gate("r", u, states[-1])))
        update = expit(sum(gate("z", u, states[-1])))
        from_input, from_state = gate("n", u, states[-1])
        candidate = np.tanh(from_input + reset * from_state)
        states.append((1 - update) * candidate + update * states[-1])
    return np.stack(states[1:])


def _decoded(variables, z):
    """Computes logits with NumPy in double precision."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    first = np.maximum(z @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
    assert first.any()
    x = np.tile(first, (7, 1))
    for i in range(2):
        x = _gru(x, params[f"GRUCell_{i}"])
    return x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]


def test_the_decoder_consists_of_gated_recurrent_units():
    _, decoder, _, variables = _small()
    found = _compiled(decoder)(variables, jnp.array(Z))
    np.testing.assert_allclose(found, _decoded(variables, Z), rtol=1e-5, atol=1e-6)


def test_a_batch_gives_the_same_as_its_examples():
    encoder, decoder, *variables = _small()
    x, z = _examples(4), jax.random.normal(jax.random.key(1), (4, 3))
    for network, given, inputs in zip((encoder, decoder), variables, (x, z), strict=True):
        apply = functools.partial(network.apply, given)
        batch = jax.jit(jax.vmap(apply))
        one_by_one = np.stack([_compiled(network)(given, example) for example in inputs])
        np.testing.assert_allclose(batch(inputs), one_by_one, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(batch(inputs), batch(inputs))
        assert not np.allclose(one_by_one[0], one_by_one[1])


def test_tangents_match_finite_differences():
    """The differences are NumPy's in double precision."""
    _, decoder, _, variables = _small()
    decode = functools.partial(decoder.apply, variables)
    tangents = jax.jit(jax.jacfwd(decode))(jnp.array(Z))  # [T, K, m]
    for i, step in enumerate(1e-5 * np.eye(3)):
        difference = (_decoded(variables, Z + step) - _decoded(variables, Z - step)) / 2e-5
        np.testing.assert_allclose(tangents[..., i], difference, rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_gradient():
    encoder, decoder, *variables = _small()
    x = _examples(16)

    def loss(variables):
        def example(x):
            z = encoder.apply(variables[0], x)
            logits = decoder.apply(variables[1], z[:3] + jnp.exp(z[3:]))
            return jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(7), x])

        return jnp.mean(jax.vmap(example)(x))

    for path, gradient in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(variables)):
        assert np.isfinite(gradient).all(), path
        # But for rectified units that are off for all examples.
        assert np.mean(np.abs(gradient) > 0) > 0.3, path


def test_batch_norm_uses_the_moments_of_the_batch():
    """The moments of the first layer and of the resulting codes are computed by hand."""
    encoder, decoder, given, more = _small(batch_norm=True)
    model = _Halves(encoder, decoder)
    variables = {
        name: {"encoder": given[name], "decoder": more[name]} for name in ("params", "batch_stats")
    }
    x = _examples(32)
    moments = jax.jit(
        lambda x: batch_moments(
            model, variables, jax.random.key(0), x, at_center=True, axis_name=None
        )
    )(x)
    rows = np.eye(EXPRESSIONS.size)[x]
    kernel, bias = given["params"]["Conv_0"]["kernel"], given["params"]["Conv_0"]["bias"]
    pairs = np.concatenate([rows[:, :-1], rows[:, 1:]], axis=-1)
    first = np.maximum(pairs @ np.asarray(kernel).reshape(-1, 2) + np.asarray(bias), 0)
    found = moments["encoder"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], first.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found["var"], first.var((0, 1)), rtol=1e-5)
    given = {**given, "batch_stats": moments["encoder"]}
    codes = jax.jit(jax.vmap(functools.partial(encoder.apply, given)))(x)[:, :3]
    found = moments["decoder"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], np.mean(codes, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], np.var(codes, axis=0), rtol=1e-4)


class _Halves:
    """The parts of a model that `batch_moments` needs."""

    def __init__(self, encoder, decoder):
        self.halves = {"encode": ("encoder", encoder), "decode_given": ("decoder", decoder)}

    def apply(self, variables, argument, *given, method, mutable):
        name, network = self.halves[method]
        axes = given[-1]  # an example that is given before says nothing to these networks
        own = {key: value[name] for key, value in variables.items()}
        out, changed = network.apply(own, argument, axes, mutable=mutable)
        changed = {"batch_stats": {**variables["batch_stats"], name: changed["batch_stats"]}}
        return (_Center(out[:3]) if method == "encode" else out), changed


class _Center:
    def __init__(self, mean):
        self.mean = mean

    def center(self):
        return self.mean


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.channels": (2, 3)}, r"model.channels \(2, 3\) and model.kernel_sizes \(2, 3, 4\)"),
        ({"model.kernel_sizes": (5, 6, 7)}, "leave nothing of 15 places"),
        ({"model.decoder_sizes": ()}, "requires a recurrent layer"),
    ],
)
def test_layers_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        _networks(EQUATIONS, 8, **changes)


@pytest.mark.parametrize("number", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("language", "always"), [(EQUATIONS, True), (Language("equations", CHARACTERS, 15), False)]
)
def test_random_latents_decode_to_sentences_of_a_grammar(language, always, number):
    """With a grammar all latents do; with characters not all do."""
    _, decoder = _networks(language, 6, **SMALL_SIZES | {"model.decoder_sizes": (16, 16)})
    large = functools.partial(jnp.multiply, 4.0)  # so that what is likeliest changes with the code
    variables = jax.tree.map(large, decoder.init(jax.random.key(1), Z))
    codes = 3.0 * np.random.default_rng(2).standard_normal((number, 3), np.float32)
    decode = jax.vmap(lambda z: language.tables.derive(decoder.apply(variables, z)))
    texts = [language.write(x) for x in np.asarray(jax.jit(decode)(codes))]
    whole = [_is_expression(text) for text in texts]
    assert len(set(texts)) > 30
    assert all(whole) == always


def _is_expression(text):
    try:
        EXPRESSIONS.parse(text)
    except ParseError:
        return False
    return True


def test_values_are_refused():
    config = base_config()
    config.data.name, config.likelihood.name = "architectures", "sequence"
    config.model.name, config.objective.name = "grammar", "linearized"
    config.evaluations.names = ("collapse",)
    with pytest.raises(UsageError, match="'architectures' have values; set model.name=recurrent"):
        resolve(config)


@pytest.mark.parametrize(("key", "value"), [("kernel_sizes", (2, 3)), ("batch_norm", True)])
def test_its_options_are_refused_for_other_models(key, value):
    config = base_config()
    config.model[key] = value
    with pytest.raises(UsageError, match=f"model.{key} only applies to model 'grammar'"):
        resolve(config)
