//! Signals that tell the process to end while a kernel is built: its processes go first.
//!
//! Builds run in a process group of their own, so that all of one can be killed. Outside of them a signal does what it
//! does without all this.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, pipe};

/// The builds of this process.
static BUILDS: Mutex<Builds> = Mutex::new(Builds { watched: false, next: 0, running: Vec::new() });

struct Builds {
    /// Whether handlers are there; they stay for good.
    watched: bool,
    next: u64,
    running: Vec<Running>,
}

struct Running {
    number: u64,
    group: Pid,
    /// The signal that ended it.
    signal: Option<i32>,
}

fn builds() -> MutexGuard<'static, Builds> {
    BUILDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process group that is killed when a signal comes, and when this is dropped before [`Watched::ended`].
#[derive(Debug)]
pub(super) struct Watched {
    number: u64,
    group: Pid,
}

impl Watched {
    /// Installs the handlers; needed once before anything is started.
    pub(super) fn prepare() -> io::Result<()> {
        let mut builds = builds();
        if builds.watched {
            return Ok(());
        }
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let (ours, handlers) = UnixStream::pair()?;
            pipe::register(signal, handlers)?;
            std::thread::Builder::new().name("signals".to_owned()).spawn(move || wait(ours, signal))?;
        }
        builds.watched = true;
        Ok(())
    }

    pub(super) fn new(group: Pid) -> Self {
        let mut builds = builds();
        let number = builds.next;
        builds.next += 1;
        builds.running.push(Running { number, group, signal: None });
        Self { number, group }
    }

    /// The group has ended: the signal that did it, if one did.
    pub(super) fn ended(self) -> Option<i32> {
        let signal = self.take();
        std::mem::forget(self);
        signal
    }

    fn take(&self) -> Option<i32> {
        let mut builds = builds();
        let place = builds.running.iter().position(|running| running.number == self.number)?;
        builds.running.swap_remove(place).signal
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.take();
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// Kills every build of this process; each ends with an error.
pub fn kill_running() {
    for running in &builds().running {
        let _ = kill_process_group(running.group, Signal::KILL);
    }
}

fn wait(mut pipe: impl Read, signal: i32) {
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(1) => told(signal),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn told(signal: i32) {
    let mut builds = builds();
    if builds.running.is_empty() {
        drop(builds);
        let _ = emulate_default_handler(signal);
        return;
    }
    for running in &mut builds.running {
        running.signal = Some(signal);
        let _ = kill_process_group(running.group, Signal::KILL);
    }
}
