# The agent on the real kernel: one line per check, exit code 1 where one fails.
gpu=/sys/class/devfreq/17000000.gpu
driver=/sys/bus/platform/drivers/jetpace_testgpu
knobs=/sys/module/jetpace_testgpu/parameters
state=/run/jetpace/state.json
failed=0

check() { # WHAT GOT WANTED
    if [ "$2" = "$3" ]; then
        echo "  ok      $1: $2"
    else
        echo "  FAILED  $1: $2, not $3"
        failed=1
    fi
}
# Everything that the agent changes, and whether anything is still to be put back.
settings() {
    cat $gpu/governor $gpu/min_freq $gpu/max_freq | tr '\n' ' '
    [ ! -e $state ] || echo "state.json "
}
originals="simple_ondemand 408000000 612000000 "
# A device as some user left it: bounds of his own.
fresh() {
    for knob in fail_errno cap_hz delay_us busy_pct; do echo 0 >$knobs/$knob; done
    [ ! -e $gpu ] || echo 17000000.gpu >$driver/unbind
    echo 17000000.gpu >$driver/bind
    echo 612000000 >$gpu/max_freq
    echo 408000000 >$gpu/min_freq
    rm -f $state
}
# Waits until a command succeeds, 5 s at most.
until_true() { for _ in $(seq 250); do "$@" && return; usleep 20000; done; false; }
governed() { [ "$(cat $gpu/governor)" = "$1" ]; }
runs() { [ "$(cat $gpu/cur_freq 2>/dev/null)" = "$1" ]; }
# hold CLOCK WAY: in the background, as $holder, and running at that clock.
hold() {
    jetpace hold --clock $1 --way $2 -- sleep 20 2>/tmp/hold &
    holder=$!
    until_true grep -q "^GPU at" /tmp/hold
}
ended() { wait $holder 2>/dev/null; code=$?; }

echo "agent: probe"
fresh
jetpace probe --json >/tmp/probe
check "exit code" $? 0
value() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" /tmp/probe | tr '\n' ' '; }
check "model" "$(value model)" "NVIDIA Jetson Orin Nano Developer Kit "
check "part" "$(value part)" "p3767-0005 "
check "cap" "$(value cap_hz)" "612000000 "
# The kernel offers nvhost_podgov, so simple_ondemand was set by someone.
check "stock governor" "$(value stock_governor)" "null "
check "rails" "$(value name)" "VDD_IN VDD_CPU_GPU_CV VDD_SOC "
check "roles" "$(value role)" "total gpu-shared other "
check "nothing written" "$(settings)" "simple_ondemand 408000000 612000000 "
jetpace probe --test-write --json >/tmp/probe
check "ways that work" "$(value way)$(value works)" "userspace performance podgov min-max true true false true "
check "left behind" "$(settings)" "$originals"

echo "agent: rails, as poked into the chip's registers"
poke() { i2cset -f -y 1 0x40 $1 $(printf '0x%02x%02x' $(($2 & 255)) $(($2 >> 8 & 255))) w; }
# Registers 1, 3, 5: shunt voltage, 40 uV in bit 3; 2, 4, 6: bus voltage, 8 mV in bit 3. The shunts are 5 mOhm.
volts_amps() { poke $(($1 * 2)) $(($2 / 8 << 3)); poke $(($1 * 2 - 1)) $(($3 * 5 / 40 << 3)); }
volts_amps 1 5000 1600
volts_amps 2 4992 400
volts_amps 3 4984 0
check "first" "$(jetpace-kernel-cases rails | tr '\n' ';')" \
    "VDD_IN 5000 1600 8000;VDD_CPU_GPU_CV 4992 400 1996;VDD_SOC 4984 0 0;"
volts_amps 1 4992 2400
volts_amps 3 5000 -8
check "second, one rail below zero" "$(jetpace-kernel-cases rails | tr '\n' ';')" \
    "VDD_IN 4992 2400 11980;VDD_CPU_GPU_CV 4992 400 1996;VDD_SOC 5000 -8 -40;"

