#!/usr/bin/env bash
# Builds ranges.c against NVIDIA's headers. usage: build.sh VENV PROGRAM    (VENV has the package nvidia-nvtx-cu12)
set -euo pipefail
headers=$("$1/bin/python" -c 'import nvidia.nvtx, os; print(os.path.join(nvidia.nvtx.__path__[0], "include"))')
cc -std=c11 -O2 -Wall -Wextra -Werror -I "$headers" "$(dirname "$0")/ranges.c" -o "$2" -ldl -lpthread
