"""What four of the papers claim and what we add, as far as two numbers can decide it.

FLOW, the fifth, has no results.
"""

from __future__ import annotations

from typing import Literal

from launch.ledger.claims import Claim, Quantity
from launch.ledger.views import END

_FREE, _SAMPLING = "objective.name=sampling_free", "objective.name=sampling"


def _of(name: str, measure: str, *where: str, step: str = END, table: str = "") -> Quantity:
    """Returns a quantity; `where` holds KEY=VALUE texts."""
    pairs = (text.partition("=")[::2] for text in where)
    return Quantity(name, measure, tuple(pairs), step, table)


def _collapse(says: str, measure: str) -> Claim:
    """Compares the models of SFVAE's Table 4 after 1,000 steps; Eq. 21 as it is printed."""
    eq_21 = (_FREE, "objective.log_det_weight=1.0")
    free = _of("sampling-free", measure, *eq_21, step="1000")
    return Claim(
        says, "sfvae-table4", free, "less", _of("sampling", measure, _SAMPLING, step="1000")
    )


def _estimators(says: str, data: str, objective: str, num_samples: int) -> Claim:
    """Compares the sampling-free model of SFVAE's Table 3 with another one."""
    measure, on = "nll_without_constant", f"data.name={data}"
    sampled = (f"objective.name={objective}", f"objective.num_samples={num_samples}")
    number = "1 sample" if num_samples == 1 else f"{num_samples} samples"
    return Claim(
        says,
        "sfvae-table3",
        _of("sampling-free", measure, on, _FREE),
        "more" if objective == "iwae" else "less",
        _of(number, measure, on, *sampled),
    )


def _tangent(says: str, measure: str, relation: Literal["less", "more"], samples: int) -> Claim:
    """Compares the linearised decoder of SFVAE's Table 1 with samples, in the sampling model."""
    linearized = _of("tangent", f"{measure}_linearized", _SAMPLING)
    sampled = _of(f"{samples} samples", f"{measure}_{samples}", _SAMPLING)
    return Claim(says, "sfvae-table1", linearized, relation, sampled)


def _sprites(says: str, measure: str, step: str = END, margin: float = 0.0) -> Claim:
    """Compares the models of SFVAE's Table 5 with 16 latents."""
    size = "model.latent_size=16"
    relation: Literal["less", "equal"] = "equal" if margin else "less"
    free = _of("sampling-free", measure, _FREE, size, step=step)
    return Claim(
        says, "sfvae-table5", free, relation, _of("sampling", measure, _SAMPLING, size), margin
    )


def _variances(says: str, objective: str, latent_size: int) -> Claim:
    """Compares constant and learned variances of BACK's Figure 4."""
    measure, size = "lower_bound", f"model.latent_size={latent_size}"
    constant = _of("constant", measure, f"objective.name={objective}", size)
    return Claim(says, "back-figure4", constant, "more", _of("learned", measure, _SAMPLING, size))


def _scaled(says: str, scale: str, variance: str) -> Claim:
    """Compares posterior variances of BACK's Figure 8, with two latents."""
    where = ("objective.name=bilbo", "model.latent_size=2", f"model.latent_scale={scale}")
    first, second = (
        _of(f"variance {one}", "lower_bound", *where, f"posterior.variance={one}")
        for one in (variance, "1.0")
    )
    return Claim(says, "back-figure8", first, "more", second)


def _data_scales(
    says: str, objective: str, relation: Literal["less", "equal"], margin: float = 0.0
) -> Claim:
    """Compares scales of the data in BACK's Figure 6."""
    where = f"objective.name={objective}"
    first, second = (
        _of(f"scale {scale}", "kl_divergence", where, f"data.scale={scale}")
        for scale in ("0.1", "10.0")
    )
    return Claim(says, "back-figure6", first, relation, second, margin)


def _gaps(says: str, data: str, posterior: str, margin: float = 0.0) -> Claim:
    """Compares the two gaps of a model of GAPS's Table 2, on test images."""
    where = (f"data.name={data}", f"posterior.name={posterior}")
    amortization = _of("amortization", "amortization_gap_test", *where)
    approximation = _of("approximation", "approximation_gap_test", *where)
    relation: Literal["more", "equal"] = "equal" if margin else "more"
    return Claim(says, "gaps-table2", amortization, relation, approximation, margin)


def _encoders(says: str, data: str, posterior: str) -> Claim:
    """Compares the encoders of GAPS's Tables 3 and 2, on test images."""
    measure, where = "amortization_gap_test", (f"data.name={data}", f"posterior.name={posterior}")
    smaller = _of("encoder of Table 2", measure, *where, table="gaps-table2")
    return Claim(says, "gaps-table3", _of("larger encoder", measure, *where), "less", smaller)


