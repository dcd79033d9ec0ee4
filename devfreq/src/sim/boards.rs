//! The virtual boards: clock lists and layouts of real ones, and the numbers of their physics.
//!
//! Clock lists, node layouts, rails and shunts are read from real boards or their kernels. The physics of `tx2` is
//! fitted to a published sweep of a real TX2; that of the others scales from data sheet peaks with the efficiencies
//! that stand beside them, which are assumptions.

use jetpace_tables::units::Hertz;

use super::physics::{Energy, Speed};
use super::rules::Kernel;
use super::thermal::Cooling;

/// The names that [`super::Board::new`] knows.
pub const NAMES: [&str; 4] = ["tx2", "xavier-nx", "orin-nano", "orin-nano-super"];

/// How an INA3221 is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// L4T R32: `ina3221x` in iio, 512 readings averaged.
    Iio,
    /// L4T R34 and later: `ina3221` in hwmon, one reading of 1.1 ms per voltage; readable by root alone up to R35.
    Hwmon,
}

/// One channel of an INA3221, and what flows through it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    /// Label in the device tree.
    pub label: &'static str,
    /// Voltage in front of the regulator.
    pub bus_v: f64,
    /// Shunt in milliohms.
    pub shunt_mohm: f64,
    /// Shares of the module's power that the channel carries: standing, clock tree, operations, memory traffic.
    pub shares: [f64; 4],
}

/// One INA3221.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chip {
    /// `<bus>-<address>`.
    pub address: &'static str,
    /// Its three channels.
    pub channels: [Channel; 3],
}

/// Everything that a virtual board is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub name: &'static str,
    pub model: &'static str,
    pub compatible: &'static [&'static str],
    pub release: &'static str,
    /// The devfreq device: `17000000.gp10b`.
    pub gpu: &'static str,
    /// The GPU's name in the device tree.
    pub of_name: &'static str,
    /// The device's own folder, and the links that lead to it.
    pub device: &'static str,
    pub aliases: &'static [&'static str],
    pub kernel: Kernel,
    pub clocks_khz: &'static [u64],
    pub governors: &'static [&'static str],
    pub tpc_mask: &'static str,
    pub power_mode: (u32, &'static str),
    pub emc_khz: &'static [u64],
    /// nvpmodel's node that caps the memory's clock; the rest lies in BPMP's debugfs.
    pub emc_cap: &'static str,
    pub ina: Driver,
    pub i2c: &'static str,
    pub chips: &'static [Chip],
    pub zones: &'static [&'static str],
    pub speed: Speed,
    pub energy: Energy,
    pub cooling: Cooling,
}

impl Spec {
    /// What boards made of measurements are like besides.
    pub const LIKE: Self = ORIN_NANO_SUPER;

    pub fn find(name: &str) -> Option<&'static Self> {
        [&TX2, &XAVIER_NX, &ORIN_NANO, &ORIN_NANO_SUPER].into_iter().find(|spec| spec.name == name)
    }

    pub fn clocks(&self) -> Vec<Hertz> {
        self.clocks_khz.iter().map(|&khz| Hertz::from_khz(khz)).collect()
    }

    pub fn emc_clocks(&self) -> Vec<Hertz> {
        self.emc_khz.iter().map(|&khz| Hertz::from_khz(khz)).collect()
    }
}

