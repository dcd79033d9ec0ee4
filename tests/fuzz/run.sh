#!/usr/bin/env bash
# libFuzzer on every target, two at a time, FUZZ_SECONDS (15) each. A find is left in build/fuzz/TARGET/found-*. The
# crates deny unsafe code, so panics are what there is to find and no sanitizer is linked in.
set -euo pipefail
cd "$(dirname "$0")/../.."
host=$(rustc -vV | sed -n 's/^host: //p')
# As cargo-fuzz calls the compiler, but optimised less: most of this step's time is the build.
RUSTFLAGS="--cfg fuzzing -C debug-assertions -C overflow-checks -C passes=sancov-module \
    -C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
    -C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --locked --release --config profile.release.lto=false --config profile.release.opt-level=1 \
    -p jetpace-fuzz --bins --target "$host" --target-dir build/fuzz/target

fuzz() {
    mkdir -p "build/fuzz/$1"
    if "build/fuzz/target/$host/release/fuzz-$1" -max_total_time="${FUZZ_SECONDS:-15}" -max_len=4096 \
        -use_value_profile=1 -timeout=10 -rss_limit_mb=1024 -artifact_prefix="build/fuzz/$1/found-" \
        "build/fuzz/$1" "tests/fuzz/seeds/$1" >"build/fuzz/$1.log" 2>&1; then
        echo "$1: $(grep -a '^Done' "build/fuzz/$1.log")"
    else
        tail -25 "build/fuzz/$1.log" >&2
        return 1
    fi
}

failed=0
for pair in "model nodes" "sweep table" "wire page" "state weights" "import launch"; do
    jobs=()
    for target in $pair; do
        fuzz "$target" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do
        wait "$job" || failed=1
    done
done
[ $failed = 0 ] ||
    { echo "once mended, keep what is in build/fuzz/TARGET/found-* in tests/fuzz/seeds/TARGET" >&2; exit 1; }
