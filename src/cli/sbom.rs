//! `leanfs sbom`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use leanfs::report::manifest::ManifestFile;
use leanfs::report::sbom::{SbomFormat, sbom};
use leanfs::text::json_shown;

use super::failure::{Because, Failure};
use super::output_file::write_whole;
use super::terminal::{OutputMode, Terminal};

/// List what an image is made of, with licences, for those who look for vulnerabilities (SBOM)
///
/// Packages, the kernel, the applications of Erlang/OTP, Elixir and the release, and what belongs to none of these. What pruning
/// left nothing of is marked: `scope: excluded` in CycloneDX, an annotation in SPDX. Which applications are packages of Hex is
/// known where `assemble` took the project's own release and found its mix.lock or rebar.lock. The same manifest always
/// gives the same bytes.
#[derive(Debug, Args)]
pub(super) struct SbomArgs {
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// cyclonedx (1.6, JSON) or spdx (2.3, JSON)
    #[arg(long, value_enum, value_name = "NAME", hide_possible_values = true)]
    format: FormatWord,
    /// Whose the packages are that no key of Alpine vouches for, for their package URLs [default: they get none]
    #[arg(long, value_name = "NAME", value_parser = distribution)]
    distribution: Option<String>,
    /// Write it to FILE [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// [`SbomFormat`] as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatWord {
    Cyclonedx,
    Spdx,
}

/// `alpine`, `wolfi`: a segment of a package URL.
fn distribution(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    match !text.is_empty() && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => Err("small letters, digits, dashes, underscores and dots are allowed".to_owned()),
    }
}

impl SbomArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode::default()
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let file = ManifestFile::read(&self.directory)?;
        let format = match self.format {
            FormatWord::Cyclonedx => SbomFormat::CycloneDx,
            FormatWord::Spdx => SbomFormat::Spdx,
        };
        let document = sbom(&file.parse()?, &file.bytes, format, self.distribution.as_deref());
        write_document(&document, self.output.as_deref(), terminal)
    }
}

/// Writes JSON with indentation, to a file or to stdout; characters that steer terminals are escaped.
pub(super) fn write_document(
    document: &serde_json::Value,
    output: Option<&std::path::Path>,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let text = json_shown(&format!("{document:#}\n"));
    let Some(path) = output else { return terminal.answer(&text) };
    let failed = |error| Failure::unmet(Because::new(format!("{} can't be written", path.display()), error));
    write_whole(path, |file| file.write_all(text.as_bytes()).map_err(failed)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_distributions() {
        for (text, good) in
            [("alpine", true), ("a-1_b.c", true), ("", false), ("Alpine", false), ("a/b", false)]
        {
            assert_eq!(distribution(text).is_ok(), good, "{text}");
        }
    }
}
