#!/usr/bin/env bash
# Unmodified programs with NVTX ranges, against NVIDIA's own headers and the Python package.
# usage: check.sh BUILD-FOLDER VENV    (BUILD-FOLDER has jetpace and libjetpace_nvtx.so, VENV the packages nvtx and
# nvidia-nvtx-cu12)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
venv=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
diff <(echo InitializeInjectionNvtx2) <(nm -D --defined-only "$build/libjetpace_nvtx.so" | awk '{ print $3 }') ||
    { echo "nvtx: libjetpace_nvtx.so has other symbols" >&2 && exit 1; }
"$here/tests/build.sh" "$venv" "$work/ranges"
"$venv/bin/python" "$here/tests/check.py" "$build/jetpace" "$work/ranges"
echo "nvtx: ok"
