//! A line on the console.

use alloc::vec::Vec;

use crate::{names, sys};

/// What every line begins with.
const PREFIX: &[u8] = b"leanfs-init: ";

/// A line under construction. It is written when it is dropped, in one piece.
pub struct Line(Vec<u8>);

/// Begins a line.
pub fn say(text: &str) -> Line {
    Line(PREFIX.to_vec()).text(text)
}

impl Line {
    /// Adds words of ours.
    pub fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds bytes from elsewhere; those that a terminal could take for a command are escaped (`\x1b`).
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for &byte in bytes {
            if byte < b' ' || byte == 0x7f {
                let escaped = [b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                self.0.extend_from_slice(&escaped);
            } else {
                self.0.push(byte);
            }
        }
        self
    }

    /// Adds a number.
    pub fn number(mut self, number: u64) -> Self {
        let mut digits = [0; 20];
        self.0.extend_from_slice(decimal(number, &mut digits));
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
        self.0.push(b'\n');
        sys::write_all(sys::STDERR, &self.0);
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
        assert_eq!(line.0, expected, "{}", String::from_utf8_lossy(&line.0));
    }
}
