//! Fits of sweeps whose truth is known.

use super::*;
use crate::model::{PowerForm, PowerModel, TimeForm, TimeModel, Voltage};
use crate::sample::Row;
use crate::units::{Milliwatts, Nanos};
use crate::work::Size;
use std::string::ToString;
use std::vec;

const MHZ: [u64; 10] = [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000];

fn mhz(mhz: u64) -> Hertz {
    Hertz::new(mhz * 1_000_000)
}

fn row(block: &str, clock: u64, time_s: f64, power_w: Option<f64>) -> Row {
    Row {
        device: "board".to_string(),
        model: "net".to_string(),
        block: block.to_string(),
        gpu_freq: Some(mhz(clock)),
        emc_freq: Some(mhz(1600)),
        latency: Some(Nanos::from_secs_f64(time_s)),
        power: power_w.map(Milliwatts::from_watts_f64),
        ..Row::default()
    }
}

fn sweep(rows: Vec<Row>) -> Sweep {
    Sweep { rows, ..Sweep::default() }
}

fn of_form(form: TimeModel, clocks: &[u64]) -> Sweep {
    sweep(clocks.iter().map(|&c| row("b", c, form.time_s(c as f64 / 1000.0, 1.0), None)).collect())
}

/// Repeatable noise, about normal: the sum of twelve uniforms.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    }
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs().max(1e-12)
}

#[test]
fn every_time_form_is_found_back() {
    for truth in [
        TimeModel::CpuDvfs { w_s: 0.010 },
        TimeModel::Additive { w_s: 0.010, c_s: 0.004 },
        TimeModel::Power { w_s: 0.010, p: 0.7, c_s: 0.003 },
        TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.018, c_s: 0.002, q: 4.0 },
        TimeModel::SmoothRooflineQ { w_s: 0.010, m_s: 0.018, q: 2.5 },
    ] {
        let model = fit(&of_form(truth, &MHZ), &Options::default()).unwrap();
        let [series] = model.series.as_slice() else { panic!("{model:?}") };
        let mut found = series.time_fit(Some(truth.form())).unwrap().clone();
        let mut wanted = truth;
        for ((name, found), (_, wanted)) in found.model.params().iter().zip(wanted.params().iter()) {
            assert!(near(**found, **wanted, 2e-3), "{}: {name} {found} for {wanted}", truth.form());
        }
        // By itself: what plans is weighed and corrected.
        let alone = Options { form: Some(truth.form()), ..Options::default() };
        let alone = fit(&of_form(truth, &MHZ), &alone).unwrap();
        let quality = &alone.series[0].time_fit(None).unwrap().quality;
        assert!(quality.mape_fit < 1e-5, "{quality:?}");
        assert!(quality.mape_lofo.unwrap() < 1e-3, "{quality:?}");
    }
}

#[test]
fn held_out_clocks_are_not_read() {
    let truth = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.018, c_s: 0.002, q: 4.0 };
    let options = Options { train: Some(4), ..Options::default() };
    let straight = fit(&of_form(truth, &MHZ), &options).unwrap();
    let mut bent = of_form(truth, &MHZ);
    // 4 of 10 are those with index 0, 3, 6, 9.
    for (i, row) in bent.rows.iter_mut().enumerate() {
        if ![0, 3, 6, 9].contains(&i) {
            row.latency = Some(Nanos::from_millis(7));
        }
    }
    let bent = fit(&bent, &options).unwrap();
    for (a, b) in straight.series[0].time.iter().zip(&bent.series[0].time) {
        assert_eq!((a.model, a.default), (b.model, b.default));
        assert_ne!(a.quality.mape_heldout, b.quality.mape_heldout);
        assert_eq!(a.quality.mape_lofo, b.quality.mape_lofo);
    }
    assert_eq!(straight.series[0].points.len(), 4);
    assert_eq!(straight.series[0].clocks, 10);
}

