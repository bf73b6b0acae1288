//! The guest's console: bytes become lines, and lines are looked at.

use std::collections::VecDeque;

use regex::bytes::Regex;

use super::trace::{self, TraceLines};

/// The longest line that is kept whole, in bytes; what is longer is cut into several.
const LINE_LIMIT: usize = 16 << 10;

/// How many lines are kept for a report of what went wrong.
const KEPT_LINES: usize = 40;

/// The longest line in such a report, in characters of the escaped text.
const SHOWN_LENGTH: usize = 400;

/// Follows a console: what was expected, the end of a kernel, the last lines.
#[derive(Debug)]
pub(super) struct Console {
    lines: Lines,
    /// What PID 1 says about opened files, if that is wanted; its lines are no part of the console then.
    trace: Option<TraceLines>,
    /// Each with the first line that matched it.
    expected: Vec<(Regex, Option<Vec<u8>>)>,
    panic: Option<Vec<u8>>,
    halted: bool,
    signs: Signs,
    kept: VecDeque<Vec<u8>>,
    /// Whether the unfinished line has not been compared with the patterns yet.
    untried: bool,
    silent: bool,
}

/// Lines of the kernel's that explain why nothing came up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Memory was not enough.
    pub(super) no_memory: bool,
    /// The kernel could not unpack the initramfs.
    pub(super) not_unpacked: bool,
    /// The kernel has no first program to start.
    pub(super) no_init: bool,
}

impl Console {
    pub(super) fn new(expected: &[Regex]) -> Self {
        Self {
            lines: Lines::default(),
            trace: None,
            expected: expected.iter().map(|pattern| (pattern.clone(), None)).collect(),
            panic: None,
            halted: false,
            signs: Signs::default(),
            kept: VecDeque::new(),
            untried: false,
            silent: true,
        }
    }

    /// Takes lines of a trace out.
    pub(super) fn with_trace(self) -> Self {
        Self { lines: Lines { traced: true, ..self.lines }, trace: Some(TraceLines::default()), ..self }
    }

    /// Takes what has come, in pieces of any size.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.silent &= bytes.is_empty();
        for &byte in bytes {
            if let Some(line) = self.lines.push(byte) {
                self.take(line);
            }
        }
        self.untried = !self.lines.current.is_empty();
    }

    /// Compares the unfinished line with the patterns: a prompt has no end of line. To be called when the console has
    /// been quiet for a while, so that a pattern that ends with `$` doesn't match half a line.
    pub(super) fn quiet(&mut self) {
        if std::mem::take(&mut self.untried) {
            let own = self.lines.own_length();
            compare(&mut self.expected, &self.lines.current[..own]);
        }
    }

    /// The console is closed: the unfinished line is whole.
    pub(super) fn end(&mut self) {
        let line = self.lines.finish();
        if !line.is_empty() {
            self.take(line);
        }
        let line = self.lines.finish();
        if !line.is_empty() {
            self.look_at(line);
        }
        self.untried = false;
    }

    /// What PID 1 has said about opened files.
    pub(super) fn trace(&self) -> Option<&TraceLines> {
        self.trace.as_ref()
    }

    /// Whether there is an unfinished line for [`Console::quiet`].
    pub(super) fn wants_quiet(&self) -> bool {
        self.untried && self.matched().any(|line| line.is_none())
    }

    /// For each pattern the first line that matched it.
    pub(super) fn matched(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.expected.iter().map(|(_, line)| line.as_deref())
    }

    /// The line in which the kernel said that it gave up.
    pub(super) fn panic(&self) -> Option<&[u8]> {
        self.panic.as_deref()
    }

    /// Whether the kernel said that it stands still: it was told to halt, or can't switch the machine off.
    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    pub(super) fn signs(&self) -> Signs {
        self.signs
    }

    /// Whether nothing at all has come.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The last lines, the unfinished one included, fit for a terminal.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let current = Some(&self.lines.current).filter(|line| !line.is_empty());
        self.kept.iter().chain(current).map(|line| shown(line)).collect()
    }

    /// Takes a line. PID 1 writes each line of a trace at once, and the terminal takes it so. Before it the beginning of
    /// another line may stand, which goes on behind it.
    fn take(&mut self, mut line: Vec<u8>) {
        if let Some(lines) = &mut self.trace
            && let Some(start) = find_last(&line, trace::MARK)
        {
            lines.take(&line[start + trace::MARK.len()..]);
            line.truncate(start);
            self.lines.resume(line);
        } else {
            self.look_at(line);
        }
    }

    fn look_at(&mut self, line: Vec<u8>) {
        compare(&mut self.expected, &line);
        let says = |text: &str| line.windows(text.len()).any(|window| window == text.as_bytes());
        if self.panic.is_none() && says("Kernel panic - not syncing") {
            self.panic = Some(line.clone());
        }
        self.halted |=
            says("reboot: System halted") || says("reboot: Power off not available: System halted");
        let Signs { no_memory, not_unpacked, no_init } = &mut self.signs;
        *no_memory |=
            says("Out of memory") || says("out of memory") || says("System is deadlocked on memory");
        *not_unpacked |= says("Initramfs unpacking failed") || says("Unable to mount root fs");
        *no_memory |= says("Initramfs unpacking failed: write error") || says("No space left on device");
        *no_init |= says("No working init found") || says("Failed to execute /init");
        if self.kept.len() == KEPT_LINES {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }
}

