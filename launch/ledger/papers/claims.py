"""What the five papers claim, as far as two numbers can decide it."""

from __future__ import annotations

from launch.ledger.claims import Claim, Quantity
from launch.ledger.views import END


def _of(name: str, table: str, measure: str, *where: str, step: str = END) -> Quantity:
    """Returns a quantity; `where` holds KEY=VALUE texts."""
    pairs = (text.partition("=")[::2] for text in where)
    return Quantity(name, table, measure, tuple(pairs), step)


def _collapse(says: str, measure: str) -> Claim:
    """Compares the two models of SFVAE's Table 4 after 1,000 steps; Eq. 21 as it is printed."""
    free = ("objective.name=sampling_free", "objective.log_det_weight=1.0")
    return Claim(
        says,
        _of("without", "sfvae-table4", measure, *free, step="1000"),
        "less",
        _of("sampling", "sfvae-table4", measure, "objective.name=sampling", step="1000"),
    )


def _estimators(data: str, says: str, num_samples: int) -> Claim:
    """Compares the sampling-free model of SFVAE's Table 3 with one that samples."""
    measured = ("sfvae-table3", "nll_without_constant", f"data.name={data}")
    sampled = ("objective.name=sampling", f"objective.num_samples={num_samples}")
    return Claim(
        says,
        _of("without", *measured, "objective.name=sampling_free"),
        "less",
        _of(f"{num_samples} sample{'s' * (num_samples > 1)}", *measured, *sampled),
    )


def _sprites(name: str, objective: str, measure: str) -> Quantity:
    where = (f"objective.name={objective}", "model.latent_size=16")
    return _of(name, "sfvae-table5", measure, *where)


def _gamma(name: str, *where: str) -> Quantity:
    return _of(name, "sfvae-figure1", "sampling_elbo", *where)


def _variances(latent_size: int) -> Claim:
    measured = ("back-figure4", "lower_bound", f"model.latent_size={latent_size}")
    return Claim(
        f"With {latent_size} latents a constant posterior variance has a better lower bound than a"
        " learned one.",
        _of("constant", *measured, "objective.name=constant_variance"),
        "more",
        _of("learned", *measured, "objective.name=sampling"),
    )


def _scale(scale: str) -> Quantity:
    where = ("objective.name=bilbo", "model.latent_size=100", "posterior.variance=1.0")
    chosen = (*where, f"model.latent_scale={scale}")
    return _of(f"scale {scale}", "back-figure8", "lower_bound", *chosen)


def _of_small_data(name: str, objective: str) -> Quantity:
    where = (f"objective.name={objective}", "data.scale=0.1")
    return _of(name, "back-figure6", "kl_divergence", *where)


def _gap(kind: str, data: str, table: str = "gaps-table2", name: str = "") -> Quantity:
    where = (f"data.name={data}", "posterior.name=diagonal")
    return _of(name or kind, table, f"{kind}_gap_test", *where)


def _decoder(name: str, sizes: str) -> Quantity:
    where = f"model.decoder_sizes={sizes}"
    return _of(name, "gaps-table5", "approximation_gap_test", where)


def _distance(objective: str, source: str) -> Quantity:
    name, measure = f"{objective}, {source}", f"frechet_classifier_distance_{source}"
    return _of(name, "rae-table1", measure, f"objective.name={objective}")


def _search(data: str, objective: str) -> Quantity:
    where = (f"data.name={data}", "data.tokens=grammar", "objective.beta=0.01")
    return _of(objective, "rae-figure2", "search_score", *where, f"objective.name={objective}")


def _bounds(says: str, data: str, objective: str, num_probes: int) -> Claim:
    """Compares the lower bounds of models trained by an objective and by one sample."""
    measured = ("sfvae-section4.3-bounds", "lower_bound", f"data.name={data}")
    chosen = (f"objective.name={objective}", f"objective.num_probes={num_probes}")
    one_sample = ("objective.name=sampling", "objective.num_samples=1")
    return Claim(
        says,
        _of(objective, *measured, *chosen),
        "more",
        _of("sampling", *measured, *one_sample),
    )


