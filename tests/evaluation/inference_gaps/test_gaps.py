"""Gaps and caveats from given bounds, by hand."""

import dataclasses

import numpy as np
import pytest

from sfvae_jax.evaluation import Doubtful, NotApplicable
from sfvae_jax.evaluation.inference_gaps.gaps import (
    Mixing,
    SplitBounds,
    doubts,
    gaps,
    log_evidence,
    measures,
    overfitting,
    with_caveats,
)

BOUNDS = SplitBounds(
    ais=np.array([-10.0, -20.0, -30.0, -40.0]),
    iwae=np.array([-9.0, -22.0, -31.0, -40.0]),
    lower=np.array([-14.0, -23.0, -35.0, -44.0]),
    optimal={
        "diagonal": np.array([-12.0, -22.0, -33.0, -42.0]),
        "full_covariance": np.array([-11.0, -21.0, -32.0, -41.0]),
    },
    linearized={
        "full_covariance": np.array([-12.0, -22.5, -32.0, -42.0]),
        "diagonal": np.array([-13.0, -23.0, -34.0, -43.0]),
    },
    own_family="diagonal",
)
MIXED = Mixing(
    sandwich=np.array([0.2, 0.4]),
    effective_sample_size=np.full(4, 6.0),
    acceptance_rate=np.full(4, 0.6),
    num_chains=16,
)


def test_log_evidence_is_the_larger_mean_not_the_mean_of_the_larger():
    assert log_evidence(BOUNDS) is BOUNDS.ais  # means -25 and -25.5; of the larger ones -24.75
    assert measures(BOUNDS)["log_evidence"] == -25.0
    ahead = dataclasses.replace(BOUNDS, iwae=BOUNDS.iwae + 1.0)
    assert log_evidence(ahead) is ahead.iwae


def test_gaps_and_their_errors():
    found = measures(BOUNDS)
    assert found["approximation_gap"] == pytest.approx(2.25)
    assert found["amortization_gap"] == pytest.approx(1.75)
    assert found["inference_gap"] == pytest.approx(4.0)
    assert found["linearized_gain"] == pytest.approx(1.875)
    assert found["linearized_covariance_gain"] == pytest.approx(1.125)
    # the gaps [4, 3, 5, 4] differ by far less than the bounds do
    assert found["inference_gap_standard_error"] == pytest.approx(np.std([4, 3, 5, 4], ddof=1) / 2)
    assert found["log_evidence_standard_error"] > 6.0


def test_the_own_family_decides_the_gaps():
    full = dataclasses.replace(BOUNDS, own_family="full_covariance")
    assert np.mean(gaps(full)["approximation_gap"]) == pytest.approx(1.25)
    other = dataclasses.replace(BOUNDS, own_family="auxiliary_flow")
    assert "no auxiliary_flow posterior" in str(gaps(other)["approximation_gap"])
    assert np.mean(gaps(other)["inference_gap"]) == pytest.approx(4.0)


def test_a_point_posterior_has_no_gaps():
    point = dataclasses.replace(BOUNDS, iwae=None, lower=None, own_family="none")
    found = measures(point)
    absent = {name for name, value in found.items() if isinstance(value, NotApplicable)}
    assert {"inference_gap", "lower_bound", "iwae_bound", "linearized_gain"} <= absent
    assert found["log_evidence"] == found["ais_bound"] == -25.0
    assert found["optimal_diagonal_bound"] == pytest.approx(-27.25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sandwich": np.array([1.5, 2.5])}, "2.00 nats apart (at most 1)"),
        ({"acceptance_rate": np.array([0.1, 0.6, 0.6, 0.6])}, "hardly accepted for 25% of"),
        ({"effective_sample_size": np.array([1.1, 9.0, 1.2, 9.0])}, "the weight for 50% of"),
    ],
)
def test_signs_of_bad_mixing_are_doubts(change, words):
    assert doubts(BOUNDS, MIXED, 1.0) == []
    (doubt,) = doubts(BOUNDS, dataclasses.replace(MIXED, **change), 1.0)
    assert words in doubt


def test_an_iwae_bound_that_is_clearly_ahead_is_a_doubt():
    """A lead of 0.3 ± 0.1 is three standard errors; one of 0.1 ± 0.1 is noise."""
    lead = np.array([0.1, 0.5, 0.2, 0.4])
    (doubt,) = doubts(dataclasses.replace(BOUNDS, iwae=BOUNDS.ais + lead), MIXED, 1.0)
    assert doubt == "the IWAE bound is 0.30 ± 0.09 nats higher"
    (doubt,) = doubts(dataclasses.replace(BOUNDS, optimal={"iaf": BOUNDS.ais + lead}), MIXED, 1.0)
    assert doubt == "L[q*] of iaf is 0.30 ± 0.09 nats higher"
    assert doubts(dataclasses.replace(BOUNDS, iwae=BOUNDS.ais + lead - 0.2), MIXED, 1.0) == []
    # nor is what is certain and next to nothing
    assert doubts(dataclasses.replace(BOUNDS, iwae=BOUNDS.ais + lead / 10), MIXED, 1.0) == []


