#!/usr/bin/env bash
# The C library from outside: header, symbols, soname, pkg-config, and the examples in C, C++ and Python on a virtual
# board, by themselves and through a daemon. usage: check.sh BUILD-FOLDER (with jetpace and libjetpace.*)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
daemon=
cleanup() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
fail() { printf 'capi: %s\n' "$*" >&2; exit 1; }

# Symbols and soname.
nm -D --defined-only "$build/libjetpace.so" | awk '{ print $3 }' | sort >"$work/symbols"
diff "$here/symbols.txt" "$work/symbols" || fail "the exported symbols are not those of capi/symbols.txt"
objdump -p "$build/libjetpace.so" | grep -q 'SONAME *libjetpace.so.0$' || fail "no soname libjetpace.so.0"

# As it would be installed.
mkdir -p "$work/lib/pkgconfig" "$work/include"
cp "$build/libjetpace.so" "$work/lib/libjetpace.so.0"
ln -s libjetpace.so.0 "$work/lib/libjetpace.so"
cp "$build/libjetpace.a" "$work/lib/"
cp "$here/include/jetpace.h" "$work/include/"
sed -e "s|@prefix@|$work|; s|@libdir@|$work/lib|; s|@version@|$("$build/jetpace" --version | cut -d" " -f2)|" "$here/jetpace.pc.in" >"$work/lib/pkgconfig/jetpace.pc"
export PKG_CONFIG_PATH="$work/lib/pkgconfig" LD_LIBRARY_PATH="$work/lib"
read -ra flags <<<"$(pkg-config --cflags --libs jetpace)"
warnings=(-Wall -Wextra -Werror -pedantic)
for name in frames fork; do
    cc -std=c11 -D_POSIX_C_SOURCE=200809L "${warnings[@]}" "$here/examples/$name.c" -o "$work/$name" "${flags[@]}"
done
cc -std=c11 "${warnings[@]}" "$here/tests/loop.c" -o "$work/loop" "${flags[@]}"
c++ -std=c++17 "${warnings[@]}" "$here/examples/frames.cpp" -o "$work/frames-cpp" "${flags[@]}"
cc -std=c11 "${warnings[@]}" "$here/examples/three.c" -o "$work/three" "${flags[@]}"
c++ -std=c++17 "${warnings[@]}" "$here/examples/three.cpp" -o "$work/three-cpp" "${flags[@]}"
read -ra private <<<"$(pkg-config --cflags --libs-only-other --static jetpace) -lpthread -ldl -lm"
cc -std=c11 "${warnings[@]}" "$here/examples/frames.c" -o "$work/frames-static" "$work/lib/libjetpace.a" "${private[@]}"

# A table for the virtual board.
jetpace=$build/jetpace
"$jetpace" calibrate --board sim:tx2 --net alexnet -o "$work/sweep.csv" >/dev/null 2>"$work/log" || { cat "$work/log"; fail calibrate; }
"$jetpace" fit "$work/sweep.csv" -o "$work/model.json" >/dev/null 2>"$work/log" || { cat "$work/log"; fail fit; }
"$jetpace" plan "$work/model.json" --deadline 100ms -o "$work/table.jpt" >/dev/null 2>"$work/log" || { cat "$work/log"; fail plan; }

for program in frames frames-static frames-cpp; do
    "$work/$program" "$work/table.jpt" sim:tx2 | tee "$work/out"
    grep -q '^100 frames, .* 0 faults' "$work/out" || fail "$program: frames are missing"
done
"$work/fork" "$work/table.jpt" sim:tx2

# Through a daemon.
"$jetpace" serve --board sim:tx2 --socket "$work/sock" --table "$work/table.jpt" 2>"$work/serve.log" &
daemon=$!
for _ in $(seq 200); do
    "$jetpace" status --socket "$work/sock" >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || { cat "$work/serve.log"; fail "the daemon ended"; }
    sleep 0.05
done
"$work/frames" "$work/table.jpt" auto "$work/sock" | grep 'through the daemon' || fail "not through the daemon"
"$work/frames" "$work/sock" | grep 'through the daemon' || fail "not by the daemon's own table"

export JETPACE_LIBRARY="$work/lib/libjetpace.so.0" JETPACE_TABLE="$work/table.jpt" JETPACE_SOCKET="$work/sock"
JETPACE_BLOCKS=$("$jetpace" plan "$work/model.json" --deadline 100ms -o "$work/again.jpt" --json | python3 -c '
import json, sys
print(",".join(block["block"] for block in json.load(sys.stdin)["blocks"]))')
export JETPACE_BLOCKS
python3 "$here/tests/test_jetpace.py"
[ -z "${JETPACE_TORCH:-}" ] || python3 "$here/tests/test_torch.py"
python3 "$here/tests/kill.py" "$jetpace" "$work/loop" "$work/table.jpt" "$work/sock"
"$work/frames" "$work/table.jpt" auto "$work/sock" | grep 'through the daemon' || fail "the daemon serves no more"
kill "$daemon"
wait "$daemon" || fail "the daemon did not end well: $(cat "$work/serve.log")"
daemon=
[ ! -e "$work/sock" ] || fail "the socket was left"

# `hold --fps` counts the frames of programs with this library. A board whose clock is its bound, as under `performance`.
board=$work/board
cp -r "$here/../tests/boards/orin-nano-8gb-super-r36.4" "$board"
gpu=$(find "$board/sys/devices" -path '*gpu*' -name available_frequencies -printf '%h\n' | head -1)
ln -sf max_freq "$gpu/cur_freq"
state() { cat "$gpu/governor" "$gpu/min_freq" "$gpu/max_freq"; }
before=$(state)
# Each run of the program is a hundred frames; forty a second would do.
RUST_LOG=info "$jetpace" hold --board "$board" --way performance --fps 40 --window 300ms --socket "$work/hold" -- \
    sh -c "for i in 1 2 3 4 5 6 7 8 9 10; do '$work/frames' '$work/hold' >&2 || exit 1; sleep 0.1; done" 2>"$work/hold.log" ||
    { cat "$work/hold.log"; fail "hold --fps"; }
grep -q 'frames a second: clock' "$work/hold.log" || { cat "$work/hold.log"; fail "hold counts no frames"; }
grep -q 'frames a second: clock 816 MHz' "$work/hold.log" || { cat "$work/hold.log"; fail "hold does not lower the clock"; }
[ "$(state)" = "$before" ] || fail "hold left $(state | tr '\n' ' '), not $(tr '\n' ' ' <<<"$before")"

# Programs of their own, calibrated.
PYTHONPATH=$here/python python3 "$here/tests/own.py" "$jetpace" "$work"
PYTHONPATH=$here/python python3 "$here/tests/own_python.py" "$jetpace" "$work"

echo "capi: ok"