#[test]
fn power_and_the_devices_voltage_are_found_back() {
    let voltage = Voltage { knee: 0.65, slope: 0.8 };
    let time = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.012, c_s: 0.001, q: 4.0 };
    let mut rows = Vec::new();
    for (block, power) in
        [("a", PowerModel::Activity { p0_w: 4.0, e_j: 0.05 }), ("b", PowerModel::Activity { p0_w: 5.0, e_j: 0.02 })]
    {
        for clock in MHZ {
            let x = clock as f64 / 1000.0;
            let t = time.time_s(x, 1.0);
            rows.push(row(block, clock, t, Some(power.power_w(x, t, &voltage))));
        }
    }
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    let found = model.device_constants.voltage;
    assert!(near(found.knee, 0.65, 0.02) && near(found.slope, 0.8, 0.05), "{found:?}");
    for (series, p0_w) in model.series.iter().zip([4.0, 5.0]) {
        let default = series.power_fit(None).unwrap();
        let PowerModel::Activity { p0_w: found, .. } = default.model else { panic!("{default:?}") };
        assert!(near(found, p0_w, 0.01), "{default:?}");
        assert!(series.power_fit(Some(PowerForm::Cubic)).unwrap().quality.mape_fit > 0.2);
    }
}

#[test]
fn with_few_clocks_the_voltage_leans_on_the_prior() {
    let rows = [100, 550, 1000].map(|clock| {
        let x = clock as f64 / 1000.0;
        let v = Voltage::PRIOR.at(x);
        row("a", clock, 0.010 / x, Some(4.0 + 10.0 * x * v * v))
    });
    let model = fit(&sweep(rows.to_vec()), &Options::default()).unwrap();
    let found = model.device_constants.voltage;
    assert!(near(found.knee, 0.59, 0.1) && near(found.slope, 1.0, 0.2), "{found:?}");
}

#[test]
fn intervals_hold_what_they_promise() {
    let (mut noise, mut inside, trials) = (Noise(7), 0, 300);
    for _ in 0..trials {
        let rows = MHZ.map(|c| {
            let t = (0.010 / (c as f64 / 1000.0) + 0.004) * (1.0 + 0.01 * noise.next());
            row("b", c, t, None)
        });
        let model = fit(&sweep(rows.to_vec()), &Options::default()).unwrap();
        let additive = model.series[0].time_fit(Some(TimeForm::Additive)).unwrap();
        let [low, high] = additive.quality.ci95["c_s"];
        inside += usize::from(low <= 0.004 && 0.004 <= high);
    }
    // 95 % of 300 is 285, three standard deviations are 11.
    assert!((274..=296).contains(&inside), "{inside} of {trials}");
}

#[test]
fn what_the_data_does_not_determine_is_said() {
    let compute = fit(&of_form(TimeModel::CpuDvfs { w_s: 0.01 }, &MHZ), &Options::default()).unwrap();
    let roofline = compute.series[0].time_fit(Some(TimeForm::SmoothRoofline)).unwrap();
    let said = roofline.quality.warnings.join("; ");
    assert!(said.contains("c_s is 0") || said.contains("c_s is not determined"), "{said}");
    let two = fit(&of_form(TimeModel::CpuDvfs { w_s: 0.01 }, &[500, 1000]), &Options::default()).unwrap();
    let roofline = two.series[0].time_fit(Some(TimeForm::SmoothRoofline)).unwrap();
    assert_eq!(roofline.quality.mape_lofo, None);
    assert!(!two.series[0].time_fit(None).unwrap().quality.mape_fit.is_nan());
}

#[test]
fn rejected_rows_and_disturbed_repeats_are_left_out_and_named() {
    let mut rows = Vec::new();
    for clock in MHZ {
        for repeat in 0..4 {
            rows.push(Row { repeat, ..row("b", clock, 10.0 / clock as f64, None) });
        }
    }
    rows[5].latency = Some(Nanos::from_secs_f64(0.09));
    rows[9].rejected = "clock not held".to_string();
    rows[9].line = 11;
    rows[9].latency = Some(Nanos::from_secs_f64(0.9));
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    let why: Vec<_> = model.left_out.iter().map(|left| (left.line, left.why.as_str())).collect();
    assert_eq!(why.len(), 2, "{why:?}");
    assert_eq!(why[0], (11, "clock not held"));
    assert!(why[1].1.starts_with("throttled or disturbed: 80 % slower"), "{why:?}");
    let TimeModel::CpuDvfs { w_s } = model.series[0].time_fit(Some(TimeForm::CpuDvfs)).unwrap().model else { panic!() };
    assert!(near(w_s, 0.01, 1e-6), "{w_s}");
}

