"""The ledger without a training: runs and names, records, prices, order, texts."""

import json
import os
import re

import numpy as np
import pytest
from damage import mutated
from tiny_ledger import LESS, PIECE, filed, finish, own_table
from tiny_sweeps import write_config

from launch.ledger import calibration, listing
from launch.ledger.entries import entries_of
from launch.ledger.obstacles import Obstacles
from launch.ledger.pages.account import account_of
from launch.ledger.plan import Price, hours, in_order, prices
from launch.ledger.record import make_record, settings_of, without_folders
from launch.ledger.records import Filed, left_over, look_up, look_up_all, path_of
from launch.ledger.table import Part, Table
from launch.ledger.tables import TABLES
from launch.ledger.work import work_on
from sfvae_jax.config import base_config, resolve
from sfvae_jax.errors import UsageError
from sfvae_jax.reporting.runs import read_run
from sfvae_jax.reporting.summary import summarize
from sfvae_jax.runs.files import provenance
from sfvae_jax.runs.files.config_file import flatten, plain
from sfvae_jax.runtime.files import write_json


@pytest.fixture
def table(tmp_path):
    return own_table(tmp_path)


# ---- runs and their names ----


def test_every_table_has_runs_whose_names_differ():
    names = [entry.path.lower() for table in TABLES for entry in entries_of(table)]
    assert len(set(names)) == len(names) > 100
    assert all(re.fullmatch(r"[a-z0-9.-]+/[a-z0-9._=,+-]{1,100}", name) for name in names)
    assert len({table.name.lower() for table in TABLES}) == len(TABLES)


def test_names_of_runs_by_config_changes_and_seed(tmp_path):
    config = write_config(tmp_path, [{"objective.name": "sampling"}, {"objective.name": "iwae"}])
    only = ("objective.name=sampling",)
    parts = (
        Part(config, overrides=("seed=3", "train.steps=20")),
        Part(config, only, ("train.steps=30",)),
        Part(config, only, ("train.steps=40",)),
    )
    first, second, plainly, told_apart = entries_of(Table("t", "T", parts))
    assert first.name == "own_config-laptop,objective.name=sampling,seed=3"
    assert second.name == "own_config-laptop,objective.name=iwae,seed=3"
    assert plainly.name == "own_config-laptop,objective.name=sampling"
    assert re.fullmatch(plainly.name + "-[0-9a-f]{8}", told_apart.name)
    assert [e.config.train.steps for e in (first, plainly, told_apart)] == [20, 30, 40]
    assert first.config.seed == 3
    assert first.method == second.method[:2] + first.method[2:] != second.method
    assert first.run(tmp_path).workdir == tmp_path / "t" / first.name
    with pytest.raises(UsageError, match=r"t: two runs have the name .*may occur only once"):
        entries_of(Table("t", "T", (parts[1], parts[1])))
    with pytest.raises(UsageError, match=r"t: no run matches --filter=seed=7"):
        entries_of(Table("t", "T", (Part(config, ("seed=7",)),)))


# ---- records ----


def test_a_record_reads_as_the_run_does(table, tmp_path):
    entries = entries_of(table)
    runs = []
    for number, entry in enumerate(entries[:2]):
        filed(entry, tmp_path / "work", tmp_path / "records", kl_divergence=number)
        runs.append(read_run(entry.run(tmp_path / "work").workdir / "results.json"))
    found = account_of(table, tmp_path / "records").records
    assert summarize(found) == summarize(runs)
    for record, run in zip(found, runs, strict=True):
        assert {key: record[key] for key in run} == run
    assert [record["name"] for record in found] == [
        "seed=0,objective.name=sampling",
        "seed=1,objective.name=sampling",
    ]
    assert found[0]["changes"] == {"seed": 0, "objective.name": "sampling"}
    assert found[0]["seconds"] == 10.0
    assert found[0]["pieces"] == [PIECE]


def test_what_a_run_took_in_several_pieces(table, tmp_path):
    """Processes with the same code and machine are joined, and their times are added."""
    entry, other = entries_of(table)[:2]
    pieces = [
        PIECE,
        {**PIECE, "from_step": 7, "seconds": 0.3},
        {**PIECE, "work": "evaluate", "from_step": 12},
        {**PIECE, "work": "evaluate", "from_step": 12, "commit": None, "changed": None},
    ]
    record = make_record(entry, finish(entry, tmp_path / "a", pieces), 8.0)
    assert record["seconds"] == pytest.approx(30.3)
    assert record["processor_seconds"] == pytest.approx(60.0)
    first, second = record["pieces"]
    assert (first["work"], first["seconds"]) == ("train and evaluate", 20.3)
    assert second == pieces[3]
    assert record["calibration"] is None  # of another processor than this one
    # The time of a run that an earlier version began is unknown.
    record = make_record(other, finish(other, tmp_path / "a", pieces[1:]), 8.0)
    assert record["seconds"] is record["processor_seconds"] is None
    here = {**PIECE, "machine": {**PIECE["machine"], "processor": provenance.processor()}}
    record = make_record(entry, finish(entry, tmp_path / "b", [here]), 8.0)
    assert record["calibration"] == 8.0


