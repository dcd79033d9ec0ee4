#!/usr/bin/env bash
# Every check of the project. `./ci.sh` runs the default steps; `./ci.sh STEP ...` runs those named.
# As root on Debian a step installs what it lacks; otherwise it says what to install.
set -euo pipefail
cd "$(dirname "$0")"

DEFAULT_STEPS=(fmt clippy doc test)
LONG_STEPS=()

say() { printf '\n== %s\n' "$*"; }
die() { printf 'ci.sh: %s\n' "$*" >&2; exit 1; }

# need COMMAND-OR-FILE PACKAGE ...: installs the packages where the command or file is missing.
need() {
    local what=$1
    shift
    command -v "$what" >/dev/null 2>&1 && return
    [ -e "$what" ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $*"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null ||
            { apt-get update >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null; }
    else
        die "$what is missing: as root, run: apt-get install $*"
    fi
}

step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }
step_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }
step_test() { cargo test --workspace --locked; }

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${DEFAULT_STEPS[@]}")
need cc gcc libc6-dev
for name in "${steps[@]}"; do
    declare -F "step_$name" >/dev/null || die "no step $name; there are: ${DEFAULT_STEPS[*]} ${LONG_STEPS[*]}"
    say "$name"
    started=$SECONDS
    "step_$name"
    say "$name: ok, $((SECONDS - started)) s"
done
