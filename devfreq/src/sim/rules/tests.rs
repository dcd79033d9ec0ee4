use super::*;

const TABLE: [Hertz; 4] =
    [Hertz::from_khz(306_000), Hertz::from_khz(408_000), Hertz::from_khz(510_000), Hertz::from_khz(624_750)];
const F0: &str = "306000000";
const F1: &str = "408000000";
const F2: &str = "624750000\n";

fn board(kernel: Kernel) -> Devfreq {
    Devfreq::new(kernel, &TABLE, &[PODGOV, USERSPACE, PERFORMANCE], PODGOV)
}

fn pinned(kernel: Kernel, clock: &str) -> Devfreq {
    let mut board = board(kernel);
    board.write("min_freq", "306000000").unwrap();
    board.write("max_freq", clock).unwrap();
    board.write("min_freq", clock).unwrap();
    board
}

fn after(kernel: Kernel, from: &str, writes: &[(&str, &str)]) -> u64 {
    let mut board = pinned(kernel, from);
    assert_eq!(board.programmed().get(), scan(from).unwrap());
    for (file, text) in writes {
        board.write(file, text).unwrap();
    }
    board.programmed().get()
}

#[test]
fn on_4_9_bounds_in_conflict_are_refused() {
    let mut board = pinned(Kernel::V4_9, F1);
    assert_eq!(board.write("min_freq", F2).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(board.write("max_freq", F0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(board.programmed().get(), 408_000_000);
    board.write("max_freq", F2).unwrap();
    board.write("min_freq", F2).unwrap();
    assert_eq!(board.programmed().get(), 624_750_000);
    assert_eq!(board.read("min_freq").unwrap(), "624750000\n");
}

/// The four sequences that the two notifiers of 5.10 decide, and the same on later kernels.
#[test]
fn raising_with_the_minimum_first_fails_on_5_10_alone() {
    let raise = [("max_freq", F2), ("min_freq", F2)];
    let raise_wrong = [("min_freq", F2), ("max_freq", F2)];
    let lower = [("min_freq", F0), ("max_freq", F0)];
    let lower_other = [("max_freq", F0), ("min_freq", F0)];
    for kernel in [Kernel::V5_10, Kernel::Direct] {
        assert_eq!(after(kernel, F1, &raise), 624_750_000);
        assert_eq!(after(kernel, F1, &lower), 306_000_000);
        assert_eq!(after(kernel, F1, &lower_other), 306_000_000);
    }
    assert_eq!(after(Kernel::V5_10, F1, &raise_wrong), 408_000_000);
    assert_eq!(after(Kernel::Direct, F1, &raise_wrong), 624_750_000);
    let mut stuck = pinned(Kernel::V5_10, F1);
    for (file, text) in raise_wrong {
        stuck.write(file, text).unwrap();
    }
    stuck.ask(Hertz::new(0));
    assert_eq!(stuck.programmed().get(), 624_750_000, "the next poll puts it right");
}

#[test]
fn reads_on_5_10_give_the_effective_range_in_whole_khz() {
    let mut board = board(Kernel::V5_10);
    board.write("max_freq", "408000999").unwrap();
    assert_eq!(board.read("max_freq").unwrap(), "408001000\n");
    board.write("min_freq", "2000000000").unwrap();
    assert_eq!(board.read("min_freq").unwrap(), "408001000\n", "a minimum above the maximum gives way");
    board.write("max_freq", "9223372036854775807").unwrap();
    assert_eq!(board.read("max_freq").unwrap(), "624750000\n");
    board.set_thermal_max(Some(TABLE[1]));
    assert_eq!(board.read("max_freq").unwrap(), "408000000\n", "a cooling device shows in the maximum");
}

#[test]
fn an_unlisted_clock_runs_as_the_next_higher_one() {
    let mut board = board(Kernel::Direct);
    board.write("min_freq", "450000000").unwrap();
    assert_eq!(board.programmed().get(), 510_000_000);
}

#[test]
fn a_governors_own_nodes_come_and_go_with_it() {
    let mut board = board(Kernel::V5_10);
    assert!(board.exists("user") && !board.exists("userspace/set_freq"));
    board.write("governor", "userspace\n").unwrap();
    assert!(!board.exists("user") && board.exists("userspace/set_freq"));
    assert_eq!(board.generation(), 1);
    assert_eq!(board.read("userspace/set_freq").unwrap(), "undefined\n");
    board.write("userspace/set_freq", F1).unwrap();
    assert_eq!(board.programmed().get(), 408_000_000);
    assert_eq!(board.write("governor", "ondemand").unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(board.write("user", "1").unwrap_err().raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn performance_follows_the_maximum_one_write_late_on_5_10() {
    let mut old = board(Kernel::V5_10);
    old.write("governor", PERFORMANCE).unwrap();
    old.write("max_freq", F1).unwrap();
    assert_eq!(old.programmed().get(), 408_000_000, "lowering: devfreq's own clip does it");
    old.write("max_freq", F2).unwrap();
    assert_eq!(old.programmed().get(), 408_000_000, "raising: nvgpu's copy is stale, and nobody polls");
    let mut new = board(Kernel::Direct);
    new.write("governor", PERFORMANCE).unwrap();
    new.write("max_freq", F1).unwrap();
    new.write("max_freq", F2).unwrap();
    assert_eq!(new.programmed().get(), 624_750_000);
}

#[test]
fn podgovs_user_request_needs_an_awake_gpu() {
    let mut board = board(Kernel::V4_9);
    board.write("user", "1\n").unwrap();
    assert_eq!(board.programmed().get(), 624_750_000, "the request starts as the highest clock");
    board.write("freq_request", F1).unwrap();
    assert_eq!(board.programmed().get(), 408_000_000);
    assert_eq!(board.write("freq_request", "fast").unwrap_err().raw_os_error(), Some(libc::EINVAL));
    board.set_suspended(true);
    board.write("freq_request", F2).unwrap();
    assert_ne!(board.programmed().get(), 624_750_000);
}

#[test]
fn text_is_read_as_the_kernel_reads_it() {
    assert_eq!(scan(" 12\n"), Some(12));
    assert_eq!(scan("12junk"), Some(12));
    assert_eq!(scan("-1"), None);
    assert_eq!(scan("junk"), None);
    assert_eq!(scan(""), None);
    assert!(number("1 \n").is_err());
}
