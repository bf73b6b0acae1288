//! A running emulator: its console as events, its end, and that nothing of it stays behind.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::VmError;

/// How long an emulator may take to be gone after SIGKILL. One that hangs in the kernel is left to a thread.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long an emulator that has closed its console may take to end.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The most that is kept of what the emulator itself says, in bytes.
const MESSAGE_LIMIT: u64 = 16 << 10;

/// What happens while a guest runs.
#[derive(Debug)]
pub(super) enum GuestEvent {
    /// Something came to the console.
    Console(Vec<u8>, Instant),
    /// Nothing will come any more.
    ConsoleClosed,
    /// An HTTP expectation (by its place in the settings) got nearer, or was met.
    Http(usize, super::http::Outcome, Instant),
    /// The process was told to end.
    Signal(i32),
}

/// A guest whose console goes to a channel. Dropping it kills the emulator.
#[derive(Debug)]
pub(super) struct Guest {
    child: Option<Child>,
    /// Kept open: an emulator whose input ends may take that for a closed console.
    _input: Option<ChildStdin>,
    messages: Option<JoinHandle<String>>,
}

impl Guest {
    pub(super) fn start(
        program: &Path,
        arguments: &[OsString],
        events: SyncSender<GuestEvent>,
    ) -> Result<Self, VmError> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| VmError::QemuStart { program: program.to_owned(), source })?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let mut guest = Self { _input: child.stdin.take(), child: Some(child), messages: None };
        let thread_error =
            |source| VmError::Host { what: "a thread for the console cannot be started", source };
        if let Some(errors) = errors {
            let name = "qemu-messages".to_owned();
            let reader = std::thread::Builder::new().name(name).spawn(move || messages(errors));
            guest.messages = Some(reader.map_err(thread_error)?);
        }
        if let Some(output) = output {
            let name = "qemu-console".to_owned();
            std::thread::Builder::new()
                .name(name)
                .spawn(move || console(output, &events))
                .map_err(thread_error)?;
        }
        Ok(guest)
    }

    /// The status of an emulator that has closed its console, and what it said. One that doesn't end is killed.
    pub(super) fn ended(mut self) -> (Option<ExitStatus>, String) {
        let mut status = None;
        if let Some(mut child) = self.child.take() {
            let deadline = Instant::now() + END_LIMIT;
            loop {
                match child.try_wait() {
                    Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                    Ok(None) | Err(_) => {
                        end_child(child);
                        break;
                    }
                    Ok(ended) => {
                        status = ended;
                        break;
                    }
                }
            }
        }
        let messages = self.messages.take().filter(|_| status.is_some());
        (status, messages.and_then(|thread| thread.join().ok()).unwrap_or_default())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end_child(child);
        }
    }
}

/// Kills a child and waits for its end: for [`KILL_LIMIT`] here, and then in a thread, since one that is stuck in the
/// kernel ends when it likes.
pub(super) fn end_child(mut child: Child) {
    // Fails only for one that has ended already.
    let _ = child.kill();
    let deadline = Instant::now() + KILL_LIMIT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    let _ = std::thread::Builder::new().name("qemu-reaper".to_owned()).spawn(move || child.wait());
}

fn console(mut output: impl Read, events: &SyncSender<GuestEvent>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match output.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let event = GuestEvent::Console(buffer[..count].to_vec(), Instant::now());
                if events.send(event).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                // Nobody listens any more when this fails.
                let _ = events.send(GuestEvent::ConsoleClosed);
                return;
            }
        }
    }
}

/// Reads to the end, so that the emulator never waits for a reader, and keeps the beginning.
fn messages(mut errors: impl Read) -> String {
    let mut kept = Vec::new();
    // What can't be read is not kept.
    let _ = errors.by_ref().take(MESSAGE_LIMIT).read_to_end(&mut kept);
    let _ = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn shell(script: &str) -> (Guest, mpsc::Receiver<GuestEvent>) {
        let (sender, receiver) = mpsc::sync_channel(16);
        let arguments = ["-c", script].map(OsString::from);
        (Guest::start(Path::new("/bin/sh"), &arguments, sender).expect("a shell"), receiver)
    }

    #[test]
    fn console_and_messages_are_apart() {
        let (guest, events) = shell("echo out; echo err >&2; exit 7");
        let mut console = Vec::new();
        while let Ok(GuestEvent::Console(bytes, _)) = events.recv() {
            console.extend(bytes);
        }
        assert_eq!(console, b"out\n");
        let (status, messages) = guest.ended();
        assert_eq!(status.and_then(|status| status.code()), Some(7));
        assert_eq!(messages, "err\n");
    }

    #[test]
    fn dropping_kills() {
        let (guest, events) = shell("echo $$; exec sleep 600");
        let Ok(GuestEvent::Console(bytes, _)) = events.recv() else { panic!("the process says its number") };
        let number = String::from_utf8(bytes).expect("digits");
        let process = Path::new("/proc").join(number.trim());
        assert!(process.exists());
        drop(guest);
        assert!(!process.exists());
        assert!(matches!(events.recv(), Ok(GuestEvent::ConsoleClosed)));
    }

    #[test]
    fn no_program() {
        let (sender, _receiver) = mpsc::sync_channel(16);
        let error = Guest::start(Path::new("/nonexistent/qemu"), &[], sender).expect_err("not there");
        assert_eq!(error.to_string(), "/nonexistent/qemu: cannot be started");
    }
}