def test_doubts_need_no_simulated_images():
    assert doubts(BOUNDS, dataclasses.replace(MIXED, sandwich=None), 1.0) == []


def test_measures_that_rest_on_unmixed_chains_carry_the_caveat():
    found = measures(BOUNDS)
    assert with_caveats(found, BOUNDS, [], {"diagonal": ""}) == found
    marked = with_caveats(found, BOUNDS, ["the bounds are far apart"], {})
    doubtful = {name for name, value in marked.items() if isinstance(value, Doubtful)}
    assert doubtful == {"ais_bound", "log_evidence", "approximation_gap", "inference_gap"}
    assert "AIS has not mixed: the bounds are far apart" in marked["ais_bound"].caveat
    assert marked["ais_bound"] == found["ais_bound"]
    ahead = dataclasses.replace(BOUNDS, iwae=BOUNDS.iwae + 1.0)  # log p^(x) does not rest on AIS
    marked = with_caveats(measures(ahead), ahead, ["they are far apart"], {})
    assert "rests on the IWAE bound alone" in marked["log_evidence"].caveat
    assert "rests on" not in marked["ais_bound"].caveat


def test_an_optimum_above_all_estimates_of_the_evidence_is_a_caveat():
    ahead = dataclasses.replace(BOUNDS, iwae=BOUNDS.iwae + 1.0, ais=BOUNDS.ais - 9.0)
    optimal = {**BOUNDS.optimal, "full_covariance": ahead.iwae + 2.0}
    ahead = dataclasses.replace(ahead, optimal=optimal)
    marked = with_caveats(measures(ahead), ahead, [], {})
    assert "L[q*] of full_covariance is 2.00 ± 0.00" in marked["log_evidence"].caveat


def test_an_unsettled_optimum_or_one_behind_what_its_family_contains_is_a_caveat():
    found = measures(BOUNDS)
    marked = with_caveats(found, BOUNDS, ["they are far apart"], {"diagonal": "it did not settle"})
    both = marked["approximation_gap"].caveat
    assert "AIS has not mixed" in both
    assert both.endswith("diagonal optimisation: it did not settle")
    marked = with_caveats(found, BOUNDS, [], {"diagonal": "it did not settle"})
    doubtful = {name for name, value in marked.items() if isinstance(value, Doubtful)}
    assert doubtful == {"optimal_diagonal_bound", "approximation_gap", "amortization_gap"}
    behind = {"diagonal": BOUNDS.lower - np.array([1.0, 1.1, 0.9, 1.0])}
    behind = dataclasses.replace(BOUNDS, optimal=behind)
    marked = with_caveats(measures(behind), behind, [], {})
    assert "1.00 ± 0.04 nats behind the encoder" in marked["optimal_diagonal_bound"].caveat
    optimal = {**BOUNDS.optimal, "full_covariance": BOUNDS.optimal["diagonal"] - 0.5}
    behind = dataclasses.replace(BOUNDS, optimal=optimal)
    marked = with_caveats(measures(behind), behind, [], {})
    doubtful = {name for name, value in marked.items() if isinstance(value, Doubtful)}
    assert doubtful == {"optimal_full_covariance_bound"}
    assert "behind the factorised optimum" in marked["optimal_full_covariance_bound"].caveat


def test_overfitting_of_encoder_and_decoder_is_measured():
    train = dataclasses.replace(BOUNDS, ais=BOUNDS.ais + 3.0)
    found = overfitting({"train": train, "test": BOUNDS}, {})
    assert found["encoder_overfitting"] == pytest.approx(0.5)  # of [-1, 2, 1, 0]
    error = np.std([-1, 2, 1, 0], ddof=1) / 2
    assert found["encoder_overfitting_standard_error"] == pytest.approx(error)
    assert found["decoder_overfitting"] == pytest.approx(3.0)
    spread = np.std(BOUNDS.ais, ddof=1) / 2
    assert found["decoder_overfitting_standard_error"] == pytest.approx(spread * 2**0.5)
    assert set(overfitting({"train": train}, {})) == set()
    point = overfitting({"test": dataclasses.replace(BOUNDS, iwae=None)}, {"test": ["it fails"]})
    assert isinstance(point["encoder_overfitting"], NotApplicable)
    doubtful = overfitting({"train": train, "test": BOUNDS}, {"train": ["it fails"]})
    assert "it fails" in doubtful["decoder_overfitting"].caveat
    assert not isinstance(doubtful["encoder_overfitting"], Doubtful)
