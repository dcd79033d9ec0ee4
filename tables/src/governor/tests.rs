//! Every arrow of the diagram, and what a frame does at the clocks of a small table.

use super::*;
use crate::table::tests::small;
use crate::table::{Entry, Expected, Lead};

const SAFE: ClockIndex = ClockIndex(3);
const TOP: ClockIndex = ClockIndex(4);
const LOW: ClockIndex = ClockIndex(1);

fn ms(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

fn block<T: Deref<Target = Table>>(governor: &mut Governor<T>, id: u16, at: Nanos) -> Action {
    governor.block_start(BlockId(id), Size::default(), at)
}

#[test]
fn a_frame_at_ease_writes_its_first_clock_and_the_gap() {
    let table = small(2);
    let mut g = Governor::new(&table);
    assert_eq!(g.frame_start(ms(100)), Action::Set(SAFE));
    assert_eq!(block(&mut g, 0, ms(100)), Action::Hold);
    assert_eq!(block(&mut g, 1, ms(105)), Action::Hold);
    // Idle at the lowest clock, and 3 ms before the frame at 140 ms back up.
    assert_eq!(g.frame_end(ms(112)), Action::SetThenAt(LOW, SAFE, ms(137)));
    assert_eq!(g.frame_start(ms(140)), Action::Hold);
    assert_eq!(g.in_effect(), Some(SAFE));
    assert_eq!(block(&mut g, 0, ms(140)), Action::Hold);
    assert_eq!((g.counters().frames, g.counters().missed, g.counters().writes), (2, 0, 3));
}

#[test]
fn a_frame_that_starts_late_does_not_make_the_next_one_start_at_the_idle_clock() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let mut wake_behind = |start| {
        let _ = g.frame_start(ms(start));
        let _ = block(&mut g, 0, ms(start));
        let _ = block(&mut g, 1, ms(start + 5));
        g.frame_end(ms(start + 12))
    };
    assert_eq!(wake_behind(100), Action::SetThenAt(LOW, SAFE, ms(137)));
    assert_eq!(wake_behind(145), Action::SetThenAt(LOW, SAFE, ms(177)), "due at 140 ms, the next at 180");
    assert_eq!(wake_behind(180), Action::SetThenAt(LOW, SAFE, ms(217)), "on time");
    assert_eq!(wake_behind(215), Action::SetThenAt(LOW, SAFE, ms(252)), "early: that is the beat from now on");
    assert_eq!(wake_behind(276), Action::SetThenAt(LOW, SAFE, ms(313)), "half a period late: one was left out");
}

#[test]
fn a_late_block_is_caught_up() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    let _ = block(&mut g, 0, ms(0));
    assert_eq!(block(&mut g, 1, ms(16)), Action::Set(TOP), "4 ms are less than the threshold's 5");
    let _ = g.frame_end(ms(21));
    assert_eq!(g.counters().missed, 1);
}

#[test]
fn a_rise_on_its_way_is_waited_for() {
    let mut table = small(3);
    // Block 2 wants the middle clock whatever comes.
    table.entries[6..].fill(Entry::always(Rung(1)));
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    let _ = block(&mut g, 0, ms(0));
    assert_eq!(block(&mut g, 1, ms(16)), Action::Set(TOP));
    assert_eq!(block(&mut g, 2, ms(17)), Action::Hold, "settles at 18 ms");
    let _ = g.frame_end(ms(19));
    assert_eq!(g.in_effect(), Some(TOP));
}

#[test]
fn a_fall_on_its_way_can_be_called_off() {
    let mut table = small(3);
    table.entries[..3].fill(Entry::always(Rung(0)));
    table.entries[3..6].fill(Entry::always(Rung(1)));
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(block(&mut g, 0, ms(0)), Action::Set(LOW));
    assert_eq!(block(&mut g, 1, ms(1)), Action::Set(SAFE), "the clock still in effect");
    let _ = block(&mut g, 2, ms(5));
    assert_eq!(g.in_effect(), Some(SAFE));
}

#[test]
fn a_change_at_a_blocks_start_and_the_lead_behind_it_are_asked_for_together() {
    let mut table = small(3);
    table.entries[3..6].fill(Entry::always(Rung(0)));
    table.leads.push(Lead { block: BlockId(1), from: Rung(0), to: Rung(2), delay: ms(4) }).unwrap();
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(block(&mut g, 0, ms(0)), Action::Hold);
    assert_eq!(block(&mut g, 1, ms(5)), Action::SetThenAt(LOW, TOP, ms(9)));
    let _ = block(&mut g, 2, ms(15));
    assert_eq!(g.in_effect(), Some(TOP));
}

