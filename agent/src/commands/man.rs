//! `jetpace man`: manual pages.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::Failure;
use crate::files::output::{print_text, write_file};

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write `jetpace.1` and a page per command into this folder instead of printing the first
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Commands as they are used, by the page that shows them; `jetpace` stands before each.
const EXAMPLES: [(&str, &str); 40] = [
    ("jetpace", "probe"),
    ("jetpace", "demo"),
    ("probe", "probe --board sim:orin-nano --json"),
    ("calibrate", "calibrate --board sim:orin-nano --net resnet152 -o sweep.csv"),
    ("calibrate", "calibrate --board sim:orin-nano --net resnet152 --for-deadline 60ms -o sweep.csv"),
    ("calibrate", "calibrate --cmd ./camera -o sweep.csv"),
    ("calibrate", "calibrate --cmd ./camera --nvtx infer --nvtx-blocks stem,body,head -o sweep.csv"),
    ("recalibrate", "recalibrate"),
    ("recalibrate", "recalibrate --rollback camera"),
    ("check-config", "check-config /etc/jetpace"),
    ("run", "run --board sim:orin-nano --table table.jpt --frames 1000"),
    ("hold", "hold --clock 612MHz -- ./camera"),
    ("hold", "hold --deadline 80ms --nvtx infer -- ./camera"),
    ("nvtx", "nvtx -- ./camera"),
    ("nvtx", "nvtx --frame infer --blocks stem,body,head -- ./camera"),
    ("selftest", "selftest -o result.json"),
    ("restore", "restore"),
    ("import", "import csv measured.csv -o sweep.csv"),
    ("trtexec", "import trtexec --clock 306MHz=p306.json --clock 612MHz=p612.json --power 306MHz=6 --power 612MHz=8.1"),
    ("edge-llm", "import edge-llm --clock 612MHz=profile.json --stage llm_prefill -o sweep.csv"),
    ("csv", "import csv measured.csv --map clock=core:MHz,time=t:ms -o sweep.csv"),
    ("fit", "fit sweep.csv -o model.json"),
    ("fit", "fit sweep.csv --train 4 --explain"),
    ("plan", "plan model.json --deadline 40ms -o table.jpt"),
    ("plan", "plan model.json --deadline 40ms --pareto front.svg"),
    ("inspect", "inspect table.jpt"),
    ("inspect", "inspect sweep.csv"),
    ("report", "report sweep.csv model.json table.jpt -o report.html"),
    ("report", "report run.json frames.csv"),
    ("predict", "predict model.json --clock 612MHz"),
    ("compare", "compare --board sim:orin-nano"),
    ("compare", "compare --case cooperative sweep.csv --rates-mbps 1,10"),
    ("serve", "serve --table table.jpt --group jetpace"),
    ("status", "status --json"),
    ("metrics", "metrics -o /var/lib/prometheus/node-exporter/jetpace.prom"),
    ("trace", "trace --client 0 --follow"),
    ("bench", "bench switch"),
    ("demo", "demo --board orin-nano --out jetpace-demo"),
    ("completions", "completions bash"),
    ("man", "man --out man1"),
];

/// What every page says behind the options.
const COMMON: &str = r#".SH "EXIT STATUS"
.TP
0
It worked.
.TP
1
Something failed that is none of the following.
.TP
2
The command line or an input file is wrong.
.TP
3
This machine has not what the command needs.
.TP
4
The calibration is missing, or of another board, power mode or release.
.TP
5
This user may not do it.
.TP
6
Not now: something is in the way that goes by itself.
.PP
A command that a signal ended has that signal's status, once the clocks are put back.
.SH ENVIRONMENT
.TP
RUST_LOG
How much is said on standard error: error, warn (the default), info, debug.
.TP
JETPACE_SOCKET
Where programs with libjetpace look for the daemon.
.TP
NOTIFY_SOCKET
Where serve tells systemd that it is up.
.SH FILES
.TP
/run/jetpace-clients/jetpace.sock
The daemon's socket.
.TP
/etc/jetpace/NAME.toml
A table that recalibrate keeps, in /var/lib/jetpace/NAME.
.TP
/run/jetpace/state.json
What the clocks were before they were changed, for restore.
.TP
/run/jetpace/lock
Held by the one instance that changes clocks.
"#;

impl Args {
    /// Prints the page, or writes them all.
    pub fn run(self) -> Result<(), Failure> {
        let mut command = Cli::command();
        // Gives each command its whole name.
        command.build();
        let Some(folder) = self.out else {
            return print_text(&String::from_utf8_lossy(&page(&command, "jetpace")?));
        };
        write_file(&folder.join("jetpace.1"), &page(&command, "jetpace")?)?;
        write_pages(&command, "jetpace", &folder)
    }
}

/// Pages of a command's commands, and of theirs.
fn write_pages(command: &clap::Command, name: &str, folder: &Path) -> Result<(), Failure> {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("{name}-{}", sub.get_name());
        write_file(&folder.join(format!("{name}.1")), &page(sub, &name)?)?;
        write_pages(sub, &name, folder)?;
    }
    Ok(())
}

fn page(command: &clap::Command, title: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let named = command.clone().display_name(title.to_owned());
    let source = concat!("jetpace ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(named).title(title).source(source);
    man.render(&mut text).map_err(|e| Failure::failed(format_args!("{title}: {e}")))?;
    text.extend_from_slice(b".SH EXAMPLES\n");
    for (_, line) in EXAMPLES.iter().filter(|(of, _)| *of == command.get_name()) {
        text.extend_from_slice(format!(".PP\n.RS 4\njetpace {}\n.RE\n", line.replace('-', "\\-")).as_bytes());
    }
    text.extend_from_slice(COMMON.as_bytes());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_page_is_named_after_its_command_and_has_all_sections() {
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let title = format!("jetpace-{}", sub.get_name());
            let text = String::from_utf8(page(sub, &title).unwrap()).unwrap();
            for section in ["EXAMPLES\n.PP", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
                assert!(text.contains(&format!(".SH {section}")), "{title}: {section}");
            }
            let name = text.lines().skip_while(|line| *line != ".SH NAME").nth(1).unwrap_or_default();
            assert!(name.replace("\\-", "-").starts_with(&title), "{title}: {name}");
        }
    }

    #[test]
    fn every_example_is_a_command_line() {
        for (_, line) in EXAMPLES {
            let words = std::iter::once("jetpace").chain(line.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