#[test]
fn a_memory_clock_that_follows_or_strays_is_put_in_order() {
    let mut rows: Vec<Row> = MHZ.map(|c| row("b", c, 10.0 / c as f64, None)).to_vec();
    for row in &mut rows[..5] {
        row.emc_freq = Some(mhz(800));
    }
    let model = fit(&sweep(rows.clone()), &Options::default()).unwrap();
    assert_eq!(model.series.len(), 1);
    assert_eq!(model.series[0].emc_freq_hz, None);
    assert!(model.warnings[0].contains("follows the GPU clock"), "{:?}", model.warnings);

    for row in &mut rows {
        row.emc_freq = Some(mhz(1600));
    }
    rows[9].emc_freq = Some(mhz(800));
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    assert_eq!(model.series.len(), 1);
    assert_eq!(model.series[0].clocks, 9);
    assert!(model.left_out[0].why.starts_with("EMC moved to 800 MHz"), "{:?}", model.left_out);
}

#[test]
fn blocks_with_sizes_are_affine_in_them() {
    let mut rows = Vec::new();
    for size in [1, 4, 16] {
        let s = f64::from(size);
        let truth = TimeModel::SmoothRoofline { w_s: 0.001 + 0.002 * s, m_s: 0.008 + 0.001 * s, c_s: 0.0005, q: 4.0 };
        for clock in MHZ {
            rows.push(Row { size: Size(size), ..row("b", clock, truth.time_s(clock as f64 / 1000.0, 1.0), None) });
        }
    }
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    assert_eq!(model.series.len(), 3);
    let blocks = model.blocks("net", Some(mhz(1600)));
    let [block] = blocks.as_slice() else { panic!("{blocks:?}") };
    // A size between those measured: w = 0.017, m = 0.016, c = 0.0005.
    let wanted = (0.034_f64.powi(4) + 0.016_f64.powi(4)).powf(0.25) + 0.0005;
    let found = block.time_s(mhz(500), Size(8));
    assert!(near(found, wanted, 0.005), "{found} for {wanted}");
    assert!(model.sized[0].mape_fit < 0.003, "{:?}", model.sized);
}

#[test]
fn idle_settle_stall_and_frames_come_along() {
    let mut rows = Vec::new();
    for clock in MHZ {
        for repeat in 0..20 {
            let late = 1.0 + 0.001 * f64::from(repeat);
            for block in ["a", "b"] {
                rows.push(Row { repeat, ..row(block, clock, 10.0 / clock as f64 * late, None) });
            }
        }
    }
    let idle = Row { kind: Kind::Idle, power: Some(Milliwatts::new(1500)), latency: None, ..row("", 300, 0.0, None) };
    rows.push(idle);
    for (repeat, ms) in [(0, 4), (1, 6)] {
        rows.push(Row {
            kind: Kind::Settle,
            repeat,
            from: Some(mhz(300)),
            to: Some(mhz(600)),
            latency: Some(Nanos::from_millis(ms)),
            ..Row::default()
        });
    }
    let mut sweep = sweep(rows);
    sweep.fields.push(("repeats".to_string(), "frames".to_string()));
    let model = fit(&sweep, &Options::default()).unwrap();
    assert_eq!(model.idle_w(mhz(300), None), Some(1.5));
    let settle = model.settle(mhz(300), mhz(600)).unwrap();
    assert!(near(settle.time.mean_s, 0.005, 1e-9) && near(settle.time.max_s, 0.006, 1e-9));
    assert_eq!(settle.time.count, 2);
    let [frames] = model.frames.as_slice() else { panic!("{:?}", model.frames) };
    assert_eq!((frames.count, frames.late.len()), (200, 10));
    assert!(near(frames.correlation.unwrap(), 1.0, 1e-3), "{frames:?}");
    assert!(near(frames.sd, 0.0058, 0.05), "{frames:?}");
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let message = |rows: Vec<Row>, options: &Options| fit(&sweep(rows), options).unwrap_err().to_string();
    let default = Options::default();
    assert!(message(Vec::new(), &default).contains("no row of kind `block`"));
    let one = message(vec![row("b", 500, 0.01, None)], &default);
    assert!(one.contains("net b, EMC 1600 MHz was measured at one clock only, 500 MHz"), "{one}");
    let mut two = vec![row("b", 500, 0.01, None), row("b", 600, 0.01, None)];
    two[1].device = "other".to_string();
    assert!(message(two.clone(), &default).contains("two devices"));
    two[1].device = "board".to_string();
    let few = message(two.clone(), &Options { train: Some(1), ..Options::default() });
    assert!(few.contains("fitting on 1 clock"), "{few}");
    two[1].emc_freq = Some(mhz(800));
    let options = Options { emc_joint: true, train_points: vec![(mhz(1), mhz(2))], ..Options::default() };
    assert!(fit(&sweep(two), &options).is_err());
}

