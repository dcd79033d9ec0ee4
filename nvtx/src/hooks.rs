//! What NVTX calls.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use libc::wchar_t;

use crate::abi::{self, CORE, CORE2, EventAttributes, GetExportTable, Hook, Message, install};
use crate::names::{self, Domain, Name, Range};
use crate::quiet::Errno;
use crate::{Use, begin, role, used};

/// The result of a push and of a pop: how deep it is is not kept.
const NO_PUSH_POP_TRACKING: c_int = -2;

/// NVTX asks whether this library wants a program's ranges, and is handed the hooks; 0: it does not. Every library of the
/// program that has NVTX in it asks for itself.
///
/// # Safety
/// NVTX calls it, with a function of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(get: Option<GetExportTable>) -> c_int {
    let errno = Errno::keep();
    let wanted = get.filter(|_| begin().is_some());
    if let Some(get) = wanted {
        // SAFETY: the caller's promise; the hooks below have the types of nvtx3/nvtxDetail/nvtxTypes.h at these places.
        unsafe {
            install(
                get,
                CORE,
                &[
                    (1, mark_ex as Hook),
                    (2, mark_a as Hook),
                    (3, mark_w as Hook),
                    (4, start_ex as Hook),
                    (5, start_a as Hook),
                    (6, start_w as Hook),
                    (7, end as Hook),
                    (8, push_ex as Hook),
                    (9, push_a as Hook),
                    (10, push_w as Hook),
                    (11, pop as Hook),
                ],
            );
            install(
                get,
                CORE2,
                &[
                    (1, domain_mark as Hook),
                    (2, domain_start as Hook),
                    (3, domain_end as Hook),
                    (4, domain_push as Hook),
                    (5, domain_pop as Hook),
                    (10, register_a as Hook),
                    (11, register_w as Hook),
                    (12, create_a as Hook),
                    (13, create_w as Hook),
                ],
            );
        }
    }
    drop(errno);
    c_int::from(wanted.is_some())
}

const UNNAMED: Domain = Domain(0);

#[inline]
fn domain_of(handle: *const c_void) -> Domain {
    Domain(handle.addr())
}

/// Does something with a message's range.
///
/// # Safety
/// A wide message is one.
#[inline]
unsafe fn with<T>(domain: Domain, message: Message<'_>, payload: Option<i64>, run: impl FnOnce(Range<'_>) -> T) -> T {
    let range = |name| Range { domain, name, payload };
    match message {
        Message::None => run(range(Name::None)),
        Message::Registered(handle) => run(range(Name::Registered(handle))),
        Message::Text(text) => run(range(Name::Text(text))),
        Message::Wide(wide) => {
            let mut room = [0; 512];
            // SAFETY: the caller's promise.
            run(range(unsafe { abi::narrow(wide, &mut room) }.map_or(Name::None, Name::Text)))
        }
    }
}

#[inline]
fn push(range: Range<'_>) -> c_int {
    match used() {
        Some(Use::Tell(tell)) => tell.push(range),
        Some(Use::List(list)) => list.push(range),
        None => {}
    }
    NO_PUSH_POP_TRACKING
}

#[inline]
fn pop_of(domain: Domain) -> c_int {
    match used() {
        Some(Use::Tell(tell)) => tell.pop(domain),
        Some(Use::List(list)) => list.pop(domain),
        None => {}
    }
    NO_PUSH_POP_TRACKING
}

#[inline]
fn start(range: Range<'_>) -> u64 {
    match used() {
        Some(Use::Tell(tell)) => tell.start(range),
        Some(Use::List(list)) => list.start(range),
        None => 0,
    }
}

#[inline]
fn end_of(id: u64) {
    match used() {
        Some(Use::Tell(tell)) => tell.end(id),
        Some(Use::List(list)) => list.end(id),
        None => {}
    }
}

/// A mark is no range: it is only listed.
#[inline]
fn mark(range: Range<'_>) {
    if let Some(Use::List(list)) = used() {
        list.mark(range);
    }
}

