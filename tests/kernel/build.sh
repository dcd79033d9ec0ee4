#!/usr/bin/env bash
# Prepares the newest arm64 kernel of this Debian with the modules of the tests. Everything comes from Debian packages,
# is unpacked and not installed, and is kept per version.
#   usage: build.sh FOLDER     prints FOLDER/VERSION, which then holds vmlinuz, busybox, *.ko, modules/*.ko and python/
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)

# linux-image-arm64 depends on the kernel that it stands for: linux-image-6.1.0-56-arm64.
newest() {
    apt-cache show --no-all-versions linux-image-arm64:arm64 | sed -n "s/$1/\\1/p" | head -1
}
version=$(newest '^Version: \(.*\)$')
abi=$(newest '^Depends:.*linux-image-\([^ ,:]*\)-arm64.*$')
[ -n "$version" ] && [ -n "$abi" ] || { echo "apt knows no linux-image-arm64:arm64; run apt-get update" >&2; exit 1; }
major=$(cut -d. -f1,2 <<<"$abi")
out=$folder/$version
unpacked=$out/unpacked
headers=$unpacked/usr/src/linux-headers-$abi-arm64

download() { (cd "$out/debs" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" "$@"); }

fetch() {
    mkdir -p "$out/debs" "$unpacked"
    local packages=("linux-image-$abi-arm64:arm64=$version" "linux-headers-$abi-arm64:arm64=$version"
        "linux-headers-$abi-common=$version" "linux-kbuild-$major=$version" "linux-source-$major=$version"
        busybox-static:arm64)
    download "${packages[@]}" || { [ "$(id -u)" = 0 ] && apt-get update -qq && download "${packages[@]}"; } ||
        { echo "could not download the kernel's packages; as root, run: apt-get update" >&2; exit 1; }
    local deb
    for deb in "$out"/debs/*.deb; do
        dpkg-deb -x "$deb" "$unpacked"
    done
    # The headers name their common part by an absolute path.
    sed -i "s#/usr/src#$unpacked/usr/src#" "$headers/Makefile"
    tar -xf "$unpacked/usr/src/linux-source-$major.tar.xz" -C "$unpacked" --strip-components=1 --wildcards \
        '*/drivers/devfreq/governor*' '*/drivers/hwmon/ina3221.c' '*/drivers/i2c/i2c-stub.c'
    cp "$unpacked/boot/vmlinuz-$abi-arm64" "$out/vmlinuz"
    cp "$unpacked/bin/busybox" "$out/busybox"
    find "$unpacked/lib/modules" -name governor_simpleondemand.ko -o -name i2c-dev.ko | xargs cp -t "$out"
    rm -rf "$out/debs" "$unpacked/boot" "$unpacked/lib" "$unpacked/usr/src/"linux-source-* "$unpacked/usr/share"
}

# The smallest Python, for what people write clocks with today: 14 MB unpacked, its libraries among them.
python() {
    local debs=$out/python-debs root=$out/python libs=lib/aarch64-linux-gnu
    rm -rf "$debs" "$root"
    mkdir -p "$debs" "$root/bin" "$root/$libs" "$root/usr/lib"
    (cd "$debs" && apt-get download -qq -o APT::Sandbox::User="$(id -un)" \
        {python3.11-minimal,libpython3.11-minimal,libc6,libexpat1,zlib1g}:arm64)
    local deb
    for deb in "$debs"/*.deb; do
        dpkg-deb -x "$deb" "$debs/x"
    done
    cp -L "$debs/x/$libs"/{libc.so.6,libm.so.6,libz.so.1,libexpat.so.1} "$root/$libs/"
    cp -L "$debs/x/$libs/ld-linux-aarch64.so.1" "$root/lib/"
    cp -r "$debs/x/usr/lib/python3.11" "$root/usr/lib/"
    # Needs libraries of its own, and nothing here needs it.
    rm -r "$root/usr/lib/python3.11/lib-dynload"
    cp "$debs/x/usr/bin/python3.11" "$root/bin/python3"
    rm -rf "$debs"
}

modules() {
    local m=$out/modules drivers=$unpacked/drivers
    mkdir -p "$m"
    cp -u "$here/Kbuild" "$here"/jetpace_*.c "$drivers"/devfreq/governor{.h,_userspace.c,_performance.c,_powersave.c} \
        "$drivers/hwmon/ina3221.c" "$m"
    # The userspace governor as it was before August 2025.
    sed -e 's/err = kstrtoul(buf, 0, &wanted);/sscanf(buf, "%lu", \&wanted);/' \
        -e 's/unsigned long wanted;/unsigned long wanted = 0;/' "$m/governor_userspace.c" >"$m/governor_userspace_old.c"
    # i2c-stub with a device-tree node, so that the power monitor on it gets its labels and shunts.
    sed -e 's/#include <linux\/module.h>/&\n#include <linux\/of.h>/' \
        -e 's/ret = i2c_add_adapter/stub_adapter.dev.of_node = of_find_compatible_node(NULL, NULL, "jetpace,i2c-stub");\n\t&/' \
        "$drivers/i2c/i2c-stub.c" >"$m/i2c-stub.c"
    grep -q 'sscanf(buf' "$m/governor_userspace_old.c" && grep -q jetpace,i2c-stub "$m/i2c-stub.c" ||
        { echo "linux-source $version is not what the changes were made for" >&2; exit 1; }
    make -s -C "$headers" M="$m" CROSS_COMPILE=aarch64-linux-gnu- modules 2>&1 | { grep -v 'Skipping BTF' || true; }
    touch "$m/built"
}

{
    [ -e "$out/vmlinuz" ] && [ -e "$headers" ] || fetch
    [ -e "$out/modules/built" ] && [ -z "$(find "$here" -newer "$out/modules/built" \( -name '*.c' -o -name Kbuild \))" ] ||
        modules
    [ -e "$out/python/bin/python3" ] || python
} >&2
echo "$out"
