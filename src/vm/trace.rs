//! What PID 1 says about opened files. Its lines stand between the application's on the console; what they are is
//! described in [`crate::layer::init_conf`].

use std::collections::BTreeSet;

use super::VmError;
use super::console::shown;
use crate::report::trace::Trace;
use crate::tree::TreePath;

/// What each line begins with.
pub(super) const MARK: &[u8] = b"leanfs-trace: ";

/// The word that asks PID 1 for a trace, on the kernel's command line.
pub(super) const REQUEST: &str = "leanfs.trace=1";

/// What an image holds, as far as a trace needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Name and version of the release.
    pub(super) release: String,
    /// Whether modules were pruned from it.
    pub(super) lacks_modules: bool,
    /// The paths of its regular files, as in the manifest.
    pub(super) files: BTreeSet<String>,
}

/// The lines that have come.
#[derive(Debug, Default)]
pub(super) struct TraceLines {
    /// Whether PID 1 watches.
    ready: bool,
    /// Opened files in the order in which they were opened.
    opened: Vec<Vec<u8>>,
    problem: Option<Problem>,
}

/// Why there is no trace, or none that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// PID 1 can't watch; why.
    Failed(String),
    /// The kernel's queue was full.
    Lost,
    /// A line that is not as it was written, or that follows one that never came.
    Damaged(String),
}

impl TraceLines {
    /// Takes what stands behind [`MARK`] in a line.
    pub(super) fn take(&mut self, said: &[u8]) {
        let problem = match said {
            b"ready" => {
                self.ready = true;
                return;
            }
            b"lost" => Problem::Lost,
            _ => match said.strip_prefix(b"failed: ") {
                Some(why) => Problem::Failed(shown(why)),
                None => match opened(said, self.opened.len() + 1) {
                    Some(path) => {
                        self.ready = true;
                        self.opened.push(path);
                        return;
                    }
                    None => Problem::Damaged(shown(said)),
                },
            },
        };
        // The first is the cause.
        self.problem.get_or_insert(problem);
    }

    /// How many files were said.
    pub(super) fn count(&self) -> usize {
        self.opened.len()
    }

    /// What keeps the trace from being complete, as far as that is known already.
    pub(super) fn check(&self) -> Result<(), VmError> {
        match &self.problem {
            None => Ok(()),
            Some(Problem::Failed(reason)) => Err(VmError::TraceFailed { reason: reason.clone() }),
            Some(Problem::Lost) => Err(VmError::TraceLost),
            Some(Problem::Damaged(line)) => Err(VmError::TraceDamaged { line: line.clone() }),
        }
    }

    /// The trace of a guest that came up.
    pub(super) fn finish(&self, contents: &Contents) -> Result<Trace, VmError> {
        self.check()?;
        if !self.ready {
            return Err(VmError::NotTraced);
        }
        let mut trace = Trace { release: contents.release.clone(), ..Trace::default() };
        // PID 1 also says what stood there when it began and no image brought: /etc/resolv.conf is its own.
        (self.opened.iter())
            .filter_map(|path| Some(TreePath::parse(path).ok()?.to_string()))
            .filter(|path| contents.files.contains(path))
            .for_each(|path| trace.add(&path));
        Ok(trace)
    }
}

/// The path in a line about the file that was opened as the `number`th: `PATH NUMBER`. None for any other line. The
/// number shows that nothing is missing, neither of this line nor before it.
fn opened(said: &[u8], number: usize) -> Option<Vec<u8>> {
    let space = said.iter().rposition(|&byte| byte == b' ')?;
    let (path, rest) = said.split_at(space);
    if rest[1..] != *number.to_string().as_bytes() || !path.starts_with(b"/") {
        return None;
    }
    unescape(path)
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        if byte == b'\\' {
            let [b'x', high, low, behind @ ..] = behind else { return None };
            let digit = |digit: u8| char::from(digit).to_digit(16);
            plain.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
            rest = behind;
        } else {
            plain.push(byte);
            rest = behind;
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(said: &[&str]) -> TraceLines {
        let mut lines = TraceLines::default();
        said.iter().for_each(|said| lines.take(said.as_bytes()));
        lines
    }

    fn contents(files: &[&str]) -> Contents {
        Contents {
            release: "a 1".to_owned(),
            lacks_modules: false,
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        }
    }

    #[test]
    fn opened_files_of_the_image_are_the_trace() {
        let lines = lines(&[
            "ready",
            "/a/ebin/lists.beam 1",
            "/etc/resolv.conf 2",
            "/a/two words/gr\\xc3\\xbcn 3",
            "/a/\\xff\\x1b\\x5cx00 4",
        ]);
        let image = contents(&[
            "/a/ebin/lists.beam",
            "/a/ebin/maps.beam",
            "/a/two words/grün",
            "/a/\\xff\\u{1b}\\x00",
        ]);
        let trace = lines.finish(&image).expect("nothing is wrong");
        assert_eq!(lines.count(), 4);
        assert_eq!(trace.release, "a 1");
        assert_eq!(trace.modules, BTreeSet::from(["lists".to_owned()]));
        assert_eq!(
            trace.files,
            BTreeSet::from(["/a/two words/grün".to_owned(), "/a/\\xff\\u{1b}\\x00".to_owned()])
        );
    }

    #[test]
    fn what_is_missing_is_said() {
        let table: [(&[&str], &str); 12] = [
            (&[], "the image's first program did not trace it"),
            (&["ready", "lost"], "the guest's kernel dropped some"),
            (
                &["failed: inotify: the kernel\x1b", "/a 1"],
                "PID 1 cannot trace it: inotify: the kernel\\u{1b}",
            ),
            (&["ready", "/a 1", "/b 3"], "damaged on the console: /b 3"),
            (&["ready", "/a 1", "/b 1"], "damaged on the console: /b 1"),
            (&["ready", "/a", "/b 1"], "damaged on the console: /a"),
            (&["ready", "/a [ 12.1] kernel"], "damaged on the console: /a [ 12.1] kernel"),
            (&["ready", "/a\\x4 1"], "damaged on the console: /a\\x4 1"),
            (&["ready", "/a\\n 1"], "damaged on the console: /a\\n 1"),
            (&["ready", "a 1"], "damaged on the console: a 1"),
            (&["ready!"], "damaged on the console: ready!"),
            (&["", "lost"], "damaged on the console: "),
        ];
        for (said, expected) in table {
            let error = lines(said).finish(&contents(&["/a", "/b"])).expect_err(expected);
            assert!(error.to_string().contains(expected), "{said:?}: {error}");
        }
        // A first line that was lost is no reason, when what follows shows that there is a trace.
        lines(&["/a 1"]).finish(&contents(&["/a"])).expect("it is complete");
    }
}
