//! Reporters: bars on a terminal, plain lines elsewhere, JSON objects for programs.

mod bars;
mod layout;
mod stage_log;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leanfs::report::{Event, Reporter};

use self::bars::Bars;
use self::stage_log::StageLog;
use super::terminal::{Terminal, escaped};

/// A reporter for what the flags and the terminal ask for.
pub(super) fn reporter(terminal: Terminal) -> Box<dyn ProgressDisplay> {
    match terminal.mode {
        mode if mode.json => Box::new(Objects { terminal, told: Mutex::default() }),
        mode if mode.quiet => Box::new(OnlyWarnings { terminal }),
        _ if terminal.draws => Box::new(Bars::new(terminal)),
        _ => Box::new(Lines { terminal, log: Mutex::default() }),
    }
}

/// A reporter that has an end.
pub(super) trait ProgressDisplay: Reporter {
    /// Work is over: clears what moves, and if the last stage went well, tells its end too.
    fn finish(&self, well: bool);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is fit to be shown, whatever a thread that panicked was about to do with it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is told as it happens, beside the ends of stages.
fn immediate(terminal: &Terminal, event: &Event) -> Option<String> {
    match event {
        Event::Warning { text } => Some(terminal.warning_line(text)),
        Event::DownloadRetry { name, reason, wait_ms } => Some(terminal.warning_line(&format!(
            "{name}: {reason}; next try in {:.1} s",
            Duration::from_millis(*wait_ms).as_secs_f64()
        ))),
        _ if !terminal.mode.verbose => None,
        Event::Note { text } => Some(escaped(text)),
        Event::CacheHit { name } => Some(escaped(&format!("  in the cache: {name}"))),
        Event::DownloadStarted { url, .. } => Some(escaped(&format!("  download: {url}"))),
        Event::PackageSelected { name, version, wanted_by } => {
            Some(escaped(&format!("  package {name} {version}, wanted by {}", wanted_by.join(" → "))))
        }
        _ => None,
    }
}

/// `--json`: one object an event on stdout, progress of each thing at most five times a second.
struct Objects {
    terminal: Terminal,
    told: Mutex<HashMap<String, Instant>>,
}

impl Objects {
    /// Whether progress of `what` was told a moment ago.
    fn is_soon(&self, what: String) -> bool {
        const INTERVAL: Duration = Duration::from_millis(200);
        let now = Instant::now();
        let mut told = locked(&self.told);
        let soon = told.get(&what).is_some_and(|last| now.duration_since(*last) < INTERVAL);
        if !soon {
            told.insert(what, now);
        }
        soon
    }
}

impl Reporter for Objects {
    fn report(&self, event: Event) {
        match &event {
            Event::DownloadProgress { name, .. } | Event::ImageProgress { name, .. }
                if self.is_soon(name.clone()) =>
            {
                return;
            }
            // The last one is told in any case.
            Event::StageProgress { stage, done, total }
                if self.is_soon(stage.to_string()) && done != total =>
            {
                return;
            }
            Event::DownloadFinished { name, .. } | Event::ImageWritten { name, .. } => {
                locked(&self.told).remove(name);
            }
            _ => {}
        }
        // If nobody reads any more, the result says so at the end.
        let _ = self.terminal.object(&event);
    }
}

impl ProgressDisplay for Objects {
    fn finish(&self, _well: bool) {}
}

/// `--quiet`.
struct OnlyWarnings {
    terminal: Terminal,
}

impl Reporter for OnlyWarnings {
    fn report(&self, event: Event) {
        if let Event::Warning { text } = event {
            self.terminal.warning(&text);
        }
    }
}

impl ProgressDisplay for OnlyWarnings {
    fn finish(&self, _well: bool) {}
}

/// For verbs without stages: what the user should know, on stderr.
pub(super) struct OnlyNotes {
    pub terminal: Terminal,
}

impl Reporter for OnlyNotes {
    fn report(&self, event: Event) {
        match event {
            _ if self.terminal.mode.json => drop(self.terminal.object(&event)),
            Event::Warning { text } => self.terminal.warning(&text),
            Event::Note { text } if !self.terminal.mode.quiet => self.terminal.note(&text),
            _ => {}
        }
    }
}

/// Not a terminal: a line a stage on stderr.
struct Lines {
    terminal: Terminal,
    log: Mutex<StageLog>,
}

impl Reporter for Lines {
    fn report(&self, event: Event) {
        if let Some(line) = immediate(&self.terminal, &event) {
            self.terminal.note_verbatim(&line);
        }
        let (mut log, now) = (locked(&self.log), Instant::now());
        let line = log.take(&event, now).or_else(|| log.sign_of_life(&event, now));
        if let Some(line) = line {
            self.terminal.note(&line);
        }
    }
}

impl ProgressDisplay for Lines {
    fn finish(&self, well: bool) {
        let line = locked(&self.log).finish(Instant::now());
        if let Some(line) = line.filter(|_| well) {
            self.terminal.note(&line);
        }
    }
}
