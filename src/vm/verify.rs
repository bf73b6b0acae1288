//! Whether the application came up: one boot, watched until everything expected has happened, or can't any more.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::console::{Console, escape, shown};
use super::guest::{Guest, GuestEvent};
use super::http::{self, Outcome};
use super::qemu::GuestCommand;
use super::signal::CaughtSignals;
use super::trace::TraceLines;
use super::verdict::{GuestEnd, Met, Unmet, VerifyFailure, VerifyReport};
use super::{Forward, HttpExpectation, Prepared, UsedAccelerator, VerifySettings, VmError, prepare};
use crate::report::Reporter;

/// How long the console must be quiet before an unfinished line is compared with the patterns.
const QUIET: Duration = Duration::from_millis(100);

/// How long after a kernel's last words (panic, halt) further lines are waited for.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How long nothing new may have been opened when a trace is taken for complete.
const SETTLED: Duration = Duration::from_millis(1500);

/// What stands for a time limit that is beyond what clocks can say.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How many times other ports are tried when another program took those that were just found free.
const PORT_TRIES: usize = 5;

/// What QEMU says when it can't listen on a port of the host.
const PORT_TAKEN: &str = "Could not set up host forwarding rule";

/// How many events may wait: a guest that floods its console is slowed down, and doesn't fill the memory.
const EVENTS: usize = 64;