def _distance(says: str, first: str, second: str) -> Claim:
    """Compares Frechet distances of RAE's Table 1; each is given as OBJECTIVE/SOURCE."""

    def quantity(text: str) -> Quantity:
        objective, _, source = text.partition("/")
        measure = f"frechet_classifier_distance_{source}"
        return _of(f"{objective}, {source}", measure, f"objective.name={objective}")

    return Claim(says, "rae-table1", quantity(first), "less", quantity(second))


def _search(
    says: str, data: str, measure: str, relation: Literal["less", "more"], tokens: str = "grammar"
) -> Claim:
    """Compares a search in the codes of GRAE with one in those of GVAE, or of CVAE."""
    on, beta = f"data.name={data}", "objective.beta=0.01"
    vae = {"grammar": "GVAE", "characters": "CVAE"}[tokens]
    return Claim(
        says,
        "rae-figure2",
        _of("GRAE", measure, on, beta, "data.tokens=grammar", "objective.name=rae_l2"),
        relation,
        _of(vae, measure, on, beta, f"data.tokens={tokens}", _SAMPLING),
    )


def _bounds(says: str, data: str, objective: str, num_probes: int) -> Claim:
    """Compares the lower bounds of models trained by an objective and with one sample."""
    on = f"data.name={data}"
    chosen = (f"objective.name={objective}", f"objective.num_probes={num_probes}")
    return Claim(
        says,
        "sfvae-section4.3-bounds",
        _of(objective, "lower_bound", on, *chosen),
        "more",
        _of("sampling", "lower_bound", on, _SAMPLING, "objective.num_samples=1"),
    )


_DISTANCE = "frechet_classifier_distance_prior"
_MNIST_AND_OMNIGLOT = (("mnist", "MNIST"), ("omniglot", "Omniglot"))

