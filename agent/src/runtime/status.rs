//! What is answered to `jetpace status` and `jetpace trace`.

use std::time::Duration;

use jetpace_devfreq::board::hex;
use jetpace_tables::governor::trace::{Event, Fault, Ring};
use jetpace_tables::governor::{Counters, State};
use jetpace_tables::hw::PowerOf;
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use serde::Serialize;
use serde_json::{Map, Value};

use super::access::Peer;
use super::control::Desk;
use super::sys;
use super::writer::Writer;

#[derive(Serialize)]
struct Document {
    format: u32,
    pid: u32,
    uptime_s: f64,
    clock_hz: Option<Hertz>,
    cap_hz: Option<Hertz>,
    /// The board's digest: what tables have to be made for.
    board: Option<String>,
    /// What holds the clock down by heat or over-current, as last looked at.
    held_down: Option<String>,
    /// For how long that was seen.
    held_down_s: Option<f64>,
    writes: u64,
    write_faults: u64,
    /// For how long a write or a read of the nodes has not come back, where it hangs.
    hangs_s: Option<f64>,
    clients: Vec<Client>,
}

/// One that is served.
#[derive(Serialize)]
pub struct Client {
    client: usize,
    pid: i32,
    uid: u32,
    network: String,
    writer: &'static str,
    state: &'static str,
    why: Option<&'static str>,
    frames: u64,
    missed: u64,
    blocks: u64,
    switches: u64,
    tries: u64,
    shared_frames: u64,
    lost_events: u64,
    /// By what share frames take longer than planned, for long; negative: shorter.
    drift: f64,
    faults: Map<String, Value>,
    events: u32,
}

#[derive(Serialize)]
struct Trace {
    format: u32,
    next: u32,
    events: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    at_ns: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slack_us: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// The status, as JSON.
pub fn document(
    desk: &Desk,
    clocks: &[Hertz],
    clock_hz: Option<Hertz>,
    (started, hangs): (Nanos, Option<Duration>),
    clients: Vec<Client>,
) -> Vec<u8> {
    let (held_down, since) = desk.held_down().unzip();
    let document = Document {
        format: 1,
        pid: std::process::id(),
        uptime_s: sys::now().saturating_sub(started).as_secs_f64(),
        clock_hz,
        cap_hz: desk.cap().and_then(|cap| clocks.get(cap.index())).copied(),
        board: desk.board().map(|board| hex(board.now())),
        held_down,
        held_down_s: since.map(|since| sys::now().saturating_sub(since).as_secs_f64()),
        writes: desk.written.writes(),
        write_faults: desk.written.faults(),
        hangs_s: hangs.map(|time| time.as_secs_f64()),
        clients,
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

impl Client {
    /// One of this process's own, which shares the GPU with nobody and loses nothing.
    pub fn new(
        (client, peer): (usize, Peer),
        (network, writer): (&str, Writer),
        (state, counters, drift): (State, &Counters, f64),
        events: u32,
    ) -> Self {
        let (state, why) = match state {
            State::Following => ("following", None),
            State::Safe(why) => ("safe", Some(why.text())),
            State::HandedBack(why) => ("handed back", Some(why.text())),
        };
        let Counters { frames, missed, blocks, writes: switches, tries, .. } = *counters;
        Self {
            client,
            pid: peer.pid,
            uid: peer.uid,
            network: network.to_owned(),
            writer: writer.text(),
            state,
            why,
            frames,
            missed,
            blocks,
            switches,
            tries,
            shared_frames: 0,
            lost_events: 0,
            drift,
            faults: Fault::ALL.iter().map(|fault| (fault.text().to_owned(), counters.fault(*fault).into())).collect(),
            events,
        }
    }

    /// One of another process: in so many of its frames another client was busy, too, and it says it lost so many events.
    pub fn beside(self, shared_frames: u64, lost_events: u64) -> Self {
        Self { shared_frames, lost_events, ..self }
    }
}

/// The governor's state as the C library and the shared page tell it: following, safe, handed back.
pub const fn state_code(state: State) -> u32 {
    match state {
        State::Following => 0,
        State::Safe(_) => 1,
        State::HandedBack(_) => 2,
    }
}

/// That frames take something else than planned, and what to do about it.
pub fn drifted(drift: f64) -> String {
    let percent = 100.0 * drift.abs();
    match drift > 0.0 {
        true => format!(
            "frames take {percent:.1} % longer than planned, so clocks are chosen higher; `jetpace recalibrate`"
        ),
        false => format!("frames take {percent:.1} % less than planned: less energy would do; `jetpace recalibrate`"),
    }
}

#[derive(Serialize)]
struct EnergySoFar {
    format: u32,
    of: &'static str,
    energy_j: f64,
    covered_s: f64,
}

/// The board's energy since someone began to ask, and the time that it is of, as JSON.
pub fn energy(of: PowerOf, energy: Microjoules, covered: Nanos) -> Vec<u8> {
    let (energy_j, covered_s) = (energy.as_joules_f64(), covered.as_secs_f64());
    serde_json::to_vec(&EnergySoFar { format: 1, of: of.word(), energy_j, covered_s }).unwrap_or_default()
}

/// The events from number `from` on, as far as they are still in the ring, as JSON.
pub fn trace<const N: usize>(ring: &Ring<N>, from: u32) -> Vec<u8> {
    let next = ring.written();
    let behind = next.wrapping_sub(from).min(N as u32).min(next);
    let numbers = (0..behind).map(|i| next.wrapping_sub(behind).wrapping_add(i));
    let events = numbers.filter_map(|number| ring.read(number)).map(|(at, event)| line(at.get(), event)).collect();
    serde_json::to_vec(&Trace { format: 1, next, events }).unwrap_or_default()
}

fn line(at_ns: u64, event: Event) -> Line {
    let plain = |event| Line { at_ns, event, block: None, clock: None, slack_us: None, why: None };
    match event {
        Event::FrameStart => plain("frame start"),
        Event::Block { block, clock, slack_us } => {
            Line { block: Some(block.0), clock: Some(clock.0), slack_us: Some(slack_us), ..plain("block") }
        }
        Event::Set(clock) => Line { clock: Some(clock.0), ..plain("set") },
        Event::FrameEnd { slack_us } => Line { slack_us: Some(slack_us), ..plain("frame end") },
        Event::Hold(why) => Line { why: Some(why.text()), ..plain("hold") },
        Event::HandBack(why) => Line { why: Some(why.text()), ..plain("hand back") },
        Event::Noted(why) => Line { why: Some(why.text()), ..plain("noted") },
        Event::Follow => plain("follow"),
        Event::Shared => plain("shared"),
    }
}
