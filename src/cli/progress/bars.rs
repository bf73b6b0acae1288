//! A terminal: the finished stages, a bar for each download and each image, and the stage that is under way.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use leanfs::report::{Event, Reporter, Stage};

use super::layout::Layout;
use super::stage_log::{StageLog, doing, left};
use super::{ProgressDisplay, immediate, locked};
use crate::cli::interrupt;
use crate::cli::terminal::{Terminal, escaped};

/// How often what moves by itself does.
const TICK: Duration = Duration::from_millis(120);

/// Moves the cursor.
pub(super) struct Bars {
    terminal: Terminal,
    layout: Layout,
    all: MultiProgress,
    stage: ProgressBar,
    state: Mutex<State>,
    _stopped: interrupt::Cleanup,
}

#[derive(Default)]
struct State {
    log: StageLog,
    /// Downloads and images that are going on, by their names.
    files: HashMap<String, ProgressBar>,
    /// What is done of the stage, and how much there is.
    done: Option<(u64, u64)>,
    /// What has come of downloads that are not done.
    received: HashMap<String, u64>,
}

impl Bars {
    pub(super) fn new(terminal: Terminal) -> Self {
        let layout = Layout::new(terminal.columns());
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let stage = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let stage = all.add(stage.with_style(style(&layout.stage, terminal)));
        let on_screen = all.clone();
        // A terminal shows Ctrl-C as `^C`, and nobody knows where the cursor is then: the lines stay as they are, and
        // what follows begins below them.
        let stopped = interrupt::Cleanup::new(move || {
            on_screen.set_draw_target(ProgressDrawTarget::hidden());
            terminal.note_verbatim("");
        });
        Self { terminal, layout, all, stage, state: Mutex::default(), _stopped: stopped }
    }

    /// A line for a file, above that of the stage.
    fn file(&self, state: &mut State, name: String, size: Option<u64>) {
        let template = if size.is_some() { &self.layout.file_of } else { &self.layout.file };
        // One that is on no screen yet would draw itself, wherever the cursor is.
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::hidden());
        bar.set_prefix(escaped(&name));
        bar.set_style(style(template, self.terminal));
        let bar = self.all.insert_before(&self.stage, bar);
        bar.tick();
        if let Some(before) = state.files.insert(name, bar) {
            before.finish_and_clear();
        }
    }

    /// Shows how much of the stage is done, where that is known.
    fn show_stage(&self, state: &State) {
        match state.done {
            Some((done, total)) if done < total => {
                if self.stage.length() != Some(total) {
                    self.stage.set_style(style(&self.layout.stage_of, self.terminal));
                    self.stage.set_length(total);
                    self.stage.reset_eta();
                }
                let received = state.received.values().fold(0, |sum: u64, more| sum.saturating_add(*more));
                self.stage.set_position(done.saturating_add(received).min(total));
            }
            _ => {
                self.stage.set_style(style(&self.layout.stage, self.terminal));
                self.stage.unset_length();
                self.stage.set_position(0);
            }
        }
    }
}

fn style(template: &str, terminal: Terminal) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the templates are well-formed");
    // indicatif's own spinner is Braille.
    let style = if terminal.utf8 { style } else { style.tick_chars("|/-\\ ") };
    style
        .progress_chars("=> ")
        .with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
            let _ = write!(text, "{}/s", indicatif::DecimalBytes(state.per_sec() as u64));
        })
        .with_key("left", |state: &ProgressState, text: &mut dyn Write| {
            let _ = text.write_str(&left(state.eta()).unwrap_or_default());
        })
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
                state.done = None;
                self.show_stage(&state);
                self.stage.enable_steady_tick(TICK);
            }
            Event::StageProgress { done, total, .. } => {
                state.done = Some((done, total));
                self.show_stage(&state);
            }
            Event::DownloadStarted { name, size, .. } => self.file(&mut state, name, size),
            Event::ImageStarted { name, total } => {
                self.file(&mut state, name, (total > 0).then_some(total));
            }
            Event::DownloadProgress { name, received } => {
                if let Some(bar) = state.files.get(&name) {
                    bar.set_position(received);
                }
                state.received.insert(name, received);
                self.show_stage(&state);
            }
            Event::ImageProgress { name, done, total } => {
                if let Some(bar) = state.files.get(&name) {
                    bar.set_position(done);
                    if done == total {
                        bar.set_style(style(&self.layout.file_end, self.terminal));
                        bar.enable_steady_tick(TICK);
                    }
                }
            }
            Event::DownloadFinished { name, .. } | Event::ImageWritten { name, .. } => {
                state.received.remove(&name);
                if let Some(bar) = state.files.remove(&name) {
                    bar.finish_and_clear();
                }
            }
            Event::KernelProgress { steps, file } => {
                self.stage.set_message(format!(
                    "{}: {steps} files, {}",
                    doing(Stage::Kernel),
                    escaped(&file)
                ));
            }
            _ => {}
        }
    }
}

impl ProgressDisplay for Bars {
    fn finish(&self, well: bool) {
        let mut state = locked(&self.state);
        for (_, bar) in state.files.drain() {
            bar.finish_and_clear();
        }
        self.stage.finish_and_clear();
        let line = state.log.finish(Instant::now());
        if let Some(line) = line.filter(|_| well) {
            let _ = self.all.println(escaped(&line));
        }
    }
}
