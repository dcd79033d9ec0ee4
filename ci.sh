#!/usr/bin/env bash
# Every check of the project. `./ci.sh` runs the default steps; `./ci.sh STEP ...` runs those named.
# As root on Debian a step installs what it lacks; otherwise it says what to install.
set -euo pipefail
cd "$(dirname "$0")"

DEFAULT_STEPS=(fmt clippy doc arrows docs test faults nostd cross sizes kernel capi emu cubin fuzz unit)
LONG_STEPS=(bench gpu soak torch)

say() { printf '\n== %s\n' "$*"; }
die() { printf 'ci.sh: %s\n' "$*" >&2; exit 1; }

# apt PACKAGE ...: installs them, or says what to install.
apt() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "missing: on Debian 12, as root, run: apt-get install $*"
    fi
    say "installing $*"
    local install=(apt-get install -y -qq --no-install-recommends "$@")
    export DEBIAN_FRONTEND=noninteractive
    "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
        die "apt-get could not install $*"
}

# need COMMAND-OR-FILE PACKAGE ...: installs the packages where the command or file is missing.
need() {
    command -v "$1" >/dev/null 2>&1 || [ -e "$1" ] || apt "${@:2}"
}

# Packages of the Jetson's architecture.
need_arm64() {
    if [ "$(dpkg --print-architecture)" != arm64 ] && ! dpkg --print-foreign-architectures | grep -qx arm64; then
        [ "$(id -u)" = 0 ] || die "arm64 packages: as root, run: dpkg --add-architecture arm64 && apt-get update"
        dpkg --add-architecture arm64
    fi
    need "$1" "${@:2}"
}

# Debian security's Rust has the sources of core and std and so builds them for any target, which a rustup without
# rust-src cannot. rustup's cargo comes first in PATH and would be taken by cargo itself, so PATH is set.
debian_cargo() {
    need /usr/bin/cargo cargo-web
    need /usr/lib/rustlib/src/rust/library/core rust-web-src
    [ "$(/usr/bin/rustc --version | cut -d. -f2)" -ge 88 ] ||
        die "$(/usr/bin/rustc --version) is too old; Debian security has 1.88 or newer: apt-get install rustc-web cargo-web"
    PATH=/usr/bin:/bin RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" --locked --profile release-static --target-dir build/debian
}

step_fmt() { cargo fmt --all --check; }
step_clippy() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy --workspace --all-targets --features jetpace/cuda --locked -- -D warnings
}
step_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --features jetpace/cuda --no-deps --locked; }
# No crate and no module uses what stands above it.
step_arrows() { cargo test -q -p jetpace-tests --test it --locked layering::; }
# Documents and code say the same: fields, columns, exit codes, commands as printed; and samples of released versions are
# read. Of the whole workspace, so that `test` need not build anew.
step_docs() { cargo test -q --workspace --test cli --test it --locked -- documents:: readme:: frozen::; }
# With CUDA in the binary it still runs on a machine without it; that is what the second line tests.
step_test() {
    cargo test --workspace --locked
    cargo test -p jetpace -p jetpace-kernels --features jetpace/cuda --locked
    # As it is released: once the optimiser (rustc 1.95, thin LTO) walked one clock too far where the debug build did not.
    cargo test --release -p jetpace-tables --lib --locked
    cargo run -q --release --locked -- demo --out "$(mktemp -d)/demo" >/dev/null
}

# The planner against an enumeration of all schedules on random instances, and its gap on large ones.
LONG_STEPS+=(plan-exact)
step_plan-exact() {
    PLAN_EXACT=20000 cargo test --release --locked -p jetpace-tables --lib plan::tests::oracle -- --nocapture
}

step_nostd() {
    debian_cargo build -Zbuild-std=core -p jetpace-tables --no-default-features --target thumbv7em-none-eabi
}

