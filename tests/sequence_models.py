"""Models of sequences whose decodings are all known."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sfvae_jax import evaluation, posteriors
from sfvae_jax.config import base_config
from sfvae_jax.grammars import EXPRESSIONS, Language, sequence_grammar

EQUATIONS = Language("equations", EXPRESSIONS, 15)
CHARACTERS = Language("equations", sequence_grammar(list("x1+()")), 12)
MOLECULES = Language("molecules", sequence_grammar(list("CNOc1=()")), 12)
NETWORKS = Language(
    "architectures", sequence_grammar(("conv", "pool", "dense"), separator=" "), 6, has_values=True
)
TEXTS = ["x + 1", "sin( x ) * 2", "( 3 / x )", "exp( x * x )", "x", "1 + 2 + 3", "2 / ( x )"]
LAYERS = (
    [("conv", 0.5), ("pool", 2.0), ("dense", -1.0)],
    [("dense", 3.0)],
    [("pool", 1.25), ("pool", 0.75)],
)


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """A likelihood of rules, or of rules and values."""

    language: Language

    def log_prob(self, x, logits):
        masked = jnp.where(self.language.tables.allowed(x), logits, -jnp.inf)
        return jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(masked), x[:, None], axis=1))

    def mode(self, parameters):
        if not self.language.has_values:
            return self.language.tables.derive(parameters)
        logits, values = parameters
        rules = self.language.tables.derive(logits)
        return jnp.stack([rules.astype(jnp.float32), values], axis=1)

    def sample(self, rng, parameters):
        if not self.language.has_values:
            return self.mode(parameters + jax.random.gumbel(rng, parameters.shape))
        logits, values = parameters
        return self.mode((logits + jax.random.gumbel(rng, logits.shape), values))


class Copy(nn.Module):
    """A model whose code is the example, and whose logits are distances of rules from the code."""

    language: Language
    stddev: float = 0.0  # of the posterior; 0: it is a point
    shift: float = 0.0  # of the rules, and of the values, as they are decoded
    sharpness: float = 10.0

    def setup(self):
        self.scale = self.param("scale", nn.initializers.ones, ())

    def encode(self, x):
        mean = jnp.ravel(x).astype(jnp.float32)
        if not self.stddev:
            return posteriors.Point(mean)
        return posteriors.DiagonalGaussian(mean, jnp.full_like(mean, self.stddev))

    def decode(self, z):
        values = self.scale * z + self.shift
        rules = values.reshape(self.language.num_places, -1)[:, 0]
        distances = rules[:, None] - jnp.arange(self.language.grammar.size)[None]
        logits = -self.sharpness * jnp.square(distances)
        return (logits, values.reshape(-1, 2)[:, 1]) if self.language.has_values else logits

    def __call__(self, x):
        return self.decode(self.encode(x).center())


def trained_copy(language, examples, parts=None, *, scale=1.0, **changes):
    """Returns a `TrainedModel` of `Copy`."""
    config = base_config().evaluations
    config.batch_size = 100
    config.generated.gmm_components = 2
    return evaluation.TrainedModel(
        model=Copy(language, **changes),
        params={"params": {"scale": jnp.float32(scale)}},
        images=examples,
        rng=jax.random.key(5),
        config=config,
        likelihood=Rules(language),
        prior_stddev=1.0 if changes.get("stddev") else None,
        images_of=None if parts is None else parts.get,
        language=language,
    )


def encoded(language, texts):
    """Returns the examples [N, T] of texts."""
    return np.stack([language.encode(text) for text in texts])


def networks(*layers):
    """Returns the examples [N, T, 2] of lists of (type, value)."""
    examples = []
    for network in layers:
        rules = NETWORKS.encode(" ".join(kind for kind, _ in network))
        values = np.zeros(NETWORKS.num_places)
        values[: len(network)] = [value for _, value in network]
        examples.append(np.stack([rules, values], axis=1))
    return np.stack(examples).astype(np.float32)
