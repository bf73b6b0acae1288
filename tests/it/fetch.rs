//! Downloads, the cache, and the chain of trust.

mod downloads;
mod shared;
mod sharing;
mod trust;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use leanfs::fetch::{FetchSettings, Fetcher};
use leanfs::recipe::InputLimits;
use leanfs::report::{Event, Reporter};

/// Keeps all events.
#[derive(Default)]
pub(crate) struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("no thread panicked").clone()
    }

    /// How many events fit.
    pub(crate) fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.events().iter().filter(|event| fits(event)).count()
    }
}

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.events.lock().expect("no thread panicked").push(event);
    }
}

/// Limits of somebody who doesn't wait long.
pub(crate) fn quick_limits() -> InputLimits {
    let mut limits = InputLimits::default();
    limits.connect_time = 5_000;
    limits.idle_time = 700;
    limits
}

/// Settings that don't wait long.
pub(crate) fn quick(cache: &Path) -> FetchSettings {
    FetchSettings {
        limits: quick_limits(),
        retry_wait: Duration::from_millis(5),
        retries: 2,
        ..FetchSettings::new(cache)
    }
}

fn fetcher<'a>(settings: FetchSettings, reporter: &'a Recorder) -> Fetcher<'a> {
    Fetcher::new(settings, reporter).expect("a fetcher")
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// Bytes that are everywhere different.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(length)
    .collect()
}

/// All files below a directory, by their paths in it.
fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(here) = directories.pop() {
        for entry in std::fs::read_dir(here).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(directory).expect("below").display().to_string());
            }
        }
    }
    files.sort();
    files
}
