#!/usr/bin/env python3
"""Writes the recorded boards below this folder: one sysfs tree per board and release.

Paths, labels and values are facts entered here one by one, with their source; no captured text is copied. Run it
after a change: `python3 tests/boards/make.py`. Grades: c captured on a real board, k read in the driver's or the
device tree's source, t told by a third party, i invented because nobody has told it.
"""
import os
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
MHZ = 1_000_000


def clocks(*mhz):
    return [round(m * MHZ) for m in mhz]


ORIN_102 = (306, 408, 510, 612, 714, 816, 918)
XAVIER_NX = clocks(114.75, 204, 306, 408, 510, 599.25, 701.25, 752.25, 803.25, 854.25, 905.25, 956.25, 1007.25,
                   1058.25, 1109.25)
AGX_XAVIER = clocks(114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 675.75, 828.75, 905.25, 1032.75, 1198.5, 1236.75,
                    1338.75, 1377)
AGX_ORIN_EARLY = clocks(114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 828.75, 930.75, 1032.75, 1134.75,
                        1236.75, 1300.5)
ORIN_ZONES = "cpu gpu cv0 cv1 cv2 soc0 soc1 soc2 tj".split()

# chip: (bus-address, i2c controller, [(label, mV, mA, uOhm)])
P3767 = [("1-0040", "c240000.i2c", [("VDD_IN", 5000, 960, 5000), ("VDD_CPU_GPU_CV", 5000, 160, 5000),
                                    ("VDD_SOC", 5000, 248, 5000)])]
P3668 = [("7-0040", "c250000.i2c", [("VDD_IN", 5000, 840, 5000), ("VDD_CPU_GPU_CV", 5000, 160, 5000),
                                    ("VDD_SOC", 5000, 200, 5000)])]
P2888 = [("1-0040", "c240000.i2c", [("GPU", 19000, 32, 5000), ("CPU", 19000, 48, 5000), ("SOC", 19000, 80, 5000)]),
         ("1-0041", "c240000.i2c", [("CV", 19000, 0, 5000), ("VDDRQ", 19000, 16, 5000), ("SYS5V", 5000, 480, 5000)])]
P3701 = [("1-0040", "c240000.i2c", [("VDD_GPU_SOC", 19000, 160, 2000), ("VDD_CPU_CV", 19000, 60, 2000),
                                    ("VIN_SYS_5V0", 5000, 800, 2000)]),
         ("1-0041", "c240000.i2c", [(None, 0, 0, 2000), ("VDDQ_VDD2_1V8AO", 5000, 120, 2000), (None, 0, 0, 2000)])]
R32_GOVERNORS = "wmark_active wmark_simple nvhost_podgov userspace performance simple_ondemand"
R35_GOVERNORS = "wmark_active nvhost_podgov userspace performance simple_ondemand"
R36_GOVERNORS = "nvhost_podgov userspace performance simple_ondemand"

COMMON = {
    "model, module, chip": "k device tree sources; where a capture names the model, c",
    "L4T release": "c or t for the major number and, where a capture gives it, the revision; else i",
    "power mode": "c where the README's first line names a capture, else k nvpmodel's configuration",
    "thermal zones": "c names of Nano (R32) and Orin (R36, R39), t the others; temperatures i",
}