#[test]
fn clocks_that_were_not_what_they_claim_are_left_out() {
    let truth = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.012, c_s: 0.001, q: 4.0 };
    let at = |mhz: u64| truth.time_s(mhz as f64 / 1000.0, 1.0);
    // The three lowest clocks were never reached: the board ran at 350 MHz there.
    let mut rows: Vec<Row> = MHZ.map(|c| row("b", c, at(c.max(350)), None)).to_vec();
    let model = fit(&sweep(rows.clone()), &Options::default()).unwrap();
    let left: Vec<&str> = model.left_out.iter().map(|left| left.what.as_str()).collect();
    assert_eq!(left.len(), 3, "{:?}", model.left_out);
    assert!(model.left_out.iter().all(|left| left.why.starts_with("clock not held")), "{:?}", model.left_out);
    // The highest clock was throttled.
    rows = MHZ.map(|c| row("b", c, at(c), None)).to_vec();
    rows[9].latency = Some(Nanos::from_secs_f64(at(700)));
    let alone = Options { form: Some(TimeForm::SmoothRoofline), ..Options::default() };
    let model = fit(&sweep(rows), &alone).unwrap();
    let [left] = model.left_out.as_slice() else { panic!("{:?}", model.left_out) };
    assert!(left.what.ends_with("at 1000 MHz") && left.why.starts_with("throttled"), "{left:?}");
    assert!(model.series[0].time_fit(Some(TimeForm::SmoothRoofline)).unwrap().quality.mape_fit < 1e-5);
}

/// What is left out of a sweep of one block whose times are given, with EMC and CPU clock recorded, and with neither.
fn left_out_of(times: [f64; 10]) -> [(Vec<String>, Vec<String>); 2] {
    [true, false].map(|recorded| {
        let rows = MHZ.into_iter().zip(times).map(|(clock, time)| {
            let row = row("b", clock, time, None);
            let known = |hz: Hertz| recorded.then_some(hz);
            Row { emc_freq: known(mhz(1600)), cpu_freq: known(mhz(1500)), ..row }
        });
        let model = fit(&sweep(rows.collect()), &Options::default()).unwrap();
        (model.left_out.iter().map(|left| left.what.clone() + ": " + &left.why).collect(), model.warnings)
    })
}

#[test]
fn a_block_gains_at_most_what_its_clock_does() {
    let truth = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.012, c_s: 0.001, q: 4.0 };
    let honest = MHZ.map(|mhz| truth.time_s(mhz as f64 / 1000.0, 1.0));
    for ((left, warnings), recorded) in left_out_of(honest).into_iter().zip([true, false]) {
        assert!(left.is_empty() && !warnings.iter().any(|w| w.contains("gains")), "{recorded}: {left:?} {warnings:?}");
    }
    // 3.2 times as long at the lowest clock as at the next.
    let mut times = honest;
    times[0] = 3.2 * times[1];
    for (left, _) in left_out_of(times) {
        assert!(
            left.len() == 1 && left[0].contains(&std::format!("{}: throttled: 3.20 times", mhz(MHZ[0]))),
            "{left:?}"
        );
    }
    // 15 % more than the clock, at the lowest one: possible where the memory's clock fell with it.
    times[0] = 1.15 * times[1] * MHZ[1] as f64 / MHZ[0] as f64;
    let [(recorded, _), (unknown, warnings)] = left_out_of(times);
    assert_eq!((recorded.len(), unknown.len()), (1, 0), "{recorded:?} {unknown:?}");
    assert!(warnings.iter().any(|w| w.contains("gains 15 % more from") && w.contains("kept")), "{warnings:?}");
}

