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

# need_arch ARCH COMMAND-OR-FILE PACKAGE ...: the same of another architecture's packages.
need_arch() {
    if [ "$(dpkg --print-architecture)" != "$1" ] && ! dpkg --print-foreign-architectures | grep -qx "$1"; then
        [ "$(id -u)" = 0 ] || die "$1 packages: as root, run: dpkg --add-architecture $1 && apt-get update"
        dpkg --add-architecture "$1"
    fi
    local packages=("${@:3}")
    need "$2" "${packages[@]/%/:$1}"
}

. packaging/build.sh

# Whatever is built to be tested is built once: another set of features would be another build of everything. CUDA's code
# runs on machines without it, too. Without it the agent is linted below, and built by `cross` and for the demo.
TESTED=(--workspace --features jetpace/cuda --locked)

step_fmt() { cargo fmt --all --check; }
step_clippy() {
    cargo clippy "${TESTED[@]}" --all-targets -- -D warnings
    cargo clippy -p jetpace --all-targets --locked -- -D warnings
}
step_doc() { RUSTDOCFLAGS="-D warnings" cargo doc "${TESTED[@]}" --no-deps; }
# No crate and no module uses what stands above it.
step_arrows() { cargo test -q "${TESTED[@]}" --test it layering::; }
# Documents and code say the same: fields, columns, exit codes, commands as printed; and samples of released versions are
# read.
step_docs() { cargo test -q "${TESTED[@]}" --test cli --test it -- documents:: readme:: frozen::; }
# All but what has a step of its own: arrows, docs and, in its long form, faults.
step_test() {
    cargo test "${TESTED[@]}" -- --skip layering:: --skip documents:: --skip readme:: --skip frozen:: \
        --skip faults:: --skip killed:: --skip bad_trees:: --skip rivals::
    # As it is released: once the optimiser (rustc 1.95, thin LTO) walked one clock too far where the debug build did not.
    cargo test --release -p jetpace-tables --lib --locked
    "${CARGO_TARGET_DIR:-target}/debug/jetpace" demo --out "$(mktemp -d)/demo" >/dev/null
}

# The planner against an enumeration of all schedules on random instances, and its gap on large ones.
LONG_STEPS+=(plan-exact)
step_plan-exact() {
    PLAN_EXACT=20000 cargo test --release --locked -p jetpace-tables --lib plan::tests::oracle -- --nocapture
}

step_nostd() {
    debian_cargo build -Zbuild-std=core --profile release-static -p jetpace-tables --no-default-features \
        --target thumbv7em-none-eabi
}

# The released agent.
step_cross() {
    need qemu-aarch64-static qemu-user-static
    static_agent arm64
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
    static_agent arm64
    static_build arm64 jetpace-kernel-cases --bin jetpace-kernel-cases
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
    cargo build -q "${TESTED[@]}"
    capi/check.sh "${CARGO_TARGET_DIR:-target}/debug"
    nvtx_python
    nvtx/check.sh "${CARGO_TARGET_DIR:-target}/debug" build/nvtx
}

# A Python with NVIDIA's NVTX headers and package.
nvtx_python() {
    [ -x build/nvtx/bin/python ] || python3 -m venv build/nvtx
    build/nvtx/bin/python -c 'import nvtx, nvidia.nvtx' 2>/dev/null || build/nvtx/bin/pip install --quiet nvtx nvidia-nvtx-cu12
}

# The same with programs of one's own the whole way to a table's frames, and nights of recalibrate: minutes, on a machine that
# does little else.
LONG_STEPS+=(own)
step_own() { JETPACE_OWN=1 step_capi; }

# The hooks with PyTorch itself: a large wheel, so only by name; JETPACE_TORCH_INDEX names an index of CPU wheels.
step_torch() {
    need python3 python3
    local venv=build/torch
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -c 'import torch' 2>/dev/null ||
        "$venv/bin/pip" install --quiet torch ${JETPACE_TORCH_INDEX:+--index-url "$JETPACE_TORCH_INDEX"}
    "$venv/bin/python" -c 'import transformers' 2>/dev/null || "$venv/bin/pip" install --quiet transformers
    cargo build -q "${TESTED[@]}"
    JETPACE_TORCH=1 PATH="$PWD/$venv/bin:$PATH" capi/check.sh "${CARGO_TARGET_DIR:-target}/debug"
    "$venv/bin/python" nvtx/tests/torch_ranges.py "${CARGO_TARGET_DIR:-target}/debug/jetpace"
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
    cargo build -q --release -p jetpace-nvtx --locked
    nvtx_python
    nvtx/tests/build.sh build/nvtx build/nvtx/ranges
    python3 tests/bench/nvtx.py "${CARGO_TARGET_DIR:-target}/release" build/nvtx/ranges
}

# A build of the CUDA kernels equals what is committed, and its SASS is within its budgets.
step_cubin() {
    need python3 python3
    python3 -m pip --version >/dev/null 2>&1 || apt python3-pip
    kernels/rebuild.sh --check
}

