#!/usr/bin/env bash
# The CUDA kernels on the CPU.  run.sh BUILD_FOLDER
# Every shape of the networks at full size without sanitizers; with the address and undefined-behaviour sanitizers every
# shape at few pixels, ragged sizes, and the mutants. Both bodies: 870 (mma, cp.async) and 720 (wmma).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
kernels=$here/../../kernels/cu
out=$1
export ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=0
export JP_EMU_FLAGS="-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"

for arch in 870 720; do
    "$here/build.sh" "$out/fast/$arch" $arch "$kernels" -O2
    # shellcheck disable=SC2086
    "$here/build.sh" "$out/$arch" $arch "$kernels" $JP_EMU_FLAGS
done

# Both bodies side by side, as the reference takes one processor however many there are.
threads=$((($(nproc) + 1) / 2))
checks() {
    local arch=$1 order part
    printf '\n%s\n' "-- $arch, full sizes"
    "$out/fast/$arch/emu_test" --threads $threads full "$here/shapes.txt"
    for order in "" "--reverse --early"; do
        for part in ragged small; do
            printf '\n%s\n' "-- $arch, $part${order:+, $order}, sanitizers"
            # shellcheck disable=SC2086
            "$out/$arch/emu_test" --threads $threads $order $part "$here/shapes.txt" | grep -v '^ok' # the full list is above
        done
    done
}
checks 870 >"$out/870.log" 2>&1 & one=$!
checks 720 >"$out/720.log" 2>&1 & two=$!
failed=0
wait $one || failed=1
wait $two || failed=1
cat "$out/870.log" "$out/720.log"
[ $failed = 0 ]

# Of the same kernels, emulation and mutants the same is found: three minutes, only where one of them has changed since
# all were caught.
printf '\n%s\n' "-- mutants"
stamp=$here/mutants.sha256
now=$(cd "$here" && LC_ALL=C && sha256sum ../../kernels/cu/*.{cu,cuh,h} ./*.{cpp,h,py,sh,toml,txt} | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
    echo "all caught when last built: nothing that they depend on has changed since (remove $stamp to see it again)"
else
    python3 "$here/mutants.py" "$out"
    echo "$now" >"$stamp"
fi
