#!/usr/bin/env bash
# Boots the kernel under QEMU and runs the tests in it; fails unless all of them pass.
#   usage: run.sh KERNEL-FOLDER STATIC-AGENT STATIC-CASES     (the folder is build.sh's)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kernel=$1 agent=$2 cases=$3
# TCG, as KVM is seldom there and no test measures time. The timeout is for a kernel that hangs.
qemu=(timeout 900 qemu-system-aarch64 -machine virt,gic-version=3 -accel "tcg,thread=multi" -cpu cortex-a72 -smp 2
    -m 512 -nodefaults -display none -no-reboot -serial stdio -monitor none)

"${qemu[@]}" -machine "dumpdtb=$kernel/virt.dtb" 2>/dev/null
dtc -q -@ -I dts -O dtb -o "$kernel/orin-nano.dtbo" "$here/orin-nano.dts"
fdtoverlay -i "$kernel/virt.dtb" -o "$kernel/orin-nano.dtb" "$kernel/orin-nano.dtbo"

root=$kernel/root
rm -rf "$root"
mkdir -p "$root"/{bin,dev,etc,m,proc,run,sys,tmp}
cp "$kernel/busybox" "$root/bin/busybox"
cp -r "$kernel/python/." "$root/"
cp "$agent" "$root/bin/jetpace"
cp "$cases" "$root/bin/jetpace-kernel-cases"
cp "$here"/guest/* "$root/"
cp "$kernel"/*.ko "$root/m/"
for module in "$kernel"/modules/*.ko; do
    aarch64-linux-gnu-strip --strip-debug -o "$root/m/$(basename "$module")" "$module"
done
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$kernel/initrd.gz"

log=$kernel/log
"${qemu[@]}" -kernel "$kernel/vmlinuz" -initrd "$kernel/initrd.gz" -dtb "$kernel/orin-nano.dtb" \
    -append "console=ttyAMA0 quiet loglevel=1 panic=-1" </dev/null | tr -d '\r' | tee "$log"
grep -q '^all passed$' "$log" || { echo "not passed; the log is $log" >&2; exit 1; }
