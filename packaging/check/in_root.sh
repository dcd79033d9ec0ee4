#!/usr/bin/env bash
# Runs as root under the root's own systemd; what it says goes to /check/log. Called by check.sh.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
board=/check/board
export JETPACE_SOCKET=/run/jetpace-clients/jetpace.sock
gpu=$board/sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b
say() { printf '%s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*"; journalctl -u jetpace --no-pager | tail -n 20; exit 1; }
trap 'kill "${holder:-}" 2>/dev/null || true' EXIT
nodes() { for node in governor min_freq max_freq; do head -n 1 "$gpu/$node"; done | tr '\n' ' '; }
# until SECONDS COMMAND ...: waits for it; the time is for a machine that does something else.
until_true() {
    local left=$(($1 * 10))
    while ! "${@:2}" >/dev/null 2>&1; do
        [ $((left -= 1)) -gt 0 ] || return 1
        sleep 0.1
    done
}
as_robot=(setpriv --reuid=robot --regid=robot --init-groups)
robot() { "${as_robot[@]}" "$@"; }
install() { dpkg --force-confdef --force-confold -i "$@" >/check/dpkg 2>&1 || { cat /check/dpkg; die "dpkg -i $*"; }; }
. /etc/os-release
say "Debian $VERSION_ID, systemd $(systemctl --version | head -n 1 | cut -d' ' -f2), glibc $(ldd --version | sed -n '1s/.* //p')"
before=$(nodes)

# The version before, on a machine without a Jetson's GPU: the service says so and does not run in circles.
install /check/previous/*.deb
getent group jetpace >/dev/null || die "no group jetpace"
systemctl is-enabled -q jetpace || die "the service is not enabled"
until_true 30 systemctl is-failed -q jetpace || die "without a GPU the service neither runs nor says why"
[ "$(systemctl show -p ExecMainStatus --value jetpace)" = 3 ] || die "without a GPU the service ends with another code than 3"
[ "$(systemctl show -p NRestarts --value jetpace)" = 0 ] || die "it is started again where there is no GPU"

# The recorded board in the place of /sys.
mkdir -p /etc/systemd/system/jetpace.service.d
printf '[Service]\nReadWritePaths=%s\n' "$board" >/etc/systemd/system/jetpace.service.d/board.conf
sed -i "s|^#JETPACE_SERVE=.*|JETPACE_SERVE=--board $board|" /etc/jetpace/serve.conf
systemctl daemon-reload
systemctl reset-failed jetpace
systemctl start jetpace || die "the service does not start on a board"
say "the service runs: $(systemctl show -p MainPID --value jetpace), $(stat -c '%U:%G %a' /run/jetpace-clients/jetpace.sock)"

# An ordinary user of the group, and one outside it.
useradd -m -G jetpace robot
useradd -m stranger
chmod -R a+rX "$board"
[ "$(robot jetpace hold --board "$board" --clock 510MHz -- head -n 1 "$gpu/min_freq")" = 510000000 ] ||
    die "a user of the group does not get the clock"
setpriv --reuid=stranger --regid=stranger --init-groups jetpace hold --board "$board" --clock 510MHz -- true \
    2>/check/stranger && die "a stranger gets the clock"
grep -q 'probe --fix' /check/stranger || die "a stranger is told no remedy: $(cat /check/stranger)"
until_true 30 test "$(nodes)" = "$before" || true
say "a user of the group holds a clock, a stranger is refused"

# A program against the library: a sweep by hand, a model, a table for this board, then frames through the daemon.
python3 - "$gpu/available_frequencies" >/check/measured.csv <<'END'
import sys
print("clock_mhz,block,time_ms,power_w")
for clock in map(int, open(sys.argv[1]).read().split()):
    for block, work, fixed in (("backbone", 6e6, 0.002), ("head", 2e6, 0.001)):
        print(f"{clock / 1e6:g},{block},{1e3 * (work / clock + fixed):.4f},{4 + 10 * (clock / 1.3e9) ** 2:.3f}")
END
cd /check
jetpace import csv measured.csv -o sweep.csv --force >import.log 2>&1 || die "import: $(cat import.log)"
jetpace fit sweep.csv -o model.json >fit.log 2>&1 || die "fit: $(cat fit.log)"
jetpace plan model.json --idle-w 3 --settle 5ms --stall 1ms --board "$board" --deadline 40ms --period 40ms -o table.jpt >plan.log 2>&1 || die "plan: $(cat plan.log)"
examples=/usr/share/doc/libjetpace-dev/examples
cp "$examples"/frames.c . 2>/dev/null || gunzip -c "$examples/frames.c.gz" >frames.c
read -ra flags <<<"$(pkg-config --cflags --libs jetpace)"
cc frames.c -o frames "${flags[@]}" || die "the example does not build with pkg-config's flags"
robot ./frames table.jpt auto /run/jetpace-clients/jetpace.sock | tee frames.log
grep -q '^100 frames, .* 0 faults, through the daemon' frames.log || die "no frames through the daemon"
robot python3 -c 'import jetpace; print("python:", jetpace.__doc__.splitlines()[0])' || die "the Python package"
/usr/lib/jetpace/jetpace-agent --version
jetpace-cuda --version

# kill -9: what it wrote is put back, and it comes again.
"${as_robot[@]}" jetpace hold --board "$board" --clock 612MHz -- sleep 600 &
holder=$!
until_true 60 grep -qx 612000000 "$gpu/min_freq" || die "the clock is not held: $(nodes)"
old=$(systemctl show -p MainPID --value jetpace)
kill -9 "$old"
restarted() { new=$(systemctl show -p MainPID --value jetpace) && [ "$new" != 0 ] && [ "$new" != "$old" ]; }
until_true 60 restarted || die "not started again after a kill"
journalctl -u jetpace --no-pager | grep -q 'put back' || die "the journal does not say what was put back"
say "killed: put back, and started again"

# Upgraded beneath that client: `hold` leases the clock again from the new daemon.
old=$(systemctl show -p MainPID --value jetpace)
install /check/packages/*.deb
until_true 60 restarted || die "the upgrade does not start the new daemon"
dpkg-query -W -f '${Version}\n' jetpace
grep -q "JETPACE_SERVE=--board $board" /etc/jetpace/serve.conf || die "the upgrade overwrote serve.conf"
until_true 60 grep -qx 612000000 "$gpu/min_freq" || die "the client did not get its clock back: $(nodes)"
kill "$holder"
wait "$holder" || true
back() { [ "$(nodes)" = "$before" ]; }
until_true 60 back || die "left $(nodes), not $before"
say "upgraded beneath a client, which goes on"

# Removed while a clock is held, then purged.
"${as_robot[@]}" jetpace hold --board "$board" --clock 612MHz -- sleep 600 &
holder=$!
until_true 60 grep -qx 612000000 "$gpu/min_freq" || die "the clock is not held: $(nodes)"
apt-get remove -y -qq jetpace >/check/apt 2>&1 || { cat /check/apt; die "apt-get remove"; }
until_true 60 back || die "removed, it left $(nodes), not $before"
kill "$holder"
wait "$holder" || true
gpasswd -d robot jetpace >/dev/null 2>&1 || true
apt-get purge -y -qq jetpace libjetpace0 libjetpace-dev python3-jetpace >/check/apt 2>&1 || { cat /check/apt; die "apt-get purge"; }
rm -rf /etc/systemd/system/jetpace.service.d
left=$(find / -xdev \( -path /check -o -path /proc -o -path /sys -o -path /var/cache -o -path /var/lib/apt -o -path /tmp \) -prune -o -iname '*jetpace*' -print)
[ -z "$left" ] || die "purged, these are left: $left"
getent group jetpace >/dev/null && die "purged, the group is left"
say "removed and purged: clocks as before, nothing left"
say "all of it held"
