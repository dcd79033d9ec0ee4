//! The arrows between the crates: `tables` knows nothing of Linux, CUDA or files; `devfreq` nothing of CUDA; `kernels`
//! nothing of sysfs. And the arrows within them.

mod modules;

use std::fs;

use modules::Modules;

/// From the bottom up: a module uses only those before it, with all that it holds. Of a module that stands here before
/// what it holds, those stand apart; those in one string stand side by side.
const ORDER: [(&str, &[&str]); 2] = [
    (
        "tables",
        &[
            "names",
            "units",
            "work",
            "math",
            "linear",
            "hw",
            "stats",
            "sample",
            "model",
            "fit",
            "table",
            "governor",
            // The judge of plans comes before everything that makes them.
            "plan::error",
            "plan::writes",
            "plan::problem",
            "plan::evaluate",
            "plan::fixed",
            "plan::from_model",
            "plan::cooperative",
            "plan::schedule",
            "plan::sizes",
            "plan::table",
            "plan::rehearsal",
            "plan::policy",
            "plan::granularity",
            "plan::objective",
            "plan",
        ],
    ),
    (
        "agent",
        &[
            "failure",
            "signals",
            "workers",
            "dry_run",
            "confine",
            "emc",
            "files",
            "report",
            "cuda",
            "runtime",
            "nvtx",
            "session",
            "calibrate",
            "commands args machine",
            "program",
        ],
    ),
];

/// Siblings that use each other in a circle, still: each is to go.
const CIRCLES: [(&str, &[&str]); 8] = [
    ("tables", &["fit::emc", "fit::group"]),
    ("agent", &["args", "commands"]),
    ("agent", &["commands::compare::measured", "commands::compare::paper"]),
    ("agent", &["runtime::doorbell", "runtime::sys"]),
    ("devfreq", &["board", "guard", "rails"]),
    ("devfreq", &["rails::find", "rails::module"]),
    ("devfreq", &["sim::layout", "sim::nodes", "sim::store"]),
    ("kernels", &["cubin", "error"]),
];

/// Direct dependencies of a workspace member, without its dev-dependencies.
fn dependencies(member: &str) -> Vec<String> {
    let path = jetpace_tests::root().join(member).join("Cargo.toml");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn assert_lacks(member: &str, forbidden: &[&str]) {
    let found = dependencies(member);
    assert!(!found.is_empty(), "{member} lists no dependencies");
    for name in forbidden {
        assert!(!found.iter().any(|d| d == name), "{member} depends on {name}");
    }
}

#[test]
fn arrows_point_down() {
    assert_lacks("tables", &["jetpace-devfreq", "jetpace-kernels", "jetpace", "libc", "nix", "cudarc", "log", "csv"]);
    assert_lacks("devfreq", &["jetpace-kernels", "jetpace", "cudarc"]);
    assert_lacks("kernels", &["jetpace-devfreq", "jetpace", "nix", "libc"]);
    assert_lacks("nvtx", &["jetpace-devfreq", "jetpace-kernels", "cudarc"]);
}

/// Where a module stands in an order: its own name counts before those of what holds it.
fn place(order: &[&str], module: &str) -> Option<usize> {
    let holds = |name: &&str| module == *name || module.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    let length = |at: usize| order[at].split(' ').filter(holds).map(str::len).max();
    (0..order.len()).filter(|at| length(*at).is_some()).max_by_key(|at| length(*at))
}

fn modules(member: &str) -> Modules {
    Modules::read(&jetpace_tests::root().join(member).join("src"))
}

#[test]
fn no_arrow_runs_up_within_a_crate() {
    let mut wrong = Vec::new();
    for (member, order) in ORDER {
        let modules = modules(member);
        for name in order.iter().flat_map(|names| names.split(' ')) {
            assert!(modules.names().any(|module| module == name), "{member} has no module {name}: mend ORDER");
        }
        for module in modules.names().filter(|name| !name.is_empty()) {
            let Some(here) = place(order, module) else {
                wrong.push(format!("{member}: give {module} its place in ORDER"));
                continue;
            };
            let up = modules.used_by(module).into_iter().filter(|used| place(order, used).is_none_or(|at| at > here));
            wrong.extend(up.map(|used| format!("{member}: {module} uses {used}, which stands above it")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn siblings_form_no_circle() {
    let mut found = Vec::new();
    for member in ["tables", "devfreq", "kernels", "agent", "capi", "nvtx"] {
        found.extend(modules(member).circles().into_iter().map(|circle| (member, circle)));
    }
    for (member, circle) in &found {
        let known = CIRCLES.iter().any(|(of, known)| of == member && circle == known);
        assert!(known, "{member}: {} use each other in a circle", circle.join(", "));
    }
    for (member, known) in CIRCLES {
        let still = found.iter().any(|(of, circle)| *of == member && circle == known);
        assert!(still, "{member}: {} form no circle any more: take them off CIRCLES", known.join(", "));
    }
}

#[test]
fn tables_is_no_std() {
    let lib = fs::read_to_string(jetpace_tests::root().join("tables/src/lib.rs")).unwrap();
    assert!(lib.contains("#![no_std]"));
}
