#!/usr/bin/env bash
# Measures the library on one accelerator in at most eight minutes:
#
#   bash benchmarks/accelerator.sh [--output=PREFIX] [--small]
#
# Writes PREFIX.json and PREFIX.md (default: accelerator). `python -m benchmarks.accelerator --help`
# explains them. PYTHON names another interpreter than python3; PyTorch is measured where it is
# installed: pip install -e '.[bench]'.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

limit=480 # seconds
case " $* " in *" --small "*) limit=3600 ;; esac # on a CPU, which may be busy
status=0
timeout --kill-after=10 "$limit" "${PYTHON:-python3}" -m benchmarks.accelerator "$@" || status=$?
if [ "$status" -eq 124 ]; then
    echo "error: stopped after $limit seconds; the record holds what was measured until then" >&2
fi
exit "$status"