# static_build PACKAGE --bin NAME ...: for aarch64 musl, fully static, with the smallest std. 4 KiB pages and no unwind
# tables save 140 KB; the tiny code model, whose addresses reach 1 MiB (the linker refuses more), and a second look for
# repeated instructions 24 KB; SHA-256 as a loop 7 KB.
STATIC=build/debian/aarch64-unknown-linux-musl/release-static
static_build() {
    local musl=/usr/lib/aarch64-linux-musl cc=aarch64-linux-gnu-gcc lib=$PWD/build/debian/no_unwind
    need $cc gcc-aarch64-linux-gnu
    need_arm64 $musl/libc.a musl-dev:arm64
    need file file
    mkdir -p "$lib"
    rm -f "$lib"/*
    $cc -specs=$musl/musl-gcc.specs -Os -c agent/static/stubs.c -o "$lib/stubs.o"
    aarch64-linux-gnu-ar rcs "$lib/libunwind.a" "$lib/stubs.o"
    RUSTFLAGS="-C linker=$cc -C link-self-contained=no -C link-arg=-specs=$musl/musl-gcc.specs -L native=$musl \
        -L native=$lib -C link-arg=-Wl,-z,max-page-size=4096 -C force-unwind-tables=no \
        -C code-model=tiny -C llvm-args=-machine-outliner-reruns=2 --cfg sha2_backend_soft=\"compact\"" \
        debian_cargo build -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size \
        --target aarch64-unknown-linux-musl --no-default-features -p "$@"
}

# The released agent.
step_cross() {
    need qemu-aarch64-static qemu-user-static
    static_build jetpace --bin jetpace
    # Debian's musl links dynamically without a word where its specs are not followed.
    file $STATIC/jetpace | grep -q 'ARM aarch64.*statically linked' || die "not static: $(file $STATIC/jetpace)"
    qemu-aarch64-static $STATIC/jetpace --version
}

# sizes.toml: a budget per artefact; what is not there yet is built by its step.
step_sizes() {
    local name path bytes step size over=0
    while read -r name path bytes step; do
        [ -e "$path" ] || "step_$step" </dev/null
        size=$(stat -c %s "$path")
        printf '%-16s %9d of %9d bytes\n' "$name" "$size" "$bytes"
        [ "$size" -le "$bytes" ] || { echo "$name is over its budget: $path" >&2 && over=1; }
    done < <(awk -F'[] =["]+' '/^\[/ { name = $2 } /^(path|bytes|step) / { v[$1] = $2 }
        /^step / { print name, v["path"], v["bytes"], v["step"] }' sizes.toml)
    [ $over = 0 ]
}

# The agent and the devfreq core's cases on a real arm64 kernel under QEMU.
step_kernel() {
    need qemu-system-aarch64 qemu-system-arm
    need dtc device-tree-compiler
    need cpio cpio
    need make make
    need xz xz-utils
    static_build jetpace --bin jetpace
    static_build jetpace-kernel-cases --bin jetpace-kernel-cases
    local folder
    folder=$(tests/kernel/build.sh build/kernel)
    tests/kernel/run.sh "$folder" $STATIC/jetpace $STATIC/jetpace-kernel-cases
}

# The runtime's mailbox and shared page under every order of two threads, and the C library from outside.
step_capi() {
    need g++ g++
    need pkg-config pkg-config
    need objdump binutils
    need python3 python3
    RUSTFLAGS="--cfg loom" cargo test -q -p jetpace-loom --release --locked --target-dir target/loom
    cargo build -q -p jetpace -p jetpace-capi --locked
    cargo test -q -p jetpace-capi --locked
    capi/check.sh "${CARGO_TARGET_DIR:-target}/debug"
}

# The hooks with PyTorch itself: a large wheel, so only by name; JETPACE_TORCH_INDEX names an index of CPU wheels.
step_torch() {
    need python3 python3
    local venv=build/torch
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -c 'import torch' 2>/dev/null ||
        "$venv/bin/pip" install --quiet torch ${JETPACE_TORCH_INDEX:+--index-url "$JETPACE_TORCH_INDEX"}
    cargo build -q -p jetpace -p jetpace-capi --locked
    JETPACE_TORCH=1 PATH="$PWD/$venv/bin:$PATH" capi/check.sh "${CARGO_TARGET_DIR:-target}/debug"
}

# Ten million blocks with faults: no allocation, no page fault, every frame accounted for.
step_soak() { JETPACE_BLOCKS=10000000 cargo test --release -p jetpace-tests --test blocks --locked; }

# Figures of the runtime against its bars: the best of five runs.
step_bench() {
    need python3 python3
    cargo build -q --release -p jetpace --locked
    cargo bench -q -p jetpace-tables --bench planner --locked |
        python3 tests/bench/judge.py "${CARGO_TARGET_DIR:-target}/release/jetpace"
    python3 tests/bench/speed.py "${CARGO_TARGET_DIR:-target}/release/jetpace"
}

# A build of the CUDA kernels equals what is committed, and its SASS is within its budgets.
step_cubin() {
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || apt python3-pip
    kernels/rebuild.sh --check
}

# The long form of the tests for restoring: seeded faults on recorded boards, kill -9 on a tree on disk, bad trees. Of the
# whole workspace, so that it is what `test` has built.
step_faults() {
    JETPACE_FAULT_RUNS=${JETPACE_FAULT_RUNS:-10000} JETPACE_KILLS=${JETPACE_KILLS:-950} \
        cargo test --workspace --test it --locked -- --nocapture faults:: killed:: bad_trees:: rivals::
}

# The CUDA kernels as C++ on the CPU, every shape and the faults that this must find; then the launcher on a stub driver
# that runs them: Orin's bodies, and Xavier's; the bundle for a machine with a GPU, rehearsed on it; last the agent's
# calibrate and run.
step_emu() {
    need g++ g++
    need python3 python3
    tests/emu/run.sh build/emu
    need nm binutils
    tests/emu/libcuda/build.sh build/libcuda/87 870
    tests/emu/libcuda/build.sh build/libcuda/72 720
    tests/emu/libcuda/build.sh build/libcuda/asan 870 -O1 -fsanitize=address
    cargo build -p jetpace-kernels --features cuda --example check --example infer --locked # which the tests run
    JETPACE_STUBS=$PWD/build/libcuda cargo test -p jetpace-kernels --features cuda --test emulated --locked
    python3 -m unittest discover -s tests/gpu
    JETPACE_PROFILE=dev tests/gpu/bundle.sh build/rehearsal
    python3 tests/gpu/rehearse.py build/rehearsal build/libcuda/87
    JETPACE_STUBS=$PWD/build/libcuda cargo test -p jetpace --features cuda --test cuda --locked
}

# Models of other people's kinds, imported and run on the stub driver, against onnxruntime; only by name, as it installs
# onnx and onnxruntime and takes a while.
LONG_STEPS+=(onnx)
step_onnx() {
    need g++ g++
    need python3 python3
    local venv=build/onnx
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -c 'import onnx, onnxruntime' 2>/dev/null || "$venv/bin/pip" install --quiet onnx onnxruntime numpy
    tests/emu/libcuda/build.sh build/libcuda/87 870
    cargo build --release -p jetpace-kernels --features cuda --example pack --example infer --locked
    "$venv/bin/python" tests/onnx/check.py "${CARGO_TARGET_DIR:-target}/release/examples" build/libcuda/87
}

# What of tests/gpu runs without a GPU; with one, everything: right, clean and how fast.
step_gpu() {
    need python3 python3
    python3 -m unittest discover -s tests/gpu
    tests/gpu/bundle.sh build/gpu
    local code=0
    OUT=build/gpu-results build/gpu/run.sh || code=$?
    [ $code = 3 ] || return $code
}

# libFuzzer on everything that reads foreign bytes.
step_fuzz() {
    need c++ g++
    tests/fuzz/run.sh
}

# Thousands of attacks and injected faults on the daemon and the state file; then the fuzzers for longer.
LONG_STEPS+=(attack)
step_attack() {
    need python3 python3
    need strace strace
    cargo build -q --release -p jetpace --locked
    python3 tests/attack/attack.py "${CARGO_TARGET_DIR:-target}/release/jetpace" tests/boards/agx-orin-r35.4
    FUZZ_SECONDS=${FUZZ_SECONDS:-60} tests/fuzz/run.sh
}

# What the service manager thinks of the unit: 10 is bare, 2 the most that is accepted here.
step_unit() {
    command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze here" && return; }
    systemd-analyze security --offline=yes --no-pager --threshold=20 packaging/jetpace.service | tail -1
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${DEFAULT_STEPS[@]}")
need cc gcc libc6-dev
# Processor seconds of all that has run: on a shared machine they say more than the clock on the wall.
cpu() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($16 + $17) / hz) }' /proc/$$/stat; }
for name in "${steps[@]}"; do
    declare -F "step_$name" >/dev/null || die "no step $name; there are: ${DEFAULT_STEPS[*]} ${LONG_STEPS[*]}"
    say "$name"
    started=$SECONDS cpu_before=$(cpu)
    "step_$name"
    say "$name: ok, $((SECONDS - started)) s ($(($(cpu) - cpu_before)) s of processor)"
done
