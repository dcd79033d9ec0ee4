//! `calibrate --for-deadline` as its users see it.

use std::fs;

use crate::bad_input::{USAGE, command, folder, refused};

const SIM: [&str; 9] =
    ["calibrate", "--board", "sim:orin-nano-super", "--net", "alexnet", "--frames", "160", "--late", "1600"];

fn calibrate<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&SIM[..], &["--changes", "2", "-o", file], more].concat()
}

#[test]
fn it_says_what_comes_next_and_why_and_what_to_type() {
    let folder = folder();
    let line = |more| calibrate("alex.csv", more);
    let said = |args: &[&str]| {
        let output = command(folder.path(), args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        (said, String::from_utf8(output.stdout).unwrap())
    };
    let asked = ["--for-deadline", "8ms", "--fps", "100"];
    let unmeasured = [&asked[..], &["--dry-run"]].concat();
    let (_, dry) = said(&line(&unmeasured));
    assert!(dry.contains("306 MHz, 510 MHz, 816 MHz and 1020 MHz first"), "{dry}");
    assert!(dry.contains("the clocks on which the plan for 8.00 ms rests, 8 of 8 at most"), "{dry}");
    assert!(!folder.path().join("alex.csv").exists(), "a dry run measures nothing");

    let (first, _) = said(&line(&asked));
    assert!(first.contains("first, spread over the list") && first.contains("of 8 clocks measured: "), "{first}");
    assert!(first.contains("the plan runs at ") && first.contains("late frames at "), "{first}");
    let next = first.lines().find_map(|line| line.strip_prefix("next: ")).unwrap();
    assert_eq!(
        next,
        "jetpace fit alex.csv -o alex.json; jetpace plan alex.json --deadline 8ms --period 10ms -o alex.jpt"
    );
    for command in next.split("; ") {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let (said, _) = said(&words);
        assert!(!said.contains("interrupted"), "{said}");
    }
    let (again, _) = said(&line(&asked));
    assert!(again.contains(": 0 rows measured"), "{again}");
    let (_, dry) = said(&line(&unmeasured));
    assert!(dry.contains("of 8 clocks measured"), "{dry}");
}

#[test]
fn what_makes_no_deadline_is_refused() {
    let folder = folder();
    let line = |more| calibrate("none.csv", more);
    let cases: [(&[&str], &str); 5] = [
        (&["--for-deadline", "20ms", "--period", "10ms"], "--for-deadline 20.00 ms: above 0 and at most the period"),
        (&["--for-deadline", "20ms", "--risk", "2"], "--risk 2: a probability"),
        (&["--for-deadline", "20ms", "--emc", "all"], "--emc all with --for-deadline: name the clock"),
        (&["--risk", "0.1"], "--for-deadline"),
        (&["--fps", "10"], "--for-deadline"),
    ];
    for (more, said) in cases {
        refused(folder.path(), &line(more), USAGE, &[said]);
    }
    assert!(fs::metadata(folder.path().join("none.csv")).is_err());
    let late = [&SIM[..], &["-o", "late.csv", "--for-deadline", "1ms"]].concat();
    let output = command(folder.path(), &late).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no clock meets the deadline of 1.000 ms: the fastest, 1020 MHz"), "{said}");
}