#[test]
fn of_clocks_that_contradict_each_other_the_largest_set_is_kept() {
    let at = |mhz: u64| TimeModel::Additive { w_s: 0.010, c_s: 0.001 }.time_s(mhz as f64 / 1000.0, 1.0);
    // Above the third clock the board ran at its highest: the three below are honest, and fewer.
    let mut times = MHZ.map(at);
    times[3..].fill(at(MHZ[9]));
    let [(left, _), _] = left_out_of(times);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|why| why.contains("times as long")), "{left:?}");
    // Above the seventh: those in between are fewer.
    let mut times = MHZ.map(at);
    times[7..].fill(at(2 * MHZ[9]));
    let [(left, _), _] = left_out_of(times);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|why| why.contains("the board ran above this one")), "{left:?}");
}

#[test]
fn what_is_always_slower_at_a_watched_clock_is_planned_with_as_it_was_measured() {
    let truth = TimeModel::Additive { w_s: 0.010, c_s: 0.001 };
    let at = |mhz: u64| truth.time_s(mhz as f64 / 1000.0, 1.0);
    // Slower than at the clock below, as on AGX Xavier; the lowest clock slower than any clock can make it.
    let slow = |clock: u64| match clock {
        100 => 1.4 * at(100),
        600 => 1.2 * at(500),
        _ => at(clock),
    };
    let mut of_clocks = sweep(MHZ.iter().map(|&clock| row("b", clock, slow(clock), Some(3.0))).collect());
    let told = fit(&of_clocks, &Options::default()).unwrap();
    assert!(told.series[0].apart.is_empty() && told.left_out.len() == 2, "{:?}", told.left_out);

    of_clocks.fields.push(("passes".to_string(), "3".to_string()));
    let model = fit(&of_clocks, &Options::default()).unwrap();
    assert_eq!(model.left_out, []);
    assert_eq!(model.series[0].apart.iter().map(|point| point.gpu_freq_hz).collect::<Vec<_>>(), [mhz(100), mhz(600)]);
    assert!(model.warnings.iter().any(|said| said.contains("2 points of 1 blocks are slower")), "{:?}", model.warnings);
    let block = &model.blocks("net", Some(mhz(1600)))[0];
    for clock in MHZ {
        let found = block.time_s(mhz(clock), Size(1));
        assert!(near(found, slow(clock), 2e-3), "{clock} MHz: {found} s, measured {} s", slow(clock));
    }
    // Between them the form holds.
    assert!(near(block.time_s(mhz(550), Size(1)), at(550), 5e-3));
    assert!(block.covers(mhz(100)));
    let alone = block.with_forms(TimeForm::Additive, PowerForm::StaticCubic).unwrap();
    assert!(near(alone.time_s(mhz(600), Size(1)), at(600), 5e-3));
}

#[test]
fn time_and_power_of_a_row_are_judged_apart() {
    let mut rows = Vec::new();
    for clock in MHZ {
        for repeat in 0..3 {
            rows.push(Row { repeat, ..row("b", clock, 10.0 / clock as f64, Some(3.0)) });
        }
    }
    rows[4].power = Some(Milliwatts::new(9_000));
    rows[7].power_rejected = "power left out: energy".to_string();
    rows[7].power = None;
    rows[10].latency = Some(Nanos::from_secs_f64(0.001));
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    let why: Vec<&str> = model.left_out.iter().map(|left| left.why.as_str()).collect();
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why.iter().any(|why| why.contains("9.000 W, where its repeats have 3.000; its time counts")), "{why:?}");
    assert!(why.iter().any(|why| why.starts_with("clock not held: 96 % faster than the median of its 3")), "{why:?}");
}