#[test]
fn a_lead_is_scheduled_within_its_block_and_dropped_where_it_no_longer_fits() {
    let mut table = small(3);
    table.leads.push(Lead { block: BlockId(0), from: Rung(1), to: Rung(2), delay: ms(4) }).unwrap();
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(block(&mut g, 0, ms(0)), Action::SetAt(TOP, ms(4)));
    assert_eq!(block(&mut g, 1, ms(3)), Action::Set(SAFE), "not written yet and not wanted: dropped");
    assert_eq!(block(&mut g, 2, ms(8)), Action::Hold);
    let _ = g.frame_end(ms(9));
    assert_eq!(g.in_effect(), Some(SAFE));
}

#[test]
fn a_short_gap_keeps_the_clock() {
    let table = small(1);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    let _ = block(&mut g, 0, ms(0));
    assert_eq!(g.frame_end(ms(36)), Action::Hold, "1 ms left until the next frame's clock is written");
}

#[test]
fn a_block_out_of_order_or_unknown_holds_the_safe_clock_to_the_next_frame() {
    for (id, fault) in [(1, Fault::BlockOutOfOrder), (7, Fault::UnknownBlock)] {
        let table = small(2);
        let mut g = Governor::new(&table);
        let _ = g.frame_start(ms(0));
        let _ = block(&mut g, 0, ms(0));
        let _ = block(&mut g, 1, ms(16));
        assert_eq!(block(&mut g, id, ms(19)), Action::Set(SAFE));
        assert_eq!(g.state(), State::Safe(fault));
        assert_eq!(g.frame_end(ms(20)), Action::Hold);
        let _ = g.frame_start(ms(40));
        assert_eq!((g.state(), g.counters().fault(fault)), (State::Following, 1));
    }
}

#[test]
fn time_that_goes_backwards_holds_the_safe_clock_and_counts_from_there() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(1000));
    let _ = block(&mut g, 0, ms(1016));
    assert_eq!(block(&mut g, 1, ms(5)), Action::Set(SAFE));
    assert_eq!(g.state(), State::Safe(Fault::TimeBackwards));
    let _ = g.frame_end(ms(15));
    let _ = g.frame_start(ms(45));
    assert_eq!(block(&mut g, 0, ms(45)), Action::Hold);
    assert_eq!((g.state(), g.counters().fault(Fault::TimeBackwards)), (State::Following, 1));
}

#[test]
fn a_lowered_cap_bounds_the_choice_and_is_counted() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    let _ = block(&mut g, 0, ms(16));
    assert_eq!(g.cap(ClockIndex(2), ms(17)), Action::Set(LOW), "the table's highest clock under the cap");
    assert_eq!(block(&mut g, 1, ms(18)), Action::Hold);
    assert_eq!(g.cap(TOP, ms(19)), Action::Hold);
    let _ = g.frame_end(ms(19));
    assert_eq!((g.state(), g.counters().fault(Fault::CapLowered)), (State::Following, 1));
}

#[test]
fn refused_writes_lead_to_the_safe_clock_and_then_to_the_stock_governor() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(g.write_failed(ms(1)), Action::Set(SAFE));
    assert_eq!(g.state(), State::Safe(Fault::WriteFailed));
    assert_eq!(g.write_failed(ms(2)), Action::Set(SAFE));
    assert_eq!(g.write_failed(ms(3)), Action::Release);
    let _ = g.frame_end(ms(4));
    assert_eq!(g.frame_start(ms(40)), Action::Hold, "stays away for the pause");
    assert_eq!(g.counters().fault(Fault::WriteFailed), 3);
}

/// Frames from `from` on, 40 ms apart, until the governor wants something.
fn next_wish(g: &mut Governor<&Table>, from: Nanos) -> (Action, Nanos) {
    let mut at = from;
    loop {
        match g.frame_start(at) {
            Action::Hold => at = at.saturating_add(ms(40)),
            action => return (action, at),
        }
    }
}

/// So long, and no longer than to the next frame.
fn is_pause(took: Nanos, wanted_ms: u64) -> bool {
    took >= ms(wanted_ms) && took <= ms(wanted_ms + 40)
}

