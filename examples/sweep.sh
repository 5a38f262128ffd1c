#!/usr/bin/env bash
# A sweep of two keys with two seeds each, and its tables: bash examples/sweep.sh [FOLDER] [FLAGS]
#
# The same command goes on where it was stopped. FLAGS are those of `sfvae_jax sweep`, such as
# --jobs=2 to carry out two runs at a time, or --config.KEY=VALUE for all runs.
set -euo pipefail
folder=${1:-runs/sweep}

# Eight runs. Prints their table, with the mean and the standard deviation over the seeds, and writes
# it to FOLDER: report.md, report.csv, and report_sweep.png with each measure over the latent size.
sfvae_jax sweep --config=vae.py:laptop --workdir="$folder" --config.train.steps=200 \
    --config.likelihood.name=gaussian --grid.objective.name=sampling_free,sampling \
    --grid.model.latent_size=4,16 --grid.seed=0,1 "${@:2}"

# The same for some of the runs, in LaTeX.
sfvae_jax report "$folder"/*latent_size=16* --output="$folder/latent_size_16" --latex