# By the heading above them.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "SFVAE": (
        _collapse("Without sampling fewer latents collapse.", "collapse_fraction"),
        _collapse("Its reconstruction error is smaller (at the mean).", "reconstruction_error"),
        _collapse(
            "Its reconstruction error is smaller (at a sample).", "reconstruction_error_at_sample"
        ),
        _collapse("Its KL divergence is smaller.", "kl_divergence"),
        Claim(
            "The tangent gives the variances of outputs as well as 70 samples.",
            _of("tangent", "sfvae-table1", "variance_correlation_linearized"),
            "more",
            _of("70 samples", "sfvae-table1", "variance_correlation_70"),
        ),
        _estimators("mnist", "On MNIST, without sampling is better than one sample.", 1),
        _estimators("mnist", "On MNIST, it is better than 20 samples.", 20),
        _estimators("omniglot", "On Omniglot, it is better than one sample.", 1),
        _estimators("omniglot", "On Omniglot, it is better than 20 samples.", 20),
        Claim(
            "Its generated images are closer to the data (here: sprites).",
            _sprites("without", "sampling_free", "frechet_classifier_distance_prior"),
            "less",
            _sprites("sampling", "sampling", "frechet_classifier_distance_prior"),
        ),
        Claim(
            "Its marginal likelihood is as good (here: within 10 nats, sprites).",
            _sprites("without", "sampling_free", "marginal_likelihood"),
            "equal",
            _sprites("sampling", "sampling", "marginal_likelihood"),
            10.0,
        ),
        Claim(
            "The unbiased ELBO rises as gamma falls.",
            _gamma("gamma falls to 0.5", "objective.gamma_schedule=piecewise"),
            "more",
            _gamma("stays at 0.95", "objective.gamma_schedule=constant", "objective.gamma=0.95"),
        ),
    ),
    "BACK": (
        _variances(2),
        _variances(100),
        Claim(
            "The scale of the codes has no effect on BILBO (here: within 1 nat).",
            _scale("0.1"),
            "equal",
            _scale("10.0"),
            1.0,
        ),
        Claim(
            "Where the data are small, a likelihood variance of 1 collapses; BAGGINS does not.",
            _of_small_data("variance 1", "bilbo"),
            "less",
            _of_small_data("BAGGINS", "bilbo_baggins"),
        ),
    ),
    "GAPS": (
        Claim(
            "On MNIST, both gaps are about equal (here: within 0.5 nats).",
            _gap("amortization", "mnist"),
            "equal",
            _gap("approximation", "mnist"),
            0.5,
        ),
        Claim(
            "On Fashion-MNIST, the amortization gap is larger.",
            _gap("amortization", "fashion_mnist"),
            "more",
            _gap("approximation", "fashion_mnist"),
        ),
        Claim(
            "A larger encoder has a smaller inference gap (Fashion-MNIST).",
            _gap("inference", "fashion_mnist", "gaps-table3", "larger"),
            "less",
            _gap("inference", "fashion_mnist", "gaps-table2", "standard"),
        ),
        Claim(
            "A larger decoder has a smaller approximation gap.",
            _decoder("4 layers", "[200, 200, 200, 200]"),
            "less",
            _decoder("no layer", "[]"),
        ),
    ),
    "RAE": (
        Claim(
            "A mixture that is fitted to the codes improves a VAE's samples.",
            _distance("sampling", "gmm"),
            "less",
            _distance("sampling", "prior"),
        ),
        Claim(
            "A regularised autoencoder with a mixture has better samples than a VAE.",
            _distance("rae_l2", "gmm"),
            "less",
            _distance("sampling", "prior"),
        ),
        Claim(
            "Its samples are also better than a VAE's with a mixture.",
            _distance("rae_l2", "gmm"),
            "less",
            _distance("sampling", "gmm"),
        ),
        Claim(
            "A search finds better expressions in its codes than in a VAE's.",
            _search("equations", "rae_l2"),
            "less",
            _search("equations", "sampling"),
        ),
        Claim(
            "A search finds better molecules in its codes than in a VAE's.",
            _search("molecules", "rae_l2"),
            "more",
            _search("molecules", "sampling"),
        ),
    ),
    "Beyond the papers": tuple(
        _bounds(f"On {name}, {says}", data, objective, num_probes)
        for data, name in (("mnist", "MNIST"), ("omniglot", "Omniglot"))
        for objective, num_probes, says in (
            ("sampling_free", 0, "a model trained without sampling has a better lower bound."),
            ("control_variate", 0, "a control variate has a better lower bound than one sample."),
            ("control_variate", 4, "so has one with four probes."),
        )
    ),
}
