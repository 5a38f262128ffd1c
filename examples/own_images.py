"""From images to a report and a model: python examples/own_images.py IMAGES FOLDER [FLAGS]

IMAGES is a folder of pictures. FOLDER gets a run of each of two objectives, report.md, and
images.png: images, their reconstructions and new ones. FLAGS may change any key of both runs, such
as --config.train.steps=5000 or --config.data.image_size=32.
"""

import logging
import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import sfvae_jax
from sfvae_jax import data
from sfvae_jax.command_line.flag_config import parse_config
from sfvae_jax.evaluate import evaluate
from sfvae_jax.report import find_runs, write_report
from sfvae_jax.train import train

logging.basicConfig(format="%(message)s")
logging.getLogger("sfvae_jax").setLevel(logging.INFO)  # shows how training goes
images, folder, *flags = sys.argv[1:]
for objective in ("sampling_free", "sampling"):
    keys = {"data.name": f"folder:{images}", "data.num_examples": 0, "objective.name": objective}
    keys["likelihood.name"] = "gaussian"  # the same for both; else chosen by data and objective
    changes = [f"--config.{key}={value}" for key, value in keys.items()]
    config = parse_config(["--config=vae.py:laptop", *changes, *flags])
    train(config, Path(folder, objective))  # goes on where it was stopped
    evaluate(config, Path(folder, objective))
print(write_report(find_runs([folder]), Path(folder)).text)

run = sfvae_jax.load(Path(folder, "sampling_free"))
x = data.load(run.config.data, "test")[:8]  # uint8, [8, H, W, C]
rows = (x / 255, run.reconstruct(x), run.sample(jax.random.key(0), len(x)))
picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows]).clip(0, 1)
Image.fromarray(np.uint8(255 * picture).squeeze()).save(Path(folder, "images.png"))