# By the heading above them.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "SFVAE": (
        _collapse(
            "Fewer latents collapse in the sampling-free model than in the sampling model.",
            "collapse_fraction",
        ),
        _collapse(
            "The sampling-free model has the smaller reconstruction error, at the posterior mean.",
            "reconstruction_error",
        ),
        _collapse(
            "The same at a sample of the posterior. (The paper does not say where it takes"
            " the error.)",
            "reconstruction_error_at_sample",
        ),
        _collapse("The sampling-free model has the smaller KL divergence.", "kl_divergence"),
        _tangent(
            "The linearised decoder gives the variances of the outputs better than 50 samples.",
            "variance_correlation",
            "more",
            50,
        ),
        _tangent(
            "The linearised decoder gives the covariance of the outputs better than 235 samples.",
            "covariance_error_squared",
            "less",
            235,
        ),
        *(
            _estimators(
                f"On {name}, the sampling-free model has a lower negative log likelihood than"
                f" {words}.",
                data,
                *than,
            )
            for data, name in _MNIST_AND_OMNIGLOT
            for words, than in (
                ("one trained with 1 sample", ("sampling", 1)),
                ("one trained with 20 samples", ("sampling", 20)),
                ("one trained by sticking the landing, 1 sample", ("sticking_the_landing", 1)),
            )
        ),
        _estimators(
            "On MNIST, IWAE with 20 samples has a lower one than the sampling-free model.",
            "mnist",
            "iwae",
            20,
        ),
        _sprites(
            "The sampling-free model generates images closer to the data (here: sprites).",
            _DISTANCE,
        ),
        _sprites(
            "After two thirds of its steps it already generates images closer to the data than the"
            " sampling model at the end (here: sprites).",
            _DISTANCE,
            "1300",
        ),
        _sprites(
            "The marginal likelihoods of both models are equal (here: sprites, within 1 nat).",
            "marginal_likelihood",
            margin=1.0,
        ),
        Claim(
            "A gamma that falls to 0.5 gives a higher ELBO, by sampling, than one that"
            " stays at 0.95.",
            "sfvae-figure1",
            _of("falls to 0.5", "sampling_elbo", "objective.gamma_schedule=piecewise"),
            "more",
            _of(
                "stays at 0.95",
                "sampling_elbo",
                "objective.gamma_schedule=constant",
                "objective.gamma=0.95",
            ),
        ),
    ),
    "BACK": (
        *(
            _variances(
                f"With {size} latents, {words} gives a higher lower bound than learned variances.",
                objective,
                size,
            )
            for size in (2, 100)
            for objective, words in (
                ("constant_variance", "one posterior variance for all images"),
                ("bilbo", "BILBO"),
            )
        ),
        _scaled(
            "If the codes are scaled by 10, a posterior variance of 100 gives a higher lower bound"
            " than 1.",
            "10.0",
            "100.0",
        ),
        _scaled(
            "If the codes are scaled by 0.1, a posterior variance of 0.01 gives a higher"
            " lower bound"
            " than 1.",
            "0.1",
            "0.01",
        ),
        _data_scales(
            "With a likelihood variance of 1 the scale of the data matters: the KL divergence is"
            " smaller for data scaled by 0.1 than by 10.",
            "bilbo",
            "less",
        ),
        _data_scales(
            "With BAGGINS the scale of the data does not matter (here: within 1 nat).",
            "bilbo_baggins",
            "equal",
            1.0,
        ),
    ),
    "GAPS": (
        _gaps(
            "On MNIST, amortization and approximation gap are about equal (here: within 0.5 nats).",
            "mnist",
            "diagonal",
            0.5,
        ),
        _gaps(
            "On Fashion-MNIST, the amortization gap is larger than the approximation gap.",
            "fashion_mnist",
            "diagonal",
        ),
        _gaps("On Fashion-MNIST, this is so for a flow, too.", "fashion_mnist", "auxiliary_flow"),
        Claim(
            "On MNIST, a model with a flow has a higher log p(x) than one with a Gaussian"
            " posterior.",
            "gaps-table2",
            _of("flow", "log_evidence_test", "data.name=mnist", "posterior.name=auxiliary_flow"),
            "more",
            _of("Gaussian", "log_evidence_test", "data.name=mnist", "posterior.name=diagonal"),
        ),
        *(
            _encoders(
                f"On {name}, a larger encoder makes the amortization gap of {words} smaller.",
                data,
                posterior,
            )
            for data, name in (("mnist", "MNIST"), ("fashion_mnist", "Fashion-MNIST"))
            for posterior, words in (
                ("diagonal", "a Gaussian posterior"),
                ("auxiliary_flow", "a flow"),
            )
        ),
        Claim(
            "A decoder with four hidden layers has a smaller approximation gap than one without.",
            "gaps-table5",
            _of(
                "four layers",
                "approximation_gap_test",
                "model.decoder_sizes=[200, 200, 200, 200]",
            ),
            "less",
            _of("none", "approximation_gap_test", "model.decoder_sizes=[]"),
        ),
    ),
    "RAE": (
        *(
            _distance(
                f"For {words}, samples of a mixture fitted to the codes are closer to the"
                " data than samples"
                " of the prior.",
                f"{objective}/gmm",
                f"{objective}/prior",
            )
            for objective, words in (("sampling", "a VAE"), ("wae_mmd", "a WAE"))
        ),
        _distance(
            "Samples of a regularised autoencoder with a fitted mixture are closer to the data than"
            " a VAE's samples of the prior.",
            "rae_l2/gmm",
            "sampling/prior",
        ),
        _distance(
            "Samples of a regularised autoencoder with a fitted mixture are closer to the data than"
            " a VAE's samples of a fitted mixture.",
            "rae_l2/gmm",
            "sampling/gmm",
        ),
        _distance(
            "Interpolations of a regularised autoencoder are closer to the data than a VAE's.",
            "rae_l2/interpolations",
            "sampling/interpolations",
        ),
        _search(
            "A search in the codes of GRAE finds expressions with lower scores (better)"
            " than in GVAE's.",
            "equations",
            "search_score",
            "less",
        ),
        _search(
            "A search in the codes of GRAE finds expressions with lower scores (better)"
            " than in CVAE's.",
            "equations",
            "search_score",
            "less",
            "characters",
        ),
        _search(
            "A search in the codes of GRAE finds molecules with higher scores (better) than"
            " in GVAE's.",
            "molecules",
            "search_score",
            "more",
        ),
        _search(
            "A search in the codes of GRAE finds a larger share of valid molecules than in GVAE's.",
            "molecules",
            "search_valid",
            "more",
        ),
    ),
    "Beyond the papers": (
        *(
            _bounds(
                f"On {name}, a model trained {says} has a higher lower bound than one trained"
                " with 1 sample.",
                data,
                *by,
            )
            for data, name in _MNIST_AND_OMNIGLOT
            for says, by in (
                ("without sampling", ("sampling_free", 0)),
                ("with a control variate", ("control_variate", 0)),
                ("with a control variate of 4 probes", ("control_variate", 4)),
            )
        ),
        Claim(
            "With two latents, a weight on the decoder's bend gives a model trained without"
            " sampling a higher lower bound.",
            "sfvae-figure2-bend",
            _of("weight 1", "lower_bound", _FREE, "objective.bend_weight=1.0"),
            "more",
            _of("no weight", "lower_bound", _FREE, "objective.bend_weight=0.0"),
        ),
        Claim(
            "On MNIST with 50 latents, this weight gives it a lower negative log likelihood.",
            "sfvae-table3-steps",
            _of("weight 1", "nll_without_constant", _FREE, "objective.bend_weight=1.0"),
            "less",
            _of("no weight", "nll_without_constant", _FREE, "objective.bend_weight=0.0"),
        ),
    ),
}
