//! The fake answers as the kernel does: the cases of `tests/kernel/cases.txt`, which `./ci.sh kernel` runs on a real
//! one.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use jetpace_devfreq::nodes::{NodeHandle, Nodes};
use jetpace_devfreq::sim::rules::{Devfreq, Kernel};
use jetpace_kernel_cases::{CASES, Machine, parse, run};
use jetpace_tables::units::Hertz;

const CLOCKS: [Hertz; 5] = [
    Hertz::from_khz(306_000),
    Hertz::from_khz(408_000),
    Hertz::from_khz(510_000),
    Hertz::from_khz(612_000),
    Hertz::from_khz(624_750),
];

/// The devfreq folder alone; `None` once the driver has let go.
#[derive(Clone)]
struct Fake(Rc<RefCell<Option<Devfreq>>>);

struct Handle {
    fake: Fake,
    file: String,
    generation: u64,
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Nodes for Fake {
    type Handle = Handle;

    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.borrow().as_ref().ok_or_else(|| errno(libc::ENOENT))?.read(&path.to_string_lossy())
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        let file = path.to_string_lossy().into_owned();
        let state = self.0.borrow();
        let devfreq = state.as_ref().filter(|d| d.exists(&file)).ok_or_else(|| errno(libc::ENOENT))?;
        if !matches!(file.as_str(), "governor" | "min_freq" | "max_freq" | "userspace/set_freq") {
            return Err(errno(libc::EACCES));
        }
        Ok(Handle { fake: self.clone(), file, generation: devfreq.generation() })
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn mode(&self, _: &Path) -> io::Result<u32> {
        Ok(0o644)
    }
}

impl Handle {
    fn alive<R>(&self, act: impl FnOnce(&mut Devfreq) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.fake.0.borrow_mut();
        match state.as_mut() {
            Some(d) if !Devfreq::is_of_governor(&self.file) || d.generation() == self.generation => act(d),
            _ => Err(errno(libc::ENODEV)),
        }
    }
}

impl NodeHandle for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.alive(|d| d.write(&self.file, &String::from_utf8_lossy(bytes)))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.alive(|d| d.read(&self.file))?;
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

impl Machine for Fake {
    type Nodes = Self;

    fn nodes(&self) -> &Self {
        self
    }

    fn path(&self, node: &str) -> PathBuf {
        node.into()
    }

    fn reset(&mut self) -> io::Result<()> {
        let governors = ["powersave", "performance", "userspace", "simple_ondemand"];
        let fresh = Devfreq::new(Kernel::Mainline, &CLOCKS, &governors, "simple_ondemand");
        *self.0.borrow_mut() = Some(fresh);
        Ok(())
    }

    fn knob(&mut self, name: &str, value: Option<u64>) -> io::Result<u64> {
        let mut state = self.0.borrow_mut();
        let devfreq = state.as_mut().ok_or_else(|| errno(libc::ENODEV))?;
        let given = value.unwrap_or_default();
        match name {
            "fail_errno" => devfreq.set_failing((given != 0).then_some(given as i32)),
            "cap_hz" => devfreq.set_hidden_cap((given != 0).then_some(Hertz::new(given))),
            "transitions" if value.is_some() => drop(devfreq.take_transitions()),
            "transitions" => return Ok(devfreq.take_transitions()),
            _ => return Err(io::Error::other(format!("the fake has no knob {name}"))),
        }
        Ok(given)
    }

    fn unbind(&mut self) -> io::Result<()> {
        *self.0.borrow_mut() = None;
        Ok(())
    }

    fn shell(&mut self, _: &str) -> io::Result<String> {
        Err(io::Error::other("the fake has no shell"))
    }
}

#[test]
fn the_fake_answers_as_the_kernel_does() {
    let points = parse(CASES).unwrap();
    let mut differ = Vec::new();
    let mut cases = 0;
    let common = points.iter().filter(|point| !point.kernel_only);
    run(&mut Fake(Rc::default()), common, |outcome| {
        cases += 1;
        if !outcome.agrees() {
            let (point, case) = (outcome.point, outcome.case);
            differ.push(format!(
                "cases.txt:{} ({}): {} -> {}, the kernel says {}",
                case.line, point.title, case.text, outcome.got, case.answer
            ));
        }
    })
    .unwrap();
    assert!(differ.is_empty(), "{} of {cases} cases differ:\n{}", differ.len(), differ.join("\n"));
    assert!(cases > 200, "only {cases} cases were run");
}
