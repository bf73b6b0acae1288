//! How wide the parts of a line of progress are, so that each fits into the terminal.

/// Templates of indicatif, with the keys `rate` and `left` of [`super::bars`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The stage that is under way, where it is not known how much there is to do.
    pub(super) stage: String,
    /// The same where that is known.
    pub(super) stage_of: String,
    /// A file whose size is not known.
    pub(super) file: String,
    /// The same where it is known.
    pub(super) file_of: String,
    /// A file that has everything that goes into it; a compressor may still have most of it to do.
    pub(super) file_end: String,
}

/// A part of a template, and how many columns it takes.
type Part = (&'static str, usize);

const BYTES: Part = (" {decimal_bytes:>9}", 10);
const OF: Part = (" of {decimal_total_bytes:9}", 13);
const RATE: Part = (" {rate:>11}", 12);
const LEFT: Part = (" {left:>11}", 12);
const PERCENT: Part = (" {percent:>3}%", 5);
const END: Part = (" finishing ({elapsed})", 18);
const LONG_BAR: Part = (" [{bar:20}]", 23);
const SHORT_BAR: Part = (" [{bar:8}]", 11);

/// The longest names of files, and `Fetching and verifying`.
const MOST_NAME: usize = 32;
const MOST_STAGE: usize = 22;

impl Layout {
    /// For a terminal of so many columns.
    pub(super) fn new(columns: u16) -> Self {
        // A character in the last column makes some terminals begin a new line.
        let columns = usize::from(columns).saturating_sub(1);
        let (known, unknown): (&[Part], &[Part]) = match columns {
            99.. => (&[LONG_BAR, BYTES, OF, RATE, LEFT], &[BYTES, RATE]),
            75.. => (&[SHORT_BAR, BYTES, OF, LEFT], &[BYTES, RATE]),
            45.. => (&[BYTES, OF], &[BYTES]),
            10.. => (&[PERCENT], &[]),
            _ => (&[], &[]),
        };
        let line = |start: &str, key: &str, most: usize, parts: &[Part]| {
            let (texts, widths): (Vec<&str>, Vec<usize>) = parts.iter().copied().unzip();
            let rest = columns.saturating_sub(2 + widths.iter().sum::<usize>());
            format!("{start}{{{key}:{}!}}{}", rest.clamp(1, most), texts.concat())
        };
        Self {
            stage: match columns {
                // ` (59m)` at most, or so.
                35.. => "{spinner} {msg} ({elapsed})".to_owned(),
                _ => line("{spinner} ", "msg", MOST_STAGE, &[]),
            },
            stage_of: line("{spinner} ", "msg", MOST_STAGE, known),
            file: line("  ", "prefix", MOST_NAME, unknown),
            file_of: line("  ", "prefix", MOST_NAME, known),
            file_end: line("  ", "prefix", MOST_NAME, if columns > 30 { &[END] } else { &[] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many columns a template takes: its text, and the widths of its keys.
    fn width(template: &str) -> usize {
        let mut parts = template.split(['{', '}']);
        let mut width = 0;
        while let Some(text) = parts.next() {
            width += text.len();
            let Some(key) = parts.next() else { break };
            width += match key.split_once(':') {
                Some((_, width)) => width.trim_matches(['>', '!']).parse().expect("a width"),
                None => match key {
                    "spinner" => 1,
                    "msg" => MOST_STAGE,
                    "elapsed" => 5,
                    _ => panic!("{key} has no width"),
                },
            };
        }
        width
    }

    #[test]
    fn every_line_fits() {
        for columns in 4..300 {
            let Layout { stage, stage_of, file, file_of, file_end } = Layout::new(columns);
            for template in [stage, stage_of, file, file_of, file_end] {
                assert!(width(&template) < usize::from(columns), "{columns}: {template:?}");
            }
        }
        let wide = Layout::new(120);
        assert_eq!(
            wide.file_of,
            "  {prefix:32!} [{bar:20}] {decimal_bytes:>9} of {decimal_total_bytes:9} {rate:>11} {left:>11}"
        );
        assert_eq!(Layout::new(20).file_of, "  {prefix:12!} {percent:>3}%");
    }
}
