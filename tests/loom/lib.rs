//! Every order in which two threads can meet in the mailbox and the shared page, tried by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p jetpace-loom --target-dir target/loom`.
//!
//! The modules are the agent's own files: built here, loom need not compile the agent with all that it uses.

#![cfg(loom)]

#[allow(dead_code)]
#[path = "../../agent/src/runtime/doorbell.rs"]
mod doorbell;
#[allow(dead_code)]
#[path = "../../agent/src/runtime/mailbox.rs"]
mod mailbox;
#[allow(dead_code)]
#[path = "../../agent/src/runtime/page.rs"]
mod page;
#[path = "../../agent/src/runtime/sync.rs"]
mod sync;

#[cfg(test)]
mod tests {
    use super::mailbox::Mailbox;
    use super::page::{Event, Order, Page, Reader, State, What, Writer};
    use jetpace_tables::governor::Action;
    use jetpace_tables::units::Nanos;
    use jetpace_tables::work::{BlockId, ClockIndex, Size};
    use loom::sync::Arc;
    use loom::thread;

    /// Every order with at most three forced switches between the threads: enough for every lost wake known, and
    /// seconds instead of hours.
    fn model(run: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(run);
    }

    /// The control thread sleeps for ever when a wake is lost: loom then reports a deadlock.
    #[test]
    fn the_latest_request_always_arrives() {
        model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let posting = {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    mailbox.post(Action::Set(ClockIndex(1)));
                    mailbox.post(Action::Set(ClockIndex(2)));
                })
            };
            let mut last = None;
            while last != Some(Action::Set(ClockIndex(2))) {
                match mailbox.take() {
                    Some(request) => {
                        assert_ne!(last, Some(Action::Set(ClockIndex(2))), "an old request came after the latest");
                        last = Some(request);
                    }
                    None => mailbox.sleep(None, || false),
                }
            }
            posting.join().unwrap();
            assert_eq!(mailbox.take(), None);
        });
    }

    #[test]
    fn two_threads_may_post() {
        model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let posting: Vec<_> = [1, 2]
                .map(|clock| {
                    let mailbox = mailbox.clone();
                    thread::spawn(move || mailbox.post(Action::Set(ClockIndex(clock))))
                })
                .into();
            while mailbox.take().is_none() {
                mailbox.sleep(None, || false);
            }
            for thread in posting {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn closing_wakes_and_loses_no_request() {
        model(|| {
            let mailbox = Arc::new(Mailbox::default());
            let closing = {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    mailbox.post(Action::Release);
                    mailbox.close();
                })
            };
            // As the control thread does: what was left is done before the end.
            let mut released = false;
            loop {
                let closed = mailbox.is_closed();
                match mailbox.take() {
                    Some(request) => released = request == Action::Release,
                    None if closed => break,
                    None => mailbox.sleep(None, || false),
                }
            }
            assert!(released);
            closing.join().unwrap();
        });
    }

    fn event(n: u16) -> Event {
        Event { at: Nanos::new(u64::from(n)), what: What::BlockStart(BlockId(n), Size(1)) }
    }

    /// The ring holds two events here: the third meets it full in some orders, and is then counted.
    #[test]
    fn events_arrive_whole_in_order_and_none_is_lost_unseen() {
        model(|| {
            let page = Arc::new(Page::default());
            let writing = {
                let page = page.clone();
                thread::spawn(move || {
                    let mut writer = Writer::default();
                    for n in 1..=3 {
                        writer.post(&page, event(n));
                    }
                    writer.lost()
                })
            };
            let mut reader = Reader::default();
            let mut last = 0;
            // The first two always fit.
            while last < 2 {
                match reader.next(&page).unwrap() {
                    Some(got) => {
                        last += 1;
                        assert_eq!(got, event(last));
                    }
                    None => reader.sleep(&page, None, || false),
                }
            }
            let lost = writing.join().unwrap();
            let rest = reader.next(&page).unwrap();
            assert_eq!(rest.is_some(), lost == 0);
            assert_eq!(page.lost(), lost);
        });
    }

    #[test]
    fn the_daemon_is_woken_to_stop_while_the_client_posts() {
        model(|| {
            let page = Arc::new(Page::default());
            let stopping = {
                let page = page.clone();
                thread::spawn(move || {
                    page.set_state(State::Dropped);
                    page.wake();
                })
            };
            let reader = Reader::default();
            while page.state() == State::Served {
                reader.sleep(&page, None, || page.state() == State::Dropped);
            }
            stopping.join().unwrap();
        });
    }
    /// What a frame is to be is what was said with its turn, though three words say it; the next turn is given once the
    /// frame has ended, as whoever measures does.
    #[test]
    fn a_turn_comes_with_its_own_order() {
        model(|| {
            let page = Arc::new(Page::default());
            let order = |n: u32| Order { repeat: Some((BlockId(n as u16), 10 + n)), size: Some(Size(20 + n)) };
            let playing = {
                let page = page.clone();
                thread::spawn(move || {
                    let (mut writer, mut seen) = (Writer::default(), 0);
                    while seen < 2 {
                        let (turn, got) = page.order();
                        if turn == seen {
                            thread::yield_now();
                            continue;
                        }
                        assert_eq!((turn, got), (seen + 1, order(turn)));
                        seen = turn;
                        assert!(writer.post(&page, event(turn as u16)));
                    }
                })
            };
            let mut reader = Reader::default();
            for turn in 1..=2 {
                page.set_order(turn, order(turn));
                while reader.next(&page).unwrap().is_none() {
                    reader.sleep(&page, None, || false);
                }
            }
            playing.join().unwrap();
        });
    }
}