/// Where the last `mark` in a line begins.
fn find_last(line: &[u8], mark: &[u8]) -> Option<usize> {
    line.windows(mark.len()).rposition(|window| window == mark)
}

/// Compares a line with the patterns that nothing has matched yet; several may match it.
fn compare(expected: &mut [(Regex, Option<Vec<u8>>)], line: &[u8]) {
    for (pattern, matched) in expected {
        if matched.is_none() && pattern.is_match(line) {
            *matched = Some(line.to_vec());
        }
    }
}

/// A line as it can be printed: control characters and bytes that are not UTF-8 escaped, long ones cut.
pub(super) fn shown(line: &[u8]) -> String {
    let text = escape(line);
    match text.char_indices().nth(SHOWN_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Text from outside, fit for a terminal: control characters (tabs become spaces), characters that change the
/// direction of writing, and bytes that are not UTF-8 are escaped.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' => text.push(' '),
                '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    text.extend(character.escape_unicode());
                }
                character if character.is_control() => text.extend(character.escape_default()),
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Cuts a stream into lines, without terminal control sequences (ECMA-48) and carriage returns. A carriage return
/// that no line feed follows ends a line as well: what comes then overwrites it.
#[derive(Debug, Default)]
struct Lines {
    current: Vec<u8>,
    state: State,
    /// Whether lines of a trace stand between, and in, the others.
    traced: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After a carriage return.
    Return,
    /// After ESC.
    Escape,
    /// After ESC and intermediate bytes.
    Intermediate,
    /// In a control sequence: ESC [ parameters … final.
    Sequence,
    /// In a command string: ESC ] … until BEL or ESC \.
    Command,
    /// After ESC within a command string.
    CommandEscape,
}

impl Lines {
    /// Takes one byte; gives the line that it ended.
    fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        const ESC: u8 = 0x1b;
        const BEL: u8 = 0x07;
        match (self.state, byte) {
            // A new line or a cancel ends whatever was not finished: nothing hides the rest of the console.
            (_, b'\n') => {
                self.state = State::Text;
                return Some(self.finish());
            }
            (State::Command, ESC) => self.state = State::CommandEscape,
            (State::Command, BEL) | (State::CommandEscape, b'\\') => self.state = State::Text,
            (State::Command, _) => {}
            (State::Return, b'\r') => {}
            (State::Return, _) => {
                self.state = State::Text;
                let line = self.finish();
                let ended = self.push(byte);
                // The byte may end a line itself only if it is a line feed, which is handled above.
                debug_assert!(ended.is_none());
                return (!line.is_empty()).then_some(line);
            }
            (_, ESC) => self.state = State::Escape,
            (State::Escape | State::CommandEscape, b'[') => self.state = State::Sequence,
            (State::Escape | State::CommandEscape, b']' | b'P' | b'X' | b'^' | b'_') => {
                self.state = State::Command
            }
            (State::Escape | State::CommandEscape | State::Intermediate, 0x20..=0x2f) => {
                self.state = State::Intermediate;
            }
            (State::Escape | State::CommandEscape | State::Intermediate, _) => self.state = State::Text,
            (State::Sequence, 0x20..=0x3f) => {}
            (State::Sequence, _) => self.state = State::Text,
            (State::Text, b'\r') => self.state = State::Return,
            (State::Text, _) => {
                self.current.push(byte);
                if self.current.len() >= LINE_LIMIT {
                    return Some(self.cut());
                }
            }
        }
        None
    }

    /// How much of the unfinished line is no line of a trace, as far as that can be seen already.
    fn own_length(&self) -> usize {
        let line = &self.current;
        if !self.traced {
            return line.len();
        }
        find_last(line, trace::MARK).unwrap_or_else(|| {
            let mut beginnings = (1..trace::MARK.len()).rev().map(|length| &trace::MARK[..length]);
            line.len() - beginnings.find(|beginning| line.ends_with(beginning)).map_or(0, <[u8]>::len)
        })
    }

    /// Ends a line that is too long. A line of a trace stays whole, so that it can be told from the others.
    fn cut(&mut self) -> Vec<u8> {
        match self.own_length() {
            0 => self.finish(),
            own => {
                let rest = self.current.split_off(own);
                std::mem::replace(&mut self.current, rest)
            }
        }
    }

    /// Makes this the beginning of the unfinished line.
    fn resume(&mut self, mut line: Vec<u8>) {
        line.append(&mut self.current);
        self.current = line;
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(pattern: &str) -> Console {
        Console::new(&[Regex::new(pattern).expect("a pattern")])
    }

    fn matched(console: &Console) -> Option<&[u8]> {
        console.matched().next().expect("there is a pattern")
    }

    fn lines(text: &str) -> Vec<String> {
        let mut console = Console::new(&[]);
        console.feed(text.as_bytes());
        console.last_lines()
    }

    #[test]
    fn lines_are_clean() {
        let table: [(&str, &[&str]); 10] = [
            ("a\r\nb\n\nc", &["a", "b", "", "c"]),
            ("10 %\r20 %\rdone\r\n", &["10 %", "20 %", "done"]),
            ("\r\r\nx\r\r\n", &["", "x"]),
            ("\u{1b}[32mhello\u{1b}[0m from \u{1b}[1;31mhere\u{1b}[m\n", &["hello from here"]),
            ("\u{1b}]0;title\u{7}x\u{1b}]0;other\u{1b}\\y\n", &["xy"]),
            ("\u{1b}(Bx\u{1b}cy\u{1b}[?25lz\n", &["xyz"]),
            ("\u{1b}]0;never ends\nseen\n", &["", "seen"]),
            ("\u{1b}[\nseen\n", &["", "seen"]),
            ("a\u{1}b\tc\n", &["a\\u{1}b c"]),
            ("Grüße \u{202e}\n", &["Grüße \\u{202e}"]),
        ];
        for (text, expected) in table {
            assert_eq!(lines(text), expected, "{text:?}");
        }
        assert_eq!(escape(b"a\xffb\x00"), "a\\xffb\\u{0}");
    }

    #[test]
    fn matches_over_pieces_of_any_size() {
        let text = "noise\r\n\u{1b}[32mhello\u{1b}[0m from \u{fc}ber\r\nmore\r\n".as_bytes();
        for size in 1..=text.len() {
            let mut console = console("^hello from über$");
            for piece in text.chunks(size) {
                console.feed(piece);
            }
            assert_eq!(matched(&console), Some("hello from über".as_bytes()), "pieces of {size}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_do_no_harm() {
        let mut console = console("ready");
        console.feed(b"\xff\xfe\x00ready\x80\n");
        assert_eq!(matched(&console), Some(&b"\xff\xfe\x00ready\x80"[..]));
        assert_eq!(shown(matched(&console).expect("matched")), "\\xff\\xfe\\u{0}ready\\x80");
    }

    #[test]
    fn an_unfinished_line_matches_when_the_console_is_quiet() {
        let mut console = console("ready$");
        console.feed(b"not rea");
        assert!(console.wants_quiet());
        console.quiet();
        assert!(!console.wants_quiet());
        assert!(matched(&console).is_none());
        console.feed(b"dy");
        assert!(console.wants_quiet());
        console.feed(b" yet\nready> ");
        console.quiet();
        assert!(matched(&console).is_none(), "half a line is not compared while more comes");
        console.feed(b"\nready");
        console.quiet();
        assert_eq!(matched(&console), Some(&b"ready"[..]));

        let mut console = Console::new(&[Regex::new("last").expect("a pattern")]);
        console.feed(b"the last word");
        console.end();
        assert_eq!(matched(&console), Some(&b"the last word"[..]));
    }

    #[test]
    fn lines_of_a_trace_are_no_part_of_the_console() {
        let text = "a\nhello \r\nleanfs-trace: ready\r\nhelleanfs-trace: /bin/hello from 1\r\nlo frleanfs-trace: \
            /b 2\r\nleanfs-trace: /c 3\r\nom it\r\nlast";
        for size in 1..=text.len() {
            let mut console = console("^hello from").with_trace();
            for piece in text.as_bytes().chunks(size) {
                console.feed(piece);
            }
            assert_eq!(matched(&console), Some(&b"hello from it"[..]), "pieces of {size}");
            assert_eq!(console.last_lines(), ["a", "hello ", "hello from it", "last"], "pieces of {size}");
            assert_eq!(console.trace().map(TraceLines::count), Some(3));
        }
        let mut console = console("here$").with_trace();
        console.feed(b"here leanfs-trace: /not/here");
        console.quiet();
        assert_eq!(matched(&console), None);
        console.feed(b" 1\r\nlogin hereleanfs-trace: /b");
        console.quiet();
        assert_eq!(matched(&console), Some(&b"here login here"[..]));
        console.feed(b" 2");
        console.end();
        assert_eq!(console.trace().map(TraceLines::count), Some(2));
        assert_eq!(console.last_lines(), ["here login here"]);
        // What isn't asked for is a line like any other.
        assert_eq!(lines("xleanfs-trace: /b 1\n"), ["xleanfs-trace: /b 1"]);
    }

    #[test]
    fn a_line_of_a_trace_stays_whole_in_a_line_that_is_too_long() {
        for before in LINE_LIMIT - 60..=LINE_LIMIT {
            let mut console = console("never").with_trace();
            console.feed(&vec![b'x'; before]);
            console.feed(b"leanfs-trace: /some/file 1\r\nyleanfs-trace: /b 2\r\n");
            assert_eq!(console.trace().map(TraceLines::count), Some(2), "{before}");
            console.trace().expect("it was asked for").check().expect("nothing is damaged");
            let own: usize = console.kept.iter().chain([&console.lines.current]).map(Vec::len).sum();
            assert_eq!(own, before + 1);
        }
    }

    #[test]
    fn the_first_match_counts() {
        let mut console = console("line [0-9]");
        console.feed(b"line x\nline 1\nline 2\n");
        assert_eq!(matched(&console), Some(&b"line 1"[..]));
    }

    #[test]
    fn each_pattern_has_a_line_of_its_own() {
        let mut console =
            Console::new(&["three", "one", "o"].map(|pattern| Regex::new(pattern).expect("a pattern")));
        let found = |console: &Console| -> Vec<String> {
            let lines =
                console.matched().map(|line| String::from_utf8_lossy(line.unwrap_or(b"-")).into_owned());
            lines.collect()
        };
        assert_eq!(found(&console), ["-", "-", "-"]);
        console.feed(b"two\none");
        assert_eq!(found(&console), ["-", "-", "two"]);
        assert!(console.wants_quiet());
        console.quiet();
        assert_eq!(found(&console), ["-", "one", "two"]);
        console.feed(b"\none and three\n");
        assert_eq!(found(&console), ["one and three", "one", "two"]);
        console.feed(b"o");
        assert!(!console.wants_quiet(), "nothing is looked for any more");
    }

    #[test]
    fn what_kernels_say() {
        let table: [(&str, bool, Signs); 6] = [
            ("[    1.2] Kernel panic - not syncing: VFS", true, Signs::default()),
            ("Out of memory: Killed process 1", false, Signs { no_memory: true, ..Signs::default() }),
            (
                "[ 0.9] Initramfs unpacking failed: write error",
                false,
                Signs { no_memory: true, not_unpacked: true, no_init: false },
            ),
            (
                "[ 0.9] Initramfs unpacking failed: invalid magic at start of compressed archive",
                false,
                Signs { not_unpacked: true, ..Signs::default() },
            ),
            ("Run /init as init process", false, Signs::default()),
            (
                "Kernel panic - not syncing: No working init found.",
                true,
                Signs { no_init: true, ..Signs::default() },
            ),
        ];
        for (line, panics, signs) in table {
            let mut console = Console::new(&[]);
            assert!(console.is_silent());
            console.feed(line.as_bytes());
            console.feed(b"\r\n");
            assert!(!console.is_silent());
            assert_eq!((console.panic().is_some(), console.signs()), (panics, signs), "{line}");
        }
    }

    #[test]
    fn endless_output_stays_bounded() {
        let mut console = console("needle");
        for _ in 0..100 {
            console.feed(&[b'x'; 10_000]);
        }
        assert!(console.lines.current.len() <= LINE_LIMIT);
        assert!(console.kept.len() <= KEPT_LINES);
        assert!(console.last_lines().iter().all(|line| line.chars().count() <= SHOWN_LENGTH + 1));
        console.feed(b"\nneedle\n");
        assert_eq!(matched(&console), Some(&b"needle"[..]));
    }
}