BOARDS = {
    "nano-r32.7": dict(
        about="Jetson Nano 4 GB, L4T R32, mode MAXN", kernel="4.9", model="NVIDIA Jetson Nano Developer Kit",
        compatible="nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210",
        release="32 7.2 t210ref", mode=(0, "MAXN"), gpu="57000000.gpu", of="gpu", layout="r32",
        clocks=clocks(76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6, 614.4, 691.2, 768, 844.8, 921.6), max=921600000,
        governors="wmark_active nvhost_podgov userspace simple_ondemand", podgov=True,
        conf={0: ("MAXN", 0, 2147483647), 1: ("5W", 0, 640000000)},
        iio=[("6-0040", [("POM_5V_GPU", 5000, 80), ("POM_5V_IN", 5000, 400), ("POM_5V_CPU", 5000, 96)])],
        zones="AO-therm CPU-therm GPU-therm PLL-therm PMIC-Die thermal-fan-est".split(), emc="t210", cpus=1,
        source={
            "clock list": "t two independent public lists agree",
            "bounds, power/control, EMC cap": "c capture-nano-R32-MAXN.txt",
            "GPU paths, load": "c tegrastats-strace-nano.txt, capture-nano-R32-MAXN.txt",
            "governors": "t public notes of this kernel",
            "rails": "k p3448 device tree, c their path and their being root's alone; values i",
        }),
    "tx2-r32.7": dict(
        about="Jetson TX2, L4T R32, bounds as captured, below those of MAXN", kernel="4.9", model="quill",
        compatible="nvidia,p2597-0000+p3310-1000 nvidia,tegra186", release="32 7.2 t186ref", mode=(3, "MAXP_CORE_ARM"),
        gpu="17000000.gp10b", of="gp10b", layout="r32",
        clocks=clocks(114.75, 216.75, 318.75, 420.75, 522.75, 624.75, 726.75, 854.25, 930.75, 1032.75, 1122, 1236.75,
                      1300.5), max=1122000000, governors=R32_GOVERNORS, podgov=True,
        conf={0: ("MAXN", 0, 2147483647), 3: ("MAXP_CORE_ARM", 0, 1122000000)},
        iio=[("0-0040", [("VDD_SYS_GPU", 19072, 12), ("VDD_SYS_SOC", 19072, 48), ("VDD_4V0_WIFI", 4784, 0)]),
             ("0-0041", [("VDD_IN", 19072, 238), ("VDD_SYS_CPU", 19072, 52), ("VDD_SYS_DDR", 19072, 68)])],
        zones="BCPU-therm MCPU-therm GPU-therm PLL-therm Tboard_tegra Tdiode_tegra PMIC-Die thermal-fan-est".split(),
        emc="bpmp", emc_rates=(40800000, 1866000000, 1866000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=0,
        cpus=2,
        source={
            "clock list, governors, bounds": "c capture-tx2-R32.txt",
            "power mode": "i the mode of another capture whose bound is near",
            "EMC clocks": "c jetson_stats-jetson_clocks-show_tx2.txt and tegrastats give the ends; k the nodes",
            "rails": "k p3310 device tree (labels, addresses), c labels in tx2-tegrastats_1032750000.txt; values i",
        }),
    "agx-xavier-r32.7": dict(
        about="Jetson AGX Xavier, L4T R32, mode MAXN", kernel="4.9", model="Jetson-AGX",
        compatible="nvidia,galen nvidia,p2972-0000 nvidia,p2888-0001 nvidia,tegra194", release="32 7.2 t186ref",
        mode=(0, "MAXN"), gpu="17000000.gv11b", of="gv11b", layout="r32", clocks=AGX_XAVIER, max=1377000000,
        min=318750000, governors=R32_GOVERNORS, podgov=True,
        conf={0: ("MAXN", 318750000, 2147483647), 1: ("MODE_10W", 318750000, 520000000),
              2: ("MODE_15W", 318750000, 670000000), 3: ("MODE_30W_ALL", 318750000, 900000000)},
        iio=[("1-0040", [("GPU", 19072, 16), ("CPU", 19072, 40), ("SOC", 19072, 72)]),
             ("1-0041", [("CV", 19072, 0), ("VDDRQ", 19072, 16), ("SYS5V", 5040, 480)])],
        zones="CPU-therm GPU-therm AUX-therm AO-therm PMIC-Die Tboard_tegra Tdiode_tegra thermal-fan-est".split(),
        emc="bpmp", emc_rates=(204000000, 2133000000, 2133000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap",
        emc_cap_hz=0, cpus=4,
        source={
            "clock list": "t two independent public lists agree",
            "bounds per mode": "c jetson_stats-nvpmodel-show_verbose_xavier.txt",
            "governors": "i as on TX2 of the same release",
            "rails": "k p2888 device tree; values i",
            "module revision": "i of the p2888-0001 to -0008",
        }),
    "xavier-nx-r32.7": dict(
        about="Jetson Xavier NX, L4T R32, mode 15W_6CORE", kernel="4.9",
        model="NVIDIA Jetson Xavier NX Developer Kit",
        compatible="nvidia,p3449-0000+p3668-0000 nvidia,p3509-0000+p3668-0000 nvidia,tegra194",
        release="32 7.2 t186ref", mode=(2, "MODE_15W_6CORE"), gpu="17000000.gv11b", of="gv11b", layout="r32",
        clocks=XAVIER_NX, max=1109250000, tpc="2", governors=R32_GOVERNORS, podgov=True,
        conf={2: ("MODE_15W_6CORE", 0, 1109250000)},
        iio=[("7-0040", [("VDD_IN", 5040, 840), ("VDD_CPU_GPU_CV", 5040, 160), ("VDD_SOC", 5040, 200)])],
        zones="CPU-therm GPU-therm AUX-therm AO-therm PMIC-Die iwlwifi thermal-fan-est".split(), emc="bpmp",
        emc_rates=(204000000, 1600000000, 1600000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=1600000000,
        cpus=3,
        source={
            "clock list": "c (a cat of the node)", "bounds, TPC mask, EMC cap": "c capture-xavier-nx-R32-15W_6CORE.txt",
            "governors": "i as on TX2 of the same release", "rails": "k p3668 device tree; values i",
        }),
    "xavier-nx-r35.5": dict(
        about="Jetson Xavier NX, L4T R35, mode 15W_6CORE", kernel="5.10",
        model="NVIDIA Jetson Xavier NX Developer Kit",
        compatible="nvidia,p3449-0000+p3668-0000 nvidia,p3509-0000+p3668-0000 nvidia,tegra194",
        release="35 5.0 t186ref", mode=(2, "MODE_15W_6CORE"), gpu="17000000.gv11b", of="gv11b", layout="r35",
        clocks=XAVIER_NX, max=1109250000, tpc="1", governors=R35_GOVERNORS, podgov=True,
        conf={2: ("MODE_15W_6CORE", 0, 1109250000)}, hwmon=P3668, root_only=True,
        zones="CPU-therm GPU-therm AUX-therm AO-therm PMIC-Die".split(), emc="bpmp",
        emc_rates=(204000000, 1600000000, 1600000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=1600000000,
        cpus=3,
        source={
            "clock list": "c on R32 of the same module", "bounds": "c on R32 of the same module",
            "paths, governors, rails' modes": "k kernel 5.10 and nvgpu of R35", "rails": "k p3668 device tree; values i",
        }),
    "agx-orin-r34.1": dict(
        about="Jetson AGX Orin with the first firmware's clock list, L4T R34, mode 50W", kernel="5.10",
        model="NVIDIA Jetson AGX Orin Developer Kit",
        compatible="nvidia,p3737-0000+p3701-0000 nvidia,p3701-0000 nvidia,tegra234", release="34 1.1 t186ref",
        mode=(3, "MODE_50W"), gpu="17000000.ga10b", of="ga10b", layout="r35", clocks=AGX_ORIN_EARLY, max=828750000,
        governors=R35_GOVERNORS, podgov=True,
        conf={0: ("MAXN", 0, 9223372036854775807), 1: ("MODE_15W", 0, 420750000), 2: ("MODE_30W", 0, 624750000),
              3: ("MODE_50W", 0, 828750000)},
        hwmon=P3701, root_only=True, zones="CPU GPU CV0 CV1 CV2 SOC0 SOC1 SOC2 tj".split(), emc="bpmp",
        emc_rates=(204000000, 3199000000, 2133000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=3199000000,
        cpus=3,
        source={
            "clock list": "t public list; the modes' caps in jetson_stats-nvpmodel-show_verbose_orin.txt agree (c)",
            "bounds per mode": "c jetson_stats-nvpmodel-show_verbose_orin.txt",
            "rails": "k p3701 device tree; values i",
        }),
    "agx-orin-r35.4": dict(
        about="Jetson AGX Orin with the later clock list, L4T R35, mode MAXN", kernel="5.10",
        model="NVIDIA Jetson AGX Orin Developer Kit",
        compatible="nvidia,p3737-0000+p3701-0000 nvidia,p3701-0000 nvidia,tegra234", release="35 4.1 t186ref",
        mode=(0, "MAXN"), gpu="17000000.ga10b", of="ga10b", layout="r35",
        clocks=clocks(*ORIN_102, 1020, 1122, 1224, 1300.5), max=1300500000, now=510000000, governors=R35_GOVERNORS,
        podgov=True, conf={0: ("MAXN", 0, 9223372036854775807)}, hwmon=P3701, root_only=True,
        zones="CPU GPU CV0 CV1 CV2 SOC0 SOC1 SOC2 tj".split(), emc="bpmp",
        emc_rates=(204000000, 3199000000, 2133000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=3199000000,
        cpus=3,
        source={
            "ends of the clock list, clock now, EMC": "c capture-agx-orin-jetson_clocks-R35.txt",
            "clock list between": "t public list", "rails": "k p3701 device tree; values i",
        }),
    "agx-orin-r36.4": dict(
        about="Jetson AGX Orin 64 GB, L4T R36, mode MAXN", kernel="5.15",
        model="NVIDIA Jetson AGX Orin Developer Kit",
        compatible="nvidia,p3737-0000+p3701-0005 nvidia,p3701-0005 nvidia,tegra234", release="36 4.3 generic",
        mode=(0, "MAXN"), gpu="17000000.gpu", of="gpu", layout="r36",
        clocks=clocks(*ORIN_102, 1020, 1122, 1224, 1300.5), max=1300500000, governors=R36_GOVERNORS, podgov=False,
        conf={0: ("MAXN", 0, 9223372036854775807)}, hwmon=P3701, zones=ORIN_ZONES, emc="bpmp",
        emc_rates=(204000000, 3199000000, 2133000000), emc_cap="nvpmodel_clk_cap/emc", emc_cap_hz=3199000000,
        oc=True, cpus=3,
        source={
            "clock list": "t public list; ends c on R35", "rails": "k p3701 device tree, c labels in a tegrastats line "
            "of R39 (capture-agx-orin-jetson_clocks-R35.txt); values i", "governors": "t", "over-current": "c on Orin Nano",
        }),
    "orin-nx-16gb-r35.3": dict(
        about="Jetson Orin NX 16 GB, L4T R35, mode 25W", kernel="5.10", model="NVIDIA Orin NX Developer Kit",
        compatible="nvidia,p3768-0000+p3767-0000 nvidia,p3767-0000 nvidia,tegra234 nvidia,tegra23x",
        release="35 3.1 t186ref", mode=(3, "25W"), gpu="17000000.ga10b", of="ga10b", layout="r35",
        clocks=clocks(*ORIN_102), max=408000000, tpc="240", governors=R35_GOVERNORS, podgov=True,
        conf={0: ("MAXN", 0, 9223372036854775807), 3: ("25W", 0, 408000000)}, hwmon=P3767, root_only=True,
        zones="CPU GPU CV0 CV1 CV2 SOC0 SOC1 SOC2 tj".split(), emc="bpmp",
        emc_rates=(204000000, 3199000000, 2133000000), emc_cap="nvpmodel_emc_cap/emc_iso_cap", emc_cap_hz=3199000000,
        cpus=2,
        source={
            "bounds, TPC mask, mode": "c capture-orin-nx-R35-25W.txt", "clock list": "t public list",
            "rails": "k p3767 device tree; values i",
        }),
    "orin-nx-16gb-super-r36.5": dict(
        about="Jetson Orin NX 16 GB with Super firmware, L4T R36.5, mode 40W", kernel="5.15",
        model="NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super",
        compatible="nvidia,p3768-0000+p3767-0000-super nvidia,p3767-0000 nvidia,tegra234", release="36 5.0 generic",
        mode=(4, "40W"), gpu="17000000.gpu", of="gpu", layout="r36", clocks=clocks(*ORIN_102, 1020, 1122, 1173),
        max=1173000000, tpc="240", governors=R36_GOVERNORS, podgov=False,
        conf={0: ("MAXN_SUPER", 0, 9223372036854775807), 4: ("40W", 0, 1173000000)}, hwmon=P3767, zones=ORIN_ZONES,
        emc="bpmp", emc_rates=(204000000, 3199000000, 3199000000), emc_cap="nvpmodel_clk_cap/emc",
        emc_cap_hz=3199000000, oc=True, cpus=2,
        source={
            "bounds, TPC mask, mode, EMC cap": "c capture-orin-nx-16gb-super-R36.5-40W.txt",
            "clock list": "t up to 918 MHz, c the top; 1020 and 1122 MHz are i (by the list's step)",
            "rails": "k p3767 device tree; values i", "over-current": "c on Orin Nano",
        }),
    "orin-nano-8gb-r39.2": dict(
        about="Jetson Orin Nano 8 GB without Super firmware, L4T R39.2, mode 15W", kernel="6.8",
        model="NVIDIA Jetson Orin Nano Developer Kit",
        compatible="nvidia,p3768-0000+p3767-0005 nvidia,p3767-0005 nvidia,tegra234", release="39 2.0 generic",
        mode=(0, "15W"), gpu="17000000.gpu", of="gpu", layout="r36", clocks=clocks(306, 408, 510, 612, 624.75),
        max=624750000, tpc="240", governors="nvhost_podgov performance", podgov=False,
        conf={0: ("15W", 0, 624750000), 1: ("7W", 0, 408000000)}, hwmon=P3767, zones=ORIN_ZONES, emc="bwmgr",
        emc_rates=(204000000, 2133000000, 2133000000), oc=True, cpus=2,
        source={
            "ends of the clock list, EMC, model, modes": "c capture-orin-nano-R39.2-15W.txt (7W's cap i)",
            "clock list between": "i by the list's step; their number is t", "bwmgr": "t paths of R38/R39",
            "governors": "i as told of Thor on the same kernel", "rails": "k p3767 device tree, c labels; values i",
        }),
    "orin-nano-8gb-super-r36.4": dict(
        about="Jetson Orin Nano 8 GB with Super firmware, L4T R36.4.3, mode 25W", kernel="5.15",
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        compatible="nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234", release="36 4.3 generic",
        mode=(1, "25W"), gpu="17000000.gpu", of="gpu", layout="r36", clocks=clocks(*ORIN_102, 1020), max=918000000,
        tpc="240", governors=R36_GOVERNORS, podgov=False,
        conf={0: ("15W", 0, 612000000), 1: ("25W", 0, 918000000), 2: ("MAXN_SUPER", 0, 9223372036854775807)},
        hwmon=P3767, zones=ORIN_ZONES, emc="bpmp", emc_rates=(204000000, 3199000000, 2133000000),
        emc_cap="nvpmodel_clk_cap/emc", emc_cap_hz=3199000000, oc=True, cpus=2,
        source={
            "model, release, bounds, TPC mask, EMC": "c capture-orin-nano-8gb-super-R36.4.3-25W.txt",
            "clock list": "t two public sweeps", "hwmon path, zone order, over-current": "c",
            "governors": "t (userspace is told to be accepted, not seen)", "rails": "k p3767 device tree; values i",
        }),
    "orin-nano-4gb-r36.4": dict(
        about="Jetson Orin Nano 4 GB without Super firmware, L4T R36, mode 10W", kernel="5.15",
        model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
        compatible="nvidia,p3768-0000+p3767-0004 nvidia,p3767-0004 nvidia,tegra234", release="36 4.3 generic",
        mode=(0, "10W"), gpu="17000000.gpu", of="gpu", layout="r36", clocks=clocks(306, 408, 510, 612, 624.75),
        max=624750000, governors=R36_GOVERNORS, podgov=False, conf={0: ("10W", 0, 624750000)}, hwmon=P3767,
        zones=ORIN_ZONES, emc="bpmp", emc_rates=(204000000, 2133000000, 2133000000), emc_cap="nvpmodel_clk_cap/emc",
        emc_cap_hz=2133000000, oc=True, cpus=2,
        source={"clock list": "i as the 8 GB module's; nobody has told it", "mode and its cap": "i",
                "rails": "k p3767 device tree; values i"}),
    "thor-r38.2": dict(
        about="Jetson AGX Thor (T5000), L4T R38, mode 120W", kernel="6.8",
        model="NVIDIA Jetson AGX Thor Developer Kit",
        compatible="nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264", release="38 2.0 generic",
        mode=(1, "120W"), layout="thor", clocks=clocks(315, 420, 525, 630, 735, 840, 945, 1050, 1155, 1260, 1386, 1470,
                                                       1575), max=1386000000,
        nvd=clocks(315, 567, 819, 1071, 1323, 1692), governors="performance nvhost_podgov", podgov=False,
        conf={0: ("MAXN", 0, -1), 1: ("120W", 0, 1386000000)},
        hwmon=[("2-0040", "810c680000.i2c", [("VDD_GPU", 12000, 0, 2000), ("VDD_CPU_SOC_MSS", 12000, 700, 2000),
                                            ("VIN_SYS_5V0", 5000, 1600, 2000)])],
        ina238=("2-0044", "810c680000.i2c", 19000, 1500), zones="cpu gpu soc012 soc345 tj".split(), emc="bwmgr",
        emc_rates=(665600000, 4266000000, 4266000000), oc=False, cpus=7,
        source={
            "clock list of gpu-gpc-0 and gpu-nvd-0": "i: only the ends (315 and 1575 MHz; 1692 MHz) and the 120W cap "
            "(1386 MHz) are known",
            "ends, EMC": "c capture-thor-jetson_clocks-R38-MAXN-locked.txt", "paths, governors": "t",
            "rails": "t labels; addresses, controllers and values i",
        }),
}


class Tree:
    def __init__(self, name):
        self.root = os.path.join(HERE, name)
        shutil.rmtree(self.root, ignore_errors=True)
        self.modes = []

    def put(self, path, text, mode=None):
        full = os.path.join(self.root, path.lstrip("/"))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", newline="") as f:
            f.write(f"{text}" if str(text).endswith(("\n", "\0")) else f"{text}\n")
        if mode:
            self.modes.append(f"{mode} {path}")

    def link(self, path, to):
        full = os.path.join(self.root, path.lstrip("/"))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        os.symlink(os.path.relpath(to, os.path.dirname(path)), full)


def devfreq(t, device, name, table, low, high, now, b):
    d = f"{device}/devfreq/{name}"
    t.put(f"{d}/available_frequencies", " ".join(map(str, table)))
    t.put(f"{d}/available_governors", b["governors"])
    t.put(f"{d}/governor", "nvhost_podgov")
    t.put(f"{d}/min_freq", low)
    t.put(f"{d}/max_freq", high)
    t.put(f"{d}/cur_freq", now)
    t.put(f"{d}/target_freq", now)
    if b["kernel"] != "4.9":
        t.put(f"{d}/name", name)
    t.link(f"{d}/device", device)
    t.link(f"/sys/class/devfreq/{name}", d)
    return d


def gpu(t, b):
    low, now = b.get("min", b["clocks"][0]), b.get("now", b.get("min", b["clocks"][0]))
    if b["layout"] == "thor":
        pci = "/sys/devices/platform/bus@0/d0b0000000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0"
        devfreq(t, f"{pci}/gpu-gpc-0", "gpu-gpc-0", b["clocks"], low, b["max"], now, b)
        devfreq(t, f"{pci}/gpu-nvd-0", "gpu-nvd-0", b["nvd"], b["nvd"][0], b["nvd"][-1], b["nvd"][0], b)
        t.put(f"{pci}/power/control", "auto")
        return
    name = b["gpu"]
    base = {"r32": "/sys/devices", "r35": "/sys/devices/platform", "r36": "/sys/devices/platform/bus@0"}[b["layout"]]
    device = f"{base}/{name}"
    aliases = {
        "r32": ["/sys/devices/gpu.0"],
        "r35": [f"/sys/devices/{name}", "/sys/devices/gpu.0", "/sys/devices/platform/gpu.0"],
        "r36": [f"/sys/devices/platform/{name}", "/sys/devices/platform/gpu.0", "/sys/devices/platform/bus@0/gpu.0"],
    }[b["layout"]]
    d = devfreq(t, device, name, b["clocks"], low, b["max"], now, b)
    t.link(f"{device}/devfreq_dev", d)
    for alias in aliases:
        t.link(alias, device)
    t.put(f"{device}/of_node/name", b["of"] + "\0")
    t.put(f"{device}/load", 0)
    t.put(f"{device}/railgate_enable", 1)
    t.put(f"{device}/power/control", "auto")
    t.put(f"{device}/tpc_pg_mask", b.get("tpc", "0"))
    if b["podgov"]:
        t.put(f"{device}/user", 0)
        t.put(f"{device}/freq_request", b["clocks"][-1])
        t.put(f"{device}/enable_3d_scaling", 1)


def rails(t, b):
    mode = "0400" if b.get("root_only") else None
    platform = "/sys/devices/platform" if b["layout"] == "r35" else "/sys/devices/platform/bus@0"
    number = 1
    for address, controller, channels in b.get("hwmon", []):
        d = f"{platform}/{controller}/i2c-{address.split('-')[0]}/{address}/hwmon/hwmon{number}"
        t.put(f"{d}/name", "ina3221")
        for n, (label, mv, ma, uohm) in enumerate(channels, 1):
            # A disabled channel has its nodes and answers ENODATA; a copy can only hold nothing.
            if label is None:
                t.put(f"{d}/in{n}_enable", 0, mode and "0600")
                continue
            t.put(f"{d}/in{n}_label", label, mode)
            t.put(f"{d}/in{n}_enable", 1, mode and "0600")
            t.put(f"{d}/in{n}_input", mv, mode)
            t.put(f"{d}/curr{n}_input", ma, mode)
            t.put(f"{d}/shunt{n}_resistor", uohm, mode and "0600")
        t.put(f"{d}/in7_label", "sum of shunt voltages", mode)
        t.put(f"{d}/update_interval", 7, mode and "0600")
        t.put(f"{d}/samples", 1, mode and "0600")
        t.link(f"/sys/class/hwmon/hwmon{number}", d)
        number += 1
    if "ina238" in b:
        address, controller, mv, ma = b["ina238"]
        d = f"{platform}/{controller}/i2c-{address.split('-')[0]}/{address}/hwmon/hwmon{number}"
        t.put(f"{d}/name", "ina238")
        t.put(f"{d}/label", "VIN")
        t.put(f"{d}/in1_input", mv)
        t.put(f"{d}/curr1_input", ma)
        t.put(f"{d}/power1_input", mv * ma)
        t.link(f"/sys/class/hwmon/hwmon{number}", d)
        number += 1
    if b.get("oc"):
        d = f"/sys/devices/platform/soctherm-oc-event/hwmon/hwmon{number}"
        t.put(f"{d}/name", "soctherm_oc")
        for n in (1, 2, 3):
            t.put(f"{d}/oc{n}_event_cnt", 0)
        t.link(f"/sys/class/hwmon/hwmon{number}", d)
    for n, (address, channels) in enumerate(b.get("iio", [])):
        d = f"/sys/bus/i2c/drivers/ina3221x/{address}/iio:device{n}"
        for k, (label, mv, ma) in enumerate(channels):
            t.put(f"{d}/rail_name_{k}", label, "0600")
            t.put(f"{d}/in_voltage{k}_input", mv, "0600")
            t.put(f"{d}/in_current{k}_input", ma, "0600")
            t.put(f"{d}/in_power{k}_input", mv * ma // 1000, "0600")
        t.put(f"{d}/running_mode", 1, "0600")


def emc(t, b):
    if b["emc"] == "t210":
        t.put("/sys/kernel/debug/tegra_bwmgr/emc_min_rate", 40800000, "0600")
        t.put("/sys/kernel/debug/tegra_bwmgr/emc_max_rate", 1600000000, "0600")
        t.put("/sys/kernel/debug/clk/override.emc/clk_rate", 1600000000, "0600")
        t.put("/sys/kernel/debug/clk/override.emc/clk_update_rate", 1600000000, "0600")
        t.put("/sys/kernel/debug/clk/override.emc/clk_state", 0, "0600")
        t.put("/sys/kernel/nvpmodel_emc_cap/emc_iso_cap", 0, "0660")
        return
    low, high, now = b["emc_rates"]
    if b["emc"] == "bwmgr":
        d = "/sys/devices/platform/bwmgr/devfreq/bwmgr"
        for node, hz in (("min_freq", low), ("max_freq", high), ("cur_freq", now)):
            t.put(f"{d}/{node}", hz)
        t.put(f"{d}/governor", "userspace")
        t.link("/sys/class/devfreq/bwmgr", d)
        return
    d = "/sys/kernel/debug/bpmp/debug/clk/emc"
    for node, value in (("min_rate", low), ("max_rate", high), ("rate", now), ("mrq_rate_locked", 0), ("state", 1)):
        t.put(f"{d}/{node}", value, "0600")
    t.put(f"/sys/kernel/{b['emc_cap']}", b["emc_cap_hz"], "0660" if "emc_cap/" in b["emc_cap"] else None)


def board(name, b):
    t = Tree(name)
    t.put("/proc/device-tree/model", b["model"] + "\0")
    t.put("/proc/device-tree/compatible", b["compatible"].replace(" ", "\0") + "\0")
    major, revision, kind = b["release"].split()
    t.put("/etc/nv_tegra_release", f"# R{major} (release), REVISION: {revision}, GCID: 0, BOARD: {kind}, EABI: aarch64")
    lines = ["< PARAM TYPE=CLOCK NAME=GPU >"]
    for number, (mode, low, high) in b["conf"].items():
        lines += [f"< POWER_MODEL ID={number} NAME={mode} >", f"GPU MIN_FREQ {low}", f"GPU MAX_FREQ {high}"]
    lines.append(f"< PM_CONFIG DEFAULT={b['mode'][0]} >")
    t.put("/etc/nvpmodel.conf", "\n".join(lines))
    t.put("/var/lib/nvpmodel/status", f"pmode:{b['mode'][0]:04d}")
    gpu(t, b)
    rails(t, b)
    emc(t, b)
    suffix = "-thermal" if b["layout"] in ("r36", "thor") else "-therm"
    for n, zone in enumerate(b["zones"]):
        kind = zone if b["layout"] == "r32" or "-" in zone else zone + suffix
        t.put(f"/sys/class/thermal/thermal_zone{n}/type", kind)
        # The cv zones answer EAGAIN on a real board while their parts sleep; so does a gated GPU's.
        t.put(f"/sys/class/thermal/thermal_zone{n}/temp", "-256000" if zone.startswith(("cv", "CV")) else 45000 + 500 * n)
    if b["layout"] in ("r36", "thor"):
        t.put("/sys/class/thermal/cooling_device0/type", "gpu-throttle-alert")
        t.put("/sys/class/thermal/cooling_device0/cur_state", 0)
    for n in range(b["cpus"]):
        t.put(f"/sys/devices/system/cpu/cpufreq/policy{2 * n}/scaling_cur_freq", 729600)
    if t.modes:
        t.put("/modes", "\n".join(sorted(t.modes)))
    t.put("/kernel", b["kernel"])
    grades = {"c": "captured", "k": "source", "t": "told", "i": "invented"}
    rows = [f"| {what} | {grades[how[0]] if how[1:2] == ' ' else 'invented'} | {how[2:] if how[1:2] == ' ' else how} |"
            for what, how in {**COMMON, **b["source"]}.items()]
    readme = (f"# {name}\n\n{b['about']}.\n\nWritten by `../make.py`, not copied from a board. Capture files are those of the "
              "measured data folder. *captured*: seen on\na real board; *source*: read in a driver or a device tree; *told*: by "
              "a third party; *invented*: nobody has told it.\n\n| nodes | how known | where from |\n|---|---|---|\n"
              + "\n".join(rows) + "\n\n`kernel` names the kernel whose rules hold, `modes` the nodes whose permission bits "
              "differ from 0644.\n")
    t.put("/README.md", readme)


for name, spec in BOARDS.items():
    board(name, spec)
