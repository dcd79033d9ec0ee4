//! The commands of README and docs run as they are printed. Every ```sh block runs, a page's blocks one after another in
//! one empty folder; one that a test cannot run says why in a comment, `# not run: REASON`, and one that works on published
//! sweeps names them, `# measured: FILE ..`. A ```text block behind one is part of what it prints: the words are compared,
//! the figures not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A block between fences: its language, and its text.
struct Block {
    language: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All pages that may hold commands.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.chain(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "HARDWARE.md"].map(|name| root().join(name)),
    );
    pages.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let fenced = text.split("\n```").skip(1).step_by(2);
    let block = |text: &str| {
        let (language, text) = text.split_once('\n').unwrap();
        Block { language: language.to_owned(), text: text.to_owned() }
    };
    fenced.map(block).collect()
}

/// The reason why a block is not run.
fn not_run(block: &Block) -> Option<&str> {
    block.text.split_once("# not run: ").map(|(_, reason)| reason.lines().next().unwrap_or_default())
}

/// Puts the published sweeps that a block works on into the folder; `false` where the measured data folder is absent.
fn fetch(block: &Block, folder: &Path) -> bool {
    let files = block.text.split_once("# measured: ").and_then(|(_, rest)| rest.lines().next()).unwrap_or_default();
    files.split(' ').filter(|file| !file.is_empty()).all(|file| {
        let from = root().join("../shared/data").join(file);
        let here = fs::copy(&from, folder.join(from.file_name().unwrap())).is_ok();
        if !here {
            eprintln!("skipped: the measured data folder has no {file}");
        }
        here
    })
}

/// Figures become `#`, so that words alone are compared.
fn words(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        let figure = c.is_ascii_digit() || (c == '.' && text.ends_with('#'));
        match figure {
            true if text.ends_with('#') => {}
            true => text.push('#'),
            false => text.push(c),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_block_runs_or_says_why_not() {
    let jetpace = Path::new(env!("CARGO_BIN_EXE_jetpace")).parent().unwrap();
    let path = format!("{}:{}", jetpace.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for page in pages() {
        let folder = tempfile::tempdir().unwrap();
        let mut printed = String::new();
        for block in blocks(&page) {
            let at = format!("{}:\n{}", page.display(), block.text);
            match (block.language.as_str(), not_run(&block)) {
                ("sh", Some(reason)) => assert!(reason.len() > 10, "{at}\nno reason"),
                ("sh", None) if !fetch(&block, folder.path()) => {}
                ("sh", None) => {
                    let mut shell = Command::new("bash");
                    shell.args(["-euo", "pipefail", "-c", &format!("exec 2>&1\n{}", block.text)]);
                    let output = shell.current_dir(folder.path()).env("PATH", &path).output().unwrap();
                    printed = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(output.status.success(), "{at}\n{}: {printed}", output.status);
                    ran += 1;
                }
                ("text", _) => {
                    let lines: Vec<String> = printed.lines().map(words).collect();
                    for line in block.text.lines().map(words) {
                        assert!(lines.contains(&line), "{at}\nthe block above prints no line `{line}`, but: {printed}");
                    }
                }
                _ => {}
            }
        }
    }
    assert!(ran >= 5, "{ran} blocks ran");
}

/// A command outside of a block would not be run, and nobody would know.
#[test]
fn no_command_stands_outside_of_a_block() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let outside = text.split("\n```").step_by(2);
        for line in outside.flat_map(str::lines) {
            let command = line.strip_prefix("    ").map(|line| line.trim_start_matches("$ "));
            let command = command.filter(|line| {
                ["jetpace", "cargo", "./ci.sh", "scp", "pip"].contains(&line.split(' ').next().unwrap())
            });
            assert!(command.is_none(), "{}: `{line}` stands in no ```sh block", page.display());
        }
    }
}

/// Files and folders that pages name are there.
#[test]
fn what_pages_point_at_is_there() {
    let tops = ["agent", "capi", "devfreq", "docs", "kernels", "nvtx", "packaging", "tables", "tests"];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let code = text.split('`').skip(1).step_by(2).filter(|code| !code.contains(char::is_whitespace));
        let paths = code.filter(|code| code.split_once('/').is_some_and(|(top, _)| tops.contains(&top)));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let beside = page.parent().unwrap();
        let places =
            paths.map(|path| root().join(path)).chain(links.map(|link| beside.join(link.split('#').next().unwrap())));
        for place in places
            .filter(|place| !place.to_string_lossy().contains(['*', '<']) && !place.to_string_lossy().contains("NAME"))
        {
            assert!(place.exists(), "{} names {}, which is not there", page.display(), place.display());
        }
    }
}
