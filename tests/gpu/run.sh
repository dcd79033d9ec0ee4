#!/bin/sh
# Checks and times everything on this machine's GPU in 9 minutes; the results go to $OUT, or to ./results.
here=$(dirname "$(readlink -f "$0")")
exec python3 "$here/scripts/gpu.py" --bundle "$here" --out "${OUT:-results}" "$@"
