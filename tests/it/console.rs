//! What a machine says on its first serial port, while it runs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How a machine came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A line was the last one that was waited for.
    Seen,
    /// By itself.
    Exited,
    /// It took too long.
    TooLate,
}

/// Starts a machine whose serial port is its standard output and gives what it says, up to the line for which `is_last`
/// says so, its own end, or the end of the time. It is killed then.
pub(crate) fn watch(
    qemu: &mut Command,
    most_wait: Duration,
    is_last: impl Fn(&str) -> bool,
) -> (Vec<String>, End) {
    let mut child =
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the machine's program starts");
    let stdout = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        // Lines of a guest that went wrong may be anything, of any length.
        while (&mut stdout).take(1 << 16).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    let start = Instant::now();
    let mut console: Vec<String> = Vec::new();
    let end = loop {
        match receiver.recv_timeout(most_wait.saturating_sub(start.elapsed())) {
            Ok(line) => {
                let last = is_last(&line);
                console.push(line);
                if last {
                    break End::Seen;
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break End::Exited,
            Err(mpsc::RecvTimeoutError::Timeout) => break End::TooLate,
        }
    };
    drop(child.kill());
    child.wait().expect("it was started");
    drop(receiver);
    reader.join().expect("no panic");
    println!("{}\nafter {:?}: {end:?}", console.join("\n"), start.elapsed());
    (console, end)
}
