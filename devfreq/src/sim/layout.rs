//! Where the nodes of a virtual board lie, as on the real one of its release.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::boards::{Driver, Spec};
use super::nodes::{Device, Emc, Entry, Quantity, Setting, Tree};
use super::rules::Kernel;

struct Builder {
    tree: Tree,
}

impl Builder {
    fn file(&mut self, path: impl AsRef<Path>, mode: u32, entry: Entry) {
        self.tree.files.insert(path.as_ref().to_owned(), (entry, mode));
    }

    fn text(&mut self, path: impl AsRef<Path>, text: impl Into<String>) {
        self.file(path, 0o444, Entry::Text(text.into()));
    }

    fn line(&mut self, path: impl AsRef<Path>, text: &str) {
        self.text(path, format!("{text}\n"));
    }

    fn link(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        self.tree.links.insert(path.into(), target.into());
    }
}

/// The tree of a board.
pub(super) fn tree(spec: &Spec) -> Tree {
    let mut build = Builder { tree: Tree::default() };
    identity(&mut build, spec);
    gpu(&mut build, spec);
    emc(&mut build, spec);
    match spec.ina {
        Driver::Iio => iio(&mut build, spec),
        Driver::Hwmon => hwmon(&mut build, spec),
    }
    thermal(&mut build, spec);
    cpu(&mut build);
    build.tree
}

fn identity(build: &mut Builder, spec: &Spec) {
    build.link("/proc/device-tree", "/sys/firmware/devicetree/base");
    let tree = Path::new("/sys/firmware/devicetree/base");
    build.text(tree.join("model"), format!("{}\0", spec.model));
    let compatible = spec.compatible.iter().fold(String::new(), |list, entry| list + entry + "\0");
    build.text(tree.join("compatible"), compatible);
    build.text("/etc/nv_tegra_release", spec.release);
    build.line("/proc/sys/kernel/random/boot_id", "6a657470-6163-4e00-8000-000000000001");
    let (id, name) = spec.power_mode;
    build.text("/var/lib/nvpmodel/status", format!("pmode:{id:04}"));
    let devfreq = format!("{}/devfreq_dev", spec.device);
    build.text(
        "/etc/nvpmodel.conf",
        format!(
            "< PARAM TYPE=FILE NAME=GPU >\nMIN_FREQ {devfreq}/min_freq\nMAX_FREQ {devfreq}/max_freq\n\n\
             < POWER_MODEL ID={id} NAME={name} >\nGPU MIN_FREQ 0\nGPU MAX_FREQ -1\n\n< PM_CONFIG DEFAULT={id} >\n"
        ),
    );
}

fn gpu(build: &mut Builder, spec: &Spec) {
    let device = Path::new(spec.device);
    let devfreq = device.join("devfreq").join(spec.gpu);
    for alias in spec.aliases {
        build.link(*alias, device);
    }
    build.link(device.join("devfreq_dev"), &devfreq);
    build.link(Path::new("/sys/class/devfreq").join(spec.gpu), &devfreq);
    build.link(devfreq.join("device"), device);
    build.link(device.join("of_node"), Path::new("/sys/firmware/devicetree/base").join(spec.gpu));
    build.text(Path::new("/sys/firmware/devicetree/base").join(spec.gpu).join("name"), format!("{}\0", spec.of_name));

    for file in ["available_frequencies", "available_governors", "cur_freq", "target_freq"] {
        build.file(devfreq.join(file), 0o444, Entry::Devfreq(file));
    }
    for file in ["governor", "min_freq", "max_freq", "polling_interval", "userspace/set_freq"] {
        build.file(devfreq.join(file), 0o644, Entry::Devfreq(file));
    }
    if spec.kernel != Kernel::V4_9 {
        build.file(devfreq.join("name"), 0o444, Entry::Devfreq("name"));
    }
    for file in ["user", "freq_request", "enable_3d_scaling"] {
        build.file(device.join(file), 0o644, Entry::Devfreq(file));
    }
    for (file, entry) in [
        ("load", Device::Load),
        ("railgate_enable", Device::Railgate),
        ("railgate_delay", Device::RailgateDelay),
        ("is_railgated", Device::IsRailgated),
    ] {
        let mode = if matches!(entry, Device::Load | Device::IsRailgated) { 0o444 } else { 0o744 };
        build.file(device.join(file), mode, Entry::Device(entry));
    }
    build.file(device.join("power/control"), 0o644, Entry::Device(Device::Control));
    build.file(device.join("power/runtime_status"), 0o444, Entry::Device(Device::RuntimeStatus));
    build.line(device.join("tpc_pg_mask"), spec.tpc_mask);
}

fn emc(build: &mut Builder, spec: &Spec) {
    let debug = Path::new("/sys/kernel/debug/bpmp/debug");
    let clk = debug.join("clk/emc");
    build.file(clk.join("rate"), 0o644, Entry::Emc(Emc::Rate));
    build.file(clk.join("mrq_rate_locked"), 0o644, Entry::Emc(Emc::Locked));
    build.file(clk.join("state"), 0o644, Entry::Emc(Emc::State));
    build.file(clk.join("min_rate"), 0o444, Entry::Emc(Emc::Min));
    build.file(clk.join("max_rate"), 0o444, Entry::Emc(Emc::Max));
    let rates = spec.emc_khz.iter().fold(String::new(), |mut list, khz| {
        // Writing into a String cannot fail.
        let _ = write!(list, "{khz} ");
        list
    });
    build.line(debug.join("emc/possible_rates"), &format!("{rates}(kHz)"));
    build.file(spec.emc_cap, 0o660, Entry::Emc(Emc::Cap));
}

