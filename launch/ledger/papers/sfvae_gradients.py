"""SFVAE Section 4.3: estimators over their steps, the noise of gradients, and bounds by them."""

from __future__ import annotations

from launch.ledger.table import Part, Table
from launch.ledger.views import END, SECONDS, Curves, EqualTimes, Measures, Steps

_BOUNDS = ("lower_bound", "marginal_likelihood")
_AT_THE_END = (*_BOUNDS, "collapse_fraction", "reconstruction_error_at_sample")
# Of gradients, for the tables of their noise; the others are in the records.
_WITH_NOISE = (
    ("sampling once", "sampling"),
    ("sampling a pair", "sampling_antithetic_true_num_samples_2"),
    ("sampling 16 times", "sampling_16"),
    ("sticking the landing", "sticking_the_landing"),
    ("control variate, 1 probe", "control_variate_1"),
    ("control variate, 4 probes", "control_variate_4"),
    ("control variate, m tangents", "control_variate"),
    ("control variate, a pair", "control_variate_antithetic_true_num_samples_2"),
    ("linearized, 4 probes", "linearized_4"),
)
_WITH_BIAS = (("linearized", "linearized"), ("sampling_free", "sampling_free"))


def _of_gradient(network: str) -> tuple[Steps, Steps]:
    """Returns the tables of the noise and of the bias of the gradient of a network."""
    variance, bias = f"relative_gradient_variance_{network}_", f"gradient_bias_{network}_"
    return (
        Steps(
            f"Variance of the {network}'s gradient / its squared norm",
            tuple((name, variance + estimator) for name, estimator in _WITH_NOISE),
        ),
        Steps(
            f"Squared bias of the {network}'s gradient / its squared norm",
            tuple((name, bias + estimator) for name, estimator in _WITH_BIAS),
        ),
    )


_SHORT = "10,000 steps in batches of 100, where Table 3 has an estimated 300,000 in batches of 20"

_MEASURED_AT = (1000, 3000, 10_000, 30_000)
_FEWER_STEPS = (
    f"train.steps={_MEASURED_AT[-1]}",
    f"evaluations.steps={_MEASURED_AT}",
    "evaluations.step_pictures=False",
    "data.num_test=1000",
)

TABLES = (
    Table(
        "sfvae-table3-steps",
        "SFVAE Table 3, steps: how the order of the estimators changes",
        tuple(
            Part(
                "configs/mnist_estimators.py",
                ("data.name=mnist", "seed=[0-2]", *which),
                (*_FEWER_STEPS, *weight),
                "30,000 steps, a tenth of an estimated 300,000, and 1,000 test images",
                hours=hours,
            )
            for which, weight, hours in (
                (("objective.name=sampling", "objective.num_samples=1"), (), 0.05),
                (("objective.name=sampling_free",), (), 0.1),
                (("objective.name=sampling_free",), ("objective.bend_weight=1.0",), 0.2),
            )
        ),
        "The paper has one number of steps, which it does not give, and no weight on the decoder's"
        " bend.",
        (
            Measures(tuple(("nll_without_constant", str(step)) for step in _MEASURED_AT)),
            Measures(
                tuple(
                    (measure, END) for measure in ("lower_bound", "reconstruction_error_at_sample")
                )
            ),
            Curves(("nll_without_constant", "lower_bound")),
        ),
    ),
    Table(
        "sfvae-section4.3",
        "SFVAE Section 4.3: the noise of gradients",
        (
            Part(
                "configs/gradient_noise.py",
                setting=_SHORT,
                hours=0.12,
            ),
            Part(
                "configs/gradient_noise.py:table4",
                setting="the networks of Table 4, in batches of 100 for 5,000 steps",
                hours=0.3,
            ),
        ),
        "The paper does not measure the noise of gradients, and control variates are not in it.",
        (*_of_gradient("encoder"), *_of_gradient("decoder")),
    ),
    Table(
        "sfvae-section4.3-bounds",
        "SFVAE Section 4.3, bounds: after equal steps and equal times",
        (
            Part(
                "configs/gradient_noise.py:bounds",
                setting=_SHORT,
                hours=0.07,
            ),
        ),
        "The paper compares after equal steps, in Table 3; control variates, pairs and probes are"
        " not in it.",
        tuple(
            view
            for data in ("mnist", "omniglot")
            for view in (
                Measures(
                    tuple((measure, END) for measure in _AT_THE_END),
                    (("data.name", data),),
                ),
                EqualTimes(_BOUNDS, (10.0, 30.0), (("data.name", data),)),
                Curves(_BOUNDS, where=(("data.name", data),), since=200),
                Curves(_BOUNDS, SECONDS, (("data.name", data),), since=200),
            )
        ),
    ),
)
