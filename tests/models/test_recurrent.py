"""The LSTMs against NumPy and Flax's cell; decodings and draws against scores."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sfvae_jax import data, models
from sfvae_jax.config import base_config
from sfvae_jax.errors import UsageError
from sfvae_jax.grammars import Grammar, Sentences, rule_tables, sequence_grammar
from sfvae_jax.likelihoods import Categorical, Sequence
from sfvae_jax.models.recurrent import PADDING_LOGIT, RecurrentDecoder, RecurrentEncoder, inputs_of

T, RULES, WIDTH, LATENT = 6, 4, 5, 3  # the last rule ends; 4 is the padding
EXAMPLE = np.array([[2, 0.5], [0, 0.25], [1, 0.0], [3, 0.0], [4, 0.0], [4, 0.0]], np.float32)
Z = np.array([0.7, -1.1, 0.4], np.float32)
LAYERS = rule_tables(sequence_grammar("abc"))
NESTED = Grammar('s -> "a" s t | "b" s | \nt -> "c" | "d" s')  # most rules are wrong at most places


def drawn(module, *inputs, seed=0, scale=0.7):
    """Draws random parameters, so that no bias is zero and no two outputs tie."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: rng.normal(0, scale, leaf.shape).astype(np.float32), shapes)


@functools.cache
def decoder(has_values=True, tables=LAYERS, **changes):
    module = RecurrentDecoder(T, tables, (7, WIDTH), has_values, **changes)
    return module, drawn(module, Z, scale=1.5)


@functools.cache
def encoder():
    module = RecurrentEncoder(8, RULES, (WIDTH, 6))
    return module, drawn(module, EXAMPLE)


@functools.cache
def compiled(module, method):
    return jax.jit(functools.partial(module.apply, method=method))


def applied(module, variables, *inputs, method="__call__"):
    return jax.device_get(compiled(module, method)(variables, *inputs))


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def dense(params, x):
    return x @ params["kernel"] + params["bias"]


def lstm(params, x, c, h):
    """Computes one step of an LSTM."""
    i, f, g, o = (x @ params[f"i{k}"]["kernel"] + dense(params[f"h{k}"], h) for k in "ifgo")
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


def one_hot(rule):
    return np.eye(RULES + 1)[int(rule)][:RULES]


def likeliest(logits, place, ended):
    """The likeliest rules of layers and the end, after which only padding may follow."""
    if ended:
        return RULES
    return RULES - 1 if place == T - 1 else int(np.argmax(logits))


def decoded(params, z, x=None):
    """Computes logits [T, 4] and values [T], by Algorithm 1 for an example x and 2 for None."""
    rule = -1
    hidden = np.maximum(dense(params["inner_0"], z), 0)
    start = dense(params["start"], hidden)
    given, h, c = np.split(start, [RULES + 1, RULES + 1 + WIDTH])
    logits, values = [], []
    for place in range(T):
        c, h = lstm(params["cell"], given, c, h)
        out = dense(params["linear"], h)
        logits.append(out[:RULES])
        values.append(sigmoid(out[RULES]))
        if x is None:
            rule = likeliest(logits[-1], place, rule >= RULES - 1)
            value = values[-1] if rule < RULES - 1 else 0.0
        else:
            rule, value = x[place]
        given = np.append(one_hot(rule), value)
    return np.array(logits), np.array(values)


@pytest.mark.parametrize("x", [EXAMPLE, None], ids=["teacher_forced", "free_running"])
def test_the_decoder_matches_numpy(x):
    module, variables = decoder()
    method, inputs = ("__call__", (Z,)) if x is None else ("given", (Z, x))
    logits, values = applied(module, variables, *inputs, method=method)
    expected_logits, expected_values = decoded(variables["params"], Z, x)
    np.testing.assert_allclose(logits[:, :RULES], expected_logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values, expected_values, rtol=1e-4, atol=1e-5)
    assert (logits[:, RULES] == PADDING_LOGIT).all()


