"""The table of evaluations: what configs, reports and the documentation read from it."""

import pytest

from sfvae_jax import evaluation
from sfvae_jax.config import base_config
from sfvae_jax.evaluation import EVALUATIONS, Evaluation, Measure
from sfvae_jax.evaluation.generation.features.table import FEATURES
from sfvae_jax.evaluation.generation.sources import SOURCES
from sfvae_jax.evaluation.inference_gaps.families import FAMILIES


@pytest.mark.parametrize("name", EVALUATIONS)
def test_an_evaluation_takes_exactly_the_measures_in_its_spec(name):
    spec = EVALUATIONS[name]
    taken = {measure for names in _names(name) for measure in names}
    described = {measure: [one for one in spec.measures if one.named(measure)] for measure in taken}
    assert [measure for measure, found in described.items() if not found] == []
    used = {one.name for found in described.values() for one in found}
    assert used == {one.name for one in spec.measures}


def _names(evaluated):
    """Names of its measures, with all sources, splits and families, for each kind of features."""
    for features in FEATURES:
        options = base_config().evaluations
        options.generated.features = features
        for name in ("frechet", "precision_recall", "sequence_samples"):
            options[name].sources = tuple(SOURCES)
        options.inference_gaps.parts = ("train", "valid", "test")
        options.inference_gaps.families = tuple(FAMILIES)
        yield evaluation.metric_names(options, evaluated)


@pytest.mark.parametrize(
    ("name", "label", "unit", "split"),
    [
        ("elbo_gap", "ELBO gap", "nats", "evaluated"),
        ("iwae_bound", "IWAE bound", "nats", "evaluated"),
        ("iwae_bound_train", "IWAE bound train", "nats", "train"),
        ("iwae_bound_test_standard_error", "IWAE bound test standard error", "nats", "test"),
        (
            "optimal_full_covariance_bound_valid",
            "optimal full covariance bound valid",
            "nats",
            "valid",
        ),
        ("valid_optimal_prior", "valid samples of the optimal prior", "", ""),
        ("fid_gmm", "FID GMM", "", "test"),
        ("of_an_elbo_not_known", "of an ELBO not known", "", "evaluated"),
    ],
)
def test_a_measure_is_found_by_its_name(name, label, unit, split):
    found = evaluation.measure_named(name)
    assert (found.name, found.label, found.unit, found.split) == (name, label, unit, split)


def test_the_measure_with_the_shortest_placeholders_describes_a_name(monkeypatch):
    measures = (Measure("part_SPLIT", unit="nats"), Measure("part_error_SPLIT", digits=4))
    spec = Evaluation(lambda trained, options: {}, measures)
    monkeypatch.setitem(EVALUATIONS, "mine", spec)
    assert evaluation.measure_named("part_error_test").digits == 4
    assert evaluation.measure_named("part_errors_test").unit == "nats"


def test_an_error_has_the_unit_of_its_measure():
    error = Measure("bound", "a bound", unit="nats", better="more").error()
    assert error == Measure(
        "bound_standard_error", "a bound standard error", unit="nats", digits=2, is_error=True
    )
    assert Measure("bound", digits=3).error("deviation").digits == 3


def test_every_evaluation_says_what_it_is():
    for name, spec in EVALUATIONS.items():
        assert spec.summary, name
        assert spec.measures or spec.draw, name