fn iio(build: &mut Builder, spec: &Spec) {
    let driver = Path::new("/sys/bus/i2c/drivers/ina3221x");
    for (chip, device) in spec.chips.iter().enumerate() {
        let real = Path::new(spec.i2c).join(device.address);
        build.link(driver.join(device.address), &real);
        build.line(real.join("name"), "ina3221x");
        let dir = real.join(format!("iio:device{chip}"));
        for (channel, rail) in device.channels.iter().enumerate() {
            build.file(dir.join(format!("rail_name_{channel}")), 0o600, Entry::Text(format!("{}\n", rail.label)));
            for (node, quantity) in
                [("voltage", Quantity::Millivolts), ("current", Quantity::Milliamps), ("power", Quantity::Milliwatts)]
            {
                let entry = Entry::Rail { chip, channel, quantity };
                build.file(dir.join(format!("in_{node}{channel}_input")), 0o444, entry);
            }
        }
        let mode = Entry::Chip { chip, setting: Setting::RunningMode };
        build.file(dir.join("running_mode"), 0o644, mode);
    }
}

fn hwmon(build: &mut Builder, spec: &Spec) {
    // Up to R35 NVIDIA's kernel grants these to root alone.
    let guarded = if spec.kernel == Kernel::V5_10 { 0o600 } else { 0o644 };
    let readable = guarded & 0o444;
    for (chip, device) in spec.chips.iter().enumerate() {
        let real = Path::new(spec.i2c).join(device.address);
        build.link(Path::new("/sys/bus/i2c/drivers/ina3221").join(device.address), &real);
        let number = format!("hwmon{}", chip + 1);
        let dir = real.join("hwmon").join(&number);
        build.link(Path::new("/sys/class/hwmon").join(&number), &dir);
        build.line(dir.join("name"), "ina3221");
        build.file(dir.join("samples"), guarded, Entry::Chip { chip, setting: Setting::Samples });
        build.file(dir.join("update_interval"), guarded, Entry::Chip { chip, setting: Setting::Interval });
        for (channel, rail) in device.channels.iter().enumerate() {
            let n = channel + 1;
            build.file(dir.join(format!("in{n}_label")), readable, Entry::Text(format!("{}\n", rail.label)));
            build.file(dir.join(format!("in{n}_enable")), readable, Entry::Text("1\n".to_owned()));
            let micro_ohm = format!("{}\n", (rail.shunt_mohm * 1000.0) as u64);
            build.file(dir.join(format!("shunt{n}_resistor")), readable, Entry::Text(micro_ohm));
            let volts = Entry::Rail { chip, channel, quantity: Quantity::Millivolts };
            build.file(dir.join(format!("in{n}_input")), readable, volts);
            let amps = Entry::Rail { chip, channel, quantity: Quantity::Milliamps };
            build.file(dir.join(format!("curr{n}_input")), readable, amps);
        }
        build.file(dir.join("in7_label"), readable, Entry::Text("sum of shunt voltages\n".to_owned()));
    }
    if spec.kernel == Kernel::Direct {
        let number = format!("hwmon{}", spec.chips.len() + 1);
        let dir = Path::new("/sys/devices/platform/soctherm-oc-event/hwmon").join(&number);
        build.link(Path::new("/sys/class/hwmon").join(&number), &dir);
        build.line(dir.join("name"), "soctherm_oc");
        for event in 1..=3 {
            build.line(dir.join(format!("oc{event}_event_cnt")), "0");
            build.line(dir.join(format!("oc{event}_throt_en")), "1");
        }
    }
}

fn thermal(build: &mut Builder, spec: &Spec) {
    let real = Path::new("/sys/devices/virtual/thermal");
    let class = Path::new("/sys/class/thermal");
    for (n, zone) in spec.zones.iter().enumerate() {
        let name = format!("thermal_zone{n}");
        build.link(class.join(&name), real.join(&name));
        build.line(real.join(&name).join("type"), zone);
        let temp = match *zone {
            // A dummy on the boards that have it.
            "PMIC-Die" => Entry::Text("100000\n".to_owned()),
            cv if cv.starts_with("cv") => Entry::Zone(None),
            board if board.starts_with('T') => Entry::Zone(Some(-3)),
            soc if soc.starts_with("soc") || soc.starts_with("PLL") => Entry::Zone(Some(-1)),
            _ => Entry::Zone(Some(0)),
        };
        build.file(real.join(&name).join("temp"), 0o444, temp);
    }
    build.link(class.join("cooling_device0"), real.join("cooling_device0"));
    let device = real.join("cooling_device0");
    build.line(device.join("type"), spec.gpu);
    build.line(device.join("max_state"), &(spec.clocks_khz.len() - 1).to_string());
    build.file(device.join("cur_state"), 0o444, Entry::Throttle);
}

fn cpu(build: &mut Builder) {
    let cpu = Path::new("/sys/devices/system/cpu");
    build.line(cpu.join("online"), "0-5");
    let policy = cpu.join("cpufreq/policy0");
    build.line(policy.join("scaling_governor"), "schedutil");
    build.line(policy.join("scaling_min_freq"), "729600");
    build.line(policy.join("scaling_max_freq"), "1510400");
    build.line(policy.join("scaling_cur_freq"), "1510400");
    build.line(policy.join("cpuinfo_max_freq"), "1510400");
}