#[test]
fn refused_writes_are_tried_again_after_a_pause_that_grows_until_one_goes_through() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    let (_, _, handed_back) = (g.write_failed(ms(1)), g.write_failed(ms(2)), g.write_failed(ms(3)));
    assert_eq!(handed_back, Action::Release);
    // 1 s behind the hand-back, then 2, 4, ... and a minute at most.
    let mut last = ms(3);
    for (tries, pause) in (1..).zip([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
        let (action, at) = next_wish(&mut g, last);
        assert_eq!(action, Action::Set(SAFE));
        assert!(is_pause(at.saturating_sub(last), pause), "try {tries} at {at}, after {last}");
        assert_eq!((g.state(), g.counters().tries), (State::Following, tries));
        assert_eq!(g.write_failed(at), Action::Release, "one refusal is enough for a try");
        last = at;
    }
    let (action, at) = next_wish(&mut g, last);
    assert_eq!(action, Action::Set(SAFE));
    g.write_done();
    assert_eq!(block(&mut g, 0, at), Action::Hold);
    assert_eq!(g.state(), State::Following);
    // Well again: the next trouble starts from the beginning.
    let safe = g.write_failed(at);
    assert!(matches!(safe, Action::Set(_)), "{safe:?}");
    let _ = g.write_failed(at);
    assert_eq!(g.write_failed(at), Action::Release);
    let (_, again) = next_wish(&mut g, at);
    assert!(is_pause(again.saturating_sub(at), 1_000), "{again}");
}

#[test]
fn a_refused_hand_back_is_counted_and_changes_nothing() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(g.stale(ms(1)), Action::Release);
    for _ in 0..5 {
        assert_eq!(g.write_failed(ms(2)), Action::Hold);
    }
    assert_eq!(g.state(), State::HandedBack(Fault::TableStale));
    assert_eq!(g.counters().fault(Fault::WriteFailed), 5);
}

#[test]
fn three_periods_of_silence_hand_back_and_a_frame_takes_the_clock_again() {
    let table = small(2);
    let mut g = Governor::new(&table);
    assert_eq!(g.tick(ms(900)), Action::Hold, "nothing was taken yet");
    let _ = g.frame_start(ms(1000));
    let _ = block(&mut g, 0, ms(1000));
    assert_eq!(g.tick(ms(1119)), Action::Hold);
    assert_eq!(g.tick(ms(1120)), Action::Release);
    assert_eq!(g.state(), State::HandedBack(Fault::Silence));
    assert_eq!(g.tick(ms(2000)), Action::Hold, "once");
    assert_eq!(g.frame_start(ms(2000)), Action::Set(SAFE));
    assert_eq!(g.state(), State::Following);
}

#[test]
fn a_stale_table_is_looked_after_now_and_then_and_followed_once_renewed() {
    let table = small(2);
    let mut g = Governor::new(&table);
    let _ = g.frame_start(ms(0));
    assert_eq!(g.stale(ms(1)), Action::Release);
    assert_eq!(block(&mut g, 0, ms(2)), Action::Hold);
    let (action, first) = next_wish(&mut g, ms(2));
    assert_eq!(action, Action::Look);
    assert!(is_pause(first.saturating_sub(ms(1)), 1_000), "{first}");
    assert_eq!(block(&mut g, 0, first), Action::Hold);
    let (action, second) = next_wish(&mut g, first);
    assert_eq!(action, Action::Look);
    assert!(is_pause(second.saturating_sub(first), 2_000), "{second}");
    assert_eq!((g.state(), g.counters().tries), (State::HandedBack(Fault::TableStale), 2));
    g.renewed();
    assert_eq!(g.frame_start(second), Action::Set(SAFE), "without a pause more");
    assert_eq!(g.state(), State::Following);
}

#[test]
fn whatever_comes_in_whatever_order_no_clock_outside_the_table_is_asked_for() {
    let table = small(3);
    let mut g = Governor::new(&table);
    let mut random = 0x9e37_79b9_u64;
    let mut frames = 0;
    for _ in 0..200_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (what, value) = (random >> 60, random >> 33 & 0x3ff_ffff);
        let now = Nanos::new(value * 100);
        let action = match what {
            0..4 => {
                frames += 1;
                g.frame_start(now)
            }
            4..8 => g.block_start(BlockId((value % 5) as u16), Size(value as u32), now),
            8..10 => g.frame_end(now),
            10 => g.tick(now),
            11 => g.cap(ClockIndex((value % 6) as u8), now),
            12 => g.write_failed(now),
            13 => g.stale(now),
            14 => {
                g.renewed();
                Action::Hold
            }
            _ => {
                g.write_done();
                Action::Hold
            }
        };
        let known = |c: ClockIndex| table.clocks().iter().any(|t| t.index == c);
        match action {
            Action::Hold | Action::Look | Action::Release => {}
            Action::Set(c) | Action::SetAt(c, _) => assert!(known(c)),
            Action::SetThenAt(a, b, _) => assert!(known(a) && known(b)),
        }
    }
    assert_eq!(g.counters().frames, frames, "every frame is accounted for");
}

