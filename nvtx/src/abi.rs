//! NVTX's C interface, version 3, as in nvtx3/nvtxDetail/nvtxTypes.h and nvtx3/nvToolsExt.h: what an injected library is
//! handed, and what it is called with.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::ptr;

use crate::names::Registered;

/// A function of any type: NVTX calls it as what its place says.
pub type Hook = *const c_void;

/// What `InitializeInjectionNvtx2` is called with.
pub type GetExportTable = unsafe extern "C" fn(c_uint) -> *const c_void;

/// The table of the tables of callbacks.
const CALLBACKS: c_uint = 1;

/// A module of functions.
pub const CORE: c_int = 1;
/// The module of domains' functions.
pub const CORE2: c_int = 5;

/// The functions of a module: places whose content NVTX calls.
type Functions = *mut *mut Hook;

#[repr(C)]
struct ExportTableCallbacks {
    struct_size: usize,
    module_functions: Option<unsafe extern "C" fn(c_int, *mut Functions, *mut c_uint) -> c_int>,
}

/// Puts hooks at their places in a module's table; a place that this NVTX does not have is left out.
///
/// # Safety
/// `get` is NVTX's own, and each hook of the type that its place wants.
pub unsafe fn install(get: GetExportTable, module: c_int, hooks: &[(usize, Hook)]) {
    // SAFETY: the caller's promise; NVTX gives NULL or a table that begins with its size.
    let callbacks = unsafe { get(CALLBACKS) }.cast::<ExportTableCallbacks>();
    // SAFETY: as above, and read only where it is long enough.
    let functions_of = unsafe {
        if callbacks.is_null() || (*callbacks).struct_size < size_of::<ExportTableCallbacks>() {
            return;
        }
        (*callbacks).module_functions
    };
    let Some(functions_of) = functions_of else { return };
    let (mut functions, mut count): (Functions, c_uint) = (ptr::null_mut(), 0);
    // SAFETY: both have room for what NVTX writes.
    if unsafe { functions_of(module, &mut functions, &mut count) } == 0 || functions.is_null() {
        return;
    }
    for (at, hook) in hooks.iter().filter(|(at, _)| *at < count as usize) {
        // SAFETY: the table has `count` places, each NULL or one that NVTX lets an injected library write.
        unsafe {
            let place = *functions.add(*at);
            if !place.is_null() {
                *place = *hook;
            }
        }
    }
}

/// A range's or a mark's attributes.
#[repr(C)]
pub struct EventAttributes {
    version: u16,
    size: u16,
    category: u32,
    color_type: i32,
    color: u32,
    payload_type: i32,
    reserved: i32,
    payload: u64,
    message_type: i32,
    message: *const c_void,
}

const _: () = assert!(size_of::<EventAttributes>() == 48 && offset_of!(EventAttributes, message) == 40);

/// A name as it came.
pub enum Message<'a> {
    None,
    Registered(Registered),
    Text(&'a [u8]),
    Wide(*const libc::wchar_t),
}

/// What attributes say: the name, and the payload where it is a whole number. Those that are shorter than this version's
/// say nothing.
///
/// # Safety
/// NULL, or attributes that are as long as they say, with a message of the type that they say.
#[inline]
pub unsafe fn read<'a>(attributes: *const EventAttributes) -> (Message<'a>, Option<i64>) {
    // SAFETY: the size is among the first four bytes, which all attributes have.
    if attributes.is_null() || usize::from(unsafe { (*attributes).size }) < size_of::<EventAttributes>() {
        return (Message::None, None);
    }
    // SAFETY: as long as this version's.
    let it = unsafe { &*attributes };
    let payload = match it.payload_type {
        1 => i64::try_from(it.payload).ok(),
        2 => Some(it.payload.cast_signed()),
        // The half of the union that is used: Jetsons are little endian.
        4 => Some(i64::from(it.payload as u32)),
        5 => Some(i64::from((it.payload as u32).cast_signed())),
        _ => None,
    };
    let message = match it.message_type {
        // SAFETY: the caller's promise.
        1 => unsafe { text(it.message.cast()) },
        2 => Message::Wide(it.message.cast()),
        3 => Message::Registered(Registered(it.message.addr())),
        _ => Message::None,
    };
    (message, payload)
}

/// A string as it came.
///
/// # Safety
/// NULL, or a string that ends in a zero byte and lives as long as the message.
#[inline]
pub unsafe fn text<'a>(text: *const c_char) -> Message<'a> {
    match text.is_null() {
        true => Message::None,
        // SAFETY: the caller's promise.
        false => Message::Text(unsafe { CStr::from_ptr(text) }.to_bytes()),
    }
}

