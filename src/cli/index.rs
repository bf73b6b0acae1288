//! `leanfs index`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use leanfs::apk::adb::index::PackagePath;
use leanfs::apk::adb::write::WriteOptions;
use leanfs::apk::write::{index_package, write_index};
use leanfs::apk::{IndexEntry, adb};

use super::ModeFlags;
use super::failure::{Because, Failure};
use super::output_file::write_whole;
use super::signing::{CompressionFlags, Format, SigningFlags};
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
    /// The file to write [default: APKINDEX.tar.gz, for format v3 Packages.adb]
    #[arg(short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format of the index; one of v3 can name packages of both, one of v2 only its own
    #[arg(long, value_enum, default_value = "v2")]
    format: Format,
    /// Where packages stand below the repository's root, in an index of format v3 [default: as apk has it,
    /// ${arch}/${name}-${version}.apk]
    #[arg(long, value_name = "PATH")]
    pkgname_spec: Option<String>,
    #[command(flatten)]
    compression: CompressionFlags,
    #[command(flatten)]
    signing: SigningFlags,
    #[command(flatten)]
    mode: ModeFlags,
}

impl IndexArgs {
    pub(super) fn mode(&self) -> OutputMode {
        self.mode.mode()
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let key = self.signing.load()?;
        let compression = self.compression.of(self.format)?;
        let package_path = match (&self.pkgname_spec, self.format) {
            (None, _) => None,
            (Some(_), Format::V2) => return Err(Failure::usage("--pkgname-spec is for --format v3")),
            (Some(spec), Format::V3) => Some(PackagePath::parse(spec).map_err(Failure::usage)?),
        };
        let mut entries = Vec::new();
        for path in &self.packages {
            let file = fs_err::File::open(path).map_err(Failure::unmet)?;
            let entry = self.entry(file, path)?;
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
        let output = self.output.clone().unwrap_or_else(|| match self.format {
            Format::V2 => "APKINDEX.tar.gz".into(),
            Format::V3 => "Packages.adb".into(),
        });
        let ((), size) = write_whole(&output, |file| {
            match self.format {
                Format::V2 => write_index(&entries, &self.description, key.as_ref(), file)?,
                Format::V3 => {
                    let options = WriteOptions { key: key.as_ref(), compression };
                    adb::write::write_index(
                        &entries,
                        &self.description,
                        package_path.as_ref(),
                        &options,
                        file,
                    )?;
                }
            }
            Ok(())
        })?;
        let signed_by = key.as_ref().map(|key| key.public().name());
        if signed_by.is_none() {
            terminal.warning("the index is not signed, so leanfs takes it only with --allow-untrusted");
        }
        terminal.object(&serde_json::json!({
            "event": "result",
            "exit_code": 0,
            "file": output.display().to_string(),
            "size": size,
            "packages": entries.iter().map(IndexEntry::full_name).collect::<Vec<_>>(),
            "signed_by": signed_by,
        }))?;
        let signature =
            signed_by.map_or("not signed".to_owned(), |name| format!("signed, {name} verifies it"));
        terminal.result(&format!(
            "{} ({}) with {} packages, {signature}\n",
            output.display(),
            megabytes(size),
            entries.len(),
        ))
    }
}

impl IndexArgs {
    /// The entry of a package of either format.
    fn entry(&self, file: fs_err::File, path: &Path) -> Result<IndexEntry, Failure> {
        let size = file.metadata().map_err(Failure::unmet)?.len();
        let mut reader = BufReader::new(file);
        let is_v3 = adb::write::is_v3(reader.fill_buf().map_err(Failure::unmet)?);
        if is_v3 && self.format == Format::V2 {
            let error = format!("{} is a package of format v3", path.display());
            let hint = "an index of format v3 can name it: --format v3".to_owned();
            return Err(Failure::unmet(error).hinted(hint));
        }
        let entry = match is_v3 {
            true => adb::write::index_package(reader, size),
            false => index_package(&mut reader),
        };
        entry.map_err(|error| {
            let hint = error.hint();
            let what = format!("{} is no whole package", path.display());
            Failure::unmet(Because::new(what, error)).hinted(hint)
        })
    }
}

fn key_of(entry: &IndexEntry) -> (&str, &str, &str) {
    (&entry.name, &entry.version, &entry.arch)
}
