//! A trace: which files of an image a release opened while it ran, for an image that keeps those.
//!
//! The file is TOML with three keys, none of which may be missing:
//!
//! ```toml
//! release = "hello 0.1.0"
//! modules = [
//!     "Elixir.Hello",
//!     "application_controller",
//! ]
//! files = [
//!     "/app/lib/hello-0.1.0/priv/greeting.txt",
//! ]
//! ```
//!
//! - `release`: name and version of the release that ran, as in its `.rel` file. It tells a reader what the trace is of;
//!   a trace of another version may serve as well.
//! - `modules`: the BEAM modules whose files were opened: the files' names without `.beam`.
//! - `files`: every other file that was opened, as [`FileInfo::path`](super::manifest::FileInfo::path) names it.
//!
//! What is written is sorted, one entry a line, and a function of what was opened: no time, no path of the machine, no
//! order of events. What is read may stand in any order, so that a trace can be edited, merged and kept beside the
//! project's sources.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use crate::recipe::file::{place, printable};

/// What a release opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Name and version of the release, with a space between them.
    pub release: String,
    /// Names of BEAM modules.
    pub modules: BTreeSet<String>,
    /// Absolute paths of other files, as in [`FileInfo::path`](super::manifest::FileInfo::path).
    pub files: BTreeSet<String>,
}

/// What is wrong in a trace, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TraceError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What was found, and what may stand there.
    pub message: String,
}

/// How the names of files with BEAM modules end.
const MODULE_SUFFIX: &str = ".beam";

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// The first thing that is no TOML, an unknown key, a missing one, or a value that can't stand there.
    ///
    /// ```
    /// use leanfs::report::trace::Trace;
    /// let trace = Trace::parse("release = 'hello 0.1.0'\nmodules = ['lists']\nfiles = []\n")?;
    /// assert!(trace.modules.contains("lists"));
    /// # Ok::<(), leanfs::report::trace::TraceError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let wrong = |range, message: &str| {
            let (line, column) = place(text, range);
            TraceError { line, column, message: printable(message) }
        };
        let file: TraceFile = toml::from_str(text).map_err(|error| wrong(error.span(), error.message()))?;
        let entries = |entries: Vec<Spanned<String>>, refused: fn(&str) -> Option<&'static str>| {
            let checked = entries.into_iter().map(|entry| match refused(entry.get_ref()) {
                Some(why) => Err(wrong(Some(entry.span()), &format!("{:?} {why}", entry.get_ref()))),
                None => Ok(entry.into_inner()),
            });
            checked.collect::<Result<BTreeSet<String>, TraceError>>()
        };
        Ok(Self {
            release: file.release,
            modules: entries(file.modules, no_module)?,
            files: entries(file.files, no_file)?,
        })
    }

    /// The text of the file; [`Trace::parse`] gives the same trace back.
    pub fn to_text(&self) -> String {
        let string = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let list = |entries: &BTreeSet<String>| {
            let lines: String = entries.iter().map(|entry| format!("    {},\n", string(entry))).collect();
            if lines.is_empty() { "[]".to_owned() } else { format!("[\n{lines}]") }
        };
        format!(
            "# What this release opened while `leanfs verify --trace` watched it.\n\
             # `leanfs assemble --trace` keeps it, and what it needs.\n\
             release = {}\nmodules = {}\nfiles = {}\n",
            string(&self.release),
            list(&self.modules),
            list(&self.files),
        )
    }

    /// Adds a file that was opened, by its path in the manifest: a module, or another file.
    pub(crate) fn add(&mut self, path: &str) {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.strip_suffix(MODULE_SUFFIX).filter(|module| !module.is_empty()) {
            Some(module) => self.modules.insert(module.to_owned()),
            None => self.files.insert(path.to_owned()),
        };
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceFile {
    release: String,
    modules: Vec<Spanned<String>>,
    files: Vec<Spanned<String>>,
}

/// What keeps an entry from being the name of a module.
fn no_module(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.contains(['/', '\0']) {
        Some("is no module: it is the name of its file without .beam")
    } else if name.ends_with(MODULE_SUFFIX) {
        Some("is no module: it stands here without .beam")
    } else {
        None
    }
}

/// What keeps an entry from being the path of a file.
fn no_file(path: &str) -> Option<&'static str> {
    (!path.starts_with('/')).then_some("is no file of an image: its path begins with /")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trace(paths: &[&str]) -> Trace {
        let mut trace = Trace { release: "hello 0.1.0".to_owned(), ..Trace::default() };
        paths.iter().for_each(|path| trace.add(path));
        trace
    }

    #[test]
    fn the_text_is_sorted_and_a_line_an_entry() {
        let trace = trace(&[
            "/usr/lib/erlang/lib/stdlib-6.2/ebin/lists.beam",
            "/app/lib/hello-0.1.0/ebin/Elixir.Hello.beam",
            "/app/lib/hello-0.1.0/priv/a \"b\".txt",
            "/app/lib/hello-0.1.0/priv/.beam",
            "/app/releases/0.1.0/start.boot",
            "/app/lib/copy/ebin/lists.beam",
        ]);
        let expected = r#"# What this release opened while `leanfs verify --trace` watched it.
# `leanfs assemble --trace` keeps it, and what it needs.
release = "hello 0.1.0"
modules = [
    "Elixir.Hello",
    "lists",
]
files = [
    "/app/lib/hello-0.1.0/priv/.beam",
    '/app/lib/hello-0.1.0/priv/a "b".txt',
    "/app/releases/0.1.0/start.boot",
]
"#;
        assert_eq!(trace.to_text(), expected);
        assert_eq!(Trace::parse(expected), Ok(trace));
        assert_eq!(Trace::parse(&Trace::default().to_text()), Ok(Trace::default()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let valid = "release = \"a 1\"\nmodules = [\"lists\"]\nfiles = []\n";
        Trace::parse(valid).expect("it is right");
        for (from, to, expected) in [
            ("files = []", "", "1:1: missing field `files`"),
            ("files = []", "files = []\nx = 1", "4:1: unknown field `x`, expected one of `release`"),
            ("files = []", "files = [\"a/b\"]", "3:10: \"a/b\" is no file of an image"),
            ("\"lists\"", "\"lists\",\n  7", "3:3: invalid type: integer `7`, expected a string"),
            (
                "\"lists\"",
                "\"x\", \"lists.beam\"",
                "2:17: \"lists.beam\" is no module: it stands here without .beam",
            ),
            ("\"lists\"", "\"\"", "2:12: \"\" is no module"),
            ("\"lists\"", "\"a/b\"", "2:12: \"a/b\" is no module"),
            ("\"lists\"", "lists", "2:12: "),
            ("\"a 1\"", "\"a 1", "1:"),
            ("\"a 1\"", "\"a 1\"\n\"\\u001b\" = 1", "2:1: unknown field `\\u{1b}`"),
        ] {
            let text = valid.replace(from, to);
            let error = Trace::parse(&text).expect_err(&text).to_string();
            assert!(error.starts_with(expected), "{text:?}\n gives {error}\n  want {expected}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            release in ".*",
            names in prop::collection::btree_set("[^/\0]{1,40}", 0..8),
            paths in prop::collection::btree_set("/.{0,60}", 0..8),
        ) {
            let modules = names.into_iter().filter(|name| !name.ends_with(MODULE_SUFFIX)).collect();
            let trace = Trace { release, modules, files: paths };
            prop_assert_eq!(Trace::parse(&trace.to_text()), Ok(trace));
        }
    }
}
