//! What `readelf` and `strip` say of a file before and after.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use leanfs::elf::KeptWhole;

use super::{find, output, strip_file};

/// The binutils of an architecture.
#[derive(Clone, Copy)]
pub(super) struct Binutils<'a> {
    /// The name of `strip`, if there is one that knows the architecture.
    pub(super) strip: Option<&'a str>,
}

pub(super) const HOST: Binutils<'_> = Binutils { strip: Some("strip") };

/// What came of a file.
pub(super) struct Outcome {
    pub(super) reason: Option<KeptWhole>,
    pub(super) before: u64,
    pub(super) after: u64,
    /// What `strip --strip-unneeded` leaves.
    pub(super) theirs: Option<u64>,
}

/// Strips a file into `directory` and compares it with what it was and with what `strip` makes of it. The result is
/// `directory/NAME`.
pub(super) fn check(path: &Path, directory: &Path, binutils: Binutils<'_>) -> Outcome {
    let ours = directory.join(path.file_name().expect("a name"));
    let reason = strip_file(path, &ours);
    let before = Facts::of(path);
    assert!(!before.segments.is_empty(), "{}: readelf tells of no program headers", path.display());
    let after = Facts::of(&ours);
    if reason.is_none() {
        before.assert_kept_by(&after, path);
        assert_sound(path, &ours);
    }
    let theirs = binutils.strip.and_then(|strip| {
        let theirs = directory.join(format!("{}.theirs", path.file_name()?.to_string_lossy()));
        // There are files that it doesn't take.
        let done = Command::new(strip)
            .args(["--strip-unneeded", "-o"])
            .args([&theirs, path])
            .output()
            .is_ok_and(|output| output.status.success());
        done.then(|| {
            if matches!(reason, None | Some(KeptWhole::NoSmaller)) {
                assert_no_larger(path, &after, &Facts::of(&theirs));
            }
            let size = size(&theirs);
            fs_err::remove_file(theirs).expect("removed");
            size
        })
    });
    Outcome { reason, before: size(path), after: size(&ours), theirs }
}

fn size(path: &Path) -> u64 {
    fs_err::metadata(path).expect("readable").len()
}

/// Our file has at most a hundredth more than what `strip` leaves. Of files that `patchelf` was at, `strip` drops
/// bytes that are loaded but in no section, and renumbers sections that loaded symbols may name: neither is for us.
fn assert_no_larger(path: &Path, ours: &Facts, theirs: &Facts) {
    let loaded = |facts: &Facts| {
        facts.segments.iter().filter(|one| one.kind == "LOAD").map(|one| one.size).sum::<u64>()
    };
    let dropped = loaded(ours).saturating_sub(loaded(theirs));
    // Whatever is dropped can let the next segment begin a page earlier.
    let dropped = if dropped > 0 { dropped + 4096 } else { 0 };
    let allowed = theirs.size + theirs.size / 100 + dropped + 64 * ours.gone_sections;
    assert!(
        ours.size <= allowed,
        "{}: {} bytes, but strip leaves {}",
        path.display(),
        ours.size,
        theirs.size
    );
}

/// `readelf` finds everything in a file sound that it found sound before.
fn assert_sound(before: &Path, after: &Path) {
    let complaints = |path: &Path| {
        let output =
            Command::new("readelf").arg("-aW").arg(path).env("LC_ALL", "C").output().expect("readelf");
        let name = path.display().to_string();
        let complaints = String::from_utf8_lossy(&output.stderr).replace(&name, "FILE");
        (output.status.code(), complaints.lines().map(str::to_owned).collect::<BTreeSet<String>>())
    };
    let (before_code, before_complaints) = complaints(before);
    let (after_code, after_complaints) = complaints(after);
    assert_eq!(after_code, before_code, "{}: {after_complaints:?}", before.display());
    let new: Vec<_> = after_complaints.difference(&before_complaints).collect();
    assert!(new.is_empty(), "{}: {new:?}", before.display());
}

/// A program header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    kind: String,
    offset: u64,
    size: u64,
    /// Addresses, size in memory, flags and alignment, as text.
    rest: Vec<String>,
}

/// What `readelf` tells of a file, and its bytes.
pub(super) struct Facts {
    size: u64,
    segments: Vec<Segment>,
    /// Sections that are loaded: number and all columns but the offset and the references.
    sections: Vec<Vec<String>>,
    /// Headers of nothing, but for the reserved one.
    gone_sections: u64,
    /// The dynamic section, symbols and versions.
    dynamic: String,
    /// The notes of each section that is loaded.
    notes: Vec<String>,
    bytes: Vec<u8>,
}