echo "agent: every way, every clock, every order"
for way in userspace performance podgov min-max; do
    fresh
    # This way is nvhost_podgov's own.
    [ $way != podgov ] || echo nvhost_podgov >$gpu/governor
    before=$(settings)
    for clock in 408000000 510000000 612000000; do
        check "hold $clock by $way" "$(jetpace hold --clock $clock --way $way -- cat $gpu/cur_freq 2>/dev/null)" $clock
    done
    check "left behind by $way" "$(settings)" "$before"
    echo 0 >$gpu/max_freq
    echo 0 >$gpu/min_freq
    before=$(settings)
    check "orders" "$(jetpace-kernel-cases orders $way)" "25 changes by $way"
    check "left behind" "$(settings)" "$before"
    [ $way != podgov ] || check "podgov's nodes" "$(cat $gpu/device/user $gpu/device/freq_request | tr '\n' ' ')" "0 624750000 "
done
fresh
echo 30000 >$knobs/delay_us
check "a transition of 30 ms" "$(jetpace hold --clock 510MHz -- cat $gpu/cur_freq 2>/dev/null)" 510000000
check "left behind" "$(settings)" "$originals"

echo "agent: signals"
for signal in TERM INT HUP QUIT; do
    fresh
    hold 510MHz userspace
    kill -$signal $holder
    ended
    check "left behind after SIG$signal" "$(settings)" "$originals"
done

echo "agent: a panic that aborts"
mkfifo /tmp/input
for way in userspace performance min-max; do
    fresh
    jetpace-kernel-cases panic $way </tmp/input >/tmp/clock 2>/tmp/panic &
    holder=$!
    exec 9>/tmp/input
    until_true grep -q . /tmp/clock
    check "held by $way" "$(cat $gpu/cur_freq) $(cat /tmp/clock)" "510000000 510000000"
    check "to be put back" "$([ -e $state ] && echo yes)" yes
    exec 9>&-
    ended
    # 134 is SIGABRT: the process did not unwind.
    check "the panic" "$code $(grep -c 'on purpose' /tmp/panic)" "134 1"
    check "left behind" "$(settings)" "$originals"
done

echo "agent: a second instance"
fresh
hold 510MHz min-max
jetpace hold --clock 408MHz -- true 2>/tmp/second
check "exit code" $? 1
check "the first one's clock" "$(cat $gpu/cur_freq)" 510000000
kill $holder
ended
check "left behind" "$(settings)" "$originals"

echo "agent: killed 50 times"
fresh
changed=0
for i in $(seq 50); do
    case $((i % 3)) in 0) way=userspace ;; 1) way=performance ;; 2) way=min-max ;; esac
    jetpace hold --clock 510MHz --way $way -- sleep 1 2>/dev/null &
    holder=$!
    # Every other kill waits for the state file, so that whatever the machine's speed there is something to put back.
    [ $((i % 2)) = 0 ] || until_true [ -e $state ]
    usleep $((i * 37 % 120 * 1000))
    kill -9 $holder
    wait $holder 2>/dev/null
    [ "$(settings)" = "$originals" ] || changed=$((changed + 1))
    jetpace restore 2>/tmp/restore || check "restore $i" "$(cat /tmp/restore)" "exit code 0"
    [ "$(settings)" = "$originals" ] || check "kill $i by $way" "$(settings)" "$originals"
done
check "originals after the last" "$(settings)" "$originals"
check "at least 25 of them left something to put back ($changed did)" $((changed >= 25)) 1