/// Whatever a table says within its bounds, and whenever what happens: no arithmetic overflows, which builds with tests
/// check, and every clock that is asked for is one of the table's.
#[test]
fn no_table_and_no_time_overflows() {
    use crate::table::{MAX_NUMBER, MAX_PERIOD, TableClock};
    use proptest::prelude::{Strategy, any};
    use proptest::test_runner::{Config, TestRunner};

    let near = |time: u64| [time, time.saturating_add(1), time / 2, u64::MAX - time];
    let time = (any::<u64>(), 0..64_u32, 0..4_usize).prop_map(move |(bits, shift, at)| near(bits >> shift)[at]);
    let event = (0..9_u8, time, 0..5_u16, any::<u32>());
    let numbers = (1..=MAX_PERIOD.get(), 1..=MAX_PERIOD.get(), any::<[u8; 9]>(), any::<[u16; 3]>(), any::<u64>());
    let case = (numbers, proptest::collection::vec(event, 1..40));
    let mut runner = TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&case, |((a, b, settle, relative, lead), events)| {
        let mut table = small(3);
        (table.deadline, table.period) = (Nanos::new(a.min(b)), Nanos::new(a.max(b)));
        table.slack_shift = Table::shift_for(table.deadline);
        table.settle = heapless::Vec::from_slice(&settle).unwrap();
        for (clock, relative) in table.clocks.iter_mut().zip(relative) {
            *clock = TableClock { relative_time: relative, ..*clock };
        }
        table.gap.wake_lead = Nanos::new(lead % (table.period.get() + 1));
        let delay = Nanos::new(lead % table.period.get().min(MAX_NUMBER));
        table.leads.push(Lead { block: BlockId(1), from: Rung(1), to: Rung(0), delay }).unwrap();
        table.check().unwrap();
        let mut governor = Governor::new(&table);
        for (kind, time, block, size) in events {
            let (now, cap) = (Nanos::new(time), ClockIndex(size as u8));
            let action = match kind {
                0 | 1 => governor.frame_start(now),
                2..=4 => governor.block_start(BlockId(block), Size(size), now),
                5 => governor.frame_end(now),
                6 => governor.tick(now),
                7 => governor.cap(cap, now),
                _ => governor.write_failed(now),
            };
            let clocks = match action {
                Action::Set(clock) | Action::SetAt(clock, _) => [Some(clock), None],
                Action::SetThenAt(first, then, _) => [Some(first), Some(then)],
                Action::Hold | Action::Release | Action::Look => [None, None],
            };
            let listed = |clock: ClockIndex| table.clocks().iter().any(|listed| listed.index == clock);
            assert!(clocks.into_iter().flatten().all(listed), "{action:?}");
        }
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn another_table_is_followed_from_the_next_frame_on() {
    let low = small(2);
    let mut high = small(2);
    high.entries.fill(Entry::always(Rung(2)));
    high.gap = crate::table::Gap { idle: Rung(2), first: Rung(2), wake_lead: Nanos::ZERO };
    let mut g = Governor::new(&low);
    assert_eq!(g.frame_start(ms(100)), Action::Set(SAFE));
    let _ = block(&mut g, 0, ms(100));
    let _ = block(&mut g, 1, ms(105));
    assert_eq!(g.frame_end(ms(112)), Action::SetThenAt(LOW, SAFE, ms(137)));
    let _ = g.exchange(&high);
    // What was timed for this frame stays; its first block asks by the new table.
    assert_eq!(g.frame_start(ms(140)), Action::Hold);
    assert_eq!(g.in_effect(), Some(SAFE));
    assert_eq!(block(&mut g, 0, ms(140)), Action::Set(TOP));
    let _ = block(&mut g, 1, ms(145));
    assert_eq!(g.frame_end(ms(150)), Action::Hold, "it stays where it is");
    assert_eq!((g.counters().frames, g.counters().missed), (2, 0));

    // One that has not the clock in effect takes its own anew; heat's cap is the board's, whatever the table.
    let mut few = small(2);
    few.clocks.remove(2);
    few.settle = heapless::Vec::from_slice(&[0, 20, 20, 0]).unwrap();
    few.entries.clear();
    few.entries.resize(4, Entry::always(Rung(1))).unwrap();
    few.check().unwrap();
    let _ = g.cap(SAFE, ms(160));
    let _ = g.exchange(&few);
    assert_eq!(g.frame_start(ms(180)), Action::Set(SAFE));
    let _ = block(&mut g, 0, ms(180));
    let _ = block(&mut g, 1, ms(185));
    let _ = g.frame_end(ms(190));
    let _ = g.exchange(&high);
    let _ = g.frame_start(ms(220));
    assert_eq!(block(&mut g, 0, ms(220)), Action::Hold, "no clock above the cap");
}

/// A table whose two blocks take 6 and 4 ms at the clock that it wants, and as its clocks have it at the others.
fn with_times() -> Table {
    let mut table = small(2);
    let at = |ms: f64| [65_535.0, 40_000.0, 33_000.0].map(|relative| ms * 1e-3 * relative / 40_000.0);
    table.expected = Expected::new(0.010 * 65_535.0 / 40_000.0, [at(6.0), at(4.0)].into_iter().flatten());
    table.check().unwrap();
    table
}

/// A frame whose blocks take so much longer; the clocks that it asked for.
fn frame_that_takes<T: Deref<Target = Table>>(g: &mut Governor<T>, start: Nanos, longer: f64) -> Action {
    let at = |ms: f64| start.saturating_add(Nanos::from_secs_f64(ms * 1e-3 * (1.0 + longer)));
    let first = g.frame_start(start);
    let _ = block(g, 0, start);
    let _ = block(g, 1, at(6.0));
    let _ = g.frame_end(at(10.0));
    first
}

#[test]
fn frames_that_last_longer_than_the_table_says_get_a_higher_clock_until_they_do_not() {
    let table = with_times();
    let mut g = Governor::new(&table);
    let at = |frame: u64| ms(100 + 40 * frame);
    let found = (0..1_000).find(|frame| {
        let _ = frame_that_takes(&mut g, at(*frame), 0.06);
        g.counters().fault(Fault::Slower) > 0
    });
    // Each frame counts for 3 %, and it takes 800.
    assert_eq!(found, Some(266));
    assert_eq!(g.drift().off_ppm(), 60_000, "every frame was the same");
    // The clock that is faster by 6 % and one on top is the highest: 33000 of 40000. It wakes up to that.
    let _ = g.frame_start(at(267));
    assert_eq!(g.in_effect(), Some(TOP));
    let _ = block(&mut g, 0, at(267));
    let _ = block(&mut g, 1, at(267).saturating_add(ms(5)));
    assert_eq!(g.frame_end(at(267).saturating_add(ms(9))), Action::SetThenAt(LOW, TOP, at(268).saturating_sub(ms(3))));

    // As planned for the highest clock, until it is left.
    let planned = (268..1_400).find(|frame| {
        let _ = frame_that_takes(&mut g, at(*frame), -0.175);
        g.drift().off_ppm() == 0
    });
    assert!(planned.is_some() && g.counters().fault(Fault::Faster) == 0, "{planned:?}");
    let _ = frame_that_takes(&mut g, at(1_401), 0.0);
    let _ = g.frame_start(at(1_402));
    assert_eq!(g.in_effect(), Some(SAFE));
}

#[test]
fn frames_beside_others_or_under_heat_say_nothing_about_the_table() {
    let table = with_times();
    let mut g = Governor::new(&table);
    for frame in 0..2_000 {
        let start = ms(100 + 40 * frame);
        let _ = g.frame_start(start);
        let _ = block(&mut g, 0, start);
        g.shared(start.saturating_add(ms(3)));
        let _ = block(&mut g, 1, start.saturating_add(ms(8)));
        let _ = g.frame_end(start.saturating_add(ms(13)));
    }
    let _ = g.cap(SAFE, ms(100_000));
    for frame in 0..2_000 {
        let _ = frame_that_takes(&mut g, ms(100_100 + 40 * frame), 0.3);
    }
    assert_eq!(g.drift().off_ppm(), 0);
    let _ = g.cap(TOP, ms(200_000));
    for frame in 0..300 {
        let _ = frame_that_takes(&mut g, ms(200_100 + 40 * frame), 0.3);
    }
    assert!(g.drift().off_ppm() > 250_000, "{}", g.drift().off_ppm());
}