#[test]
fn the_next_clock_to_measure_is_where_nothing_is_known() {
    let truth = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.020, c_s: 0.001, q: 4.0 };
    let mut sweep = of_form(truth, &[600, 700, 800, 900, 1000]);
    let list: Vec<String> = MHZ.iter().map(|c| (c * 1_000_000).to_string()).collect();
    sweep.fields.push(("clocks".to_string(), list.join(",")));
    let model = fit(&sweep, &Options::default()).unwrap();
    let [first, second] = suggest::suggest(&model, 2, &[])[..] else { panic!() };
    assert!(first.clock_hz <= mhz(300), "{first:?}");
    assert!(first.sd_then < first.sd_now && second.sd_then < first.sd_then, "{first:?} {second:?}");

    // For a frame that is planned at one clock it may be another one, and then is worth more to that frame.
    let known_at = |at: u64, measured: Option<Hertz>| {
        let mut sweep = sweep.clone();
        let more =
            measured.map(|clock| row("b", clock.get() / 1_000_000, truth.time_s(clock.as_f64() / 1e9, 1.0), None));
        sweep.rows.extend(more);
        let model = fit(&sweep, &Options::default()).unwrap();
        suggest::suggest(&model, 1, &[vec![(&model.series[0], mhz(at))]])[0]
    };
    let mut others = 0;
    // Where nothing was measured.
    for at in MHZ.into_iter().filter(|at| *at < 600) {
        let next = known_at(at, None);
        let [planned, any] = [next.clock_hz, first.clock_hz].map(|clock| known_at(at, Some(clock)).sd_now);
        assert!(planned <= any, "{at}: {next:?} {planned} {any}");
        others += u32::from(next.clock_hz != first.clock_hz);
    }
    assert!(others > 1);
}

#[test]
fn a_cpu_clock_that_moved_is_warned_of() {
    let mut rows = MHZ.map(|c| row("b", c, 10.0 / c as f64, None)).to_vec();
    for (row, cpu) in rows.iter_mut().zip([1500, 1500, 729].into_iter().cycle()) {
        row.cpu_freq = Some(mhz(cpu));
    }
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    assert!(model.warnings[0].contains("CPU clock moved between 729 MHz and 1500 MHz"), "{:?}", model.warnings);
    assert_eq!(model.series[0].cpu_freq_hz, Some(mhz(1500)));
}

#[test]
fn a_cpu_clock_that_was_set_has_series_of_its_own() {
    let mut rows = Vec::new();
    for (cpu, launch) in [(729, 0.02), (1500, 0.01)] {
        rows.extend(MHZ.map(|c| Row { cpu_freq: Some(mhz(cpu)), ..row("b", c, 10.0 / c as f64 + launch, None) }));
    }
    rows.push(Row { cpu_freq: Some(mhz(1200)), ..row("b", 500, 0.03, None) });
    let mut model = fit(&sweep(rows), &Options::default()).unwrap();
    assert_eq!(model.cpu_clocks("net"), [mhz(729), mhz(1500)]);
    assert!(model.warnings.iter().all(|said| !said.contains("CPU clock moved")), "{:?}", model.warnings);
    assert!(model.left_out[0].why.contains("another CPU clock (1200 MHz)"), "{:?}", model.left_out);
    let time = |model: &Model| model.blocks("net", Some(mhz(1600)))[0].time_s(mhz(1000), Size(1));
    assert!(near(time(&model), 0.02, 1e-3), "{}", time(&model));
    assert!(!model.keep_cpu_clock(mhz(1000)) && model.keep_cpu_clock(mhz(729)));
    assert!(near(time(&model), 0.03, 1e-3), "{}", time(&model));
}

#[test]
fn what_was_measured_is_predicted_and_a_form_alone_is_itself() {
    // A step of 5 % at 700 MHz, as memory clocks and schedulers make them: no form has it.
    let step = |c: u64| (10.0 / c as f64 + 0.01) * if c >= 700 { 1.05 } else { 1.0 };
    let rows = MHZ.map(|c| row("b", c, step(c), None)).to_vec();
    let error = |options: Options| {
        let model = fit(&sweep(rows.clone()), &options).unwrap();
        let block = &model.blocks("net", Some(mhz(1600)))[0];
        let errors = MHZ.map(|c| (block.time_s(mhz(c), Size(1)) / step(c) - 1.0).abs());
        (errors.into_iter().fold(0.0, f64::max), block.unknown(mhz(MHZ[3])))
    };
    let (together, unknown) = error(Options::default());
    let (alone, known) = error(Options { form: Some(TimeForm::SmoothRoofline), ..Options::default() });
    // One run at each clock is no better than runs repeat themselves: 0.7 %.
    assert!(together < 0.007 && alone > 0.02, "{together} {alone}");
    assert!(unknown < 0.007 && known == 0.0, "{unknown} {known}");
}

