"""What the records say about a claim, and when they cannot tell."""

import dataclasses

import pytest

from launch.ledger.claims import Claim, Quantity, find, verdict
from launch.ledger.entries import entries_of
from launch.ledger.pages.claims import table_of_claims
from launch.ledger.papers.claims import CLAIMS
from launch.ledger.tables import PAPERS, TABLES
from launch.ledger.views import is_in
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.registry import metric_names
from sfvae_jax.runs.files.config_file import flatten, plain

FIRST = Quantity("free", "a-table1", "lower_bound", (("objective.name", "sampling_free"),))
SECOND = Quantity("sampling", "a-table1", "lower_bound", (("objective.name", "sampling"),), "10")


def _record(seed, objective, value):
    config = {"objective": {"name": objective}}
    taken = {"lower_bound": value, "iwae_bound": value + 1.0 + seed / 10}
    return {"seed": seed, "config": config, "step": 10, "metrics": taken}


RECORDS = [
    *(_record(seed, "sampling_free", value) for seed, value in enumerate((3.0, 4.0, 5.0))),
    *(_record(seed, "sampling", value) for seed, value in enumerate((1.0, 2.0, 3.0))),
]


def _measured(config):
    return {m for name in config.evaluations.names for m in metric_names(config.evaluations, name)}


def _verdict(relation, margin=0.0, first=FIRST, second=SECOND, records=RECORDS):
    claim = Claim("It is so.", first, relation, second, margin)
    values = [find(one, {"": records}).values for one in (first, second)]
    return verdict(claim, *values)


# The means differ by 2, with a standard error of sqrt(1/3 + 1/3) = 0.82.
@pytest.mark.parametrize(
    ("relation", "margin", "expected"),
    [
        ("more", 0.0, "yes"),
        ("less", 0.0, "no"),
        ("equal", 0.0, "no"),
        ("equal", 0.3, "no"),
        ("equal", 0.4, "cannot be told"),
        ("equal", 3.6, "cannot be told"),
        ("equal", 3.7, "yes"),
    ],
)
def test_a_claim_holds_if_the_difference_is_above_two_standard_errors(relation, margin, expected):
    assert _verdict(relation, margin) == expected


def test_a_small_difference_cannot_be_told():
    other = [_record(seed, "sampling", value) for seed, value in enumerate((1.6, 2.6, 3.6))]
    assert _verdict("more", records=[*RECORDS[:3], *other]) == "cannot be told"


def test_one_run_has_no_standard_error():
    assert _verdict("more", records=RECORDS[2:]) == "yes, in one run"
    assert _verdict("less", records=RECORDS[2:]) == "no, in one run"


def test_two_measures_of_the_same_runs_are_compared_run_by_run():
    other = dataclasses.replace(FIRST, measure="iwae_bound")
    # 1.0, 1.1 and 1.2 apart: 1.1 with a standard error of 0.06. Seed by seed the runs differ by 1.
    assert _verdict("less", second=other) == "yes"
    assert _verdict("equal", 1.0, second=other) == "cannot be told"
    assert _verdict("equal", 0.9, second=other) == "no"


def test_the_first_setting_with_records_counts():
    records = {"": [], "smaller": RECORDS[:3], "tiny": RECORDS}
    found = find(FIRST, records)
    assert (found.values, found.is_small) == ({0: 3.0, 1: 4.0, 2: 5.0}, True)
    assert not find(FIRST, {"": RECORDS}).is_small
    assert find(dataclasses.replace(FIRST, measure="bend"), records) is None
    assert find(dataclasses.replace(FIRST, step="5"), records) is None


def test_two_runs_with_one_seed_are_refused():
    with pytest.raises(UsageError, match="a-table1: 'any' of a claim has two runs with seed 0"):
        find(Quantity("any", "a-table1", "lower_bound"), {"": RECORDS})


@pytest.mark.parametrize("heading", CLAIMS)
def test_every_quantity_of_a_claim_is_measured_by_runs_that_differ_in_their_seed(heading):
    tables = {table.name: table for table in TABLES}
    for claim in CLAIMS[heading]:
        assert claim.says.endswith(".")
        for quantity in (claim.first, claim.second):
            by_setting = {}
            for entry in entries_of(tables[quantity.table]):
                if is_in(flatten(plain(entry.config)), quantity.where):
                    by_setting.setdefault(entry.part.setting, []).append(entry)
            assert by_setting, (claim.says, quantity)
            for entries in by_setting.values():
                seeds = [entry.config.seed for entry in entries]
                assert len(set(seeds)) == len(seeds), (claim.says, quantity)
                assert quantity.measure in _measured(entries[0].config), (claim.says, quantity)


def test_a_claim_without_runs_is_listed():
    class NoRecords:
        def by_setting(self):
            return {}

    accounts = {table.name: NoRecords() for table in TABLES if table.parts}
    text = table_of_claims(CLAIMS, PAPERS, accounts)
    assert text.count("not run yet") == sum(map(len, CLAIMS.values()))
    assert "| **SFVAE** |" in text
