#!/usr/bin/env bash
# The packages in fresh roots of Debian 11, 12 and 13, each started as a machine of its own with its own systemd: installed,
# used by an ordinary user, killed, upgraded beneath a client, removed and purged.
#   usage: check.sh WORK-FOLDER PACKAGES-FOLDER [RELEASE ...]      as root; the packages are this machine's architecture
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/build.sh"
work=$(mkdir -p "$1" && cd "$1" && pwd) packages=$(cd "$2" && pwd)
shift 2
releases=("$@")
[ ${#releases[@]} -gt 0 ] || releases=(bullseye bookworm trixie)
include=systemd,systemd-sysv,udev,ca-certificates,python3,gcc,libc6-dev,pkg-config,libgomp1
arch=$(dpkg --print-architecture)

# The release before this one: the same files under a lower version, as nothing older was ever packed.
previous=$work/previous
rm -rf "$previous"
mkdir -p "$previous"
for deb in "$packages"/*_"$arch".deb; do
    rm -rf "$work/unpacked"
    dpkg-deb -R "$deb" "$work/unpacked"
    sed -i 's/^Version: .*/Version: 0.1.99-1/' "$work/unpacked/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$work/unpacked" "$previous/$(basename "$deb")" >/dev/null
done
rm -rf "$work/unpacked"

# A recorded board whose running clock is its floor.
rm -rf "$work/board"
cp -a "$here/../tests/boards/agx-orin-r35.4" "$work/board"
ln -sfn min_freq "$work/board/sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b/cur_freq"
mkdir -p "$work/board/run"

for release in "${releases[@]}"; do
    root=$work/$release
    if [ ! -e "$root/complete" ]; then
        rm -rf "$root"
        mmdebstrap --quiet --variant=minbase --include=$include --dpkgopt=force-unsafe-io "$release" "$root" \
            "$(mirror)"
        touch "$root/complete"
    fi
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    cp "$here/check/check.service" "$root/etc/systemd/system/"
    ln -sfn ../check.service "$root/etc/systemd/system/multi-user.target.wants/check.service"
    # What is written to the root is gone afterwards; the folder `out` stays.
    out=$work/out-$release
    rm -rf "$out"
    mkdir -p "$out/packages" "$out/previous"
    cp "$packages"/*_"$arch".deb "$out/packages/"
    cp "$previous"/*.deb "$out/previous/"
    cp -a "$work/board" "$out/board"
    cp "$here/check/in_root.sh" "$out/"
    # systemd 257 wants the unified hierarchy of control groups alone, whatever this machine has.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 600 systemd-nspawn --quiet --register=no --keep-unit --boot \
        --volatile=overlay --directory="$root" --bind="$out:/check" --console=pipe \
        >"$out/console" 2>&1 </dev/null || true
    if [ "$(tail -n 1 "$out/log" 2>/dev/null)" != "all of it held" ]; then
        tail -n 40 "$out/console" "$out/log" >&2 || true
        echo "packages: not on Debian $release; the log is $out/log" >&2
        exit 1
    fi
    grep -v '^+' "$out/log"
done
