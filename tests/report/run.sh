#!/usr/bin/env bash
# run.sh JETPACE FOLDER DOCS: makes reports of many kinds of files in a folder, looks at each in Chromium, and writes the
# pictures of README's tour into DOCS, with its text, which a test compares with what the program prints.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jetpace=$(realpath "$1") docs=$(realpath "$3")
rm -rf "$2" && mkdir -p "$2" && cd "$2"

"$here/files.py" . # hostile and odd ones
"$jetpace" calibrate --board sim:orin-nano --net robot-frame -o sweep.csv 2>/dev/null
"$jetpace" fit sweep.csv -o model.json 2>/dev/null
"$jetpace" plan model.json --deadline 779.5ms -o table.jpt 2>/dev/null
"$jetpace" run --board sim:orin-nano --table table.jpt --frames 1000 --csv frames.csv --json >run.json 2>/dev/null
"$jetpace" fit sweep.csv --train 3 -o train.json 2>/dev/null

report() {
    local page=$1
    "$jetpace" report "${@:2}" -o "$page.html" 2>/dev/null
    "$here/look.py" "$page.html" "$page"
}
"$jetpace" report sweep.csv model.json table.jpt -o tour.html
"$here/look.py" tour.html tour "$docs"
"$jetpace" report sweep.csv model.json table.jpt >"$docs/report.txt"
report all sweep.csv train.json table.jpt run.json frames.csv
report frames frames.csv trace.json held.json
report table table.jpt
report hostile hostile.csv hostile-trace.json
report wide wide.csv --deadline 1200ms
"$jetpace" demo --out demo >/dev/null 2>&1
"$here/look.py" demo/report.html demo-looked
