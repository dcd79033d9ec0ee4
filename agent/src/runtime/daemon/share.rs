//! What one user may have of the daemon: of its clients, the clock's writes and the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use jetpace_tables::units::Nanos;

/// Lines a minute that the log takes on a user's account.
const LINES_PER_MINUTE: u32 = 20;

const SECOND: Nanos = Nanos::from_millis(1_000);
const MINUTE: Nanos = Nanos::from_millis(60_000);

/// So many in every span of time.
#[derive(Debug, Default)]
struct Allowance {
    since: AtomicU64,
    used: AtomicU32,
}

impl Allowance {
    /// Takes one of `most` a `span`; `false` where there is none left. Two threads at the turn of a span may get a few
    /// more.
    fn take(&self, most: u32, span: Nanos, now: Nanos) -> bool {
        if now.saturating_sub(Nanos::new(self.since.load(Ordering::Relaxed))) >= span {
            self.since.store(now.get(), Ordering::Relaxed);
            self.used.store(0, Ordering::Relaxed);
        }
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < most).then_some(used + 1)).is_ok()
    }

    /// When the next span begins.
    fn next(&self, span: Nanos) -> Nanos {
        Nanos::new(self.since.load(Ordering::Relaxed)).saturating_add(span)
    }
}

/// A user's account, shared by all of its clients.
#[derive(Debug)]
pub struct Account {
    /// The user.
    pub uid: u32,
    changes: Allowance,
    lines: Allowance,
    unsaid: AtomicU32,
}

impl Account {
    /// Nothing used yet.
    pub fn new(uid: u32) -> Self {
        Self { uid, changes: Allowance::default(), lines: Allowance::default(), unsaid: AtomicU32::new(0) }
    }

    /// Whether one more change of the clock may be asked for, of `most` a second; else when to ask again.
    pub fn may_change(&self, most: u32, now: Nanos) -> Result<(), Nanos> {
        if self.changes.take(most, SECOND, now) { Ok(()) } else { Err(self.changes.next(SECOND)) }
    }

    /// A line of the log on this account; what goes over the allowance is counted and told once there is room again.
    pub fn warn(&self, line: std::fmt::Arguments<'_>, now: Nanos) {
        if !self.lines.take(LINES_PER_MINUTE, MINUTE, now) {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match self.unsaid.swap(0, Ordering::Relaxed) {
            0 => log::warn!("{line}"),
            unsaid => log::warn!("{line} (and {unsaid} lines more about user {} that were not printed)", self.uid),
        }
    }
}

/// The most accounts that are kept: whoever may make users at will must not fill the memory.
const MAX_ACCOUNTS: usize = 64;

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts(Vec<Arc<Account>>);

impl Accounts {
    /// A user's account. Where there is no room, the one that was used last is shared by whoever comes.
    pub fn of(&mut self, uid: u32) -> Arc<Account> {
        if let Some(found) = self.0.iter().find(|account| account.uid == uid) {
            return Arc::clone(found);
        }
        if self.0.len() >= MAX_ACCOUNTS {
            // Those that nobody uses: a user that hangs up and comes again keeps its account but under such a throng.
            self.0.retain(|account| Arc::strong_count(account) > 1);
        }
        match self.0.last() {
            Some(last) if self.0.len() >= MAX_ACCOUNTS => Arc::clone(last),
            _ => {
                let account = Arc::new(Account::new(uid));
                self.0.push(Arc::clone(&account));
                account
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_used_up_and_comes_again() {
        let account = Account::new(1000);
        let at = Nanos::from_millis(5_000);
        assert!((0..50).all(|_| account.may_change(50, at).is_ok()));
        assert_eq!(account.may_change(50, at), Err(at.saturating_add(SECOND)));
        assert!(account.may_change(50, at.saturating_add(SECOND)).is_ok());
    }

    #[test]
    fn as_many_users_as_one_likes_take_bounded_room() {
        let mut accounts = Accounts::default();
        let kept: Vec<_> = (0..1_000).map(|uid| accounts.of(uid)).collect();
        assert_eq!(accounts.0.len(), MAX_ACCOUNTS);
        assert!(Arc::ptr_eq(&kept[3], &accounts.of(3)));
        drop(kept);
        assert_eq!(accounts.of(5_000).uid, 5_000);
    }
}
