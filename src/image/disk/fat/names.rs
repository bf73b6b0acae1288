//! Names in a FAT directory: an 8.3 name for every file, and entries with the long one where that says less.
//!
//! Source: Microsoft, FAT32 File System Specification 1.03, "Long Directory Entries" and "Name Limits and Character
//! Sets". A long name is in UTF-16, 13 units an entry, the entries before the file's own and the last piece first;
//! each has a sum of the 8.3 name. Names differ only if they do without regard to case.
//!
//! Pure: names in, bytes out.

use std::collections::{BTreeMap, BTreeSet};

/// An 8.3 name as an entry has it: padded with spaces, without the dot.
pub(super) type ShortName = [u8; 11];

/// The bytes of a directory entry.
pub(super) const ENTRY_BYTES: usize = 32;
/// What a directory may have: 65,536 entries, as its size must fit into 2 MiB.
pub(super) const MOST_ENTRIES: usize = 65_536;

/// The UTF-16 units of a long name that one entry has, and where.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const MOST_UNITS: usize = 255;
/// Read-only, hidden, system and volume label at once: what programs that know no long names pass over.
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
const LAST_LONG_ENTRY: u8 = 0x40;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) short: ShortName,
    /// The long name's entries, each with [`ENTRY_BYTES`] bytes; none where the 8.3 name is the whole name.
    pub(super) long: Vec<u8>,
}

/// The names of one directory, in the order in which they were given.
///
/// # Errors
/// The place of the first name that can't be, and why.
pub(super) fn assign(names: &[&[u8]]) -> Result<Vec<Name>, (usize, String)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts = Vec::with_capacity(names.len());
    for (place, name) in names.iter().enumerate() {
        let text = check(name).map_err(|reason| (place, reason))?;
        if let Some(first) = seen.insert(text.to_uppercase(), place) {
            return Err((
                place,
                format!(
                    "its name is that of {:?} but for upper and lower case, which FAT does not tell apart",
                    String::from_utf8_lossy(names[first])
                ),
            ));
        }
        texts.push(text);
    }
    // Those that are 8.3 names already come first: no made-up name may take theirs.
    let exact: Vec<Option<ShortName>> = texts.iter().map(|text| exact(text)).collect();
    let mut taken: BTreeSet<ShortName> = exact.iter().copied().flatten().collect();
    let mut next: BTreeMap<ShortName, u32> = BTreeMap::new();
    let mut assigned = Vec::with_capacity(names.len());
    for (text, exact) in texts.iter().zip(exact) {
        let short = exact.unwrap_or_else(|| numbered(text, &mut taken, &mut next));
        let long = if is_whole(text, &short) { Vec::new() } else { long_entries(text, &short) };
        assigned.push(Name { short, long });
    }
    Ok(assigned)
}

/// The name as text, if FAT can hold it.
fn check(name: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(name).map_err(|_| "its name is no UTF-8".to_owned())?;
    if let Some(character) =
        text.chars().find(|character| character.is_control() || "\"*/:<>?\\|".contains(*character))
    {
        return Err(format!("its name has {character:?} in it"));
    }
    if text.ends_with(['.', ' ']) || text.starts_with(' ') {
        return Err("its name ends with a dot or a space, or begins with a space".to_owned());
    }
    let units = text.encode_utf16().count();
    if units > MOST_UNITS {
        return Err(format!("its name has {units} UTF-16 units, and {MOST_UNITS} are the most"));
    }
    Ok(text)
}

fn is_short(character: char) -> bool {
    character.is_ascii_alphanumeric() || "$%'-_@~`!(){}^#&".contains(character)
}

/// The 8.3 name of a name that is one without regard to case.
fn exact(text: &str) -> Option<ShortName> {
    let (base, extension) = text.split_once('.').unwrap_or((text, ""));
    let fits = (1..=8).contains(&base.len())
        && extension.len() <= 3
        && base.chars().chain(extension.chars()).all(is_short);
    fits.then(|| padded(base, extension))
}

