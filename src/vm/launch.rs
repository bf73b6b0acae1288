//! A guest on the terminal.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::signal::CaughtSignals;
use super::{LaunchSettings, VmError, prepare};
use crate::report::Reporter;

/// How long an emulator that was asked to end may take for it before it is killed.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Starts what was assembled, with the guest's console on standard input and output, and waits for its end. The
/// status is the emulator's: success when the guest switched itself off or started anew.
///
/// The terminal's interrupt key (usually Ctrl-C) ends the emulator. A host's terminal is afterwards as it was before,
/// whatever happened to the emulator.
///
/// # Errors
/// [`VmError`], when the output directory, the emulator or KVM are not as they must be; [`VmError::Interrupted`] if
/// [`catch_signals`](super::GuestSettings::catch_signals) is set and the process was told to end.
pub fn launch(settings: &LaunchSettings, reporter: &dyn Reporter) -> Result<ExitStatus, VmError> {
    let prepared = prepare(&settings.guest, reporter)?;
    let arguments = prepared.command(&settings.guest, &settings.forwards, true).arguments();
    let _terminal = Terminal::remember();
    let running = Arc::new(Running::default());
    let caught = settings.guest.catch_signals.then(|| {
        let running = Arc::clone(&running);
        CaughtSignals::new(move |signal| Running::end(&running, signal))
    });
    let _caught = caught.transpose()?;
    let child = running.start(Command::new(&prepared.qemu).args(&arguments), &prepared.qemu)?;
    let status = running.wait(child)?;
    match running.signal.load(Ordering::SeqCst) {
        0 => Ok(status),
        signal => Err(VmError::Interrupted { signal }),
    }
}

/// The emulator, as the thread that waits for it and those that get signals see it.
#[derive(Debug, Default)]
struct Running {
    /// Its number, while that can be no other process's.
    process: Mutex<Option<Pid>>,
    /// The first signal that told this process to end; 0 for none.
    signal: AtomicI32,
}

impl Running {
    fn start(&self, command: &mut Command, program: &Path) -> Result<Child, VmError> {
        // Locked until the number is known: no signal falls between.
        let mut process = self.process();
        match self.signal.load(Ordering::SeqCst) {
            0 => {}
            signal => return Err(VmError::Interrupted { signal }),
        }
        let child =
            command.spawn().map_err(|source| VmError::QemuStart { program: program.to_owned(), source })?;
        *process = Pid::from_raw(child.id().cast_signed());
        Ok(child)
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus, VmError> {
        let host = |source| VmError::Host { what: "the emulator cannot be waited for", source };
        if let Some(process) = Pid::from_raw(child.id().cast_signed()) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            // What fails here fails once more, and is reported, below.
            while matches!(waitid(WaitId::Pid(process), options), Err(Errno::INTR)) {}
        }
        // Only now does the number become free for another process.
        let mut process = self.process();
        *process = None;
        child.wait().map_err(host)
    }

    /// Asks the emulator to end, and kills it when it takes too long.
    fn end(running: &Arc<Self>, signal: i32) {
        let _ = running.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        // The terminal tells the emulator of its interrupt key too; being told twice does no harm.
        running.kill(Signal::TERM);
        let late = Arc::clone(running);
        let kill = move || {
            std::thread::sleep(END_LIMIT);
            late.kill(Signal::KILL);
        };
        if std::thread::Builder::new().spawn(kill).is_err() {
            running.kill(Signal::KILL);
        }
    }

    fn kill(&self, signal: Signal) {
        if let Some(process) = *self.process() {
            // It fails for a process that has ended, and is one of ours otherwise.
            let _ = kill_process(process, signal);
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Pid>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the terminal was; it is again when this is dropped. An emulator that is killed leaves it without echo, and
/// standard input, which programs share, non-blocking.
#[derive(Debug)]
struct Terminal {
    modes: Option<Termios>,
    flags: Option<OFlags>,
}

impl Terminal {
    fn remember() -> Self {
        let input = io::stdin();
        let modes = if input.is_terminal() { tcgetattr(&input).ok() } else { None };
        Self { modes, flags: fcntl_getfl(&input).ok() }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let input = io::stdin();
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(&input, OptionalActions::Drain, modes);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl_setfl(&input, flags);
        }
    }
}
