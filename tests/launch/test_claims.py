"""What the records say about a claim, and when they cannot tell."""

import dataclasses
import functools

import pytest

from launch.ledger.claims import Claim, Quantity, find, verdict
from launch.ledger.entries import entries_of
from launch.ledger.pages.claims import text_of_claims
from launch.ledger.papers.claims import CLAIMS
from launch.ledger.table import Table
from launch.ledger.tables import TABLES
from launch.ledger.views import is_in
from sfvae_jax.errors import UsageError
from sfvae_jax.evaluation.registry import metric_names
from sfvae_jax.runs.files.config_file import flatten, plain

FREE = Quantity("free", "lower_bound", (("objective.name", "sampling_free"),))
SAMPLING = Quantity("sampling", "lower_bound", (("objective.name", "sampling"),), "10")
PAPERS = {"tiny": (Table("tiny-table1", "TINY Table 1: A title"),)}


def _claim(relation, margin=0.0, first=FREE, second=SAMPLING):
    return Claim("It is so.", "tiny-table1", first, relation, second, margin)


def _record(seed, objective, value, **more):
    config = {"objective": {"name": objective}}
    taken = {"lower_bound": value, "iwae_bound": (value or 0.0) + 1.0 + seed / 10}
    return {"seed": seed, "config": config, "step": 10, "metrics": taken, **more}


def _records(objective, *values):
    return [_record(seed, objective, value) for seed, value in enumerate(values)]


RECORDS = [*_records("sampling_free", 3.0, 4.0, 5.0), *_records("sampling", 1.0, 2.0, 3.0)]


def _verdict(claim, records=RECORDS):
    return verdict(claim, _found(claim, {"": records}))


def _found(claim, by_setting, **others):
    return find(claim, {"tiny-table1": by_setting, **others})


# The means differ by 2, with a standard error of sqrt(1/3 + 1/3) = 0.82.
@pytest.mark.parametrize(
    ("relation", "margin", "expected"),
    [
        ("more", 0.0, "yes"),
        ("less", 0.0, "no"),
        ("equal", 0.3, "no"),
        ("equal", 0.4, "cannot be told"),
        ("equal", 3.6, "cannot be told"),
        ("equal", 3.7, "yes"),
    ],
)
def test_a_claim_holds_if_the_difference_is_above_two_standard_errors(relation, margin, expected):
    assert _verdict(_claim(relation, margin)) == expected


def test_a_small_difference_cannot_be_told():
    others = _records("sampling", 1.6, 2.6, 3.6)
    assert _verdict(_claim("more"), [*RECORDS[:3], *others]) == "cannot be told"


def test_equal_numbers_without_a_spread_cannot_be_told_apart():
    same = [*_records("sampling_free", 2.0, 2.0), *_records("sampling", 2.0, 2.0)]
    assert _verdict(_claim("less"), same) == _verdict(_claim("more"), same) == "cannot be told"
    assert _verdict(_claim("equal", 0.1), same) == "yes"


def test_a_single_run_has_the_spread_of_the_others():
    """The difference is 3 or 2.2, its standard error sqrt(1 + 1/3) = 1.15."""
    for own, expected in ((5.0, "yes"), (4.2, "cannot be told")):
        records = [*_records("sampling_free", own), *_records("sampling", 1.0, 2.0, 3.0)]
        assert _verdict(_claim("more"), records) == expected


def test_two_single_runs_have_no_standard_error():
    records = [*_records("sampling_free", 3.0), *_records("sampling", 1.0)]
    assert _verdict(_claim("more"), records) == "yes, in single runs"
    assert _verdict(_claim("less"), records) == "no, in single runs"


def test_two_measures_of_the_same_runs_are_compared_run_by_run():
    """They are 1.0, 1.1 and 1.2 apart: 1.1 ± 0.06, while the runs themselves differ by 1."""
    other = dataclasses.replace(FREE, measure="iwae_bound")
    assert _verdict(_claim("less", second=other)) == "yes"
    assert _verdict(_claim("equal", 1.0, second=other)) == "cannot be told"
    assert _verdict(_claim("equal", 0.9, second=other)) == "no"


def test_both_quantities_come_from_the_first_setting_that_has_them():
    by_setting = {"": RECORDS[:3], "smaller": RECORDS, "tiny": RECORDS[1:]}
    found = _found(_claim("more"), by_setting)
    assert found.setting == "smaller"
    assert found.first.by_seed == {0: 3.0, 1: 4.0, 2: 5.0}
    assert _found(_claim("more", first=dataclasses.replace(FREE, step="5")), by_setting) is None