/// Starts what was assembled, and waits until everything that is expected has happened, all of it in this one boot. The
/// guest has no terminal, and is gone when this returns. With [`VerifySettings::trace`] it goes on until nothing new has
/// been opened for 1.5 seconds, the time is up, or the guest ends.
///
/// # Errors
/// [`VmError::NotUp`] when the guest ran and something did not happen: it holds how the guest ended, what was not met
/// and the last lines of the console. A kernel's panic and a guest that switches itself off end the wait at once.
/// Other [`VmError`]s when there was nothing expected, the guest could not be started, or a trace was asked for and is
/// not to be had.
pub fn verify(settings: &VerifySettings, reporter: &dyn Reporter) -> Result<VerifyReport, VmError> {
    if settings.expect.is_empty() && settings.expect_http.is_empty() {
        return Err(VmError::NothingExpected);
    }
    let prepared = prepare(&settings.guest, reporter)?;
    if settings.trace && prepared.files.contents.lacks_modules {
        return Err(VmError::TraceOfPruned { directory: settings.guest.directory.clone() });
    }
    let mut tries = 1;
    loop {
        let forwards = free_ports(&settings.expect_http)?;
        match boot(settings, &prepared, &forwards) {
            // Between finding a port and listening on it, another program was faster.
            Err(VmError::QemuFailed { message, .. })
                if message.contains(PORT_TAKEN) && tries < PORT_TRIES =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// A free port of the host for each port of the guest that is asked.
fn free_ports(expectations: &[HttpExpectation]) -> Result<Vec<Forward>, VmError> {
    let mut forwards: Vec<Forward> = Vec::new();
    // All are held until all are found, so that they differ.
    let mut held = Vec::new();
    for HttpExpectation { port: guest, .. } in expectations {
        if forwards.iter().any(|forward| forward.guest == *guest) {
            continue;
        }
        let address = Ipv4Addr::LOCALHOST;
        let port = |source| VmError::NoPort { source };
        let listener = TcpListener::bind((address, 0)).map_err(port)?;
        let host = listener.local_addr().map_err(port)?.port();
        held.push(listener);
        forwards.push(Forward { address, host, guest: *guest });
    }
    Ok(forwards)
}

/// Tells the threads that ask over HTTP to end.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn boot(
    settings: &VerifySettings,
    prepared: &Prepared,
    forwards: &[Forward],
) -> Result<VerifyReport, VmError> {
    let (sender, events) = sync_channel(EVENTS);
    let signals = settings.guest.catch_signals.then(|| {
        let sender = sender.clone();
        CaughtSignals::new(move |signal| drop(sender.send(GuestEvent::Signal(signal))))
    });
    let _signals = signals.transpose()?;
    let command = prepared.command(&settings.guest, forwards, false);
    let arguments = GuestCommand { trace: settings.trace, ..command }.arguments();
    let started = Instant::now();
    let guest = Guest::start(&prepared.qemu, &arguments, sender.clone())?;
    let stop = Stop(Arc::new(AtomicBool::new(false)));
    for (index, expectation) in settings.expect_http.iter().enumerate() {
        let Some(forward) = forwards.iter().find(|forward| forward.guest == expectation.port) else {
            continue;
        };
        ask(index, expectation, forward.host, &stop, &sender)?;
    }
    let mut watch = Watch::new(settings, started);
    let deadline = started.checked_add(settings.timeout).unwrap_or(started + FOR_EVER);
    let mut end = watch.follow(&events, deadline)?;
    drop(stop);
    if end.is_none() && settings.trace {
        end = watch.settle(&events, deadline)?;
    }
    let end = match end {
        None => {
            drop(guest);
            return watch.report(prepared);
        }
        Some(End::TimedOut) => GuestEnd::TimedOut,
        Some(End::Dead) => watch.panic().unwrap_or(GuestEnd::Halted),
        Some(End::Closed) => {
            let (status, message) = guest.ended();
            // An answer that came just before the end may stand behind it.
            watch.take_rest(&events);
            if watch.is_done() {
                return watch.report(prepared);
            }
            match (watch.panic(), status) {
                (Some(panic), _) => panic,
                (None, Some(status)) if status.success() => GuestEnd::Ended,
                (None, Some(status)) if watch.console.is_silent() => {
                    return Err(VmError::QemuFailed { program: prepared.qemu.clone(), status, message });
                }
                (None, status) => GuestEnd::EmulatorFailed(status, shown(message.trim().as_bytes())),
            }
        }
    };
    Err(VmError::NotUp(Box::new(watch.failure(end, prepared.accelerator))))
}

fn ask(
    index: usize,
    expectation: &HttpExpectation,
    host_port: u16,
    stop: &Stop,
    events: &SyncSender<GuestEvent>,
) -> Result<(), VmError> {
    let (expectation, stop, events) = (expectation.clone(), Arc::clone(&stop.0), events.clone());
    let asking = move || {
        // Nobody listens any more when sending fails, and then the flag is set.
        http::ask(&expectation, host_port, &stop, |outcome, at| {
            drop(events.send(GuestEvent::Http(index, outcome, at)));
        });
    };
    std::thread::Builder::new()
        .name(format!("http-{index}"))
        .spawn(asking)
        .map(drop)
        .map_err(|source| VmError::Host { what: "a thread for HTTP cannot be started", source })
}

/// Why following a guest ended before everything was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    TimedOut,
    /// The kernel panicked or halted.
    Dead,
    /// The emulator closed the console.
    Closed,
}

/// What has been seen of a guest.
struct Watch<'a> {
    settings: &'a VerifySettings,
    started: Instant,
    console: Console,
    /// When the last bytes came.
    heard: Instant,
    /// When the last file was said to be opened.
    opened: Instant,
    /// For each pattern of the console when it was met.
    lines_met: Vec<Option<Instant>>,
    /// For each HTTP expectation the last outcome and its time.
    outcomes: Vec<Option<(Outcome, Instant)>>,
}

impl<'a> Watch<'a> {
    fn new(settings: &'a VerifySettings, started: Instant) -> Self {
        let console = Console::new(&settings.expect);
        Self {
            settings,
            started,
            console: if settings.trace { console.with_trace() } else { console },
            heard: started,
            opened: started,
            lines_met: vec![None; settings.expect.len()],
            outcomes: vec![None; settings.expect_http.len()],
        }
    }

