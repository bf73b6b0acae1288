//! Signals that tell the process to end, while a guest runs.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};

use super::VmError;

/// Catches SIGINT, SIGTERM and SIGHUP until it is dropped; after that they are ignored.
#[derive(Debug)]
pub(super) struct CaughtSignals {
    registered: Vec<SigId>,
}

impl CaughtSignals {
    /// Calls `tell` with the number of each signal that comes, in a thread of its own.
    pub(super) fn new(tell: impl Fn(i32) + Clone + Send + 'static) -> Result<Self, VmError> {
        let host = |source| VmError::Host { what: "signals cannot be caught", source };
        // From the first registration on in a value that takes it back.
        let mut caught = Self { registered: Vec::new() };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let (ours, handlers) = UnixStream::pair().map_err(host)?;
            caught.registered.push(pipe::register(signal, handlers).map_err(host)?);
            let tell = tell.clone();
            let wait = move || wait(ours, || tell(signal));
            std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(host)?;
        }
        Ok(caught)
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

/// Each signal writes a byte; taking the registration back closes the pipe.
fn wait(mut pipe: impl Read, tell: impl Fn()) {
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(1) => tell(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_signal_is_told() {
        let (sender, receiver) = mpsc::channel();
        let caught = CaughtSignals::new(move |signal| {
            let _ = sender.send(signal);
        })
        .expect("handlers");
        signal_hook::low_level::raise(SIGHUP).expect("raised");
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(SIGHUP));
        drop(caught);
        assert_eq!(receiver.recv(), Err(mpsc::RecvError), "the threads are gone");
    }
}