/// Fitted to the 13 times and input powers of `vgg19_N2` in the measured data folder's `sweeps/tx2.csv`, at one image
/// per call in 16 bits, as the networks' layers count (the label N2 may mean two images and the precision was not
/// recorded; whole-network figures cannot tell these apart). Fitted: bytes per clock, operations per byte, and the
/// power of standing, clock tree and memory traffic. Set: 78 % of the 1024 half-precision operations per clock, 64 % of
/// 59.7 GB/s, fourfold activations, 8 us per launch, the overlap's loss, and 1.5 pJ per operation out of the clock
/// tree's share. The voltages and shunts of the rails are those whose steps the recorded tegrastats shows (38 mW on
/// VDD_IN, 76 mW on the others).
const TX2: Spec = Spec {
    name: "tx2",
    model: "quill",
    compatible: &["nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"],
    release: "# R32 (release), REVISION: 7.2, GCID: 30192233, BOARD: t186ref, EABI: aarch64, DATE: Wed Apr 20 21:34:48 \
              UTC 2022\n",
    gpu: "17000000.gp10b",
    of_name: "gp10b",
    device: "/sys/devices/17000000.gp10b",
    aliases: &["/sys/devices/gpu.0"],
    kernel: Kernel::V4_9,
    clocks_khz: &[
        114_750, 216_750, 318_750, 420_750, 522_750, 624_750, 726_750, 854_250, 930_750, 1_032_750, 1_122_000,
        1_236_750, 1_300_500,
    ],
    governors: &["wmark_active", "wmark_simple", "nvhost_podgov", "userspace", "performance", "simple_ondemand"],
    tpc_mask: "0",
    power_mode: (0, "MAXN"),
    emc_khz: &[40_800, 204_000, 408_000, 665_600, 800_000, 1_062_400, 1_331_200, 1_600_000, 1_866_000],
    emc_cap: "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap",
    ina: Driver::Iio,
    i2c: "/sys/devices/3160000.i2c/i2c-0",
    chips: &[
        Chip {
            address: "0-0040",
            channels: [
                Channel { label: "VDD_SYS_GPU", bus_v: 19.0, shunt_mohm: 10.0, shares: [0.0446, 1.0, 1.0, 0.29] },
                Channel { label: "VDD_SYS_SOC", bus_v: 19.0, shunt_mohm: 10.0, shares: [0.196, 0.0, 0.0, 0.139] },
                Channel { label: "VDD_4V0_WIFI", bus_v: 4.8, shunt_mohm: 10.0, shares: [0.01, 0.0, 0.0, 0.0] },
            ],
        },
        Chip {
            address: "0-0041",
            channels: [
                Channel { label: "VDD_IN", bus_v: 19.0, shunt_mohm: 20.0, shares: [1.0; 4] },
                Channel { label: "VDD_SYS_CPU", bus_v: 19.0, shunt_mohm: 10.0, shares: [0.2435, 0.0, 0.0, 0.012] },
                Channel { label: "VDD_SYS_DDR", bus_v: 19.0, shunt_mohm: 10.0, shares: [0.2976, 0.0, 0.0, 0.417] },
            ],
        },
    ],
    zones: &[
        "BCPU-therm",
        "MCPU-therm",
        "GPU-therm",
        "PLL-therm",
        "Tboard_tegra",
        "Tdiode_tegra",
        "PMIC-Die",
        "thermal-fan-est",
    ],
    speed: Speed {
        flops_per_clock: 800.0,
        bytes_per_clock: 148.0,
        bytes_per_s: 38.5e9,
        activation_traffic: 4.0,
        flops_per_byte: 20.2,
        launch_s: 8e-6,
        overlap_loss: 0.15,
    },
    energy: Energy {
        busy_base_w: 4.79,
        idle_base_w: 4.42,
        gated_w: 4.18,
        clock_w: 2.83,
        idle_clock_share: 0.15,
        flop_j: 1.5e-12,
        byte_j: 157.4e-12,
        knee: 0.58,
        slope: 1.0,
        leak_w_per_k: 0.004,
    },
    cooling: Cooling { ambient_c: 25.0, kelvin_per_w: 2.0, tau_s: 60.0, trip_c: 95.5, release_c: 90.0 },
};

/// L4T R35. 48 tensor cores of 64 half-precision multiply-adds: 6144 operations per clock, 45 % of them reached; 65 %
/// of 59.7 GB/s.
const XAVIER_NX: Spec = Spec {
    name: "xavier-nx",
    model: "NVIDIA Jetson Xavier NX Developer Kit",
    compatible: &["nvidia,p3449-0000+p3668-0000", "nvidia,tegra194"],
    release: "# R35 (release), REVISION: 5.0, GCID: 35550185, BOARD: t186ref, EABI: aarch64, DATE: Tue Feb 20 04:46:31 \
              UTC 2024\n",
    gpu: "17000000.gv11b",
    of_name: "gv11b",
    device: "/sys/devices/platform/17000000.gv11b",
    aliases: &["/sys/devices/17000000.gv11b", "/sys/devices/gpu.0", "/sys/devices/platform/gpu.0"],
    kernel: Kernel::V5_10,
    clocks_khz: &[
        114_750, 204_000, 306_000, 408_000, 510_000, 599_250, 701_250, 752_250, 803_250, 854_250, 905_250, 956_250,
        1_007_250, 1_058_250, 1_109_250,
    ],
    governors: &["wmark_active", "nvhost_podgov", "userspace", "performance", "simple_ondemand"],
    tpc_mask: "1",
    power_mode: (2, "MODE_15W_6CORE"),
    emc_khz: &[204_000, 408_000, 665_600, 800_000, 1_062_400, 1_331_200, 1_600_000],
    emc_cap: "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap",
    ina: Driver::Hwmon,
    i2c: "/sys/devices/platform/c250000.i2c/i2c-7",
    chips: &[Chip { address: "7-0040", channels: three_rails(5.0, 0.35) }],
    zones: &["CPU-therm", "GPU-therm", "AUX-therm", "AO-therm", "PMIC-Die"],
    speed: Speed {
        flops_per_clock: 6144.0 * 0.45,
        bytes_per_clock: 300.0,
        bytes_per_s: 59.7e9 * 0.65,
        activation_traffic: 1.0,
        flops_per_byte: 200.0,
        launch_s: 7e-6,
        overlap_loss: 0.15,
    },
    energy: Energy {
        busy_base_w: 4.3,
        idle_base_w: 4.0,
        gated_w: 3.7,
        clock_w: 1.6,
        idle_clock_share: 0.15,
        flop_j: 0.8e-12,
        byte_j: 60e-12,
        knee: 0.58,
        slope: 1.0,
        leak_w_per_k: 0.004,
    },
    cooling: Cooling { ambient_c: 25.0, kelvin_per_w: 2.6, tau_s: 50.0, trip_c: 95.0, release_c: 90.0 },
};

