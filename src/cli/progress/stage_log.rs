//! What a finished stage is worth saying in one line.

use std::time::{Duration, Instant};

use leanfs::report::{Event, Stage};

use crate::cli::terminal::megabytes;

/// Follows the events and gives a line at the end of each stage.
#[derive(Debug, Default)]
pub(super) struct StageLog {
    current: Option<(Stage, Instant)>,
    downloads: usize,
    downloaded: u64,
    from_cache: usize,
    images: Vec<String>,
}

impl StageLog {
    /// Takes one event. A stage's event ends the stage before, whose line comes back.
    pub(super) fn take(&mut self, event: &Event, now: Instant) -> Option<String> {
        match event {
            Event::Stage { stage } => {
                let line = self.finish(now);
                self.current = Some((*stage, now));
                return line;
            }
            Event::DownloadFinished { size, .. } => {
                self.downloads += 1;
                self.downloaded = self.downloaded.saturating_add(*size);
            }
            Event::CacheHit { .. } => self.from_cache += 1,
            Event::ImageWritten { name, size } => self.images.push(format!("{name} ({})", megabytes(*size))),
            _ => {}
        }
        None
    }

    /// The line of the stage that is under way, which is over now.
    pub(super) fn finish(&mut self, now: Instant) -> Option<String> {
        let (stage, began) = self.current.take()?;
        let ended = std::mem::take(self);
        let mut line = match stage {
            Stage::Build => "Built the release".to_owned(),
            Stage::Release => "Read the release".to_owned(),
            Stage::Resolve => "Selected packages".to_owned(),
            Stage::Fetch => "Fetched and verified".to_owned(),
            Stage::Layers => "Filled the tree".to_owned(),
            Stage::Prune => "Pruned".to_owned(),
            Stage::Image if ended.images.is_empty() => "Wrote nothing".to_owned(),
            Stage::Image => format!("Wrote {}", ended.images.join(", ")),
        };
        if ended.downloads > 0 {
            let files = counted(ended.downloads, "file");
            line += &format!(", downloaded {files} of {} in all", megabytes(ended.downloaded));
        }
        if ended.from_cache > 0 {
            line += &format!(", took {} from the cache", counted(ended.from_cache, "file"));
        }
        Some(format!("{line} ({})", seconds(now.duration_since(began))))
    }
}

/// What is done in a stage that is under way.
pub(super) fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Build => "Building the release",
        Stage::Release => "Reading the release",
        Stage::Resolve => "Selecting packages",
        Stage::Fetch => "Fetching and verifying",
        Stage::Layers => "Filling the tree",
        Stage::Prune => "Pruning",
        Stage::Image => "Writing images",
    }
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_stage() {
        let mut log = StageLog::default();
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        let stage = |stage| Event::Stage { stage };
        assert_eq!(log.take(&stage(Stage::Resolve), at(0)), None);
        assert_eq!(log.take(&Event::CacheHit { name: "APKINDEX".to_owned() }, at(1)), None);
        assert_eq!(
            log.take(&stage(Stage::Fetch), at(2)).as_deref(),
            Some("Selected packages, took 1 file from the cache (0.2 s)")
        );
        for _ in 0..2 {
            log.take(&Event::DownloadFinished { name: "a.apk".to_owned(), size: 1_000_000 }, at(3));
        }
        assert_eq!(
            log.take(&stage(Stage::Image), at(12)).as_deref(),
            Some("Fetched and verified, downloaded 2 files of 2.00 MB in all (1.0 s)")
        );
        log.take(&Event::ImageWritten { name: "kernel".to_owned(), size: 12_600_000 }, at(12));
        assert_eq!(log.finish(at(13)).as_deref(), Some("Wrote kernel (12.60 MB) (0.1 s)"));
        assert_eq!(log.finish(at(13)), None);
    }
}
