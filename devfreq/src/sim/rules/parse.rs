//! How the kernel reads numbers, and answers.

use std::io;

/// A request in kHz back to hertz: a negative one, as a huge write gives by wrapping, becomes huge again.
pub(super) fn from_khz(khz: i32) -> u64 {
    u64::try_from(khz).map_or(u64::MAX, |khz| khz * 1000)
}

/// `sscanf("%lu")`: leading blanks, digits (the kernel's knows no sign there), whatever after that.
pub(super) fn scan(text: &str) -> Option<u64> {
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// `kstrtoul` with base 0: a sign `+`, `0x` for hexadecimal, a leading 0 for octal, at most one newline at the end.
pub(super) fn kstrtoul(text: &str) -> io::Result<u64> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(errno(libc::EINVAL));
    }
    u64::from_str_radix(digits, radix).map_err(|_| errno(libc::ERANGE))
}

/// `kstrtoul`: a whole number and nothing else but one newline.
pub(super) fn number(text: &str) -> io::Result<u64> {
    text.strip_suffix('\n').unwrap_or(text).parse().map_err(|_| errno(libc::EINVAL))
}

pub(crate) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
