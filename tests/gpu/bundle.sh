#!/usr/bin/env bash
# Everything that a bare machine with a GPU needs, in one folder: bundle.sh DIR. There DIR/run.sh wants Python, torch and
# the driver; neither cargo nor git nor a network. The binaries are this machine's.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$here/../..
dir=$1
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
profile=${JETPACE_PROFILE:-release}
folder=$profile
[ "$profile" != dev ] || folder=debug
cargo build -q --profile "$profile" --manifest-path "$root/Cargo.toml" --workspace --features jetpace/cuda --example check --example plan --locked

rm -rf "$dir"/{bin,cubin,plans,scripts,run.sh}
mkdir -p "$dir"/{bin,plans,scripts}
cp "$target/$folder"/examples/{check,plan} "$dir/bin/"
cp -r "$root/kernels/cubin" "$dir/cubin"
cp "$here"/*.py "$dir/scripts/"
install -m 755 "$here/run.sh" "$dir/run.sh"

# As an Orin Nano, an AGX Orin and an H100 would launch; and every tile, split and not, on a network of many shapes.
for net in vgg19-32 resnet152-32 alexnet resnet152 vgg19; do
    for processors in 8 16 132; do
        "$dir/bin/plan" $net 1 8 7 $processors >"$dir/plans/$net.$processors.json"
    done
done
for tile in 256x64 128x128 128x64 64x128 64x64 32x64; do
    for splits in 1 2 7; do
        "$dir/bin/plan" vgg19-32 1 8 7 8 $tile $splits >"$dir/plans/tile.$tile.$splits.json"
    done
done

megabytes=$(du -sm "$dir" | cut -f1)
[ "$megabytes" -le 40 ] || { echo "bundle.sh: $dir has $megabytes MB, more than 40" >&2; exit 1; }
echo "$dir: $megabytes MB"