/// L4T R36 with the firmware before Super: five clocks, EMC at 2133 MHz. 32 tensor cores of 256 half-precision
/// multiply-adds: 16384 operations per clock, 40 % of them reached; 65 % of 68 GB/s. Its top clock lies where the
/// Super firmware's curve is still low, so its voltage rises little.
const ORIN_NANO: Spec = Spec {
    name: "orin-nano",
    model: "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
    compatible: &["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
    release: R36,
    clocks_khz: &[306_000, 408_000, 510_000, 612_000, 624_750],
    power_mode: (0, "15W"),
    emc_khz: &[204_000, 665_600, 2_133_000],
    speed: Speed {
        flops_per_clock: 16_384.0 * 0.40,
        bytes_per_clock: 420.0,
        bytes_per_s: 68.0e9 * 0.65,
        activation_traffic: 1.0,
        flops_per_byte: 300.0,
        launch_s: 6e-6,
        overlap_loss: 0.15,
    },
    energy: Energy {
        busy_base_w: 4.3,
        idle_base_w: 3.95,
        gated_w: 3.7,
        clock_w: 1.3,
        idle_clock_share: 0.15,
        flop_j: 0.9e-12,
        byte_j: 55e-12,
        knee: 0.72,
        slope: 1.0,
        leak_w_per_k: 0.004,
    },
    ..ORIN_NANO_SUPER
};

const R36: &str = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 \
                   01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n";

/// The same module with the Super firmware in MAXN_SUPER: eight clocks, EMC at 3199 MHz, 102 GB/s.
const ORIN_NANO_SUPER: Spec = Spec {
    name: "orin-nano-super",
    model: "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    compatible: &["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"],
    release: R36,
    gpu: "17000000.gpu",
    of_name: "gpu",
    device: "/sys/devices/platform/bus@0/17000000.gpu",
    aliases: &[
        "/sys/devices/platform/17000000.gpu",
        "/sys/devices/platform/gpu.0",
        "/sys/devices/platform/bus@0/gpu.0",
    ],
    kernel: Kernel::Direct,
    clocks_khz: &[306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000],
    governors: &["nvhost_podgov", "userspace", "performance", "simple_ondemand"],
    tpc_mask: "240",
    power_mode: (2, "MAXN_SUPER"),
    emc_khz: &[204_000, 665_600, 2_133_000, 3_199_000],
    emc_cap: "/sys/kernel/nvpmodel_clk_cap/emc",
    ina: Driver::Hwmon,
    i2c: "/sys/devices/platform/bus@0/c240000.i2c/i2c-1",
    chips: &[Chip { address: "1-0040", channels: three_rails(5.0, 0.3) }],
    zones: &[
        "cpu-thermal",
        "gpu-thermal",
        "cv0-thermal",
        "cv1-thermal",
        "cv2-thermal",
        "soc0-thermal",
        "soc1-thermal",
        "soc2-thermal",
        "tj-thermal",
    ],
    speed: Speed {
        flops_per_clock: 16_384.0 * 0.40,
        bytes_per_clock: 420.0,
        bytes_per_s: 102.0e9 * 0.65,
        activation_traffic: 1.0,
        flops_per_byte: 300.0,
        launch_s: 6e-6,
        overlap_loss: 0.15,
    },
    energy: Energy {
        busy_base_w: 4.9,
        idle_base_w: 4.4,
        gated_w: 4.1,
        clock_w: 1.9,
        idle_clock_share: 0.15,
        flop_j: 0.8e-12,
        byte_j: 55e-12,
        knee: 0.58,
        slope: 1.0,
        leak_w_per_k: 0.005,
    },
    cooling: Cooling { ambient_c: 25.0, kelvin_per_w: 2.2, tau_s: 60.0, trip_c: 99.0, release_c: 94.0 },
};

/// The rails of Xavier NX, Orin NX and Orin Nano: the module's input, GPU and CPU on one rail, the SoC.
const fn three_rails(bus_v: f64, cpu_share: f64) -> [Channel; 3] {
    [
        Channel { label: "VDD_IN", bus_v, shunt_mohm: 5.0, shares: [1.0; 4] },
        Channel { label: "VDD_CPU_GPU_CV", bus_v, shunt_mohm: 5.0, shares: [cpu_share * 0.5, 0.95, 0.95, 0.15] },
        Channel { label: "VDD_SOC", bus_v, shunt_mohm: 5.0, shares: [0.3, 0.0, 0.0, 0.45] },
    ]
}
