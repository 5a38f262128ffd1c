"""One of several processes that train several runs: COORDINATOR NUMBER ID FILE.

FILE has a list of [workdir, changes of the tiny config]. WORKDIR.told.ID lists the steps that this
process was told of.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers import make_tiny_config

from sfvae_jax.runtime import processes
from sfvae_jax.train import train

if __name__ == "__main__":
    coordinator, number, index, runs = sys.argv[1:]
    processes.start(coordinator, int(number), int(index))
    for workdir, changes in json.loads(Path(runs).read_text()):
        told = []
        note = lambda step, metrics: told.append(step)  # noqa: E731
        train(make_tiny_config(**changes), workdir, on_metrics=note, tensorboard=True)
        Path(f"{workdir}.told.{index}").write_text(json.dumps(told))
