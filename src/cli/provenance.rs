//! `leanfs provenance`.

use std::path::PathBuf;

use clap::Args;
use leanfs::report::manifest::ManifestFile;
use leanfs::report::provenance::{provenance, without_hash};

use super::failure::Failure;
use super::sbom::write_document;
use super::terminal::{OutputMode, Terminal};

/// State which inputs an image was made from (in-toto, SLSA provenance v1)
///
/// The statement is about the outputs, by their SHA-256; its dependencies are the release, packages, Erlang/OTP, kernel and
/// leanfs.toml, with their hashes. It is not signed: `openssl`, `cosign` and others do that. The same manifest always gives
/// the same bytes.
#[derive(Debug, Args)]
pub(super) struct ProvenanceArgs {
    /// What was assembled: a directory with manifest.json, or that file
    #[arg(value_name = "DIR", default_value = "leanfs")]
    directory: PathBuf,
    /// Who or what ran leanfs, as SLSA's `builder.id` [default: leanfs itself, pkg:cargo/leanfs@VERSION]
    #[arg(long, value_name = "URI", value_parser = uri)]
    builder: Option<String>,
    /// Write it to FILE [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A URI with its scheme (RFC 3986, section 3).
fn uri(text: &str) -> Result<String, String> {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let good = |c: char| c.is_ascii_graphic() && !"<>\"{}|\\^`".contains(c);
    match text.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) && !rest.is_empty() && text.chars().all(good) => {
            Ok(text.to_owned())
        }
        _ => Err("a URI with its scheme is wanted, as https://ci.example/builder".to_owned()),
    }
}

impl ProvenanceArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode::default()
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let file = ManifestFile::read(&self.directory)?;
        let manifest = file.parse()?;
        for name in without_hash(&manifest) {
            terminal.warning(&format!("{name} has no hash in manifest.json: the statement is not about it"));
        }
        let document = provenance(&manifest, &file.bytes, self.builder.as_deref());
        write_document(&document, self.output.as_deref(), terminal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        for (text, good) in [
            ("https://ci.example/run/1?a=b", true),
            ("pkg:cargo/leanfs@0.1.0", true),
            ("ci.example", false),
            ("https:", false),
            (":x", false),
            ("1a:x", false),
            ("a:b c", false),
            ("", false),
        ] {
            assert_eq!(uri(text).is_ok(), good, "{text}");
        }
    }
}
