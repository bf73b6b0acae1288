//! A line on the console.

use alloc::vec::Vec;

use crate::names;
use crate::sys::{self, Descriptor};

/// What every line for people begins with.
const PREFIX: &[u8] = b"leanfs-init: ";
/// What every line of a trace begins with.
const TRACE_PREFIX: &[u8] = b"leanfs-trace: ";

/// A line under construction. It is written when it is dropped, in one piece.
pub struct Line {
    text: Vec<u8>,
    to: Descriptor,
}

/// Begins a line for people.
pub fn say(text: &str) -> Line {
    Line { text: PREFIX.to_vec(), to: sys::STDERR }.text(text)
}

/// Begins a line of a trace.
pub fn trace(to: Descriptor) -> Line {
    Line { text: TRACE_PREFIX.to_vec(), to }
}

impl Line {
    /// Adds words of ours.
    pub fn text(mut self, text: &str) -> Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds bytes from elsewhere; those that a terminal could take for a command are escaped (`\x1b`).
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.escaped(bytes, |byte| byte < b' ' || byte == 0x7f)
    }

    /// Adds bytes so that they can be read back: those that are not printable ASCII, and backslashes, are escaped.
    pub fn printable(self, bytes: &[u8]) -> Self {
        self.escaped(bytes, |byte| !(b' '..0x7f).contains(&byte) || byte == b'\\')
    }

    fn escaped(mut self, bytes: &[u8], unfit: fn(u8) -> bool) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for &byte in bytes {
            if unfit(byte) {
                let escaped = [b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                self.text.extend_from_slice(&escaped);
            } else {
                self.text.push(byte);
            }
        }
        self
    }

    /// Adds a number.
    pub fn number(mut self, number: u64) -> Self {
        let mut digits = [0; 20];
        self.text.extend_from_slice(decimal(number, &mut digits));
        self
    }

    /// Adds the name of an error number, after a colon.
    pub fn error(self, errno: sys::Errno) -> Self {
        match names::error(errno.0) {
            Some(name) => self.text(": ").text(name),
            None => self.text(": error ").number(u64::from(errno.0)),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.text.push(b'\n');
        sys::write_all(self.to, &self.text);
    }
}

/// The decimal digits of a number, written to the end of `digits`.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_decimal() {
        for (number, expected) in [(0, "0"), (7, "7"), (1024, "1024"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(decimal(number, &mut [0; 20]), expected.as_bytes());
        }
    }

    #[test]
    fn terminal_escapes_are_not_printed() {
        let line = say("a ").bytes(b"b\x1b[1m\x7f c").number(5).error(sys::Errno(2)).error(sys::Errno(4000));
        let expected = b"leanfs-init: a b\\x1b[1m\\x7f c5: it is not there: error 4000";
        assert_eq!(line.text, expected, "{}", String::from_utf8_lossy(&line.text));
        let line = trace(sys::STDERR).printable(b"a\\ b\x1b\xff~\x7f");
        assert_eq!(line.text, b"leanfs-trace: a\\x5c b\\x1b\\xff~\\x7f");
    }
}
