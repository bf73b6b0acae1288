//! Errors on their way out: the text, what to do about it, and the exit code.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use leanfs::os_error;

use super::terminal::Terminal;

/// The exit codes beside 0. A run that is interrupted ends by its signal, which shells show as 130.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// What was asked can't be done.
    Unmet = 1,
    /// It was asked in a way that makes no sense.
    Usage = 2,
    /// A signature or a hash is wrong.
    Unverified = 3,
    /// Something could not be fetched.
    Network = 4,
    /// leanfs itself is wrong.
    Bug = 70,
}

/// Why a verb ends early.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is told to the user.
    Told {
        /// The exit code.
        exit: Exit,
        /// What is wrong.
        error: Box<dyn Error + Send + Sync>,
        /// What to do about it.
        hint: Option<String>,
        /// More about it for programs.
        details: Option<serde_json::Value>,
    },
    /// A signal told leanfs to end, and it has tidied up.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// Nobody reads the output any more, which is their right.
    BrokenPipe,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Told { exit, error: error.into(), hint: None, details: None }
    }

    pub(super) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    pub(super) fn unmet(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Unmet, error)
    }

    /// A file that was named and can't be read: by a mistake in its name, or because the machine doesn't let it.
    pub(super) fn unreadable(path: &Path, error: io::Error) -> Self {
        let exit = if os_error::hint(&error).is_some() { Exit::Unmet } else { Exit::Usage };
        Self::new(exit, Because::new(format!("{} can't be read", path.display()), error))
    }

    /// The same, with what it means first.
    pub(super) fn under(self, what: String) -> Self {
        match self {
            Self::Told { exit, error, hint, details } => {
                let hint = hint.or_else(|| os_error::hint(error.as_ref()).map(str::to_owned));
                Self::Told { exit, error: Box::new(Because::new(what, Cause(error))), hint, details }
            }
            other => other,
        }
    }

    pub(super) fn hinted(mut self, text: impl Into<Option<String>>) -> Self {
        if let Self::Told { hint, .. } = &mut self {
            *hint = text.into();
        }
        self
    }

    /// With what `--json` has as `details`.
    pub(super) fn detailed(mut self, value: serde_json::Value) -> Self {
        if let Self::Told { details, .. } = &mut self {
            *details = Some(value);
        }
        self
    }

    /// Tells it, on stderr and, with `--json`, as the last object on stdout.
    pub(super) fn tell(&self, terminal: &Terminal) -> ExitCode {
        let (exit, error, hint, details) = match self {
            Self::Told { exit, error, hint, details } => (exit, error, hint, details),
            // As shells show it: 130 for Ctrl-C.
            Self::Interrupted { signal } => return ExitCode::from(u8::try_from(128 + signal).unwrap_or(255)),
            Self::BrokenPipe => return ExitCode::SUCCESS,
        };
        let texts = chain(error.as_ref());
        let hint = hint.clone().or_else(|| os_error::hint(error.as_ref()).map(str::to_owned));
        terminal.error_block(&texts, hint.as_deref());
        // When stdout is gone there is still stderr and the exit code.
        let object = serde_json::json!({
            "event": "error",
            "exit_code": *exit as u8,
            "error": texts[0],
            "causes": texts[1..],
            "hint": hint,
            "details": details,
        });
        let _ = terminal.object(&object);
        ExitCode::from(*exit as u8)
    }
}

impl From<leanfs::recipe::SettingsError> for Failure {
    fn from(error: leanfs::recipe::SettingsError) -> Self {
        let hint = error.hint();
        Self::usage(error).hinted(hint)
    }
}

impl From<leanfs::recipe::file::RecipeFileError> for Failure {
    fn from(error: leanfs::recipe::file::RecipeFileError) -> Self {
        Self::usage(error)
    }
}

impl From<leanfs::AssembleError> for Failure {
    fn from(error: leanfs::AssembleError) -> Self {
        use leanfs::assemble::FailureKind as Kind;
        use leanfs::kernel::build::BuildError;
        if let leanfs::AssembleError::KernelBuild(BuildError::Interrupted { signal }) = error {
            return Self::Interrupted { signal };
        }
        let exit = match error.kind() {
            Kind::Unmet => Exit::Unmet,
            Kind::Usage => Exit::Usage,
            Kind::Unverified => Exit::Unverified,
            Kind::Network => Exit::Network,
            Kind::Bug => Exit::Bug,
        };
        let hint = error.hint();
        Self::new(exit, error).hinted(hint)
    }
}

impl From<leanfs::report::manifest::ManifestError> for Failure {
    fn from(error: leanfs::report::manifest::ManifestError) -> Self {
        let hint = error.hint();
        Self::unmet(error).hinted(hint)
    }
}

impl From<leanfs::fetch::FetchError> for Failure {
    fn from(error: leanfs::fetch::FetchError) -> Self {
        use leanfs::fetch::FetchErrorKind as Kind;
        let exit = match error.kind() {
            Kind::Unverified => Exit::Unverified,
            Kind::Network => Exit::Network,
            Kind::Settings => Exit::Usage,
            _ => Exit::Unmet,
        };
        let hint = error.hint();
        Self::new(exit, error).hinted(hint)
    }
}

/// The error and its causes, without those that only repeat the end of the text before.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !texts.last().is_some_and(|before| before.ends_with(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    texts
}

/// A boxed error as one that can be a cause.
#[derive(Debug)]
struct Cause(Box<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// A text as an error with a cause.
#[derive(Debug)]
pub(super) struct Because<E> {
    what: String,
    cause: E,
}

impl<E> Because<E> {
    pub(super) fn new(what: impl Into<String>, cause: E) -> Self {
        Self { what: what.into(), cause }
    }
}

impl<E> fmt::Display for Because<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl<E: Error + 'static> Error for Because<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_not_repeated() {
        let error = Because::new("outer", Because::new("inner: disk full", io::Error::other("disk full")));
        assert_eq!(chain(&error), ["outer", "inner: disk full"]);
        let error = Because::new("outer", Because::new("inner", io::Error::other("disk full")));
        assert_eq!(chain(&error), ["outer", "inner", "disk full"]);
    }
}