def test_no_path_of_this_machine_is_recorded(tmp_path):
    """Paths of a data file and a run are cut, in sentences too; a molecule is not a path."""
    data, decoder = tmp_path / "secret" / "data.npz", tmp_path / "secret" / "run"
    overrides = (f"data.name=npz:{data}", f"train.decoder_from={decoder}")
    table = own_table(tmp_path, part=((), overrides))
    entry = entries_of(table)[0]
    caveat = f"measured on {data} with {decoder} in {tmp_path}/work/{entry.path}"
    run = finish(entry, tmp_path / "work", caveats={"kl_divergence": caveat})
    results = json.loads((run.workdir / "results.json").read_text())
    results["texts"] = {"search_score": "F/C=C/(F)"}
    write_json(run.workdir / "results.json", results)
    record = make_record(entry, run, 8.0)
    text = json.dumps(record)
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert record["changes"]["data.name"] == "npz:data.npz"
    assert record["changes"]["train.decoder_from"] == "run"
    assert record["caveats"]["kl_divergence"] == f"measured on data.npz with run in {entry.name}"
    assert record["texts"] == {"search_score": "F/C=C/(F)"}
    assert record["config_file"] == "own_config.py:laptop"
    write_json(tmp_path / "record.json", record)
    path = path_of(entry, tmp_path / "records")
    path.parent.mkdir(parents=True)
    write_json(path, record)
    assert look_up(entry, tmp_path / "records").is_there
    assert without_folders(["a/b", "folder:~/c/d/", 3]) == ["b", "folder:d", 3]


def test_a_record_is_stale_when_the_settings_that_decide_have_changed(table, tmp_path):
    records = tmp_path / "records"
    entry = entries_of(table)[0]
    path = filed(entry, tmp_path / "work", records)

    def again(part=(), **changes):
        return look_up(entries_of(own_table(tmp_path, part=part, **changes))[0], records)

    assert look_up(entry, records).is_there
    # Settings that change no number: how often records and checkpoints are written; pictures.
    assert again(**{"train.log_every": 4, "train.checkpoint_every": 6}).is_there
    assert again(**{"evaluations.num_pictured": 3, "data.device_bytes": 10**6}).is_there
    # An option of an evaluation that is not named.
    assert again(**{"evaluations.marginal_likelihood.num_samples": 7}).is_there
    stale = again(**{"train.learning_rate": 0.5})
    assert stale.record is None
    assert stale.problem == "stale: train.learning_rate is 0.001 in the record and 0.5 in the table"
    many = again(((), ("train.steps=20", "model.latent_size=6", "likelihood.variance=0.25")))
    assert re.fullmatch(
        r"stale: likelihood.variance is 0.5 in the record and 0.25 in the table; .* and 1 more",
        many.problem,
    )
    # A key that the record's version did not know had its default.
    content = json.loads(path.read_text())
    del content["settings"]["train.learning_rate_schedule"]
    write_json(path, content)
    assert look_up(entry, records).is_there
    assert "learning_rate_schedule" in again(**{"train.learning_rate_schedule": "cosine"}).problem


def test_measures_that_are_wanted_now_and_were_not_then(table, tmp_path):
    """The record is still valid."""
    records = tmp_path / "records"
    filed(entries_of(table)[0], tmp_path / "work", records)
    more = {"evaluations.names": ("kl_divergence", "collapse"), "evaluations.steps": (5, 7, 12)}
    table = own_table(tmp_path, **more)
    found = look_up(entries_of(table)[0], records)
    assert found.record is not None
    assert not found.is_there
    assert found.lacks == "lacks evaluations collapse and measures of steps 7"
    assert len(account_of(table, records).records) == 1
    fewer = own_table(tmp_path, **{"evaluations.steps": (12,)})
    assert look_up(entries_of(fewer)[0], records).is_there