echo "agent: others act while the clock is held"
fresh
hold 510MHz userspace
echo simple_ondemand >$gpu/governor
until_true governed userspace ; until_true runs 510000000
check "stock governor switched under it: taken again" "$(cat $gpu/governor $gpu/cur_freq | tr '\n' ' ')" "userspace 510000000 "
kill $holder
ended
check "left behind" "$(settings)" "$originals"
fresh
hold 612MHz userspace
echo 510000000 >$gpu/max_freq
until_true runs 510000000
check "the cap lowered: obeyed" "$(cat $gpu/cur_freq)" 510000000
kill $holder
ended
check "the other's cap stays" "$(settings)" "simple_ondemand 408000000 510000000 "
fresh
echo 408000000 >$knobs/cap_hz
jetpace hold --clock 612MHz -- true 2>/tmp/hold
check "hidden cap: refused" $? 3
check "which names it" "$(grep -c 'cur_freq.*408 MHz runs' /tmp/hold)" 1
check "left behind" "$(settings)" "$originals"

echo "agent: the driver fails, and goes away"
fresh
echo performance >$gpu/governor
hold 510MHz userspace
echo 16 >$knobs/fail_errno
kill $holder
ended
check "the governor cannot be put back: it is named" "$(grep -c 'governor.*run .jetpace restore' /tmp/hold)" 1
check "and kept for later" "$(settings)" "userspace 408000000 612000000 state.json "
jetpace restore 2>/tmp/restore
check "restore fails, too, and names it" "$? $(grep -c governor /tmp/restore)" "1 1"
echo 0 >$knobs/fail_errno
jetpace restore 2>/tmp/restore
check "restore finishes the job" "$? $(settings)" "0 performance 408000000 612000000 "
fresh
hold 510MHz min-max
echo 5 >$knobs/fail_errno
kill $holder
ended
echo 0 >$knobs/fail_errno
jetpace restore 2>/dev/null
check "originals once the driver is well" "$(settings)" "$originals"
for way in userspace performance min-max; do
    fresh
    hold 510MHz $way
    echo 17000000.gpu >$driver/unbind
    usleep 100000
    kill $holder
    ended
    # 143 is SIGTERM, handed on after everything was put back; an abort would be 134.
    check "unbound under $way" "$code $(grep -c panicked /tmp/hold)" "143 0"
    echo 17000000.gpu >$driver/bind
    jetpace restore 2>/dev/null
    check "bound again: held again" "$(jetpace hold --clock 510MHz -- cat $gpu/cur_freq 2>/dev/null)" 510000000
done

echo "agent: least privilege, by trying what is forbidden"
fresh
jetpace-kernel-cases confined >/tmp/confined 2>&1
# 13 is EACCES, Landlock's; 1 is EPERM, the filter's.
check "with the clock held" "$(tr '\n' ';' </tmp/confined)" "another clock: done;another node of /sys: 13;a node of /proc: 13;a file: 13;a file in /tmp: 13;a folder in the agent's own: 13;a program: 1;a socket of the network: 1;a mount: 1;another user: 1;put back;"
check "left behind" "$(settings)" "$originals"
fresh
jetpace serve --socket /run/jetpace-clients/jetpace.sock 2>/tmp/serve &
daemon=$!
listens() { jetpace status >/tmp/status 2>/dev/null; }
until_true listens
status() { sed -n "s/^$1:[ \t]*//p" /proc/$daemon/status; }
check "the daemon" "$(status NoNewPrivs) $(status Seccomp) $(status CapInh) $(status CapEff)" "1 2 0000000000000000 0000000000004000"
check "its folders" "$(stat -c %a /run/jetpace /run/jetpace-clients /run/jetpace-clients/jetpace.sock | tr '\n' ' ')" "700 755 660 "
kill $daemon
wait $daemon
check "ends well" "$? $(cat /tmp/serve)" "0 "
check "left behind" "$(settings)" "$originals"

echo "agent: what a block boundary costs on the real set_freq (emulated: compare within the table only)"
fresh
echo userspace >$gpu/governor
jetpace-kernel-cases bench $gpu/userspace/set_freq >/tmp/bench || failed=1
cat /tmp/bench
check "Python's and the shell's writes among them" "$(grep -c '^\(python_write\|shell_echo\) *[0-9]' /tmp/bench)" 2
check "every write taken" "$(cat $gpu/cur_freq | grep -c '^\(408\|510\)000000$')" 1
fresh
exit $failed
