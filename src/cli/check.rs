//! `leanfs check`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use leanfs::check::{CheckError, CheckReport, SignatureState, check};
use leanfs::report::bytes::grouped;
use leanfs::report::manifest::Manifest;
use leanfs::report::signature::VerifyingKey;

use super::failure::{Because, Exit, Failure};
use super::table::{Table, count};
use super::terminal::{OutputMode, Terminal};

/// A public key has 113 bytes.
const MOST_KEY_BYTES: u64 = 64 * 1024;

/// Check that what was assembled is what manifest.json says, and its signature, without starting it
///
/// Sizes and SHA-256 of all outputs are compared; what manifest.json doesn't name is left alone. With --key manifest.json must
/// have been signed (`leanfs assemble --sign-manifest`) by one of the keys. Exit code 3 says that something differs.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// An Ed25519 key (PEM) that may have signed manifest.json, or a directory of keys (*.pem, *.pub); repeatable
    #[arg(long = "key", value_name = "FILE|DIR")]
    keys: Vec<PathBuf>,
    /// How many files at a time [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print only what differs
    #[arg(short, long)]
    quiet: bool,
}

impl CheckArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, quiet: self.quiet, verbose: false }
    }

    fn directory(&self) -> &Path {
        match self.directory.parent() {
            Some(parent) if self.directory.ends_with(Manifest::FILE_NAME) && self.directory.is_file() => {
                if parent.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    parent
                }
            }
            _ => &self.directory,
        }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let keys = load_keys(&self.keys)?;
        let jobs =
            self.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, Into::into), Into::into);
        let directory = self.directory();
        let report = check(directory, &keys, jobs)?;
        match problems(directory, &report) {
            None => {
                terminal.object(&Line { event: "result", exit_code: 0, report: &report })?;
                terminal.result(&render(&report))
            }
            Some(text) => {
                let details = serde_json::to_value(&report).unwrap_or_default();
                Err(Failure::new(Exit::Unverified, text).hinted(hint(&report)).detailed(details))
            }
        }
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(flatten)]
    report: &'a CheckReport,
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        let hint = error.hint();
        Self::unmet(error).hinted(hint)
    }
}

/// The keys in files, and in directories of files.
fn load_keys(paths: &[PathBuf]) -> Result<Vec<VerifyingKey>, Failure> {
    let unreadable =
        |path: &Path, error| Failure::usage(Because::new(format!("{} can't be read", path.display()), error));
    let mut keys = Vec::new();
    for path in paths {
        let mut files = vec![path.clone()];
        if path.is_dir() {
            files.clear();
            for entry in fs_err::read_dir(path).map_err(|error| unreadable(path, error))? {
                let file = entry.map_err(|error| unreadable(path, error))?.path();
                if file.extension().is_some_and(|extension| extension == "pem" || extension == "pub") {
                    files.push(file);
                }
            }
            files.sort();
            if files.is_empty() {
                return Err(Failure::usage(format!("{} holds no key: *.pem or *.pub", path.display())));
            }
        }
        for file in files {
            let size = fs_err::metadata(&file).map_err(|error| unreadable(&file, error))?.len();
            if size > MOST_KEY_BYTES {
                return Err(Failure::usage(format!("{} is larger than any key", file.display())));
            }
            let pem = fs_err::read(&file).map_err(|error| unreadable(&file, error))?;
            keys.push(VerifyingKey::from_pem(&pem).map_err(|error| {
                let hint = error.hint();
                Failure::usage(Because::new(format!("{} is no key to check with", file.display()), error))
                    .hinted(hint)
            })?);
        }
    }
    Ok(keys)
}

/// What differs, if anything does.
fn problems(directory: &Path, report: &CheckReport) -> Option<String> {
    let shown = directory.display();
    match report.signature {
        SignatureState::Missing => return Some(format!("{shown}: manifest.json is not signed")),
        SignatureState::Wrong => {
            return Some(format!("{shown}: manifest.json is not what was signed, or another key signed it"));
        }
        _ => {}
    }
    let bad: Vec<_> = report.outputs.iter().filter(|output| !output.problems.is_empty()).collect();
    if bad.is_empty() {
        return None;
    }
    let of = count(report.outputs.len(), "output", "outputs");
    let verb = if bad.len() == 1 { "is" } else { "are" };
    let mut text = format!("{shown}: {} of {of} {verb} not what manifest.json says", bad.len());
    for problem in bad.iter().flat_map(|output| &output.problems) {
        let _ = write!(text, "\n{}: {}", problem.file, problem.what);
    }
    Some(text)
}

fn hint(report: &CheckReport) -> String {
    if report.signature.is_wrong() {
        "nothing that manifest.json says was looked at; assemble again with --sign-manifest, or give the key that signed"
            .to_owned()
    } else {
        "assemble again, or fetch the files again from where they came (a file system that a machine has written to \
         differs, too)"
            .to_owned()
    }
}

fn render(report: &CheckReport) -> String {
    let mut table = Table::new(&["", "size", ""]);
    for output in &report.outputs {
        let state = if output.hashed { "as manifest.json says" } else { "size only: it has no hash" };
        table.line(vec![output.name.clone(), grouped(output.size), state.to_owned()]);
    }
    let signature = match &report.signature {
        SignatureState::Valid { key } => format!("signed by the key sha256:{key}"),
        SignatureState::Unchecked => "signed; --key checks by whom".to_owned(),
        SignatureState::None | SignatureState::Missing | SignatureState::Wrong => "not signed".to_owned(),
    };
    format!("{}\nmanifest.json is {signature}\n", table.render(0))
}