#[test]
fn measuring_where_the_decision_falls_ends_at_the_best_clock() {
    use super::adaptive::{CAREFUL, Frame};
    let mut random = Noise(7);
    for _ in 0..20 {
        let launch = 0.02 * random.next().abs();
        let truth: Vec<Row> = MHZ
            .iter()
            .map(|&c| {
                let x = c as f64 / 1000.0;
                let noise = 1.0 + 0.01 * random.next();
                row("b", c, (0.01 / x + launch) * noise, Some(2.0 + 8.0 * x * x * x))
            })
            .collect();
        let at = |c: Hertz| truth.iter().find(|row| row.gpu_freq == Some(c)).unwrap();
        let clocks: Vec<Hertz> = MHZ.map(mhz).to_vec();
        let deadline_s = 1.4 * at(clocks[clocks.len() - 1]).latency_s().unwrap();
        let mut measured = super::spread(&clocks, 4);
        loop {
            let rows = truth.iter().filter(|row| measured.contains(&row.gpu_freq.unwrap())).cloned().collect();
            let model = fit(&sweep(rows), &Options::default()).unwrap();
            let blocks = model.blocks("net", Some(mhz(1600)));
            let (late, idle_w) = (&|_| 0.0, &|_| 1.0);
            let frame = Frame { blocks: &blocks, clocks: &clocks, deadline_s, period_s: deadline_s, late, idle_w };
            match frame.next(&measured) {
                Some(next) => measured.push(next.clock),
                None => {
                    let chosen = at(frame.choose(CAREFUL, &measured).unwrap());
                    assert!(chosen.latency_s().unwrap() <= 1.003 * deadline_s, "{chosen:?}");
                    break;
                }
            }
        }
        assert!(measured.len() < clocks.len(), "{measured:?}");
    }
}

#[test]
fn the_voltages_intervals_hold_the_truth_as_often_as_they_say() {
    let truth = Voltage { knee: 0.6, slope: 1.1 };
    let (mut knees, mut slopes) = (0, 0);
    let runs = 60;
    for run in 0..runs {
        let mut random = Noise(run + 1);
        let mut rows = Vec::new();
        for (block, p0_w, k_w, e_j) in [("a", 3.0, 4.0, 0.02), ("b", 3.5, 6.0, 0.01), ("c", 4.0, 3.0, 0.05)] {
            for clock in MHZ {
                let x = clock as f64 / 1000.0;
                let t = 0.010 / x + 0.002;
                let power = PowerModel::VoltageActivity { p0_w, k_w, e_j }.power_w(x, t, &truth);
                rows.push(row(block, clock, t, Some(power * (1.0 + 0.005 * random.next()))));
            }
        }
        let model = fit(&sweep(rows), &Options::default()).unwrap();
        let [knee, slope] = explain::voltage_ci95(&model).unwrap();
        let fitted = model.device_constants.voltage;
        assert!(knee[0] < fitted.knee && fitted.knee < knee[1] && knee[1] - knee[0] < 0.3, "{knee:?}");
        knees += u32::from((knee[0]..knee[1]).contains(&truth.knee));
        slopes += u32::from((slope[0]..slope[1]).contains(&truth.slope));
    }
    // 57 of 60 on average.
    assert!(knees >= 50 && slopes >= 50, "{knees} {slopes} of {runs}");
}

#[test]
fn what_the_memory_adds_to_the_power_is_a_table() {
    let mut rows = Vec::new();
    for (block, p0_w) in [("a", 3.0), ("b", 3.5)] {
        for (emc, over_w) in [(800, 0.0), (1200, 0.2), (1600, 0.7)] {
            for clock in MHZ {
                let x = clock as f64 / 1000.0;
                let power = PowerModel::VoltageActivity { p0_w: p0_w + over_w, k_w: 4.0, e_j: 0.02 };
                let t = 0.010 / x + 0.002;
                let watts = power.power_w(x, t, &Voltage::PRIOR);
                rows.push(Row { emc_freq: Some(mhz(emc)), ..row(block, clock, t, Some(watts)) });
            }
        }
    }
    let model = fit(&sweep(rows), &Options::default()).unwrap();
    let found = &model.device_constants.emc_base;
    assert_eq!(found.iter().map(|base| base.emc_freq_hz).collect::<Vec<_>>(), [mhz(800), mhz(1200), mhz(1600)]);
    for (base, over_w) in found.iter().zip([0.0, 0.2, 0.7]) {
        assert!((base.base_w - over_w).abs() < 0.01, "{found:?}");
    }
}
