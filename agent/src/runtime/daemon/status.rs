//! The daemon's answers to `jetpace status` and `jetpace trace`.

use jetpace_tables::governor::{Counters, State};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::trace::{Event, Fault};
use serde::Serialize;
use serde_json::{Map, Value};

use super::hub::Hub;
use super::served::Served;

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    pid: u32,
    uptime_s: f64,
    clock_hz: Option<u64>,
    cap_hz: Option<u64>,
    writes: u64,
    write_faults: u64,
    clients: Vec<Client<'a>>,
}

#[derive(Serialize)]
struct Client<'a> {
    client: usize,
    pid: i32,
    uid: u32,
    network: String,
    writer: &'static str,
    state: &'a str,
    why: Option<&'static str>,
    frames: u64,
    missed: u64,
    blocks: u64,
    switches: u64,
    tries: u64,
    shared_frames: u64,
    lost_events: u64,
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
pub fn document<'a, C: GpuClock>(hub: &Hub<C>, clients: impl Iterator<Item = &'a Served>) -> Vec<u8> {
    let desk = hub.desk();
    let cap = desk.cap().and_then(|cap| hub.clocks().get(cap.index()));
    let clock = hub.clock().get();
    let document = Document {
        format: 1,
        pid: std::process::id(),
        uptime_s: super::now().saturating_sub(hub.started).as_secs_f64(),
        clock_hz: (clock > 0).then_some(clock),
        cap_hz: cap.map(|hz| hz.get()),
        writes: desk.written.writes(),
        write_faults: desk.written.faults(),
        clients: clients.map(client).collect(),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

fn client(served: &Served) -> Client<'static> {
    let governor = served.governor();
    let Counters { frames, missed, blocks, writes, tries, .. } = *governor.counters();
    let (state, why) = match governor.state() {
        State::Following => ("following", None),
        State::Safe(why) => ("safe", Some(why.text())),
        State::HandedBack(why) => ("handed back", Some(why.text())),
    };
    Client {
        client: served.slot(),
        pid: served.peer().pid,
        uid: served.peer().uid,
        network: governor.table().network().to_owned(),
        writer: served.writer().text(),
        state,
        why,
        frames,
        missed,
        blocks,
        switches: writes,
        tries,
        shared_frames: served.shared(),
        lost_events: served.lost(),
        faults: Fault::ALL
            .iter()
            .map(|fault| (fault.text().to_owned(), governor.counters().fault(*fault).into()))
            .collect(),
        events: governor.trace().written(),
    }
}

/// The events of a client from number `from` on, as far as they are still in the ring, as JSON.
pub fn trace(served: &Served, from: u32) -> Vec<u8> {
    let governor = served.governor();
    let ring = governor.trace();
    let next = ring.written();
    let behind = next.wrapping_sub(from).min(jetpace_tables::governor::TRACE as u32).min(next);
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