def test_a_quantity_may_be_of_another_table_in_the_same_setting():
    """Runs of two tables are not the same runs, though all else is equal."""
    claim = _claim("more", second=dataclasses.replace(FREE, table="other"))
    others = {"": _records("sampling_free", 1.0), "half": _records("sampling_free", 1.0, 2.0, 3.0)}
    found = _found(claim, {"half": RECORDS[:3]}, other=others)
    assert found.setting == "half"
    assert found.second.by_seed == {0: 1.0, 1: 2.0, 2: 3.0}
    assert verdict(claim, found) == "yes"
    assert _found(claim, {"": RECORDS[3:]}, other=others) is None
    near = dataclasses.replace(claim, relation="equal", margin=2.5)
    assert verdict(near, found) == "cannot be told"  # compared run by run: 2.0 ± 0.0, a yes


def test_two_runs_with_one_seed_are_refused():
    with pytest.raises(UsageError, match="tiny-table1: 'any' of the claim 'It is so.' has several"):
        _found(_claim("more", first=Quantity("any", "lower_bound")), {"": RECORDS})


class Account:
    """The records of a table in one setting."""

    def __init__(self, records, setting=""):
        self._by_setting = {setting: records}

    def by_setting(self):
        return self._by_setting


def _text(records, setting=""):
    accounts = {"tiny-table1": Account(records, setting)}
    return text_of_claims({"TINY": [_claim("more")]}, PAPERS, accounts)


LINK = "[TINY Table 1](tiny.md#tiny-table-1-a-title)"


def test_a_row_has_both_numbers_and_the_verdict():
    count, _, head, _, heading, row = _text(RECORDS).splitlines()
    assert count == "1 of 1 claims have been tested."
    assert head == "| claim | measured here | runs | does it hold? | table |"
    assert heading == "| **TINY** |  |  |  |  |"
    measured = "free 4.0 ± 1.0; sampling 2.0 ± 1.0"
    assert row == f"| It is so. | {measured} | 3 and 3 | yes | {LINK} |"
    assert "| 3 and 3, reduced |" in _text(RECORDS, "half of it")


def test_claims_without_runs_are_listed_below():
    text = _text([])
    assert text.startswith("0 of 1 claims have been tested.\n")
    assert text.endswith(f"\nNot tested yet:\n\n- TINY: It is so. ({LINK})\n")
    assert "**TINY**" not in text


def test_a_row_says_which_numbers_have_caveats_and_which_runs_lack_the_measure():
    doubtful = _record(3, "sampling_free", 4.0, caveats={"lower_bound": "it is odd"})
    without = _record(3, "sampling", None)
    text = _text([*RECORDS, doubtful, without])
    assert "| free 4.0 ± 0.8 †; sampling 2.0 ± 1.0 | 4 and 3 of 4 |" in text


def test_the_papers_number_stands_beside_ours_if_it_is_of_the_same_data():
    published = {"rows": {"sampling_free": {"lower_bound": {"10": (3.5, 0.1)}}}}
    own = [dict(record, published=published) for record in RECORDS]
    assert "free 4.0 ± 1.0 (paper 3.5); sampling 2.0 ± 1.0 |" in _text(own)
    published["rows"]["sampling_free"]["where"] = {"objective": {"name": "sampling"}}
    assert "free 4.0 ± 1.0; sampling 2.0 ± 1.0 (paper 3.5) |" in _text(own)


def _measured(config):
    return {m for name in config.evaluations.names for m in metric_names(config.evaluations, name)}


@functools.cache
def _runs_of(name):
    """The entries of a table with their flat configurations, each made once."""
    (table,) = (table for table in TABLES if table.name == name)
    return [(entry, flatten(plain(entry.config))) for entry in entries_of(table)]


@pytest.mark.parametrize("heading", CLAIMS)
def test_every_quantity_of_a_claim_is_measured_by_runs_that_differ_in_their_seed(heading):
    for claim in CLAIMS[heading]:
        settings = []
        for quantity in (claim.first, claim.second):
            by_setting = {}
            for entry, config in _runs_of(claim.table_of(quantity)):
                if is_in(config, quantity.where):
                    by_setting.setdefault(entry.part.setting, []).append(entry.config)
            assert by_setting, (claim.says, quantity)
            for configs in by_setting.values():
                seeds = [config.seed for config in configs]
                assert len(set(seeds)) == len(seeds), (claim.says, quantity)
                assert quantity.measure in _measured(configs[0]), (claim.says, quantity)
            settings.append(by_setting.keys())
        assert settings[0] & settings[1], claim.says