DAMAGES = {
    "cut short": lambda text: text[:100],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "not finite": lambda text: text.replace("1.5", "NaN"),
    "no settings": lambda text: text.replace('"settings"', '"others"'),
    "a text for a measure": lambda text: text.replace("1.5", '"1.5"'),
    "a group for a setting": lambda text: text.replace('"train.steps": 12', '"train.steps": {}'),
    "a text for seconds": lambda text: text.replace('"seconds": 10.0', '"seconds": "10"'),
    "a piece without machine": lambda text: text.replace('"machine"', '"where"'),
    "a step below 0": lambda text: text.replace('"step": 12', '"step": -1'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_told_and_left_out(table, tmp_path, damage):
    entries = entries_of(table)
    records = tmp_path / "records"
    for entry in entries[:2]:
        path = filed(entry, tmp_path / "work", records)
    before = path.read_text()
    path.write_text(DAMAGES[damage](before))
    assert path.read_text() != before
    found = look_up(entries[1], records)
    assert found.record is None
    assert found.problem.startswith("damaged: ")
    assert "\n" not in found.problem
    assert str(tmp_path) not in found.problem
    assert [record["seed"] for record in account_of(table, records).records] == [0]


def test_a_record_that_is_damaged_at_random_ends_nothing(table, tmp_path):
    """It is reported as damaged or stale, or the rest of it can be shown in a table."""
    entry, records = entries_of(table)[0], tmp_path / "records"
    path = filed(entry, tmp_path / "work", records)
    whole, rng, told = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(100):
        path.write_bytes(mutated(whole, rng))
        found = look_up(entry, records)
        assert "\n" not in found.problem
        told += bool(found.problem)
        if not found.problem:
            summarize(account_of(table, records).records)
            prices([found], 8.0)
    assert told > 50


def test_a_named_pipe_in_the_place_of_a_record(table, tmp_path):
    entry = entries_of(table)[0]
    path = path_of(entry, tmp_path)
    path.parent.mkdir()
    os.mkfifo(path)
    assert look_up(entry, tmp_path).problem.startswith("damaged: ")


def test_files_of_no_run_are_named(table, tmp_path):
    path = filed(entries_of(table)[0], tmp_path / "work", tmp_path / "records")
    path.with_name("another.json").write_text("{}")
    found = look_up_all(table, tmp_path / "records")
    assert left_over(found, path.parent) == ["another.json"]
    assert left_over([], tmp_path / "records" / "other") == []


def test_the_settings_of_a_record_are_those_that_decide(tiny_config):
    settings = settings_of(resolve(tiny_config(**{"evaluations.names": ("kl_divergence",)})))
    assert settings["seed"] == 0
    assert settings["train.steps"] == 12
    assert not {"train.log_every", "train.microbatch", "data.fingerprint"} & settings.keys()
    assert not any(key.startswith("evaluations.marginal_likelihood.") for key in settings)
    assert len(settings) < len(flatten(plain(base_config())))


# ---- prices and order ----


def test_the_price_of_a_run_is_scaled_to_this_machine(tmp_path):
    runs = [{"seed": s, "objective.name": n} for n in ("sampling", "iwae", "rae") for s in (0, 1)]
    table = own_table(tmp_path, runs, part=((), (), "", 0.5))
    records, entries = tmp_path / "records", entries_of(table)
    filed(entries[0], tmp_path / "work", records, processor_seconds=20.0, calibration=4.0)
    filed(entries[2], tmp_path / "work", records, processor_seconds=30.0, calibration=None)
    accelerated = {**PIECE, "machine": {**PIECE["machine"], "accelerator": "1 x H100"}}
    filed(entries[4], tmp_path / "work", records, pieces=[accelerated])
    looked = look_up_all(table, records)
    entries = [one.entry for one in looked]
    # On two cores of the machines of the records, where an accelerator tells nothing.
    assert hours(looked, [entries[1], entries[5]]) == pytest.approx(20 / 2 / 3600 + 0.5)
    found = prices(looked, 6.0)
    assert [found[entry].seconds for entry in entries] == [30.0, 30.0, 30.0, 30.0, 3600.0, 3600.0]
    assert [found[entry].is_measured for entry in entries] == [True] * 4 + [False] * 2
    unknown = own_table(tmp_path, runs)
    found = prices([Filed(entry) for entry in entries_of(unknown)], 6.0)
    assert {price.seconds for price in found.values()} == {np.inf}


def test_the_cheapest_evidence_comes_first(tmp_path):
    runs = [{"seed": s, "objective.name": n} for n in ("sampling", "iwae", "rae") for s in range(4)]
    table = own_table(tmp_path, runs)
    seconds = {"sampling": 10.0, "iwae": 25.0, "rae": np.inf}
    entries = entries_of(table)
    price = {entry: Price(seconds[entry.changes["objective.name"]]) for entry in entries}
    there = Filed(entries[0], record={"metrics": {}})
    order = in_order([there, *map(Filed, entries[1:])], price)
    told = [(entry.changes["objective.name"], entry.changes["seed"]) for entry in order]
    # Of sampling one seed is there: the others cost 20, 30 and 40; those of iwae 25, 50, 75, 100.
    cheap = [("sampling", 1), ("iwae", 0), ("sampling", 2), ("sampling", 3)]
    assert told[:7] == [*cheap, ("iwae", 1), ("iwae", 2), ("iwae", 3)]
    assert told[7:] == [("rae", seed) for seed in range(4)]


def test_why_a_run_cannot_be_carried_out_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    config = write_config(tmp_path, [{}], **LESS)
    overrides = {
        "data.name=mnist_5k": "",
        f"data.name=folder:{tmp_path}/none": "none",
        "data.name=fashion_mnist": "TFDS set 'fashion_mnist' is not prepared in",
        "model.latent_size=-1": "model.latent_size",
        f"train.decoder_from={tmp_path}": "holds no run; give another workdir",
    }
    obstacles = Obstacles()
    for override, expected in overrides.items():
        (entry,) = entries_of(Table("t", "T", (Part(config, (), (override,)),)))
        found = obstacles.of(entry)
        assert expected in found
        assert bool(found) == bool(expected)
        assert "\n" not in found


def test_the_calibration_is_measured_once_and_kept(own_cache, monkeypatch):
    first = calibration.calibration()
    assert 0.1 < first < 10_000
    monkeypatch.setattr(calibration, "measure", lambda: pytest.fail("measured again"))
    assert calibration.calibration() == first
    (path,) = (own_cache / "sfvae_jax" / "calibration").iterdir()
    monkeypatch.setattr(calibration, "measure", lambda: 7.0)
    for damaged in ("{", "[]", path.read_text().replace(str(first), "-1")):
        path.write_text(damaged)
        assert calibration.calibration() == 7.0


def test_the_time_left_counts_what_a_step_takes(tmp_path):
    """A run about which nothing is known gets the usual time."""
    runs = [{"seed": 0, "objective.name": name} for name in ("sampling", "iwae", "rae")]
    entries = entries_of(own_table(tmp_path, runs))
    seconds = (12.0, 36.0, np.inf)
    price = {entry: Price(time) for entry, time in zip(entries, seconds, strict=True)}
    work = work_on(entries, price, tmp_path / "work")
    assert [run.step_weight for run in work.runs] == [1.0, 3.0, 2.0]


# ---- texts ----


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(35.2, "35 s"), (130, "2.2 minutes"), (6000, "1.7 hours")],
)
def test_a_time_that_is_guessed_says_so(seconds, text):
    assert listing.priced(Price(seconds, is_measured=True)) == text
    assert listing.priced(Price(seconds)) == f"~{text}"
    assert listing.priced(Price()) == "unknown"


