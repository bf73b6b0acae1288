//! `tests/tools/faults.c`, compiled on the spot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Calls that need room, with ENOSPC.
    Full,
    /// Calls that read or write, with EIO.
    Broken,
    /// The program is killed before a call that changes something.
    Kill,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Broken => "broken",
            Self::Kill => "kill",
        }
    }
}

/// Which calls fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The first, from 1.
    pub(super) first: u64,
    /// How many; 0 for all from the first on.
    pub(super) count: u64,
}

/// How a run with faults went.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) output: Output,
    /// How many calls of each kind there were.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// The system call that failed first, and the path that it was about.
    pub(super) failed: Option<(String, String)>,
}

impl Run {
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.calls[kind.name()]
    }
}

/// Makes system calls of a program fail.
pub(super) struct Tool {
    directory: TempDir,
}

impl Tool {
    /// `None` is a visible skip: no compiler, or a kernel or container without seccomp's notifications. In CI it is a
    /// failure.
    pub(super) fn new() -> Option<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/faults.c");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let program = directory.path().join("faults");
        let mut compiler = Command::new("cc");
        let compiled = compiler.args(["-O2", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source).output();
        let missing = match compiled {
            Ok(output) if !output.status.success() => {
                panic!("faults.c: {}", String::from_utf8_lossy(&output.stderr));
            }
            Err(_) => Some("cc is missing".to_owned()),
            Ok(_) => {
                let tool = Self { directory };
                let run = tool.run(None, tool.directory.path(), &mut Command::new("/bin/true"));
                match run.output.status.code() {
                    Some(0) => return Some(tool),
                    _ => Some(String::from_utf8_lossy(&run.output.stderr).into_owned()),
                }
            }
        };
        assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{missing:?} in CI");
        println!("SKIP: no system call can be made to fail here: {}", missing.unwrap_or_default());
        None
    }

    /// Runs a command whose calls below `below` fail.
    pub(super) fn run(&self, fault: Option<Fault>, below: &Path, command: &mut Command) -> Run {
        // Tests of one process may share this.
        let result = tempfile::NamedTempFile::new_in(self.directory.path()).expect("a file");
        let mut all = Command::new(self.directory.path().join("faults"));
        all.arg(result.path());
        match fault {
            None => all.args(["none", "0", "0"]),
            Some(Fault { kind, first, count }) => {
                all.args([kind.name(), &first.to_string(), &count.to_string()])
            }
        };
        all.arg(below).arg("--").arg(absolute(command.get_program())).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            all.current_dir(directory);
        }
        all.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                all.env(name, value);
            }
        }
        let output = all.output().expect("it was compiled");
        let text = fs_err::read_to_string(result.path()).expect("a result");
        let mut run = Run { output, calls: BTreeMap::new(), failed: None };
        for line in text.lines() {
            let (name, rest) = line.split_once(' ').expect("two words");
            if name == "failed" {
                let (call, path) = rest.split_once(' ').expect("a call and a path");
                run.failed = Some((call.to_owned(), path.to_owned()));
            } else {
                let kinds = [Kind::Full, Kind::Broken, Kind::Kill].map(Kind::name);
                let name = kinds.into_iter().find(|kind| *kind == name).expect("a kind");
                run.calls.insert(name, rest.parse().expect("a number"));
            }
        }
        run
    }
}

fn absolute(program: &std::ffi::OsStr) -> PathBuf {
    let path = PathBuf::from(program);
    assert!(path.is_absolute(), "{path:?}");
    path
}