fn padded(base: &str, extension: &str) -> ShortName {
    let mut short = [b' '; 11];
    for (place, byte) in short[..8].iter_mut().zip(base.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    for (place, byte) in short[8..].iter_mut().zip(extension.bytes()) {
        *place = byte.to_ascii_uppercase();
    }
    short
}

/// Whether the 8.3 name says the same as the whole name.
fn is_whole(text: &str, short: &ShortName) -> bool {
    exact(text).as_ref() == Some(short) && !text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// A name of what can stand in an 8.3 name, `~` and a number: the first that is free.
fn numbered(text: &str, taken: &mut BTreeSet<ShortName>, next: &mut BTreeMap<ShortName, u32>) -> ShortName {
    let text = text.trim_start_matches('.');
    let (base, extension) = text.rsplit_once('.').unwrap_or((text, ""));
    let simple = |part: &str, most: usize| -> String {
        let kept = part.chars().filter(|character| !matches!(character, '.' | ' '));
        kept.map(|character| if is_short(character) { character } else { '_' }).take(most).collect()
    };
    let (base, extension) = (simple(base, 6), simple(extension, 3));
    let number = next.entry(padded(&base, &extension)).or_insert(0);
    loop {
        *number += 1;
        let tail = format!("~{number}");
        let head = &base[..base.len().min(8 - tail.len().min(8))];
        let short = padded(&format!("{head}{tail}"), &extension);
        if taken.insert(short) {
            return short;
        }
    }
}

fn long_entries(text: &str, short: &ShortName) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let pieces = units.len().div_ceil(UNITS.len());
    let sum = short.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let mut entries = Vec::with_capacity(pieces * ENTRY_BYTES);
    for (index, piece) in units.chunks(UNITS.len()).enumerate().rev() {
        let mut entry = [0; ENTRY_BYTES];
        // At most 20 pieces.
        entry[0] = (index as u8 + 1) | if index + 1 == pieces { LAST_LONG_ENTRY } else { 0 };
        entry[11] = ATTRIBUTE_LONG_NAME;
        entry[13] = sum;
        // A NUL ends a name that does not fill its last piece, and ones fill the rest.
        let filled = piece.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        for (place, unit) in UNITS.into_iter().zip(filled) {
            entry[place..place + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        let bytes: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let text = |name: Name| {
            format!("{}{}", String::from_utf8_lossy(&name.short), if name.long.is_empty() { "" } else { "+" })
        };
        assign(&bytes).expect("good names").into_iter().map(text).collect()
    }

    #[test]
    fn short_names_are_made_as_windows_makes_them() {
        assert_eq!(
            shorts(
                &[
                    "BOOTX64.EFI",
                    "Linux",
                    "leanfs.efi",
                    "BOOTRISCV64.EFI",
                    "loader.conf",
                    "loader.config",
                    ".hidden",
                    "a+b.c",
                    "one.two.three",
                    "grüße",
                    "NOEXT.",
                ][..10]
            ),
            [
                "BOOTX64 EFI",
                "LINUX      +",
                "LEANFS  EFI+",
                "BOOTRI~1EFI+",
                "LOADER~1CON+",
                "LOADER~2CON+",
                "HIDDEN~1   +",
                "A_B~1   C  +",
                "ONETWO~1THR+",
                "GR__E~1    +",
            ]
        );
    }

    #[test]
    fn made_up_names_leave_real_ones_alone() {
        assert_eq!(
            shorts(&["longname one", "LONGNA~1", "longna~2"]),
            ["LONGNA~3   +", "LONGNA~1   ", "LONGNA~2   +"]
        );
        let names: Vec<String> = (0..1200).map(|number| format!("a long name {number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = shorts(&names);
        assert_eq!(found[0], "ALONGN~1   +");
        assert_eq!(found[9], "ALONG~10   +");
        assert_eq!(found[1199], "ALO~1200   +");
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 1200);
    }

    #[test]
    fn long_names_are_in_pieces() {
        let name = assign(&[b"BOOTRISCV64.EFI"]).expect("good").remove(0);
        assert_eq!(name.long.len(), 64);
        assert_eq!(name.long[0], 0x42);
        assert_eq!(&name.long[1..11], b"F\0I\0\0\0\xff\xff\xff\xff");
        assert_eq!(name.long[32], 0x01);
        assert_eq!(&name.long[33..43], b"B\0O\0O\0T\0R\0");
        let sum = name
            .short
            .iter()
            .fold(0_u32, |sum, &byte| (((sum & 1) << 7) + (sum >> 1) + u32::from(byte)) & 0xff);
        assert_eq!([name.long[13], name.long[45]].map(u32::from), [sum, sum]);
        // 13 units: no end mark.
        let name = assign(&["thirteen üçèé".as_bytes()]).expect("good").remove(0);
        assert_eq!(name.long.len(), 32);
        assert_eq!(&name.long[28..], b"\xe8\0\xe9\0");
    }

    #[test]
    fn what_fat_can_not_hold() {
        let long = "ä".repeat(127) + "xx";
        assert!(assign(&[long.as_bytes()]).is_ok());
        for (names, place, reason) in [
            (vec![b"a\xff".as_slice()], 0, "UTF-8"),
            (vec![b"a:b"], 0, "':'"),
            (vec![b"a\x01"], 0, "'\\u{1}'"),
            (vec![b"a."], 0, "ends with a dot"),
            (vec![b"a "], 0, "space"),
            (vec![b"README", b"x", b"Readme"], 2, "that of \"README\""),
            (vec!["Ä".as_bytes(), "ä".as_bytes()], 1, "upper and lower case"),
        ] {
            let (found, text) = assign(&names).expect_err(reason);
            assert_eq!(found, place);
            assert!(text.contains(reason), "{text}");
        }
    }
}
