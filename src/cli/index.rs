//! `leanfs index`.

use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use leanfs::apk::IndexEntry;
use leanfs::apk::write::{index_package, write_index};

use super::failure::{Because, Failure};
use super::output_file::write_whole;
use super::signing::SigningFlags;
use super::terminal::{OutputMode, Terminal, megabytes};

/// Make a repository's index of packages
///
/// The index and the packages that it names make a repository when they stand together in a directory with the name
/// of their architecture.
#[derive(Debug, Args)]
pub(super) struct IndexArgs {
    /// Packages
    #[arg(value_name = "FILE", required = true)]
    packages: Vec<PathBuf>,
    /// What the repository is called
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// The file to write
    #[arg(short = 'o', value_name = "FILE", default_value = "APKINDEX.tar.gz")]
    output: PathBuf,
    #[command(flatten)]
    signing: SigningFlags,
    /// Print a JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl IndexArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, ..OutputMode::default() }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let key = self.signing.load()?;
        let mut entries = Vec::new();
        for path in &self.packages {
            let failed = |error| Because::new(format!("{} is no whole package", path.display()), error);
            let file = fs_err::File::open(path).map_err(Failure::unmet)?;
            let entry = index_package(&mut BufReader::new(file)).map_err(|error| {
                let hint = error.hint();
                Failure::unmet(failed(error)).hinted(hint)
            })?;
            let wanted = format!("{}.apk", entry.full_name());
            if path.file_name() != Some(wanted.as_ref()) {
                terminal.warning(&format!(
                    "{}: apk and leanfs will look for this package as {wanted}",
                    path.display()
                ));
            }
            entries.push(entry);
        }
        // So that the index doesn't depend on the order of the arguments.
        entries.sort_by(|a, b| key_of(a).cmp(&key_of(b)));
        if let Some(twice) = entries.windows(2).find(|pair| key_of(&pair[0]) == key_of(&pair[1])) {
            return Err(Failure::usage(format!("{} is given twice", twice[0].full_name())));
        }
        let ((), size) = write_whole(&self.output, |file| {
            Ok(write_index(&entries, &self.description, key.as_ref(), file)?)
        })?;
        let signed_by = key.as_ref().map(|key| key.public().name());
        if signed_by.is_none() {
            terminal.warning("the index is not signed, so leanfs takes it only with --allow-untrusted");
        }
        terminal.object(&serde_json::json!({
            "event": "result",
            "exit_code": 0,
            "file": self.output.display().to_string(),
            "size": size,
            "packages": entries.iter().map(IndexEntry::full_name).collect::<Vec<_>>(),
            "signed_by": signed_by,
        }))?;
        let signature =
            signed_by.map_or("not signed".to_owned(), |name| format!("signed, {name} verifies it"));
        terminal.result(&format!(
            "{} ({}) with {} packages, {signature}\n",
            self.output.display(),
            megabytes(size),
            entries.len(),
        ))
    }
}

fn key_of(entry: &IndexEntry) -> (&str, &str, &str) {
    (&entry.name, &entry.version, &entry.arch)
}
