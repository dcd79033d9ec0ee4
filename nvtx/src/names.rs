//! Ranges as they come, domains and registered strings. Their handles are places in tables of ours, so that one that was
//! never given out, or was given out by another, is none of ours and nothing is read through it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many strings and domains have a handle; those beyond get none, and their ranges have no name.
pub const MOST: usize = 1 << 16;

/// What a range is: nothing, the frame, or the block of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role(pub u32);

impl Role {
    pub const NONE: Self = Self(0);
    pub const FRAME: Self = Self(1);

    pub fn block(at: usize) -> Self {
        Self(u32::try_from(at).map_or(0, |at| at.saturating_add(2)))
    }

    pub fn as_block(self) -> Option<usize> {
        self.0.checked_sub(2).map(|at| at as usize)
    }
}

/// A domain's handle; 0 is the one without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Domain(pub usize);

/// A registered string's handle; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered(pub usize);

/// A range or a mark.
#[derive(Clone, Copy)]
pub struct Range<'a> {
    pub domain: Domain,
    pub name: Name<'a>,
    /// Its payload, where that is a whole number.
    pub payload: Option<i64>,
}

/// A range's name.
#[derive(Clone, Copy)]
pub enum Name<'a> {
    None,
    Registered(Registered),
    Text(&'a [u8]),
}

/// What registered strings are: found once, when they are registered.
static ROLES: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];

static DOMAINS: Mutex<Table<Box<[u8]>>> = Mutex::new(Table { keys: Vec::new(), places: None });
static STRINGS: Mutex<Table<(Domain, Box<[u8]>)>> = Mutex::new(Table { keys: Vec::new(), places: None });

struct Table<K> {
    keys: Vec<K>,
    places: Option<HashMap<K, usize>>,
}

impl<K: Clone + Eq + std::hash::Hash> Table<K> {
    /// The place of a key, counted from 1, given to it where it has none; `None` where the table is full.
    fn place(&mut self, key: K) -> Option<usize> {
        let places = self.places.get_or_insert_default();
        if let Some(place) = places.get(&key) {
            return Some(*place);
        }
        let place = self.keys.len() + 1;
        if place >= MOST {
            return None;
        }
        self.keys.push(key.clone());
        places.insert(key, place);
        Some(place)
    }

    fn key(&self, place: usize) -> Option<K> {
        self.keys.get(place.checked_sub(1)?).cloned()
    }
}

/// A domain of this name, which is the same whenever it is asked for.
pub fn domain(name: &[u8]) -> Domain {
    Domain(DOMAINS.lock().unwrap_or_else(PoisonError::into_inner).place(name.into()).unwrap_or(0))
}

/// A domain's name; without one it is empty.
pub fn domain_name(domain: Domain) -> Box<[u8]> {
    DOMAINS.lock().unwrap_or_else(PoisonError::into_inner).key(domain.0).unwrap_or_default()
}

/// A string of a domain.
pub fn register(domain: Domain, name: &[u8], role: impl FnOnce(&[u8], &[u8]) -> Role) -> Registered {
    let place = STRINGS.lock().unwrap_or_else(PoisonError::into_inner).place((domain, name.into()));
    let Some(place) = place else { return Registered(0) };
    if let Some(known) = ROLES.get(place) {
        known.store(role(&domain_name(domain), name).0, Ordering::Relaxed);
    }
    Registered(place)
}

/// What a registered string is.
#[inline]
pub fn role(of: Registered) -> Role {
    ROLES.get(of.0).map_or(Role::NONE, |role| Role(role.load(Ordering::Relaxed)))
}

/// A registered string.
pub fn registered(of: Registered) -> Option<Box<[u8]>> {
    STRINGS.lock().unwrap_or_else(PoisonError::into_inner).key(of.0).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_last_and_foreign_ones_are_nothing() {
        let app = domain(b"app");
        assert_eq!((domain(b"app"), &*domain_name(app)), (app, &b"app"[..]));
        assert_eq!(&*domain_name(Domain(0)), b"");
        let infer = register(app, b"infer", |domain, name| {
            assert_eq!((domain, name), (&b"app"[..], &b"infer"[..]));
            Role::block(3)
        });
        let other = register(domain(b"other"), b"infer", |_, _| Role::NONE);
        assert_eq!(
            (role(infer).as_block(), role(other), registered(infer).as_deref()),
            (Some(3), Role::NONE, Some(&b"infer"[..]))
        );
        assert_ne!(infer, other);
        for wild in [0, MOST, usize::MAX] {
            assert_eq!((role(Registered(wild)), registered(Registered(wild))), (Role::NONE, None));
            assert_eq!(&*domain_name(Domain(wild)), b"");
        }
        assert_eq!((Role::NONE.as_block(), Role::FRAME.as_block()), (None, None));
    }
}
