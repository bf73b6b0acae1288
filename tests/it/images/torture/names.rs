//! Names and paths.

use leanfs::tree::{Content, NodeKind, TreePath};

use super::Maker;

fn file(content: &[u8]) -> NodeKind {
    NodeKind::File(Content::from_bytes(content))
}

fn below(directory: &str, name: &[u8]) -> TreePath {
    TreePath::parse(&[directory.as_bytes(), b"/", name].concat()).expect("a good path")
}

pub(super) fn names(maker: &mut Maker) {
    // Each byte alone, and all of them at once.
    let bytes: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    for &byte in bytes.iter().filter(|byte| **byte != b'.') {
        maker.put(below("names/bytes", &[byte]), file(&[byte]));
    }
    maker.put(below("names", &bytes), file(b"all bytes"));
    let named: [&[u8]; 34] = [
        b" ",
        b"  two",
        b"end ",
        b"\n",
        b"a\nb",
        b"\r\n",
        b"\t",
        b"\x1b[31m",
        b"back\\slash",
        b"\\",
        b"\\n",
        b"\\x41",
        b"quote\"",
        b"'",
        b"-",
        b"--",
        b"-rf",
        b"--help",
        b"@file",
        b"...",
        b"..a",
        b".a",
        b".hidden",
        b"$HOME",
        b"`id`",
        b"*",
        b"?",
        b"[a]",
        b"%s%n",
        b"#",
        b"a;b",
        b"\xff\xfe",
        b"\xc3\x28",
        b"\xed\xa0\x80",
    ];
    for name in named {
        maker.put(below("names/odd", name), file(name));
        maker.put(below("names/odd directories", name), NodeKind::Directory);
        maker.put(below("names/odd directories", &[name, b"/", name].concat()), file(name));
    }
    for name in ["\u{e9}", "e\u{301}", "\u{1f600}", "\u{202e}txt", "Stra\u{df}e", "STRASSE"] {
        maker.file(&format!("names/unicode/{name}"), name.as_bytes());
    }
    // A directory's entries sort among names that begin like its own.
    for name in ["a!", "a-b", "a.b", "a/b", "a/b-c", "a/b.c", "a0", "aB", "ab", "A", "a/a/a", "a/aa"] {
        maker.file(&format!("names/order/{name}"), name.as_bytes());
    }
    // Of all lengths, the longest with differences at their ends only.
    for length in 1..=255 {
        maker.file(&format!("names/lengths/{}", "n".repeat(length)), &[0; 1]);
    }
    for last in 0..=255_u8 {
        if last != 0 && last != b'/' {
            maker.put(below("names/last", &[&[b'x'; 254][..], &[last]].concat()), file(&[last]));
        }
    }
    for fill in [0xff, 0x80, 1] {
        maker.put(below("names", &[fill; 255]), NodeKind::Directory);
        maker.put(below("names", &[&[fill; 255][..], b"/", &[fill; 255]].concat()), file(b"long"));
    }
}

pub(super) fn many_files(maker: &mut Maker) {
    let count = if maker.is_full() { 100_000 } else { 3_000 };
    for number in 0..count {
        let name = format!("many-files/{number}{}", "-with more".repeat(number % 4));
        let content = if number % 3 == 0 { String::new() } else { number.to_string().repeat(number % 60) };
        maker.file(&name, content.as_bytes());
    }
}

pub(super) fn many_directories(maker: &mut Maker) {
    let count = if maker.is_full() { 70_000 } else { 500 };
    for number in 0..count {
        maker.add(&format!("many-directories/{number}"), NodeKind::Directory);
    }
}

pub(super) fn deep(maker: &mut Maker) {
    /// A path's most bytes.
    const MOST: usize = 4095;
    // Of names as long as they can be.
    let mut place = "deep".to_owned();
    while place.len() + 256 < MOST - 1 {
        place += "/";
        place += &"d".repeat(255);
    }
    let name = format!("{place}/{}", "f".repeat(MOST - place.len() - 1));
    maker.file(&name, b"at the end of a long path");
    // Of as many names as there can be.
    let mut place = "deep".to_owned();
    while place.len() + 2 <= MOST - 2 {
        place += "/d";
    }
    let name = format!("{place}/{}", "f".repeat(MOST - place.len() - 1));
    assert_eq!(name.len(), MOST);
    maker.file(&name, b"far down");
    maker.add("deep/link", NodeKind::Hardlink(name.parse().expect("a good path")));
}
