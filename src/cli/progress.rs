//! Reporters: bars on a terminal, plain lines elsewhere, JSON objects for programs.

mod stage_log;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use leanfs::report::{Event, Reporter, Stage};

use self::stage_log::{StageLog, doing};
use super::terminal::{Terminal, escaped, megabytes};

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

/// `--json`: one object an event on stdout, progress of a download at most five times a second.
struct Objects {
    terminal: Terminal,
    told: Mutex<HashMap<String, Instant>>,
}

impl Reporter for Objects {
    fn report(&self, event: Event) {
        const INTERVAL: Duration = Duration::from_millis(200);
        match &event {
            Event::DownloadProgress { name, .. } => {
                let mut told = locked(&self.told);
                let now = Instant::now();
                if told.get(name).is_some_and(|last| now.duration_since(*last) < INTERVAL) {
                    return;
                }
                told.insert(name.clone(), now);
            }
            Event::DownloadFinished { name, .. } => {
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
        let line = locked(&self.log).take(&event, Instant::now());
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

/// A terminal: the finished stages, a bar for each download, and the stage that is under way.
struct Bars {
    terminal: Terminal,
    all: MultiProgress,
    stage: ProgressBar,
    state: Mutex<BarsState>,
}

#[derive(Default)]
struct BarsState {
    log: StageLog,
    downloads: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new(terminal: Terminal) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let stage = all.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg} ({elapsed})")));
        Self { terminal, all, stage, state: Mutex::default() }
    }

    fn download(&self, name: &str, size: Option<u64>) -> ProgressBar {
        let bar = match size {
            Some(size) => ProgressBar::new(size).with_style(style(
                "  {prefix:32!} [{bar:24}] {decimal_bytes:>10} of {decimal_total_bytes:<10} {decimal_bytes_per_sec}",
            )),
            None => ProgressBar::no_length()
                .with_style(style("  {prefix:32!} {decimal_bytes:>10} {decimal_bytes_per_sec}")),
        };
        bar.set_prefix(escaped(name));
        self.all.insert_before(&self.stage, bar)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed").progress_chars("=> ")
}

impl Reporter for Bars {
    fn report(&self, event: Event) {
        let mut state = locked(&self.state);
        let line = state.log.take(&event, Instant::now());
        if let Some(line) = line {
            let _ = self.all.println(escaped(&line));
        }
        if let Some(line) = immediate(&self.terminal, &event) {
            let _ = self.all.println(line);
        }
        match event {
            // The output of `mix` goes to the same terminal: nothing may move then.
            Event::Stage { stage: Stage::Build } => {
                let _ = self.all.println(doing(Stage::Build));
            }
            Event::Stage { stage } => {
                self.stage.set_message(doing(stage));
                self.stage.reset_elapsed();
                self.stage.enable_steady_tick(Duration::from_millis(120));
            }
            Event::DownloadStarted { name, size, .. } => {
                let bar = self.download(&name, size);
                if let Some(before) = state.downloads.insert(name, bar) {
                    before.finish_and_clear();
                }
            }
            Event::DownloadProgress { name, received } => {
                if let Some(bar) = state.downloads.get(&name) {
                    bar.set_position(received);
                }
            }
            Event::DownloadFinished { name, .. } => {
                if let Some(bar) = state.downloads.remove(&name) {
                    bar.finish_and_clear();
                }
            }
            Event::ImageWritten { name, size } => {
                self.stage.set_message(format!("Wrote {} ({})", escaped(&name), megabytes(size)));
            }
            _ => {}
        }
    }
}

impl ProgressDisplay for Bars {
    fn finish(&self, well: bool) {
        let mut state = locked(&self.state);
        for (_, bar) in state.downloads.drain() {
            bar.finish_and_clear();
        }
        self.stage.finish_and_clear();
        let line = state.log.finish(Instant::now());
        if let Some(line) = line.filter(|_| well) {
            let _ = self.all.println(escaped(&line));
        }
    }
}