/// Room for a wide string as UTF-8.
pub type Narrow = [u8; 512];

/// A wide string as UTF-8, as much of it as there is room for.
///
/// # Safety
/// NULL, or a string that ends in a zero.
pub unsafe fn narrow(wide: *const libc::wchar_t, room: &mut Narrow) -> Option<&[u8]> {
    if wide.is_null() {
        return None;
    }
    let mut used = 0;
    for at in 0.. {
        // SAFETY: nothing behind the zero is read.
        let unit = unsafe { *wide.add(at) };
        let letter = char::from_u32(unit as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        match room.get_mut(used..used + letter.len_utf8()) {
            Some(part) if unit != 0 => used += letter.encode_utf8(part).len(),
            _ => break,
        }
    }
    room.get(..used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> EventAttributes {
        EventAttributes {
            version: 3,
            size: 48,
            category: 0,
            color_type: 0,
            color: 0,
            payload_type: 0,
            reserved: 0,
            payload: 0,
            message_type: 1,
            message: c"infer".as_ptr().cast(),
        }
    }

    fn payload_of(kind: i32, payload: u64) -> Option<i64> {
        // SAFETY: whole attributes with a string.
        unsafe { read(&EventAttributes { payload_type: kind, payload, ..attributes() }) }.1
    }

    #[test]
    fn attributes_are_read_as_far_as_they_go() {
        // SAFETY: whole attributes, too short ones, and none.
        unsafe {
            assert!(matches!(read(&attributes()).0, Message::Text(b"infer")));
            assert!(matches!(read(&EventAttributes { size: 40, ..attributes() }), (Message::None, None)));
            assert!(matches!(read(ptr::null()), (Message::None, None)));
            let message = ptr::without_provenance(7);
            let registered = EventAttributes { message_type: 3, message, ..attributes() };
            assert!(matches!(read(&registered).0, Message::Registered(Registered(7))));
        }
        assert_eq!(payload_of(0, 5), None);
        assert_eq!([payload_of(1, 64), payload_of(1, u64::MAX)], [Some(64), None]);
        assert_eq!(payload_of(2, u64::MAX), Some(-1));
        assert_eq!(payload_of(3, 1.0_f64.to_bits()), None);
        // Only half of the union is written.
        assert_eq!([payload_of(4, 0xdead_beef_0000_0040), payload_of(5, 0xdead_beef_ffff_ffff)], [Some(64), Some(-1)]);
    }

    #[test]
    fn wide_strings_become_utf_8_and_long_ones_are_cut() {
        let wide = |text: &str| text.chars().map(|c| c as libc::wchar_t).chain([0]).collect::<Vec<_>>();
        let mut room = [0; 512];
        // SAFETY: they end in a zero.
        unsafe {
            assert_eq!(narrow(wide("läuft").as_ptr(), &mut room), Some("läuft".as_bytes()));
            assert_eq!(narrow(wide(&"ä".repeat(900)).as_ptr(), &mut room).map(<[u8]>::len), Some(512));
            assert_eq!(narrow(ptr::null(), &mut room), None);
        }
    }

    #[test]
    fn only_places_that_are_there_are_written() {
        static mut SLOT: Hook = ptr::null();
        static mut SMALL: bool = false;
        unsafe extern "C" fn functions(module: c_int, table: *mut Functions, count: *mut c_uint) -> c_int {
            static mut TABLE: [*mut Hook; 3] = [ptr::null_mut(), &raw mut SLOT, ptr::null_mut()];
            // SAFETY: this test alone uses them.
            unsafe {
                *table = (&raw mut TABLE).cast();
                *count = if SMALL { 1 } else { 2 };
            }
            c_int::from(module == CORE)
        }
        unsafe extern "C" fn get(id: c_uint) -> *const c_void {
            let table = ExportTableCallbacks { struct_size: 16, module_functions: Some(functions) };
            // Leaked: it has to live as long as the program.
            if id == CALLBACKS { Box::into_raw(Box::new(table)).cast() } else { ptr::null() }
        }
        unsafe extern "C" fn nothing(_: c_uint) -> *const c_void {
            ptr::null()
        }
        let hook: Hook = ptr::without_provenance(64);
        // SAFETY: nobody calls what is put there.
        unsafe {
            install(nothing, CORE, &[(1, hook)]);
            install(get, CORE2, &[(1, hook)]);
            SMALL = true;
            install(get, CORE, &[(1, hook)]);
            assert_eq!((&raw const SLOT).read(), ptr::null());
            SMALL = false;
            install(get, CORE, &[(0, hook), (1, hook), (2, hook), (99, hook)]);
            assert_eq!((&raw const SLOT).read(), hook);
        }
    }
}
