//! Attacks: by who owns a mirror, the network, or the account of a package's author.

mod archives;
mod indexes;
mod keys;
mod mirrors;
mod names;
mod packages;

use std::path::Path;

use leanfs::arch::Arch;
use leanfs::fetch::{FetchError, FetchSettings, Fetcher};
use leanfs::recipe::Repository;
use leanfs::report::Event;

use crate::fetch::{Recorder, quick};
use crate::repo::public_key;

/// Settings of somebody who trusts the key of the tests.
fn trusting(cache: &Path) -> FetchSettings {
    FetchSettings { keys: vec![public_key()], ..quick(cache) }
}

/// Fetches index and packages of one repository; gives the warnings.
fn fetch(settings: FetchSettings, repository: &Repository) -> Result<Vec<String>, FetchError> {
    let recorder = Recorder::default();
    let fetcher = Fetcher::new(settings, &recorder)?;
    let index = fetcher.index(repository, Arch::X86_64)?;
    let wanted: Vec<_> = index.index().entries.iter().map(|entry| (&index, entry)).collect();
    fetcher.packages(&wanted, &|_, _| true)?;
    let warning = |event| match event {
        Event::Warning { text } => Some(text),
        _ => None,
    };
    Ok(recorder.events().into_iter().filter_map(warning).collect())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).expect("to memory");
    encoder.finish().expect("to memory")
}
