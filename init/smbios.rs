//! What the machine's maker says: further words for the command line, for machines whose own can't be changed, as it
//! stands in a unified kernel image.
//!
//! Source: DMTF's DSP0134 (SMBIOS), section 6.1.3 for the strings behind each structure and 7.12 for "OEM Strings"
//! (type 11). In QEMU: `-smbios type=11,value=leanfs.cmdline=WORDS`.

use alloc::vec::Vec;

/// Where the kernel shows the table.
pub const TABLE: &core::ffi::CStr = c"/sys/firmware/dmi/tables/DMI";
/// What our strings begin with.
const KEY: &[u8] = b"leanfs.cmdline=";
const OEM_STRINGS: u8 = 11;
const END: u8 = 127;

/// The words of all our strings, each string after a space.
pub fn command_line(mut table: &[u8]) -> Vec<u8> {
    let mut words = Vec::new();
    // Type, length of the formatted part, handle.
    while let [kind, length, _, _, ..] = *table {
        let Some(strings) = table.get(usize::from(length).max(4)..) else { break };
        // Each ends with a NUL, and the last is followed by one more; without strings there are two.
        let mut end = 0;
        while strings.get(end..end + 2).is_some_and(|pair| pair != [0, 0]) {
            end += 1;
        }
        if kind == OEM_STRINGS {
            let all = strings.get(..end).unwrap_or_default().split(|&byte| byte == 0);
            for string in all.filter_map(|string| string.strip_prefix(KEY)) {
                words.push(b' ');
                words.extend_from_slice(string);
            }
        }
        table = strings.get(end + 2..).unwrap_or_default();
        if kind == END {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(kind: u8, strings: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::from([kind, 5, 0, 0, strings.len() as u8]);
        for string in strings {
            bytes.extend(string.bytes().chain([0]));
        }
        if strings.is_empty() {
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn only_our_strings_count() {
        let table = [
            structure(1, &["leanfs.cmdline=no", "QEMU"]),
            structure(32, &[]),
            structure(OEM_STRINGS, &["other=1", "leanfs.cmdline=a=1 b", "leanfs.cmdline=c"]),
            structure(OEM_STRINGS, &["leanfs.cmdline=d"]),
            structure(END, &[]),
            structure(OEM_STRINGS, &["leanfs.cmdline=behind the end"]),
        ]
        .concat();
        assert_eq!(command_line(&table), b" a=1 b c d");
        for length in 0..table.len() {
            assert!(b" a=1 b c d".starts_with(&command_line(&table[..length])[..]), "{length}");
        }
        assert_eq!(command_line(&[OEM_STRINGS, 0, 0, 0]), b"");
        assert_eq!(command_line(&[OEM_STRINGS, 255, 0, 0]), b"");
    }
}
