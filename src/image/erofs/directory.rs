//! The content of a directory: blocks of entries and their names.
//!
//! Source: [the format's page on directories](https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html). A
//! block holds records of twelve bytes and after them the names, without anything between. Names are in byte order, across
//! all blocks, `.` and `..` among them: the kernel looks them up by halving. What a block has left is zeros; the last
//! block ends with its last name.

use super::format::{BLOCK, BLOCK_BYTES};

const RECORD: usize = 12;

/// What an entry is (`file_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File = 1,
    Directory = 2,
    CharDevice = 3,
    BlockDevice = 4,
    Fifo = 5,
    Symlink = 7,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub nid: u64,
    pub kind: Kind,
}

/// How large a directory becomes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measure {
    full: u64,
    used: usize,
}

impl Measure {
    /// One name more, in the order of names.
    pub(super) fn add(&mut self, name: &[u8]) {
        let size = RECORD + name.len();
        if self.used + size > BLOCK_BYTES {
            self.full += 1;
            self.used = 0;
        }
        self.used += size;
    }

    /// The size of the directory's content in bytes.
    pub(super) fn size(self) -> u64 {
        self.full * BLOCK + self.used as u64
    }
}

/// The content of a directory; `entries` are in the order of their names.
pub(super) fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let start = bytes.len();
        let mut used = 0;
        let count = rest
            .iter()
            .take_while(|entry| {
                used += RECORD + entry.name.len();
                used <= BLOCK_BYTES
            })
            .count();
        let (block, after) = rest.split_at(count);
        let mut nameoff = (block.len() * RECORD) as u16;
        for entry in block {
            bytes.extend_from_slice(&entry.nid.to_le_bytes());
            bytes.extend_from_slice(&nameoff.to_le_bytes());
            bytes.extend_from_slice(&[entry.kind as u8, 0]);
            nameoff += entry.name.len() as u16;
        }
        for entry in block {
            bytes.extend_from_slice(entry.name);
        }
        if !after.is_empty() {
            bytes.resize(start + BLOCK_BYTES, 0);
        }
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_their_records() {
        let entries = [
            Entry { name: b".", nid: 36, kind: Kind::Directory },
            Entry { name: b"..", nid: 37, kind: Kind::Directory },
            Entry { name: b"a", nid: 0x0102, kind: Kind::Symlink },
        ];
        let expected = concat!(
            "24000000000000002400",
            "0200",
            "25000000000000002500",
            "0200",
            "02010000000000002700",
            "0700",
            "2e",
            "2e2e",
            "61"
        );
        assert_eq!(hex::encode(encode(&entries)), expected);
    }

    proptest! {
        /// Every name can be read again, and no block holds more than it can.
        #[test]
        fn blocks_hold_what_they_can(lengths in prop::collection::vec(1..=255_usize, 1..400)) {
            let names: Vec<Vec<u8>> = lengths.iter().map(|&length| vec![b'x'; length]).collect();
            let entries: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(nid, name)| Entry { name, nid: nid as u64, kind: Kind::File })
                .collect();
            let bytes = encode(&entries);
            let mut measure = Measure::default();
            names.iter().for_each(|name| measure.add(name));
            prop_assert_eq!(bytes.len() as u64, measure.size());
            let mut found = Vec::new();
            let mut blocks = bytes.chunks(BLOCK_BYTES).peekable();
            while let Some(block) = blocks.next() {
                let offset = |record: usize| {
                    usize::from(u16::from_le_bytes([block[record * 12 + 8], block[record * 12 + 9]]))
                };
                let count = offset(0) / 12;
                for record in 0..count {
                    let end = if record + 1 < count {
                        offset(record + 1)
                    } else {
                        block.iter().rposition(|&byte| byte != 0).expect("a name") + 1
                    };
                    found.push(block[offset(record)..end].to_vec());
                }
                if blocks.peek().is_some() {
                    prop_assert!(block.iter().rposition(|&byte| byte != 0).expect("a name")
                        + 1 + RECORD + names[found.len()].len() > BLOCK_BYTES);
                }
            }
            prop_assert_eq!(found, names);
        }
    }
}
