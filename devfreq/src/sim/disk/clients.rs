//! The programs that work on the stand-in GPU. Each says lines: `run FLOPS BYTES` and `event` are queued without an
//! answer; `wait` is answered, when all that was queued before has run, by the times of the events since the last
//! answer: nanoseconds of the machine's monotonic clock, with blanks between, and a line's end.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::gpu::{Gpu, Item};

/// No line is longer.
const LONGEST_LINE: usize = 64;

/// A single piece of work is no longer: an hour of a fast GPU.
const MOST_WORK: u64 = 1_000_000_000_000_000_000;

#[derive(Debug)]
pub(super) struct Clients {
    listener: UnixListener,
    next: u64,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    id: u64,
    stream: UnixStream,
    /// What came of a line whose end has not.
    begun: Vec<u8>,
    /// Times of events since the last answer, as they will be said.
    events: String,
}

impl Clients {
    pub fn listen(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, next: 0, clients: Vec::new() })
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(|client| client.stream.as_fd()))
    }

    /// Queues what they said.
    pub fn hear(&mut self, gpu: &mut Gpu) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.next += 1;
                self.clients.push(Client { id: self.next, stream, begun: Vec::new(), events: String::new() });
            }
        }
        self.clients.retain_mut(|client| {
            let there = client.hear(gpu);
            if !there {
                gpu.forget(client.id);
            }
            there
        });
    }

    /// Answers what has run to its end.
    pub fn answer(&mut self, gpu: &mut Gpu, base: u64) {
        for (id, item, at) in gpu.ended.drain(..) {
            let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { continue };
            match item {
                Item::Event => client.events += &format!("{} ", base + at),
                Item::Wait => {
                    let line = format!("{}\n", client.events.trim_end());
                    client.events.clear();
                    // One that does not read what it asked for is found gone when it is heard next.
                    let _ = client.stream.write_all(line.as_bytes());
                }
                Item::Run { .. } => {}
            }
        }
    }
}

impl Client {
    /// Queues all that has come; false where it hung up or says what it should not.
    fn hear(&mut self, gpu: &mut Gpu) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(length) => {
                    for &byte in buffer.iter().take(length) {
                        match byte {
                            b'\n' => {
                                let line = std::mem::take(&mut self.begun);
                                if !parse(&line).is_some_and(|item| gpu.queue(self.id, item)) {
                                    return self.refuse(&line);
                                }
                            }
                            _ if self.begun.len() >= LONGEST_LINE => return self.refuse(b"a longer line"),
                            byte => self.begun.push(byte),
                        }
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }

    fn refuse(&mut self, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line).escape_debug().to_string();
        let why = format!("error: '{line}' is not 'run FLOPS BYTES', 'event' or 'wait', or too much is queued\n");
        let _ = self.stream.write_all(why.as_bytes());
        false
    }
}

fn parse(line: &[u8]) -> Option<Item> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let amount = |word: Option<&str>| word?.parse().ok().filter(|amount| *amount <= MOST_WORK);
    let item = match words.next()? {
        "run" => Item::Run { flops: amount(words.next())?, bytes: amount(words.next())? },
        "event" => Item::Event,
        "wait" => Item::Wait,
        _ => return None,
    };
    words.next().is_none().then_some(item)
}
