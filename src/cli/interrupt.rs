//! Signals that tell leanfs to end: what is unfinished is cleared away, and the process ends by the signal, as a shell
//! or a supervisor expects. A second one ends it at once.
//!
//! A signal that is ignored when leanfs starts (`nohup`, a shell's background job) stays ignored.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::terminal::Terminal;

/// What is done before the end takes no longer; a terminal that is stopped may take no output.
const PATIENCE: Duration = Duration::from_secs(2);

type Action = Box<dyn FnMut() + Send>;

/// What has to be done, by its number, the last first.
static CLEANUPS: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());

static ENDING: AtomicBool = AtomicBool::new(false);

/// Something that is done if leanfs is interrupted while this exists.
#[derive(Debug)]
pub(super) struct Cleanup(u64);

impl Cleanup {
    pub(super) fn new(action: impl FnMut() + Send + 'static) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        cleanups().push((number, Box::new(action)));
        Self(number)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        cleanups().retain(|(number, _)| *number != self.0);
    }
}

fn cleanups() -> std::sync::MutexGuard<'static, Vec<(u64, Action)>> {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on signals are waited for. That they can't be is no reason not to work: then they end leanfs at once.
pub(super) fn watch(terminal: Terminal) {
    let _ = try_to_watch(terminal);
}

fn try_to_watch(terminal: Terminal) -> io::Result<()> {
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if is_ignored(&ignored, signal) {
            continue;
        }
        // In this order: the first signal finds the flag unset.
        let interrupted = Arc::new(AtomicBool::new(false));
        flag::register_conditional_default(signal, Arc::clone(&interrupted))?;
        flag::register(signal, interrupted)?;
        let (mut ours, handlers) = std::os::unix::net::UnixStream::pair()?;
        low_level::pipe::register(signal, handlers)?;
        let wait = move || {
            let mut byte = [0];
            while let Err(error) = io::Read::read_exact(&mut ours, &mut byte) {
                if error.kind() != io::ErrorKind::Interrupted {
                    return;
                }
            }
            end(terminal, signal);
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    }
    Ok(())
}

/// Does nothing until the process ends, if it is about to end: what fails then fails because of the cleaning up.
pub(super) fn wait_for_the_end() {
    if ENDING.load(Ordering::SeqCst) {
        std::thread::sleep(2 * PATIENCE);
    }
}

fn end(terminal: Terminal, signal: i32) {
    ENDING.store(true, Ordering::SeqCst);
    let (working, done) = channel::<()>();
    let clear = move || {
        for (_, action) in cleanups().iter_mut().rev() {
            action();
        }
        terminal.interrupted(signal);
        drop(working);
    };
    if std::thread::Builder::new().spawn(clear).is_ok() {
        let _ = done.recv_timeout(PATIENCE);
    }
    let _ = low_level::emulate_default_handler(signal);
}

/// Whether `/proc/self/status` says so: `SigIgn` has bit 0 for signal 1 (proc(5)).
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals() {
        let status = "Name:\tleanfs\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n";
        assert!(is_ignored(status, SIGINT) && is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM));
        assert!(!is_ignored("", SIGINT));
    }

    #[test]
    fn what_is_over_needs_no_cleanup() {
        let count = || cleanups().len();
        let before = count();
        let cleanup = Cleanup::new(|| ());
        assert_eq!(count(), before + 1);
        drop(cleanup);
        assert_eq!(count(), before);
    }
}
