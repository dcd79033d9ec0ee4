//! `hold --dry-run` against `hold`, on every recorded board in the states that users have shown: the same refusals and the
//! same warnings, and not one write.

use clap::Parser;
use jetpace::args::{Cli, Command};
use jetpace::commands::hold::Args;
use jetpace::dry_run::DryRun;
use jetpace::failure::Failure;
use jetpace::signals::Stop;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::sim::tree::Tree;
use jetpace_tables::units::Hertz;
use jetpace_tests::edited::Edited;

use crate::beside::reported;
use crate::boards::recorded;

fn hold(options: &[&str]) -> Args {
    let line = ["jetpace", "hold"].into_iter().chain(options.iter().copied()).chain(["--", "true"]);
    match Cli::try_parse_from(line).unwrap().command {
        Command::Hold(args) => args,
        other => panic!("{other:?}"),
    }
}

/// How it ends, and what was warned of on the way.
fn ended(result: Result<(), Failure>) -> String {
    let warned = reported();
    match result {
        Ok(()) => warned,
        Err(e) => format!("{warned}{:?}: {e}", e.reason()),
    }
}

/// A board in one of the states that users have shown, and heat's bound where it is hot.
fn states(name: &str) -> Vec<(&'static str, Tree)> {
    let fresh = || Edited::new(name);
    let clocks = fresh().board().gpu.clocks;
    let (low, high) = (clocks[1], clocks[clocks.len() - 1]);
    let text = |clock: Hertz| clock.get().to_string();
    let hot = |board: Edited| {
        let tree = board.cooling(0, "gpu-throttle-alert", 0).tree();
        tree.outside(|outside| outside.throttle(Some(low)));
        tree
    };
    let governors = fresh().board().gpu.governors;
    let fixed = ["performance", "userspace"].into_iter().find(|name| governors.iter().any(|governor| governor == name));
    let fixed = fixed.unwrap_or("nvhost_podgov").to_owned();
    let between = text(Hertz::new((clocks[2].get() + clocks[3].get()) / 2));
    vec![
        ("as recorded", fresh().tree()),
        ("hot", hot(fresh())),
        ("hot, and no status", hot(fresh().remove("/var/lib/nvpmodel"))),
        ("a bound between two clocks", fresh().gpu("max_freq", &between).tree()),
        (
            "locked",
            fresh().gpu("min_freq", &text(high)).gpu("max_freq", &text(high)).gpu("cur_freq", &text(high)).tree(),
        ),
        (
            "locked low",
            fresh().gpu("max_freq", &text(low)).gpu("min_freq", &text(low)).gpu("cur_freq", &text(low)).tree(),
        ),
        ("a fixed governor", fresh().gpu("governor", &fixed).tree()),
        ("governor empty", fresh().gpu("governor", "").tree()),
        ("bound gone", fresh().remove(&fresh().board().gpu.node("max_freq").to_string_lossy()).tree()),
        ("running clock gone", fresh().gpu("cur_freq", "").tree()),
        ("another module's status", fresh().put("/var/lib/nvpmodel/status", "pmode:0099\n").tree()),
        ("a state that cannot be used", fresh().put("/run/jetpace/state.json", "{").tree()),
    ]
}

#[test]
fn a_dry_run_of_hold_ends_as_hold_does_and_warns_of_the_same() {
    let mut refused = 0;
    for (name, _) in recorded() {
        let clocks = Edited::new(&name).board().gpu.clocks;
        let [low, high] = [clocks[0], clocks[clocks.len() - 1]].map(|clock| format!("{clock}").replace(' ', ""));
        for (state, tree) in states(&name) {
            for clock in [&low, &high, "123MHz"] {
                let (dry, real) = (tree.copy(), tree.copy());
                let args = hold(&["--clock", clock]);
                let settings = dry.settings();
                reported();
                let said = args.writes(&DryRun::real(dry.clone()), dry.timer());
                let wrote = said.as_ref().map(|text| text.lines().filter(|line| line.contains(" <- ")).count());
                assert!(wrote.is_err() || wrote.is_ok_and(|wrote| wrote > 0), "{name}, {state}");
                let said = ended(said.map(drop));
                assert!(dry.log().is_empty() && dry.settings() == settings, "{name}, {state}: it wrote");
                let held = ended(args.hold(real.clone(), real.timer(), &Stop::never()));
                assert_eq!(said, held, "{name}, {state}, {clock}");
                refused += usize::from(held.contains("Failed") || held.contains("Usage"));
            }
        }
    }
    assert!(refused > 0, "nothing was refused");
}

#[test]
fn what_is_hot_is_not_said_to_be_held() {
    // The clock that heat allows, as in the run: not the one asked for.
    let tree = Edited::new("orin-nano-8gb-super-r36.4").mode(2).gpu("max_freq", "1020000000").tree();
    tree.outside(|outside| outside.throttle(Some(Hertz::new(510_000_000))));
    assert!(Board::discover(&tree).unwrap().gpu.throttled);
    reported();
    hold(&["--clock", "918MHz"]).writes(&DryRun::real(tree.clone()), tree.timer()).unwrap();
    let warned = reported();
    assert!(warned.contains("held there"), "{warned}");
}
