//! What people use today, and the bare write that all of them come down to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use jetpace_tables::units::Hertz;

use super::measure::{BATCH, Figures, Stopwatch};

/// The lowest and the second clock in turn.
fn texts(values: &[Hertz]) -> [String; 2] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or_default().get().to_string())
}

/// `pwrite` on a kept descriptor.
pub struct BarePwrite {
    file: File,
    texts: [String; 2],
}

impl BarePwrite {
    pub fn open(node: &Path, values: &[Hertz]) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().read(true).write(true).open(node)?, texts: texts(values) })
    }

    /// The mean time of a batch of writes.
    pub fn batch(&self, watch: &Stopwatch) -> io::Result<f64> {
        let mut result = Ok(0);
        let time = watch.time(|| {
            for i in 0..BATCH {
                let text = if i % 2 == 0 { &self.texts[0] } else { &self.texts[1] };
                let wrote = self.file.write_at(text.as_bytes(), 0);
                if wrote.is_err() {
                    result = wrote;
                }
            }
        });
        result.map(|_| time / f64::from(BATCH))
    }
}

/// Opened, written and closed for every write.
pub fn reopen_write(watch: &Stopwatch, node: &Path, values: &[Hertz]) -> io::Result<Figures> {
    let texts = texts(values);
    let mut result = Ok(());
    let figures = watch.each(|i| {
        let text = if i % 2 == 0 { &texts[0] } else { &texts[1] };
        let wrote =
            OpenOptions::new().write(true).open(node).and_then(|mut file: File| file.write_all(text.as_bytes()));
        if wrote.is_err() {
            result = wrote;
        }
    });
    result.map(|()| figures)
}

/// Writes in one run of the shell.
const ECHOES: u32 = 400;

/// `echo` in a shell that runs already: a loop of them, less the same loop without the redirection. Means of loops.
pub fn shell_echo(node: &Path, values: &[Hertz]) -> Option<Figures> {
    let texts = texts(values);
    let run = |body: &str| {
        let script = format!("i=0; while [ $i -lt {ECHOES} ]; do {body}; i=$((i+2)); done");
        let started = Instant::now();
        let status = Command::new("sh").args(["-c", &script, "sh"]).arg(node).stdout(Stdio::null()).status();
        status.ok().filter(|status| status.success()).map(|_| started.elapsed().as_nanos() as f64)
    };
    let mut samples = Vec::new();
    for _ in 0..20 {
        let empty = run(":; :")?;
        let echoes = run(&format!("echo {} > \"$1\"; echo {} > \"$1\"", texts[0], texts[1]))?;
        samples.push((echoes - empty).max(0.0) / f64::from(ECHOES));
    }
    Some(Figures::of(samples, ECHOES))
}

const PYTHON: &str = "
import sys, time
node, texts, now = sys.argv[1], sys.argv[2:4], time.perf_counter_ns
for i in range(4000):
    start = now()
    with open(node, 'w') as f:
        f.write(texts[i & 1])
    print(now() - start)
";

/// `with open(node, 'w') as f: f.write(...)`, timed in Python itself.
pub fn python_write(node: &Path, values: &[Hertz]) -> Option<Figures> {
    let output = Command::new("python3").args(["-c", PYTHON]).arg(node).args(texts(values)).output().ok()?;
    let samples: Vec<f64> = String::from_utf8_lossy(&output.stdout).lines().filter_map(|l| l.parse().ok()).collect();
    (output.status.success() && !samples.is_empty()).then(|| Figures::of(samples, 1))
}