@pytest.mark.parametrize("has_values", [True, False])
def test_the_mode_is_the_sentence_that_was_fed(has_values):
    """Scored with teacher forcing it has the parameters that it has been decoded from.

    So it has under a grammar that forbids the likeliest rule at some place, and with an end.
    """
    tables = LAYERS if has_values else rule_tables(NESTED)
    likelihood = Sequence(tables, 0.1) if has_values else Categorical(tables)
    module, variables = decoder(has_values, tables)
    sentences, forbidden = set(), 0
    for seed in range(8):
        z = np.random.default_rng(seed).normal(size=LATENT).astype(np.float32)
        free = applied(module, variables, z)
        x = np.asarray(likelihood.mode(free))
        given = applied(module, variables, z, x, method="given")
        same = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        jax.tree.map(same, given, free)
        logits, rules = (free[0], x[:, 0]) if has_values else (free, x)
        sentences.add(tuple(rules.tolist()))
        forbidden += np.any(logits.argmax(axis=-1) != rules)
    assert len(sentences) > 2
    assert forbidden > 2


@functools.cache
def draws(has_values, number):
    """Returns draws of a model [N, T] and their parameters [N, T, K]."""
    tables = LAYERS if has_values else rule_tables(NESTED)
    likelihood = Sequence(tables, VARIANCE) if has_values else Categorical(tables)
    module, variables = decoder(has_values, tables)
    head = models.PosteriorHead("diagonal", LATENT)
    model = models.SequenceVae((T,), head, encoder()[0], module, has_values, latent_scale=2.0)
    variables = {"params": {"decoder": variables["params"]}}

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def draw(key, z):
        return model.apply(variables, key, z, likelihood, method="sample")

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def given(z, x):
        return model.apply(variables, z, x, method="decode_given")

    drawn = draw(jax.random.split(jax.random.key(7), number), 2.0 * Z)
    return *jax.device_get(drawn), lambda x: jax.device_get(given(2.0 * Z, x))


VARIANCE = 0.04


def test_sentences_are_drawn_as_often_as_teacher_forcing_says():
    """exp log p(x|z) of all sentences of the grammar is compared with their frequencies."""
    number = 20_000
    found, _, given = draws(False, number)
    sentences = Sentences(NESTED, T)
    sentences = sentences.derivations(np.arange(sentences.total)).astype(np.int32)
    log_prob = jax.jit(jax.vmap(Categorical(rule_tables(NESTED)).log_prob))
    p = np.exp(np.asarray(log_prob(sentences, given(sentences)), np.float64))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)
    index = {tuple(x): i for i, x in enumerate(sentences.tolist())}
    counts = np.bincount([index[tuple(x)] for x in found.tolist()], minlength=len(p))
    errors = np.sqrt(number * p * (1 - p))
    common = number * p >= 10
    assert common.sum() > 10
    assert np.all(np.abs(counts - number * p)[common] < 4 * errors[common])
    rare = p[~common].sum()
    assert abs(counts[~common].sum() - number * rare) < 4 * np.sqrt(number * rare) + 1


@pytest.mark.parametrize("has_values", [True, False])
def test_draws_come_with_the_parameters_that_score_them(has_values):
    x, parameters, given = draws(has_values, 4_000 if has_values else 20_000)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(same, parameters, given(x))


def test_layers_and_values_are_drawn_given_those_before_them():
    """At each place rules follow their softmax, and values lie around the decoder's."""
    x, (logits, values), _ = draws(True, 4_000)
    rules = x[..., 0].astype(int)
    ended = np.cumsum(rules == RULES - 1, axis=1) - (rules == RULES - 1) > 0
    np.testing.assert_array_equal(rules == RULES, ended)
    for place in range(T - 1):
        going = ~ended[:, place]
        p = np.exp(logits[going, place, :RULES])
        p /= p.sum(axis=1, keepdims=True)
        excess = np.sum(np.eye(RULES)[rules[going, place]] - p, axis=0)
        assert np.all(np.abs(excess) < 4 * np.sqrt(np.sum(p * (1 - p), axis=0)) + 1)
    layer = rules < RULES - 1
    assert not x[..., 1][~layer].any()
    residuals = (x[..., 1] - values)[layer] / np.sqrt(VARIANCE)
    assert len(residuals) > 4_000
    assert abs(residuals.mean()) < 4 / np.sqrt(len(residuals))
    assert abs(residuals.var() - 1) < 4 * np.sqrt(2 / len(residuals))