impl Facts {
    pub(super) fn of(path: &Path) -> Self {
        let readelf = |options: &[&str]| output(Command::new("readelf").args(options).arg(path));
        let mut segments = Vec::new();
        for line in readelf(&["-lW"]).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let numbers: Vec<u64> =
                words.iter().skip(1).take(5).map_while(|word| hexadecimal(word)).collect();
            let [offset, _, _, size, _] = numbers[..] else { continue };
            let rest = [2, 3].iter().map(|&index| words[index]).chain(words[5..].iter().copied());
            let rest = rest.map(str::to_owned).collect();
            segments.push(Segment { kind: words[0].to_owned(), offset, size, rest });
        }
        let (mut sections, mut names, mut gone) = (Vec::new(), BTreeSet::new(), 0);
        for line in readelf(&["-SW"]).lines() {
            let Some((number, rest)) =
                line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'))
            else {
                continue;
            };
            // Names may be anything, even empty; the columns behind the type have fixed shapes.
            let words: Vec<&str> = rest.split_whitespace().collect();
            let Some(address) =
                words.iter().position(|word| word.len() >= 8 && u64::from_str_radix(word, 16).is_ok())
            else {
                continue;
            };
            gone += u64::from(words[..address] == ["NULL"] && number.trim() != "0");
            // Address, offset, size, entries, then flags if there are any, then three numbers.
            if words.len() == address + 8 && words[address + 4].contains('A') {
                let mut columns: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
                let flags = columns[address + 4].replace(['I', 'G'], "");
                columns[address + 4] = flags;
                names.insert(words[0].to_owned());
                columns.drain(address + 5..address + 7);
                columns.remove(address + 1);
                columns.insert(0, number.trim().to_owned());
                sections.push(columns);
            }
        }
        // Offsets in the file may change, and nothing else.
        let dynamic = without_offsets(&readelf(&["-dVW", "--dyn-syms"]));
        let notes = readelf(&["-nW"]);
        let notes = notes.split("Displaying notes found ").filter(|text| {
            let section = text.strip_prefix("in: ").and_then(|text| text.lines().next());
            section.is_none_or(|section| names.contains(section.trim()))
        });
        let notes = notes.map(|text| without_offsets(text.trim())).filter(|text| !text.is_empty()).collect();
        let bytes = fs_err::read(path).expect("readable");
        Self { size: bytes.len() as u64, segments, sections, gone_sections: gone, dynamic, notes, bytes }
    }

    /// Everything that a loader could see is the same.
    fn assert_kept_by(&self, after: &Self, path: &Path) {
        let path = path.display();
        assert_eq!(after.dynamic, self.dynamic, "{path}");
        assert_eq!(after.notes, self.notes, "{path}");
        assert_eq!(after.sections, self.sections, "{path}");
        assert_eq!(after.segments.len(), self.segments.len(), "{path}");
        let moved = after.segments != self.segments;
        let (before_bytes, after_bytes) =
            (without_places(&self.bytes, moved), without_places(&after.bytes, moved));
        for (before, after) in self.segments.iter().zip(&after.segments) {
            assert_eq!(
                Segment { offset: 0, ..after.clone() },
                Segment { offset: 0, ..before.clone() },
                "{path}"
            );
            // What moves, moves by pages.
            assert!(
                after.offset <= before.offset && (before.offset - after.offset) % 4096 == 0,
                "{path}: {after:?}"
            );
            let bytes = |bytes: &[u8], segment: &Segment| {
                let start = segment.offset as usize;
                bytes[start..start + segment.size as usize].to_vec()
            };
            let same = before.size == 0 || bytes(&before_bytes, before) == bytes(&after_bytes, after);
            assert!(same, "{path}: the bytes of {before:?} changed");
        }
    }
}

fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// A text without the numbers behind "offset" and "Offset:".
fn without_offsets(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if let Some(index) = words.iter().position(|word| matches!(*word, "offset" | "Offset:"))
            && index + 1 < words.len()
        {
            words.remove(index + 1);
        }
        words.join(" ") + "\n"
    });
    lines.collect()
}

/// The bytes with zeros where the header tells of sections, and, if segments moved, where their offsets stand.
fn without_places(bytes: &[u8], moved: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (wide, big) = (bytes[4] == 2, bytes[5] == 2);
    let number = |bytes: &[u8]| {
        let bytes = bytes.iter().copied();
        let fold = |number: usize, byte: u8| number << 8 | usize::from(byte);
        if big { bytes.fold(0, fold) } else { bytes.rev().fold(0, fold) }
    };
    let (table, count, entry, offset) = match wide {
        true => (number(&bytes[0x20..0x28]), number(&bytes[0x38..0x3a]), 56, 8..16),
        false => (number(&bytes[0x1c..0x20]), number(&bytes[0x2c..0x2e]), 32, 4..8),
    };
    let fields = if wide { [0x28..0x30, 0x3c..0x40] } else { [0x20..0x24, 0x30..0x34] };
    fields.into_iter().for_each(|field| bytes[field].fill(0));
    if moved {
        for header in (0..count).map(|index| table + index * entry) {
            bytes[header + offset.start..header + offset.end].fill(0);
        }
    }
    bytes
}

/// Whether the tools are here.
pub(super) fn available() -> bool {
    let missing: Vec<&str> = ["readelf", "strip"].into_iter().filter(|tool| find(tool).is_none()).collect();
    missing.iter().for_each(|tool| super::skip(tool));
    missing.is_empty()
}
