//! What a finished stage is worth saying in one line.

use std::time::{Duration, Instant};

use leanfs::report::{Event, Stage};

use crate::cli::terminal::megabytes;

/// How long nothing is said of what goes on where no cursor moves.
const SILENCE: Duration = Duration::from_secs(30);

/// Follows the events and gives a line at the end of each stage.
#[derive(Debug, Default)]
pub(super) struct StageLog {
    current: Option<(Stage, Instant)>,
    /// When something was said last.
    said: Option<Instant>,
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

    /// A line that shows that work goes on, when nothing was said for a while.
    pub(super) fn sign_of_life(&mut self, event: &Event, now: Instant) -> Option<String> {
        let (stage, began) = self.current?;
        let of = |what: &str, done: u64, total: u64| {
            format!("  {what}: {} of {} so far", megabytes(done), megabytes(total))
        };
        let line = match event {
            Event::DownloadProgress { name, received } => {
                format!("  {name}: {} so far", megabytes(*received))
            }
            Event::ImageProgress { name, done, total } => of(name, *done, *total),
            Event::StageProgress { done, total, .. } => of(doing(stage), *done, *total),
            _ => return None,
        };
        if now.duration_since(self.said.unwrap_or(began)) < SILENCE {
            return None;
        }
        self.said = Some(now);
        Some(line)
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
            Stage::Kernel => "Built the kernel".to_owned(),
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
        Stage::Kernel => "Building the kernel",
    }
}

/// How long it will take, if that is known: `42 s left`.
pub(super) fn left(duration: Duration) -> Option<String> {
    let seconds = duration.as_secs();
    Some(match seconds {
        0 => return None,
        1..100 => format!("{seconds} s left"),
        100..6000 => format!("{} min left", seconds.div_ceil(60)),
        _ => format!("{} h left", seconds.div_ceil(3600).min(999)),
    })
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

    #[test]
    fn a_long_stage_shows_signs_of_life() {
        let mut log = StageLog::default();
        let start = Instant::now();
        let mut at = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let event = Event::ImageProgress {
                name: "disk".to_owned(),
                done: seconds * 1_000_000,
                total: 90_000_000,
            };
            if seconds == 0 {
                log.take(&Event::Stage { stage: Stage::Image }, now);
            }
            log.sign_of_life(&event, now)
        };
        assert_eq!([at(0), at(29)], [None, None]);
        assert_eq!(at(30).as_deref(), Some("  disk: 30.00 MB of 90.00 MB so far"));
        assert_eq!(at(59), None);
        assert!(at(61).is_some());
    }

    #[test]
    fn what_is_left() {
        for (seconds, want) in [
            (0, None),
            (1, Some("1 s left")),
            (99, Some("99 s left")),
            (100, Some("2 min left")),
            (7200, Some("2 h left")),
        ] {
            assert_eq!(left(Duration::from_secs(seconds)).as_deref(), want);
        }
    }
}
