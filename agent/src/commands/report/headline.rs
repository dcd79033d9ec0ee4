//! What it all comes to, in a sentence that needs no knowledge of clocks, with its evidence.

use jetpace_tables::table::Table;

use super::material::{Material, Of, Ran, Stretch};
use super::planned::Shown;
use super::{name, percent, simulated};
use crate::report::page::Page;

/// Less or more energy than something, in words.
fn compared(ours: f64, other: f64) -> String {
    let saved = 1.0 - ours / other;
    match percent(saved.abs()).as_str() {
        "0 %" | "0.00 %" => "as much energy as".to_owned(),
        share if saved > 0.0 => format!("{share} less energy than"),
        share => format!("{share} more energy than"),
    }
}

fn late(missed: u64, frames: u64, risk: f64) -> String {
    let share = missed as f64 / frames.max(1) as f64;
    let over = if share > risk { ", too many" } else { "" };
    format!("{} late of {} allowed{over}", percent(share), percent(risk))
}

/// What frames that ran came to, one sentence for each file.
pub fn runs(material: &Material) -> Vec<String> {
    let mut said: Vec<String> = material.runs.iter().map(|ran| run(&ran.is)).collect();
    for held in &material.held {
        let (before, now) = (held.is.before.as_ref().and_then(watts), watts(&held.is.held));
        let power = match (before, now) {
            (Some(before), Some(now)) => {
                let saved = 1.0 - now / before;
                let word = if saved >= 0.0 { "less" } else { "more" };
                format!("{} {word} power than with the clock left alone", percent(saved.abs()))
            }
            _ => "the clock held for the deadline (power before was not measured)".to_owned(),
        };
        let late = held.is.held.late.map_or("how many frames were late is not told".to_owned(), |missed| {
            late(missed, held.is.held.frames, held.is.risk)
        });
        said.push(format!("{}: {power}; {late}.", name(&held.path)));
    }
    said
}

/// Power to compare with.
fn watts(stretch: &Stretch) -> Option<f64> {
    stretch.watts().filter(|watts| *watts > 0.0)
}

fn run(ran: &Ran) -> String {
    let late = late(ran.missed, ran.frames, ran.risk);
    let stock = ran.baselines.stock_governor.as_ref().and_then(|stock| stock.energy_j);
    let fixed = ran.baselines.best_fixed.as_ref().and_then(|fixed| fixed.energy_j);
    let energy = match (ran.policy.as_str(), ran.energy_j, stock, fixed) {
        ("table", Some(ours), Some(stock), _) if stock > 0.0 => format!("{} the stock governor", compared(ours, stock)),
        ("table", Some(ours), None, Some(fixed)) if fixed > 0.0 => {
            format!("{} the best fixed clock", compared(ours, fixed))
        }
        (policy, Some(ours), ..) => {
            let who = if policy == "table" { "" } else { " under the stock governor" };
            format!("{:.4} J a frame{who}", ours / ran.frames.max(1) as f64)
        }
        (_, None, ..) => "no rail tells the energy".to_owned(),
    };
    let end = match &ran.handed_back {
        Some(why) => format!(" The table was not followed to the end: {why}."),
        None => String::new(),
    };
    format!("{}: {energy}, {late}{}.{end}", ran.network, simulated(&ran.evidence))
}

/// The sentences, the most certain first: what ran, else what is planned, else what there is.
pub fn tell(page: &mut Page, material: &Material, runs: Vec<String>, plans: &[Shown<'_>]) {
    let mut said = runs;
    if said.is_empty() {
        said.extend(plans.iter().filter_map(Shown::headline));
        said.extend(material.logs.iter().map(|log| log.is.headline(&name(&log.path))));
    }
    if said.is_empty() {
        let networks = material.sources.iter().map(|source| (source, source.model.networks()));
        let measured = |(source, network)| super::measured::headline(source, network);
        said.extend(
            networks.flat_map(|(source, all)| all.into_iter().map(move |network| (source, network))).map(measured),
        );
    }
    if said.is_empty() {
        let table = |table: &Of<Box<Table>>| {
            let (network, deadline) = (table.is.network(), table.is.deadline());
            format!("{network}: clocks for a deadline of {deadline}; its model among the files tells what they save.")
        };
        said.extend(material.tables.iter().map(table));
    }
    said.into_iter().for_each(|said| page.headline(said));
    let mut evidence: Vec<String> = material.sources.iter().map(super::material::Source::evidence).collect();
    evidence.extend(material.runs.iter().map(|ran| ran.is.evidence.clone()));
    evidence.sort();
    evidence.dedup();
    if !evidence.is_empty() {
        page.note(format!("Evidence: {}.{}", evidence.join(", "), meaning(&evidence)));
    }
}

/// What a kind of evidence is worth.
fn meaning(evidence: &[String]) -> &'static str {
    let has = |word: &str| evidence.iter().any(|said| said == word);
    match (has("virtual"), has("jetson")) {
        (true, false) => {
            " Virtual means simulated: boards whose speed and power are scaled from data sheets and published measurements, \
             with the stock governor's rules. No Jetson was measured for this page."
        }
        (true, true) => " Some figures are simulated (virtual), some measured on a Jetson; each says which.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_honest_in_both_directions() {
        assert_eq!(compared(0.82, 1.0), "18 % less energy than");
        assert_eq!(compared(1.03, 1.0), "3 % more energy than");
        assert_eq!(compared(1.0, 1.0), "as much energy as");
        assert_eq!(late(1, 1000, 0.01), "0.1 % late of 1 % allowed");
        assert_eq!(late(30, 1000, 0.01), "3 % late of 1 % allowed, too many");
        assert_eq!(late(0, 0, 0.01), "0 % late of 1 % allowed");
    }
}