def test_the_list_fits_the_terminal(table, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    records = tmp_path / "records"
    filed(entries_of(table)[0], tmp_path / "work", records)
    filed(entries_of(table)[1], tmp_path / "work", records, settings={"seed": 9})
    none = Table("own-figure1", "OWN Figure 1: a drawing", obstacle="Nothing to compute. " * 9)
    looked = look_up_all(table, records)
    text = listing.overview([(table, looked), (none, [])], prices(looked, 8.0))
    lines = text.splitlines()
    assert max(len(line) for line in lines if "own_config" not in line) <= 70
    assert lines[0].split() == ["name", "records", "per", "run"]
    assert any(line.split() == ["own-table1", "1/3", "15", "s"] for line in lines)
    assert any(line.split() == ["own-figure1", "-", "-"] for line in lines)
    assert "    1 record left out: stale" in lines
    assert "2 tables and figures, 1/3 runs have records; the missing" in text
    assert "take an estimated 30 s of processor time." in " ".join(text.split())


def test_one_table_has_a_line_for_each_run(table, tmp_path):
    records = tmp_path / "records"
    first, second, third = entries_of(table)
    filed(first, tmp_path / "work", records)
    path = filed(second, tmp_path / "work", records)
    path.write_text("{")
    looked = look_up_all(table, records)
    entry = looked[2].entry
    text = listing.of_table(table, looked, prices(looked, 8.0), {entry: "no data"}, ["old.json"])
    lines = text.splitlines()
    assert lines[0] == "own-table1: 1/3 records"
    assert f"filed    15 s  {first.name}" in lines
    assert f"damaged  15 s  {second.name}" in lines
    assert lines[lines.index(f"missing  15 s  {third.name}") + 1] == "    no data"
    assert "old.json belongs to no run of this table" in lines


def test_the_plan_adds_up_and_names_what_cannot_be_had(table):
    entries = entries_of(table)
    price = {entry: Price(60.0, is_measured=True) for entry in entries}
    skipped = {"t/a": "no data", "t/b": "no data"}
    text = listing.of_plan(entries[:2], price, skipped)
    rows = [line.split() for line in text.splitlines()]
    assert rows[1] == ["60", "s", "60", "s", entries[0].path]
    assert rows[2] == ["60", "s", "2.0", "minutes", entries[1].path]
    assert "t/a and 1 more\n    no data" in text
    assert listing.of_plan([], {}, {}) == "No record is missing."
