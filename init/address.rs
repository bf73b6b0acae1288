//! IPv4 addresses in text.

/// An address in network byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub [u8; 4]);

impl Address {
    /// Takes `10.0.2.15`: four decimal numbers, without leading zeros.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|&byte| byte == b'.');
        let mut address = [0; 4];
        for byte in &mut address {
            *byte = u8::try_from(number(parts.next()?, 3)?).ok()?;
        }
        parts.next().is_none().then_some(Self(address))
    }

    /// The mask of a prefix length: 24 is 255.255.255.0.
    pub fn mask(prefix: u8) -> Self {
        let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        Self(bits.to_be_bytes())
    }
}

/// Takes `10.0.2.15/24`.
pub fn parse_with_prefix(text: &[u8]) -> Option<(Address, u8)> {
    let slash = text.iter().position(|&byte| byte == b'/')?;
    let prefix = u8::try_from(number(&text[slash + 1..], 2)?).ok()?;
    (prefix <= 32).then_some((Address::parse(&text[..slash])?, prefix))
}

/// A decimal number of at most `most` digits without leading zeros.
fn number(text: &[u8], most: usize) -> Option<u32> {
    if text.is_empty() || text.len() > most || text.len() > 1 && text[0] == b'0' {
        return None;
    }
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.0.2.15/24", Some(([10, 0, 2, 15], 24))),
            ("0.0.0.0/0", Some(([0; 4], 0))),
            ("255.255.255.255/32", Some(([255; 4], 32))),
            ("10.0.2.15", None),
            ("10.0.2.15/33", None),
            ("10.0.2/24", None),
            ("10.0.2.15.1/24", None),
            ("10.0.2.256/24", None),
            ("10.0.02.15/24", None),
            ("10.0..15/24", None),
            ("10.0.2.+1/24", None),
            ("fe80::1/64", None),
            ("", None),
        ] {
            let expected = expected.map(|(address, prefix)| (Address(address), prefix));
            assert_eq!(parse_with_prefix(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn masks() {
        for (prefix, mask) in [
            (0, [0; 4]),
            (8, [255, 0, 0, 0]),
            (24, [255, 255, 255, 0]),
            (30, [255, 255, 255, 252]),
            (32, [255; 4]),
        ] {
            assert_eq!(Address::mask(prefix).0, mask);
        }
    }
}
