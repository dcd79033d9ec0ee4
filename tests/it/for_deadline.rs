//! Calibration for one deadline on virtual boards: how little it measures, what its plans cost by the simulator's truth, and
//! going on where it was cut off or for another deadline.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use jetpace::calibrate::deadline::{FIRST, MOST};
use jetpace::files::sweep;
use jetpace::signals::Stop;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tests::for_deadline::{Case, calibrate_for, subject};
use jetpace_tests::virtual_boards::RISK;

/// A board of 170 clocks from 315 MHz to 1575 MHz, as Thor lists them, of curves that no form of ours has: a corner, a step of
/// the time, and steps of the power.
fn many_clocks(folder: &Path) -> String {
    let mut text = String::from("device,model,block,gpu_freq_hz,latency_s,power_w\n");
    for mhz in (315..=1575).step_by(60) {
        let x = f64::from(mhz) / 1575.0;
        let step = if mhz > 1100 { 0.96 } else { 1.0 };
        let time_s = (0.010 / x).max(0.013) * step + 0.001;
        let power_w = 9.0 + 20.0 * x * (1.0 + (x - 0.55).max(0.0)).powi(2) + if mhz > 800 { 1.5 } else { 0.0 };
        writeln!(text, "thor,n,b,{mhz}000000,{time_s},{power_w}").unwrap();
    }
    let path = folder.join("curves.csv");
    fs::write(&path, text).unwrap();
    format!("from={},clocks=170", path.display())
}

#[test]
fn a_plan_from_what_a_deadline_rests_on_costs_what_one_from_every_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let thor = many_clocks(folder.path());
    // `for-deadline` has more of them.
    for (board, network, factors) in [("tx2", "vgg19", [1.5]), (&*thor, "vgg19", [1.26])] {
        let folder = tempfile::tempdir().unwrap();
        let case = Case::new(folder.path(), board, network);
        let mut regrets = Vec::new();
        for factor in factors {
            let judged = case.judge(factor, 4, 300);
            let what = format!("{board} {network} {factor}");
            let found = judged.found.as_ref().unwrap_or_else(|| panic!("{what}: refused"));
            let ours = judged.ours.as_ref().unwrap_or_else(|| panic!("{what}: no plan"));
            assert!((FIRST..=MOST).contains(&found.measured.len()), "{what}: {found:?}");
            assert!(found.of <= FIRST || found.measured.len() < found.of || found.of == 5, "{what}: {found:?}");
            assert!(ours.miss_rate_at_least() <= RISK, "{what}: misses {}", ours.miss_rate());
            // Half of the time, but on a board of five clocks.
            let (took, whole) = (judged.took.as_secs_f64(), case.whole.as_secs_f64());
            assert!(took < if found.of == 5 { 0.75 } else { 0.5 } * whole, "{what}: {took} s of {whole} s");
            let (clocks, of) = (found.measured.len(), found.of);
            println!("{what}: {clocks} of {of} clocks, {took:.0} s of {whole:.0} s, regret {:?}", judged.regret());
            regrets.extend(judged.regret());
        }
        let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
        assert!(mean <= 0.01, "{board} {network}: {regrets:?}");
    }
}

/// Less than usual, so that a debug build is done soon.
fn calibrate(board: &str, deadline: Nanos, path: &Path) -> (Vec<Hertz>, Vec<String>) {
    let (subject, settings) = subject(board, "alexnet");
    let settings = jetpace::calibrate::Settings { frames: 300, late: 3000, changes: 2, ..settings };
    let (found, said, _) = calibrate_for((subject, &settings), deadline, path);
    (found.unwrap().measured, said)
}

#[test]
fn a_sweep_that_was_cut_off_goes_on_and_one_of_another_deadline_adds_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.csv");
    let deadline = Nanos::from_millis(12);
    let (clocks, said) = calibrate("xavier-nx", deadline, &path);
    assert!(said[0].contains("first, spread over the list"), "{said:?}");
    assert!(said.iter().any(|line| line.contains("late frames at")), "{said:?}");
    assert!(said.last().unwrap().contains("clocks measured"), "{said:?}");
    let whole = fs::read_to_string(&path).unwrap();
    let rows = sweep::read(&path).unwrap().rows.len();
    assert!(sweep::remarks(&sweep::read(&path).unwrap()).is_empty());

    let (again, said) = calibrate("xavier-nx", deadline, &path);
    assert_eq!((again, said.len()), (clocks.clone(), 1), "{said:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), whole, "nothing is measured twice");

    for share in [0.02, 0.3, 0.6, 0.9, 0.97, 0.999] {
        let cut = &whole[..(whole.len() as f64 * share) as usize];
        fs::write(&path, cut).unwrap();
        let (again, _) = calibrate("xavier-nx", deadline, &path);
        assert_eq!(again, clocks, "cut off at {share}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&cut[..=cut.rfind('\n').unwrap()]), "cut off at {share}");
        let swept = sweep::read(&path).unwrap();
        // A late visit that was cut off is not begun again, so that some of its frames are missing.
        assert!(swept.rows.len() <= rows && swept.rows.len() + 100 > rows, "{} rows, {rows} before", swept.rows.len());
        assert!(sweep::remarks(&swept).is_empty(), "{:?}", sweep::remarks(&swept));
    }

    fs::write(&path, &whole).unwrap();
    let (other, _) = calibrate("xavier-nx", Nanos::from_millis(30), &path);
    assert!(clocks.iter().all(|clock| other.contains(clock)));
    assert!(fs::read_to_string(&path).unwrap().starts_with(&whole));

    // And what a sweep of every clock lacks, by the same settings.
    let (subject, settings) = subject("xavier-nx", "alexnet");
    let settings = jetpace::calibrate::Settings { frames: 300, late: 3000, changes: 2, ..settings };
    let all = subject.clocks(&settings).len();
    subject.calibrate(&path, &settings, &Stop::never(), &mut |_| {}).unwrap();
    let swept = sweep::read(&path).unwrap();
    let block_clocks: std::collections::BTreeSet<_> = swept
        .rows
        .iter()
        .filter(|row| row.kind == jetpace_tables::sample::Kind::Block)
        .filter_map(|row| row.gpu_freq)
        .collect();
    assert_eq!(block_clocks.len(), all);
}

#[test]
fn a_deadline_that_no_clock_meets_is_refused_with_the_least_one_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sweep.csv");
    let refused = |deadline, path: &Path| {
        let (subject, settings) = subject("orin-nano", "vgg19");
        calibrate_for((subject, &settings), deadline, path).0.map(|_| ()).map_err(|failure| failure.to_string())
    };
    let said = refused(Nanos::from_millis(12), &path).unwrap_err();
    assert!(said.contains("no clock meets the deadline of 12.000 ms") && said.contains("624.75 MHz"), "{said}");
    let least = said.split("and ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse::<f64>().unwrap();
    // What was measured stays, and a later deadline goes on with it.
    assert!(sweep::read(&path).unwrap().clocks().len() >= FIRST);
    assert_eq!(refused(Nanos::from_secs_f64(1.03e-3 * least), &path), Ok(()));
}