# The long form of the tests for restoring: seeded faults on recorded boards, kill -9 on a tree on disk, bad trees.
step_faults() {
    JETPACE_FAULT_RUNS=${JETPACE_FAULT_RUNS:-10000} JETPACE_KILLS=${JETPACE_KILLS:-950} \
        cargo test "${TESTED[@]}" --test it --test cli -- --nocapture faults:: killed:: bad_trees:: rivals::
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
    cargo build "${TESTED[@]}" --example check --example infer # which the tests run
    JETPACE_STUBS=$PWD/build/libcuda cargo test "${TESTED[@]}" --test emulated --test cuda
    python3 -m unittest discover -s tests/gpu
    JETPACE_PROFILE=dev tests/gpu/bundle.sh build/rehearsal
    python3 tests/gpu/rehearse.py build/rehearsal build/libcuda/87
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

# Packages for both architectures, and what a user does with them in fresh Debian roots; only by name, as it builds all
# that is released. DEB_ARCHES=amd64 makes and tries those of one architecture.
LONG_STEPS+=(deb)
step_deb() {
    need lintian lintian
    need mmdebstrap mmdebstrap
    need systemd-nspawn systemd-container
    need qemu-aarch64-static qemu-user-static
    local tools=$PWD/build/tools packages=build/deb/packages arch
    [ -x "$tools/bin/cargo-deb" ] || cargo install -q cargo-deb --version 3.8.0 --locked --root "$tools"
    rm -rf $packages
    for arch in ${DEB_ARCHES:-arm64 amd64}; do
        static_agent $arch
        full_build $arch
        PATH=$tools/bin:$PATH packaging/deb.sh $arch $packages
    done
    lintian --fail-on error,warning --no-tag-display-limit $packages/*.deb
    packaging/check.sh build/deb/check $packages
}

# The Python wheels for both architectures; this machine's in a fresh environment, where a program of one's own is measured,
# planned and followed as docs/OWN-PROGRAM.md says; only by name, as it builds what is released.
LONG_STEPS+=(wheel)
step_wheel() {
    need python3 python3
    local arch out=build/wheel/out venv=build/wheel/venv
    rm -rf $out $venv
    for arch in ${DEB_ARCHES:-arm64 amd64}; do
        full_build $arch
        packaging/wheel.sh $arch $out
    done
    arch=$(cpu "$(dpkg --print-architecture)")
    python3 -m venv $venv
    $venv/bin/pip install -q --no-index "$out"/*_"$arch".whl
    env -u PYTHONPATH -u JETPACE_LIBRARY $venv/bin/python capi/tests/own_python.py \
        "build/debian/$arch-unknown-linux-gnu/release/jetpace" $venv Tests.test_the_page_of_python_runs
}

# What `jetpace metrics` prints, and the alerts on it, as Prometheus' own tool sees them.
LONG_STEPS+=(metrics)
step_metrics() {
    need promtool prometheus
    cargo build -q "${TESTED[@]}"
    local folder
    folder=$(mktemp -d)
    "${CARGO_TARGET_DIR:-target}/debug/jetpace" serve --board sim:tx2 --socket "$folder/sock" &
    local daemon=$!
    until [ -S "$folder/sock" ]; do kill -0 $daemon && sleep 0.1; done
    "${CARGO_TARGET_DIR:-target}/debug/jetpace" metrics --socket "$folder/sock" | tee /dev/stderr | promtool check metrics
    kill $daemon && wait $daemon
    promtool check rules packaging/prometheus/jetpace.rules.yml
    promtool test rules packaging/prometheus/rules_test.yml
}

# Reports as people see them, in Chromium: three widths, light, dark and printed; writes the pictures and the text in docs, of
# README's tour. Only by name, as it installs a browser.
LONG_STEPS+=(report)
step_report() {
    need python3 python3
    need chromium chromium
    need /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core
    cargo build -q "${TESTED[@]}" --bin jetpace
    tests/report/run.sh "${CARGO_TARGET_DIR:-target}/debug/jetpace" build/report docs
}

# What the service manager thinks of the unit: 10 is bare, 2 the most that is accepted here.
step_unit() {
    command -v systemd-analyze >/dev/null || { echo "skipped: no systemd-analyze here" && return; }
    systemd-analyze security --offline=yes --no-pager --threshold=20 packaging/deb/jetpace.service | tail -1
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=("${DEFAULT_STEPS[@]}")
need cc gcc libc6-dev
# Processor seconds of all that has run: on a shared machine they say more than the clock on the wall.
processor_seconds() { awk -v hz="$(getconf CLK_TCK)" '{ print int(($16 + $17) / hz) }' /proc/$$/stat; }
for name in "${steps[@]}"; do
    declare -F "step_$name" >/dev/null || die "no step $name; there are: ${DEFAULT_STEPS[*]} ${LONG_STEPS[*]}"
    say "$name"
    started=$SECONDS before=$(processor_seconds)
    "step_$name"
    say "$name: ok, $((SECONDS - started)) s ($(($(processor_seconds) - before)) s of processor)"
done
