//! Where leanfs prints: results on stdout, everything else on stderr. No text from outside can move the cursor or
//! change colours: control characters are shown escaped.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Instant;

use leanfs::text::{json_shown, push_shown};

use super::environment::Environment;
use super::failure::Failure;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a verb's flags say about its output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputMode {
    /// Objects on stdout instead of text.
    pub json: bool,
    /// Only warnings and errors.
    pub quiet: bool,
    /// More of what happens.
    pub verbose: bool,
}

/// The two streams and how to write to them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    /// The flags.
    pub mode: OutputMode,
    color: bool,
    /// Progress may be drawn with a moving cursor.
    pub draws: bool,
    /// It shows more than ASCII.
    pub utf8: bool,
    /// Since when the times of objects count.
    begun: Instant,
}

/// An object with the time that it came at.
#[derive(serde::Serialize)]
struct Timed<'a, T> {
    #[serde(flatten)]
    value: &'a T,
    /// Milliseconds since leanfs began.
    ms: u64,
}

impl Terminal {
    pub(super) fn new(mode: OutputMode, color: ColorWhen, environment: &Environment) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = match color {
            ColorWhen::Auto => terminal && !environment.no_color,
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        };
        Self {
            mode,
            color,
            draws: terminal && !environment.dumb_terminal,
            utf8: environment.utf8,
            begun: Instant::now(),
        }
    }

    /// How many columns the terminal has that progress is drawn on.
    pub(super) fn columns(&self) -> u16 {
        const USUAL: u16 = 80;
        let size = rustix::termios::tcgetwinsize(io::stderr());
        size.map_or(USUAL, |size| if size.ws_col == 0 || size.ws_row == 0 { USUAL } else { size.ws_col })
    }

    /// The last words of a process that a signal ends.
    pub(super) fn interrupted(&self, signal: i32) {
        if !self.mode.quiet {
            self.note("Interrupted");
        }
        let _ = self.object(
            &serde_json::json!({"event": "interrupted", "exit_code": 128 + signal, "signal": signal}),
        );
    }

    /// A result for people; nothing with `--json` or `--quiet`.
    pub(super) fn result(&self, text: &str) -> Result<(), Failure> {
        if self.mode.json || self.mode.quiet { Ok(()) } else { written(print(text)) }
    }

    /// A result that was asked for, so that `--quiet` doesn't hide it; nothing with `--json`.
    pub(super) fn answer(&self, text: &str) -> Result<(), Failure> {
        if self.mode.json { Ok(()) } else { written(print(text)) }
    }

    /// A result for programs: one line; nothing without `--json`.
    pub(super) fn object(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        if !self.mode.json {
            return Ok(());
        }
        // Times are taken in the order of the lines.
        let mut stdout = io::stdout().lock();
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Nothing that leanfs prints has a map whose keys are no strings.
        let line = serde_json::to_string(&Timed { value, ms }).expect("events and results are JSON");
        let mut print = || {
            // JSON has escapes of its own.
            stdout.write_all(json_shown(&line).as_bytes())?;
            stdout.write_all(b"\n")?;
            stdout.flush()
        };
        written(print())
    }

    /// One line on stderr. That nobody reads stderr is no reason to stop.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", escaped(text));
    }

    /// One line on stderr whose outside texts are escaped already.
    pub(super) fn note_verbatim(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A line on stderr that should be seen.
    pub(super) fn warning(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", self.warning_line(text));
    }

    /// The text of [`Terminal::warning`].
    pub(super) fn warning_line(&self, text: &str) -> String {
        format!("{} {}", self.painted("33;1", "Warning:"), escaped(text))
    }

    /// `Error:`, `Caused by:` and `Hint:` on stderr.
    pub(super) fn error_block(&self, texts: &[String], hint: Option<&str>) {
        let mut block = String::new();
        for (index, text) in texts.iter().enumerate() {
            let label =
                if index == 0 { self.painted("31;1", "Error:") } else { self.painted("1", "Caused by:") };
            block += &format!("{label} {}\n", indented(&escaped(text)));
        }
        if let Some(hint) = hint {
            block += &format!("{} {}\n", self.painted("36;1", "Hint:"), indented(&escaped(hint)));
        }
        let _ = io::stderr().lock().write_all(block.as_bytes());
    }

    fn painted(&self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(escaped(text).as_bytes())?;
    stdout.flush()
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::unmet(super::failure::Because::new("stdout can't be written to", error)),
    })
}

/// Hidden characters other than newlines and tabs as `\u{1b}`, so that no text moves the cursor.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => escaped.push(c),
            c => push_shown(&mut escaped, c),
        }
    }
    escaped
}

/// As [`escaped`], but sequences that only set colours and weights (`\x1b[1;31m`) stay: the worst that one of somebody else
/// can do is to change those.
pub(super) fn escaped_but_styles(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut all = escaped(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        match part[end..].strip_prefix('m') {
            Some(rest) => all.push_str(&format!("\x1b[{}m{}", &part[..end], escaped(rest))),
            None => all.push_str(&escaped(&format!("\x1b[{part}"))),
        }
    }
    all
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

/// A size for people: `8.12 MB`, with MB = 10^6 bytes.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_cursor() {
        assert_eq!(escaped("a\tb\nc"), "a\tb\nc");
        assert_eq!(escaped("\x1b[31mred\r\u{9b}x\u{202e}"), "\\u{1b}[31mred\\u{d}\\u{9b}x\\u{202e}");
        assert_eq!(escaped("grün ✓"), "grün ✓");
    }

    #[test]
    fn styles_stay_and_nothing_else() {
        assert_eq!(escaped_but_styles("\x1b[1;31merror\x1b[0m: x"), "\x1b[1;31merror\x1b[0m: x");
        assert_eq!(escaped_but_styles("a\x1b[2J\x1b]0;b\x07"), "a\\u{1b}[2J\\u{1b}]0;b\\u{7}");
        assert_eq!(escaped_but_styles("\x1b["), "\\u{1b}[");
    }

    #[test]
    fn sizes() {
        assert_eq!(megabytes(0), "0.00 MB");
        assert_eq!(megabytes(8_124_999), "8.12 MB");
    }
}