/// # Safety
/// As [`abi::read`].
#[inline]
unsafe fn of_attributes<T>(domain: Domain, it: *const EventAttributes, run: impl FnOnce(Range<'_>) -> T) -> T {
    // SAFETY: the caller's promise.
    unsafe {
        let (message, payload) = abi::read(it);
        with(domain, message, payload, run)
    }
}

/// # Safety
/// As [`abi::text`].
#[inline]
unsafe fn of_text<T>(text: *const c_char, run: impl FnOnce(Range<'_>) -> T) -> T {
    // SAFETY: the caller's promise.
    unsafe { with(UNNAMED, abi::text(text), None, run) }
}

/// # Safety
/// As [`abi::narrow`].
#[inline]
unsafe fn of_wide<T>(text: *const wchar_t, run: impl FnOnce(Range<'_>) -> T) -> T {
    // SAFETY: the caller's promise.
    unsafe { with(UNNAMED, Message::Wide(text), None, run) }
}

unsafe extern "C" fn push_ex(it: *const EventAttributes) -> c_int {
    // SAFETY: NVTX's caller gives attributes as nvToolsExt.h wants them; so below.
    unsafe { of_attributes(UNNAMED, it, push) }
}

unsafe extern "C" fn push_a(text: *const c_char) -> c_int {
    // SAFETY: NVTX's caller gives a string that ends in a zero; so below.
    unsafe { of_text(text, push) }
}

unsafe extern "C" fn push_w(text: *const wchar_t) -> c_int {
    // SAFETY: as above.
    unsafe { of_wide(text, push) }
}

unsafe extern "C" fn pop() -> c_int {
    pop_of(UNNAMED)
}

unsafe extern "C" fn start_ex(it: *const EventAttributes) -> u64 {
    // SAFETY: as above.
    unsafe { of_attributes(UNNAMED, it, start) }
}

unsafe extern "C" fn start_a(text: *const c_char) -> u64 {
    // SAFETY: as above.
    unsafe { of_text(text, start) }
}

unsafe extern "C" fn start_w(text: *const wchar_t) -> u64 {
    // SAFETY: as above.
    unsafe { of_wide(text, start) }
}

unsafe extern "C" fn end(id: u64) {
    end_of(id);
}

unsafe extern "C" fn mark_ex(it: *const EventAttributes) {
    // SAFETY: as above.
    unsafe { of_attributes(UNNAMED, it, mark) }
}

unsafe extern "C" fn mark_a(text: *const c_char) {
    // SAFETY: as above.
    unsafe { of_text(text, mark) }
}

unsafe extern "C" fn mark_w(text: *const wchar_t) {
    // SAFETY: as above.
    unsafe { of_wide(text, mark) }
}

unsafe extern "C" fn domain_push(domain: *const c_void, it: *const EventAttributes) -> c_int {
    // SAFETY: as above.
    unsafe { of_attributes(domain_of(domain), it, push) }
}

unsafe extern "C" fn domain_pop(domain: *const c_void) -> c_int {
    pop_of(domain_of(domain))
}

unsafe extern "C" fn domain_start(domain: *const c_void, it: *const EventAttributes) -> u64 {
    // SAFETY: as above.
    unsafe { of_attributes(domain_of(domain), it, start) }
}

unsafe extern "C" fn domain_end(_domain: *const c_void, id: u64) {
    end_of(id);
}

unsafe extern "C" fn domain_mark(domain: *const c_void, it: *const EventAttributes) {
    // SAFETY: as above.
    unsafe { of_attributes(domain_of(domain), it, mark) }
}

/// A handle that NVTX's caller hands back and never looks behind.
fn handle(place: usize) -> *const c_void {
    ptr::without_provenance(place)
}

fn registered(domain: *const c_void) -> impl FnOnce(Range<'_>) -> *const c_void {
    move |range| match range.name {
        Name::Text(text) => handle(names::register(domain_of(domain), text, role).0),
        Name::None | Name::Registered(_) => ptr::null(),
    }
}

fn created(range: Range<'_>) -> *const c_void {
    match range.name {
        Name::Text(text) => handle(names::domain(text).0),
        Name::None | Name::Registered(_) => ptr::null(),
    }
}

unsafe extern "C" fn register_a(domain: *const c_void, text: *const c_char) -> *const c_void {
    // SAFETY: as above.
    unsafe { of_text(text, registered(domain)) }
}

unsafe extern "C" fn register_w(domain: *const c_void, text: *const wchar_t) -> *const c_void {
    // SAFETY: as above.
    unsafe { of_wide(text, registered(domain)) }
}

unsafe extern "C" fn create_a(text: *const c_char) -> *const c_void {
    // SAFETY: as above.
    unsafe { of_text(text, created) }
}

unsafe extern "C" fn create_w(text: *const wchar_t) -> *const c_void {
    // SAFETY: as above.
    unsafe { of_wide(text, created) }
}