def test_teacher_forcing_never_looks_ahead():
    module, variables = decoder()
    before, _ = applied(module, variables, Z, EXAMPLE, method="given")
    for place in range(T):
        changed = EXAMPLE.copy()
        changed[place] = [(EXAMPLE[place, 0] + 1) % RULES, 0.9]
        after, _ = applied(module, variables, Z, changed, method="given")
        differs = np.abs(after - before).max(axis=-1) > 1e-4
        np.testing.assert_array_equal(differs[: place + 1], False)
        assert differs[place + 1 : place + 2].all()


def test_the_encoder_matches_numpy_and_flax_cells():
    module, variables = encoder()
    params, length = variables["params"], 4
    inputs = [np.append(one_hot(rule), value) for rule, value in EXAMPLE[:length]]
    states = []
    for name, order in (("forward", inputs), ("backward", inputs[::-1])):
        c, h = np.zeros(WIDTH), np.zeros(WIDTH)
        carry = (jnp.zeros(WIDTH), jnp.zeros(WIDTH))
        for x in order:
            c, h = lstm(params[name], x, c, h)
            cell = nn.LSTMCell(WIDTH)
            carry, _ = cell.apply({"params": params[name]}, carry, jnp.float32(x))
        np.testing.assert_allclose(carry[1], h, rtol=1e-4, atol=1e-5)
        states.append(h)
    hidden = np.maximum(dense(params["Dense_0"], np.concatenate(states)), 0)
    expected = dense(params["Dense_1"], hidden)
    np.testing.assert_allclose(applied(module, variables, EXAMPLE), expected, rtol=1e-4, atol=1e-5)


def test_the_encoder_ignores_what_follows_the_first_padding():
    module, variables = encoder()
    x = EXAMPLE.copy()
    x[4, 1], x[5] = 0.7, [1, 0.9]
    same, other = EXAMPLE.copy(), EXAMPLE.copy()
    other[2, 1] = 0.1
    expected = applied(module, variables, same)
    np.testing.assert_array_equal(applied(module, variables, x), expected)
    assert np.abs(applied(module, variables, other) - expected).max() > 1e-4


def test_inputs_are_one_hot_with_zeros_for_padding():
    inputs = np.asarray(inputs_of(jnp.asarray(EXAMPLE), RULES))
    np.testing.assert_array_equal(inputs[:, :RULES], [one_hot(rule) for rule in EXAMPLE[:, 0]])
    np.testing.assert_array_equal(inputs[:, RULES], EXAMPLE[:, 1])
    rules = jnp.asarray(EXAMPLE[:, 0], jnp.int32)
    np.testing.assert_array_equal(inputs_of(rules, RULES), inputs[:, :RULES])


@pytest.mark.parametrize(("name", "low", "high"), [("sigmoid", 0, 1), ("relu", 0, np.inf)])
def test_values_lie_where_their_activation_says(name, low, high):
    module, variables = decoder(value_activation=name)
    variables = jax.tree.map(lambda leaf: 4 * leaf, variables)
    values = np.concatenate([applied(module, variables, sign * Z)[1] for sign in (-1, 1)])
    assert low <= values.min()
    assert values.max() <= high
    assert (values.max() > 1) == (name == "relu")


def settings(**changes):
    config = base_config()
    config.data.name = "architectures"
    config.likelihood.name, config.model.name = "sequence", "recurrent"
    config.posterior.name = "diagonal"  # what `resolve` would fill in
    config.model.update({"hidden_sizes": (6, 5), "latent_size": 3, "latent_scale": 2.0})
    config.model.activation = "tanh"  # no unit of which can be dead
    config.update_from_flattened_dict(changes)
    return config


