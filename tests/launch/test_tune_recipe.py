"""The search by Ray Tune in docs/launching.md, with Tune replaced by a stub.

The trials really train and evaluate. Where Ray Tune is installed, its own functions tell whether
they would take the recipe's arguments.
"""

import inspect
import json
import re
import sys
import types

import pytest
from helpers import ROOT, TINY

# What shortens the trials, as flags.
_CHANGES = {**TINY, "data.num_valid": 10, "train.steps": 4, "evaluations.steps": ()}


def real_tune():
    try:
        from ray import tune
    except ImportError:  # of Ray, or of what Tune needs besides
        return None
    return tune


@pytest.fixture
def tune(monkeypatch):
    """A stub of `ray.tune` whose search tries the first and the last value of every key."""
    stub, real = types.ModuleType("ray.tune"), real_tune()
    stub.reported = []

    def checked(name, function):
        def call(*args, **kwargs):
            if real is not None:
                inspect.signature(getattr(real, name)).bind(*args, **kwargs)
            return function(*args, **kwargs)

        setattr(stub, name, call)

    class Tuner:
        def __init__(self, trainable, param_space, tune_config):
            self.trial, self.space, self.config = trainable, param_space, tune_config

        def fit(self):
            for end in (0, -1):
                self.trial({key: values[end] for key, values in self.space.items()})
            best = max(stub.reported, key=lambda measures: measures[self.config["metric"]])
            result = types.SimpleNamespace(config=self.space, metrics=best)
            return types.SimpleNamespace(get_best_result=lambda: result)

    checked("loguniform", lambda low, high: (low, high))
    checked("choice", tuple)
    checked("TuneConfig", lambda **given: given)
    checked("with_resources", lambda trial, resources: trial)
    checked("report", stub.reported.append)
    checked("Tuner", Tuner)
    package = types.ModuleType("ray")
    package.tune = stub
    monkeypatch.setitem(sys.modules, "ray", package)
    monkeypatch.setitem(sys.modules, "ray.tune", stub)
    return stub


def test_every_trial_is_a_run_and_the_best_is_told(tmp_path, tune, monkeypatch, capsys):
    page = (ROOT / "docs" / "launching.md").read_text().split("## A search by Ray Tune")[1]
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
    monkeypatch.chdir(ROOT)
    code = code.replace('"runs/search"', repr(str(tmp_path / "search")))
    flags = [f"    {f'--config.{key}={value}'!r},\n" for key, value in _CHANGES.items()]
    last = '    "--config.evaluations.names'
    code = code.replace(last, "".join(flags) + last)
    code = code.replace("[16, 64, 200]", "[2, 3]")
    exec(code, {"__name__": "__main__"})
    told = capsys.readouterr().out
    assert len(tune.reported) == 2
    assert str(max(measures["lower_bound"] for measures in tune.reported)) in told
    runs = sorted((tmp_path / "search").iterdir())
    assert [run.name for run in runs] == [
        "train.learning_rate=0.0001,model.latent_size=2",
        "train.learning_rate=0.01,model.latent_size=3",
    ]
    results = [json.loads((run / "results.json").read_text()) for run in runs]
    assert [found["metrics"] for found in results] == tune.reported
