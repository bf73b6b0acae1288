//! Comparing listings of many thousands of lines, so that a difference can be read.

use std::collections::BTreeMap;
use std::fmt::Write;

/// How many differences a message has, and how much of a line.
const MOST_SHOWN: usize = 20;
const MOST_OF_A_LINE: usize = 400;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// `d`, `f` …
    pub(crate) letter: &'a str,
    /// Four or five octal digits.
    pub(crate) mode: &'a str,
    /// `UID:GID`.
    pub(crate) owner: &'a str,
    pub(crate) time: &'a str,
    /// What the node is.
    pub(crate) what: &'a str,
    pub(crate) path: &'a str,
    /// `NAME=HEX`.
    pub(crate) xattrs: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (letter, mode) = words.next()?.split_at_checked(1)?;
        Some(Self {
            letter,
            mode,
            owner: words.next()?,
            time: words.next()?,
            what: words.next()?,
            path: words.next()?,
            xattrs: words.collect(),
        })
    }

    fn render(&self, text: &mut String) {
        let Self { letter, mode, owner, time, what, path, xattrs } = self;
        let _ = write!(text, "{letter}{mode} {owner} {time} {what} {path}");
        for xattr in xattrs {
            let _ = write!(text, " {xattr}");
        }
        text.push('\n');
    }
}

/// A listing with each of its lines changed, or without those for which `edit` says no: for what a tool is known not
/// to keep.
pub(crate) fn edited<'a>(listing: &'a str, edit: impl Fn(&mut Line<'a>) -> bool) -> String {
    let mut text = String::with_capacity(listing.len());
    for line in listing.lines() {
        match Line::parse(line).filter(|_| !line.starts_with('!')) {
            Some(mut parsed) => {
                if edit(&mut parsed) {
                    parsed.render(&mut text);
                }
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Fails with the first differences, by path.
#[track_caller]
pub(crate) fn assert_same(what: &str, expected: &str, found: &str) {
    let differences = differences(expected, found);
    let shown = differences.iter().take(MOST_SHOWN).fold(String::new(), |text, line| text + "\n" + line);
    assert!(differences.is_empty(), "{what}: {} lines differ, the first are{shown}", differences.len());
    assert!(expected == found, "{what}: the same lines in another order");
}

/// What one listing has and the other hasn't, in path order; `-` what was expected, `+` what was found.
pub(crate) fn differences(expected: &str, found: &str) -> Vec<String> {
    // Complaints stand beside the node that they are about.
    fn by_path(listing: &str) -> BTreeMap<(&str, usize), &str> {
        let mut lines = BTreeMap::new();
        for line in listing.lines() {
            let path = if line.starts_with("! ") {
                line.split(' ').nth(1).map(|path| path.trim_end_matches(':'))
            } else {
                line.split(' ').nth(4)
            };
            let mut key = (path.unwrap_or(line), 0);
            while lines.contains_key(&key) {
                key.1 += 1;
            }
            lines.insert(key, line);
        }
        lines
    }
    let (expected, found) = (by_path(expected), by_path(found));
    let mut all = BTreeMap::new();
    for (key, line) in &expected {
        if found.get(key) != Some(line) {
            all.insert((*key, false), *line);
        }
    }
    for (key, line) in &found {
        if expected.get(key) != Some(line) {
            all.insert((*key, true), *line);
        }
    }
    let sign = |is_found| if is_found { '+' } else { '-' };
    all.into_iter().map(|((_, is_found), line)| format!("{} {}", sign(is_found), shortened(line))).collect()
}

fn shortened(line: &str) -> String {
    if line.len() <= MOST_OF_A_LINE {
        return line.to_owned();
    }
    let half = MOST_OF_A_LINE / 2;
    let end = line.get(line.len() - half..).unwrap_or_default();
    format!("{}…({} bytes)…{end}", line.get(..half).unwrap_or_default(), line.len())
}

#[test]
fn differences_are_few_and_readable() {
    let expected = "d0755 0:0 0 - /\nf0644 0:0 0 1:aa /a user.x=00\nf0644 0:0 0 1:aa /b\n";
    let found = "d0755 0:0 0 - /\nf0644 0:1 0 1:aa /a user.x=00\n! /a: it hurts\np0644 0:0 0 - /c\n";
    assert_eq!(
        differences(expected, found),
        [
            "- f0644 0:0 0 1:aa /a user.x=00",
            "+ f0644 0:1 0 1:aa /a user.x=00",
            "+ ! /a: it hurts",
            "- f0644 0:0 0 1:aa /b",
            "+ p0644 0:0 0 - /c",
        ]
    );
    assert!(differences(expected, expected).is_empty());
    let edited = edited(expected, |line| {
        line.xattrs.clear();
        line.path != "/b"
    });
    assert_eq!(edited, "d0755 0:0 0 - /\nf0644 0:0 0 1:aa /a\n");
    let long = format!("l0777 0:0 0 {} /l\n", "x".repeat(10_000));
    assert!(differences(&long, "")[0].len() < 500);
    let other_order = "f0644 0:0 0 1:aa /b\nf0644 0:0 0 1:aa /a user.x=00\nd0755 0:0 0 - /\n";
    assert!(std::panic::catch_unwind(|| assert_same("it", expected, other_order)).is_err());
}
