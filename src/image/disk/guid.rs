//! Globally unique identifiers, which name disks, partitions and their types.
//!
//! Source: UEFI Specification 2.10, appendix A (the text form and the order of the bytes on disk).

use std::fmt;
use std::str::FromStr;

/// A GUID (a UUID, in the words of RFC 9562). Its text form is `0fc63daf-8483-4772-8e79-3d69d8477de4`.
///
/// ```
/// use leanfs::image::disk::Guid;
/// let guid: Guid = "0FC63DAF-8483-4772-8E79-3D69D8477DE4".parse()?;
/// assert_eq!(guid.to_string(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
/// # Ok::<(), leanfs::image::disk::NoGuid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// A text that is no GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no GUID: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12 with hyphens between them are"
)]
pub struct NoGuid(pub String);

impl Guid {
    /// All zeros, which names nothing: the type of an unused entry.
    pub const NIL: Self = Self([0; 16]);

    /// The GUID whose text form has these bytes in this order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes in the order of the text form.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The bytes as UEFI has them on disk: the first three groups little-endian, the others in the order of the
    /// text.
    pub fn on_disk(self) -> [u8; 16] {
        let mut bytes = self.0;
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&index) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = NoGuid;

    fn from_str(text: &str) -> Result<Self, NoGuid> {
        let wrong = || NoGuid(text.to_owned());
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        if lengths != [8, 4, 4, 4, 12] {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(groups.concat(), &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_groups_are_turned_round_on_disk() {
        let guid: Guid = "00112233-4455-6677-8899-aabbccddeeff".parse().expect("a GUID");
        assert_eq!(hex::encode(guid.on_disk()), "33221100554477668899aabbccddeeff");
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn what_is_no_guid() {
        for text in [
            "",
            "00112233445566778899aabbccddeeff",
            "{00112233-4455-6677-8899-aabbccddeeff}",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223-34455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeeff-",
            "é112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(NoGuid(text.to_owned())));
        }
    }
}