    /// Takes events until everything is met (`None`) or can't be any more.
    fn follow(&mut self, events: &Receiver<GuestEvent>, deadline: Instant) -> Result<Option<End>, VmError> {
        let mut dead = None;
        loop {
            self.console.trace().map_or(Ok(()), TraceLines::check)?;
            if self.is_done() {
                return Ok(None);
            }
            let now = Instant::now();
            if dead.is_none() && (self.console.panic().is_some() || self.console.is_halted()) {
                dead = Some(now + LAST_WORDS);
            }
            if dead.is_some_and(|tail| now >= tail) {
                return Ok(Some(End::Dead));
            }
            if now >= deadline {
                self.quiet();
                return Ok(if self.is_done() { None } else { Some(End::TimedOut) });
            }
            let mut until = dead.map_or(deadline, |tail| tail.min(deadline));
            if self.console.wants_quiet() {
                until = until.min(self.heard + QUIET);
            }
            match events.recv_timeout(until.saturating_duration_since(now)) {
                Ok(GuestEvent::ConsoleClosed) | Err(RecvTimeoutError::Disconnected) => {
                    self.console.end();
                    self.note_lines();
                    return Ok(if self.is_done() { None } else { Some(End::Closed) });
                }
                Ok(GuestEvent::Signal(signal)) => return Err(VmError::Interrupted { signal }),
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) if self.heard.elapsed() >= QUIET => self.quiet(),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Takes further events when everything is met, until the trace is as complete as it will get; says how the guest
    /// ended if its kernel gave up meanwhile.
    fn settle(&mut self, events: &Receiver<GuestEvent>, deadline: Instant) -> Result<Option<End>, VmError> {
        let met = Instant::now();
        loop {
            self.console.trace().map_or(Ok(()), TraceLines::check)?;
            if self.console.panic().is_some() {
                return Ok(Some(End::Dead));
            }
            let until = (self.opened.max(met) + SETTLED).min(deadline);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            match events.recv_timeout(left) {
                Ok(GuestEvent::ConsoleClosed) | Err(RecvTimeoutError::Disconnected) => {
                    self.console.end();
                    return Ok(None);
                }
                Ok(GuestEvent::Signal(signal)) => return Err(VmError::Interrupted { signal }),
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn take(&mut self, event: GuestEvent) {
        match event {
            GuestEvent::Console(bytes, at) => {
                self.heard = at;
                let count = |console: &Console| console.trace().map(TraceLines::count);
                let before = count(&self.console);
                self.console.feed(&bytes);
                if count(&self.console) != before {
                    self.opened = at;
                }
                self.note_lines();
            }
            GuestEvent::Http(index, outcome, at) => {
                if let Some(slot) = self.outcomes.get_mut(index) {
                    *slot = Some((outcome, at));
                }
            }
            GuestEvent::ConsoleClosed | GuestEvent::Signal(_) => {}
        }
    }

    fn take_rest(&mut self, events: &Receiver<GuestEvent>) {
        while let Ok(event) = events.try_recv() {
            // A closed connection is what the end of the guest looks like, and says less than what was before.
            if matches!(event, GuestEvent::Http(_, Outcome::Met { .. }, _)) {
                self.take(event);
            }
        }
    }

    fn quiet(&mut self) {
        self.console.quiet();
        self.note_lines();
    }

    fn note_lines(&mut self) {
        for (met, line) in self.lines_met.iter_mut().zip(self.console.matched()) {
            if met.is_none() && line.is_some() {
                *met = Some(self.heard);
            }
        }
    }

    fn panic(&self) -> Option<GuestEnd> {
        self.console.panic().map(|line| GuestEnd::Panicked(shown(line)))
    }

    fn is_done(&self) -> bool {
        self.lines_met.iter().all(Option::is_some)
            && self.outcomes.iter().all(|outcome| matches!(outcome, Some((Outcome::Met { .. }, _))))
    }

    fn met(&self) -> Vec<Met> {
        let seen = self.lines_met.iter().zip(self.console.matched());
        let lines = self.settings.expect.iter().zip(seen).filter_map(|(pattern, (met, line))| {
            let after = (*met)?.saturating_duration_since(self.started);
            Some(Met { what: line_expectation(pattern), seen: shown(line.unwrap_or_default()), after })
        });
        let answers =
            self.settings.expect_http.iter().zip(&self.outcomes).filter_map(|(expectation, outcome)| {
                let Some((Outcome::Met { status }, at)) = outcome else { return None };
                Some(Met {
                    what: escape(expectation.to_string().as_bytes()),
                    seen: format!("HTTP {status}"),
                    after: at.saturating_duration_since(self.started),
                })
            });
        let mut met: Vec<_> = lines.chain(answers).collect();
        met.sort_by_key(|met| met.after);
        met
    }

    fn unmet(&self) -> Vec<Unmet> {
        let missing = self.settings.expect.iter().zip(&self.lines_met).filter(|(_, met)| met.is_none());
        let lines = missing.map(|(pattern, _)| Unmet { what: line_expectation(pattern), instead: None });
        let answers =
            self.settings.expect_http.iter().zip(&self.outcomes).filter_map(|(expectation, outcome)| {
                let instead = match outcome.as_ref().map(|(outcome, _)| outcome) {
                    Some(Outcome::Met { .. }) => return None,
                    Some(Outcome::Other { status, size, beginning }) => {
                        format!("the last answer was HTTP {status} with {size} bytes: {}", shown(beginning))
                    }
                    Some(Outcome::NotHttp { beginning }) => {
                        format!("the last answer was not HTTP: {}", shown(beginning))
                    }
                    Some(Outcome::Closed) => "the connection was closed without an answer".to_owned(),
                    Some(Outcome::NoAnswer) | None => "no answer".to_owned(),
                };
                Some(Unmet { what: escape(expectation.to_string().as_bytes()), instead: Some(instead) })
            });
        lines.chain(answers).collect()
    }

    fn report(&self, prepared: &Prepared) -> Result<VerifyReport, VmError> {
        let met = self.met();
        let elapsed = met.last().map_or(Duration::ZERO, |met| met.after);
        let lines = self.console.trace();
        let trace = lines.map(|lines| lines.finish(&prepared.files.contents)).transpose()?;
        Ok(VerifyReport { accelerator: prepared.accelerator, met, elapsed, trace })
    }

    fn failure(&self, end: GuestEnd, accelerator: UsedAccelerator) -> VerifyFailure {
        let port_closed = self
            .outcomes
            .iter()
            .any(|outcome| matches!(outcome, None | Some((Outcome::Closed | Outcome::NoAnswer, _))));
        let wrong_answer =
            self.outcomes.iter().any(|outcome| matches!(outcome, Some((Outcome::Other { .. }, _))));
        VerifyFailure {
            end,
            elapsed: self.started.elapsed(),
            accelerator,
            met: self.met(),
            unmet: self.unmet(),
            console: self.console.last_lines(),
            signs: self.console.signs(),
            wrong_answer,
            port_closed,
        }
    }
}

fn line_expectation(pattern: &regex::bytes::Regex) -> String {
    format!("a line on the console that matches /{}/", escape(pattern.as_str().as_bytes()))
}

#[cfg(test)]
mod trace_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(patterns: &[&str], http: &[&str]) -> VerifySettings {
        let mut settings = VerifySettings::new("out");
        let patterns =
            patterns.iter().map(|pattern| super::super::console_regex(pattern).expect("a pattern"));
        settings.expect = patterns.collect();
        settings.expect_http = http.iter().map(|text| text.parse().expect("an expectation")).collect();
        settings
    }

    /// Plays events to a watch that has `limit` of time.
    fn follow(settings: &VerifySettings, limit: Duration, events: Vec<GuestEvent>) -> (Option<End>, String) {
        let (sender, receiver) = sync_channel(events.len());
        for event in events {
            sender.try_send(event).expect("there is room");
        }
        let started = Instant::now();
        let mut watch = Watch::new(settings, started);
        let end = watch.follow(&receiver, started + limit).expect("no signal");
        drop(sender);
        (end, watch.failure(GuestEnd::Ended, UsedAccelerator::Tcg).to_string())
    }

    fn says(text: &str) -> GuestEvent {
        GuestEvent::Console(text.as_bytes().to_vec(), Instant::now())
    }

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn everything_must_be_met() {
        let both = settings(&["hello"], &[":80/=x", ":81/=y"]);
        let http = |index, outcome| GuestEvent::Http(index, outcome, Instant::now());
        let met = || Outcome::Met { status: 200 };
        let other = || Outcome::Other { status: 500, size: 3, beginning: b"a\x1b!".to_vec() };

        let (end, _) = follow(&both, LONG, vec![http(1, met()), says("hello\n"), http(0, met())]);
        assert_eq!(end, None);

        let (end, text) = follow(&both, SHORT, vec![http(1, met()), http(0, other()), says("bye")]);
        assert_eq!(end, Some(End::TimedOut));
        assert!(text.contains("\nmet after 0.0 s: :81/=y (HTTP 200)\n"), "{text}");
        let unmet = "\nnot met: a line on the console that matches /hello/\n\
            not met: :80/=x (the last answer was HTTP 500 with 3 bytes: a\\u{1b}!)\n\
            the console's last lines:\n  | bye";
        assert!(text.ends_with(unmet), "{text}");

        let (end, text) = follow(&both, SHORT, vec![]);
        assert_eq!(end, Some(End::TimedOut));
        assert!(text.contains("not met: :80/=x (no answer)\n"), "{text}");
        assert!(text.ends_with("\nnothing came to the console"), "{text}");
    }

    #[test]
    fn a_prompt_counts_when_it_stays() {
        let (end, _) = follow(&settings(&["login: $"], &[]), LONG, vec![says("login: ")]);
        assert_eq!(end, None);
        let (end, _) = follow(&settings(&["login: $"], &[]), SHORT, vec![says("login: ")]);
        assert_eq!(end, None, "the time is up, and the line stands there");
        let closed = vec![says("the last line"), GuestEvent::ConsoleClosed];
        assert_eq!(follow(&settings(&["line$"], &[]), LONG, closed).0, None);
    }

    #[test]
    fn every_line_must_come() {
        let both = settings(&["^one$", "two"], &[]);
        assert_eq!(follow(&both, LONG, vec![says("two\n"), says("one\n")]).0, None);
        assert_eq!(follow(&settings(&["one", "two"], &[]), LONG, vec![says("one and two\n")]).0, None);
        let (end, text) = follow(&both, SHORT, vec![says("two\nnone\n")]);
        assert_eq!(end, Some(End::TimedOut));
        assert!(
            text.contains("\nmet after 0.0 s: a line on the console that matches /two/ (two)\n"),
            "{text}"
        );
        assert!(text.contains("\nnot met: a line on the console that matches /^one$/\n"), "{text}");
    }

    #[test]
    fn panics_and_ends_are_not_waited_out() {
        let expected = settings(&["hello"], &[]);
        let panic = vec![says("Kernel panic - not syncing: x\n"), says("---[ end ]---\n")];
        let (end, text) = follow(&expected, LONG, panic);
        assert_eq!(end, Some(End::Dead));
        assert!(text.ends_with("\n  | Kernel panic - not syncing: x\n  | ---[ end ]---"), "{text}");
        let halts =
            ["reboot: System halted", "[    2.5] reboot: Power off not available: System halted instead"];
        for halt in halts {
            let (end, _) = follow(&expected, LONG, vec![says(halt), says("\r\n")]);
            assert_eq!(end, Some(End::Dead), "{halt}");
        }
        let (end, _) = follow(&expected, LONG, vec![says("bye\n"), GuestEvent::ConsoleClosed]);
        assert_eq!(end, Some(End::Closed));
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let (sender, receiver) = sync_channel(1);
        sender.send(GuestEvent::Signal(15)).expect("there is room");
        let settings = settings(&["hello"], &[]);
        let result = Watch::new(&settings, Instant::now()).follow(&receiver, Instant::now() + LONG);
        assert!(matches!(result, Err(VmError::Interrupted { signal: 15 })), "{result:?}");
    }

    /// Verifies with an emulator that does what a shell script says.
    fn verify_with(script: &str, mut settings: VerifySettings) -> Result<VerifyReport, VmError> {
        let directory = tempfile::tempdir().expect("a directory");
        super::super::output::sample::write(directory.path());
        settings.guest.directory = directory.path().to_owned();
        settings.guest.accelerator = super::super::Accelerator::Tcg;
        settings.guest.qemu = Some(super::super::qemu::fake(directory.path(), script));
        verify(&settings, &crate::report::Silent)
    }

    #[test]
    fn ports_that_another_program_took_are_tried_anew() {
        let script = r#"[ -e "$0.2" ] && { echo hello; exec sleep 60; }
            [ -e "$0.1" ] && touch "$0.2"
            touch "$0.1"
            echo "qemu: -netdev user,…: Could not set up host forwarding rule '…'" >&2
            exit 1"#;
        let report = verify_with(script, settings(&["hello"], &[])).expect("at the third try");
        assert_eq!(report.met.len(), 1);
        let script = "echo 'Could not set up host forwarding rule' >&2; exit 1";
        let error = verify_with(script, settings(&["hello"], &[])).expect_err("never");
        assert!(matches!(error, VmError::QemuFailed { .. }), "{error}");
        assert!(error.hint().expect("what to do").contains("port"));
    }

    #[test]
    fn emulators_that_fail() {
        let mut expected = settings(&["hello"], &[]);
        expected.timeout = Duration::MAX;
        let error =
            verify_with("echo 'no such \u{1b}machine' >&2; exit 2", expected.clone()).expect_err("no guest");
        let text = error.to_string();
        assert!(text.ends_with("/qemu failed (exit status: 2): no such \\u{1b}machine"), "{text}");
        let error = verify_with("echo booting; echo oh >&2; exit 3", expected).expect_err("no application");
        let text = error.to_string();
        assert!(text.contains(" (exit status: 3): oh\nnot met: "), "{text}");
    }

    #[test]
    fn hints() {
        let failure = |console: &str, end: GuestEnd, http: &[&str]| {
            let settings = settings(&["hello"], http);
            let mut watch = Watch::new(&settings, Instant::now());
            watch.take(says(console));
            if console.contains("/wrong") {
                let outcome = Outcome::Other { status: 404, size: 0, beginning: Vec::new() };
                watch.take(GuestEvent::Http(0, outcome, Instant::now()));
            }
            watch.failure(end, UsedAccelerator::Tcg).hint().unwrap_or_default()
        };
        let table = [
            ("Out of memory: Killed process 9 (beam.smp)\n", GuestEnd::Ended, "--memory"),
            ("Initramfs unpacking failed: junk\n", GuestEnd::Panicked(String::new()), "--compress gzip"),
            ("Failed to execute /init (error -8)\n", GuestEnd::Panicked(String::new()), "architecture"),
            ("bye\n", GuestEnd::Ended, ""),
            ("still starting\n", GuestEnd::TimedOut, "--timeout"),
            ("", GuestEnd::TimedOut, "--machine"),
        ];
        for (console, end, expected) in table {
            let hint = failure(console, end, &[]);
            assert!(
                hint.contains(expected) && hint.is_empty() == expected.is_empty(),
                "{console:?}: {hint:?}"
            );
        }
        assert!(failure("up\n", GuestEnd::TimedOut, &[":80/=x"]).contains("0.0.0.0"));
        assert!(failure("GET /wrong\n", GuestEnd::TimedOut, &[":80/wrong=x"]).contains("the path"));
    }

    #[test]
    fn ports_differ_and_are_shared() {
        let settings = settings(&[], &[":80/a=", ":81/=", ":80/b="]);
        let forwards = free_ports(&settings.expect_http).expect("free ports");
        assert_eq!(forwards.iter().map(|forward| forward.guest).collect::<Vec<_>>(), [80, 81]);
        assert_ne!(forwards[0].host, forwards[1].host);
        assert!(forwards.iter().all(|forward| forward.address.is_loopback() && forward.host != 0));
    }
}