def negative_log_likelihood(language, parameters, x):
    """A simple loss: cross entropy over the allowed rules and squared errors of values."""
    logits, values = parameters if language.has_values else (parameters, None)
    rules = x[:, 0].astype(int) if language.has_values else x
    logits = jnp.where(language.tables.allowed(rules), logits, -jnp.inf)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), rules[:, None], axis=-1)
    if not language.has_values:
        return -chosen.sum()
    is_layer = rules < language.grammar.padding - 1
    return jnp.sum(is_layer * jnp.square(values - x[:, 1])) - chosen.sum()


def gradient_of(model, language, x):
    """Returns the gradient for the parameters, as a function of the example."""

    def loss(variables, x):
        z = model.apply(variables, x, method="encode").mean
        parameters = model.apply(variables, z, x, method="decode_given")
        return negative_log_likelihood(language, parameters, x)

    variables = drawn(model, x)
    gradient = jax.jit(jax.grad(loss))
    return lambda x: jax.device_get(gradient(variables, x))


def assert_all_learn(gradient):
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    assert len(leaves) > 20
    for path, leaf in leaves:
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_every_parameter_learns_and_padding_changes_no_gradient():
    config = settings()
    language = data.language(config.data)
    x = data.open_source(config.data)["train"][3]
    model = models.build(config, x.shape)
    gradient = gradient_of(model, language, x)
    first = gradient(x)
    assert_all_learn(first)
    padding = x[:, 0] == language.grammar.padding
    junk = np.where(padding[:, None], np.float32([language.grammar.padding, 0.9]), x)
    assert (junk != x).any()
    jax.tree.map(np.testing.assert_array_equal, first, gradient(junk))


@pytest.mark.slow
def test_every_parameter_learns_without_values():
    config = settings(**{"data.name": "equations", "likelihood.name": "categorical"})
    language = data.language(config.data)
    x = language.encode("sin( x ) + 1").astype(np.int32)
    model = models.build(config, x.shape)
    assert_all_learn(gradient_of(model, language, x)(x))


SLOW = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("diagonal", "full_covariance", "planar")
]


@pytest.mark.parametrize("posterior", [*SLOW, "iaf"])
def test_every_posterior_of_flow(posterior):
    config = settings(**{"posterior.name": posterior, "posterior.hidden_sizes": (4,)})
    model = models.build(config, (32, 2))
    x = data.open_source(config.data)["train"][0]
    posterior = applied(model, drawn(model, x), x, method="encode")
    z, log_prob = posterior.sample_and_log_prob(jax.random.key(0))
    assert z.shape == (3,)
    assert np.isfinite(z).all()
    assert np.isfinite(log_prob)


def test_a_batch_gives_the_same_as_its_examples():
    module, variables = decoder()
    zs, xs = np.stack([Z, -Z]), np.stack([EXAMPLE, EXAMPLE[::-1]])
    for method, inputs in (("__call__", (zs,)), ("given", (zs, xs))):
        batched = jax.vmap(lambda *one: module.apply(variables, *one, method=method))
        together = jax.device_get(jax.jit(batched)(*inputs))
        for i in range(2):
            alone = applied(module, variables, *(one[i] for one in inputs), method=method)
            for whole, part in zip(together, alone, strict=True):
                np.testing.assert_allclose(whole[i], part, rtol=1e-5, atol=1e-5)


def test_sizes_are_widths_from_the_data_inwards_and_back():
    model = models.build(settings(**{"model.hidden_sizes": (6, 5, 4)}), (32, 2))
    shapes = jax.tree.map(jnp.shape, drawn(model, np.zeros((32, 2), np.float32)))
    encoder, decoder = shapes["params"]["encoder"], shapes["params"]["decoder"]
    assert encoder["forward"]["ii"]["kernel"] == (12, 6)  # 11 rules and the value
    assert encoder["Dense_0"]["kernel"] == (12, 5)
    assert encoder["Dense_2"]["kernel"] == (4, 6)
    assert [decoder[f"inner_{i}"]["kernel"] for i in range(2)] == [(3, 4), (4, 5)]
    assert decoder["start"]["kernel"] == (5, 12 + 2 * 6)
    assert decoder["linear"]["kernel"] == (6, 12)
    with pytest.raises(UsageError, match=r"model.decoder_sizes must not be \(\)"):
        models.build(settings(**{"model.decoder_sizes": ()}), (32, 2))
