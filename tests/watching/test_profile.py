"""--profile=FIRST:LAST: a trace of whole calls, which can be read back."""

import gzip
import json

import jax
import pytest
from helpers import records

from sfvae_jax.errors import UsageError
from sfvae_jax.train import train
from sfvae_jax.watching.profile import Profile, checked, parse_steps


@pytest.mark.parametrize(
    "text", ["", "100", "100:", ":110", "110:100", "0:5", "-1:5", "1:2:3", "1.5:3", "a:b", "1 : 2"]
)
def test_what_is_not_two_steps_is_refused(text):
    with pytest.raises(UsageError, match="--profile must be FIRST:LAST.*such as 100:110") as caught:
        parse_steps(text)
    assert "\n" not in str(caught.value)


def test_two_steps():
    assert parse_steps("100:110") == (100, 110)
    assert parse_steps("7:7") == (7, 7)


def test_steps_beyond_the_last_are_refused_before_anything_is_written(tmp_path, tiny_config):
    for steps in ((5, 13), (20, 30)):
        with pytest.raises(UsageError, match=r"goes beyond the last step, train.steps=12"):
            train(tiny_config(), tmp_path / "run", profile=steps)
    with pytest.raises(UsageError, match="must be FIRST:LAST"):
        train(tiny_config(), tmp_path / "run", profile=[1, 2])
    assert not (tmp_path / "run").exists()
    assert checked((12, 12), 12) == (12, 12)


def test_a_trace_of_whole_calls_is_written(tmp_path, tiny_config, caplog):
    """Calls end at 3, 4, 6, 8, 9 and 12."""
    config = tiny_config(**{"evaluations.steps": ()})
    with caplog.at_level("INFO", "sfvae_jax"):
        train(config, tmp_path / "run", profile=(8, 10))
    where = tmp_path / "run" / "profile"
    assert f"profile: a trace of steps 7 to 12, which are whole calls, is in {where}" in caplog.text
    [path] = where.rglob("*.trace.json.gz")
    names = {
        event.get("name") for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    }
    assert any("steps" in str(name) for name in names)
    [xplane] = where.rglob("*.xplane.pb")
    data = jax.profiler.ProfileData.from_file(str(xplane))
    assert any(line.name for plane in data.planes for line in plane.lines)

    # The numbers are those of a run that nobody watched.
    train(config, tmp_path / "other")
    one, two = (records(tmp_path / name) for name in ("run", "other"))
    for record in (*one, *two):
        record.pop("steps_per_second")
    assert one == two

    # The same command finds the run finished: nothing is traced, and it is no error.
    train(config, tmp_path / "run", profile=(8, 10))
    assert "--profile=8:10: there is no trace, because training ended after step 12" in caplog.text


@pytest.fixture
def traced(monkeypatch):
    """What the profiler is asked to do, instead of doing it."""
    done = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: done.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: done.append("stop"))
    return done


def take(profile, ends, done, before=0):
    for end in ends:
        with profile.call(before, end):
            done.append((before + 1, end))
        before = end


def test_only_the_calls_of_these_steps_are_traced(tmp_path, traced):
    profile = Profile((4, 7), tmp_path)
    take(profile, (3, 6, 9, 12), traced)
    profile.close(12)
    assert traced == [(1, 3), "start", (4, 6), (7, 9), "stop", (10, 12)]


def test_training_that_ends_early_ends_the_trace(tmp_path, traced):
    profile = Profile((4, 7), tmp_path)
    take(profile, (3, 6), traced)
    profile.close(6)
    assert traced == [(1, 3), "start", (4, 6), "stop"]


def test_a_resumed_run_traces_the_rest(tmp_path, traced, caplog):
    take(Profile((4, 7), tmp_path), (9, 12), traced, before=6)
    assert traced == ["start", (7, 9), "stop", (10, 12)]
    traced.clear()
    profile = Profile((4, 7), tmp_path)
    take(profile, (12, 15), traced, before=9)
    profile.close(15)
    assert traced == [(10, 12), (13, 15)]
    [message] = [record.getMessage() for record in caplog.records]
    assert message.endswith("there is no new trace, because these steps were taken before")


@pytest.mark.parametrize("which", ["start_trace", "stop_trace"])
def test_a_trace_that_fails_is_told(tmp_path, traced, monkeypatch, caplog, which):
    def fail(*arguments):
        raise RuntimeError("Only one profile\nmay be run at a time.")

    monkeypatch.setattr(jax.profiler, which, fail)
    profile = Profile((1, 2), tmp_path)
    take(profile, (1, 2, 3), traced)
    profile.close(3)
    [message] = [record.getMessage() for record in caplog.records]
    assert message.endswith("Only one profile may be run at a time.; training goes on")
