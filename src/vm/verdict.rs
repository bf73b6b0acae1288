//! What came out of a boot: how the application came up, or how it didn't.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use super::UsedAccelerator;
use super::console::Signs;
use crate::report::trace::Trace;

/// The application came up.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What executed the guest.
    pub accelerator: UsedAccelerator,
    /// Everything that was expected, in the order in which it happened.
    pub met: Vec<Met>,
    /// From the start of QEMU to the last of it; seconds in serialised form.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// What was opened, when [`VerifySettings::trace`](super::VerifySettings::trace) asked for it. No part of the
    /// serialised form: it has one of its own.
    #[serde(skip)]
    pub trace: Option<Trace>,
}

/// Something that was expected and happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Met {
    /// What was expected.
    pub what: String,
    /// What was seen: the console's line, or the HTTP status. Fit for a terminal.
    pub seen: String,
    /// When, from the start of QEMU on; seconds in serialised form.
    #[serde(serialize_with = "seconds")]
    pub after: Duration,
}

/// Something that was expected and did not happen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Unmet {
    /// What was expected.
    pub what: String,
    /// What was seen instead, if anything. Fit for a terminal.
    pub instead: Option<String>,
}

/// How a guest came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestEnd {
    /// It was running still when the time was up.
    TimedOut,
    /// Its kernel panicked; the kernel's line.
    Panicked(String),
    /// It switched itself off, or started anew.
    Ended,
    /// Its kernel halted, and the machine stands still.
    Halted,
    /// The emulator failed: its status and what it said.
    EmulatorFailed(Option<ExitStatus>, String),
}

/// A guest ran, and the application did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyFailure {
    /// How the guest came to its end.
    pub end: GuestEnd,
    /// When that was, from the start of QEMU on.
    pub elapsed: Duration,
    /// What executed the guest.
    pub accelerator: UsedAccelerator,
    /// What happened all the same.
    pub met: Vec<Met>,
    /// What did not happen.
    pub unmet: Vec<Unmet>,
    /// The last lines of the console, fit for a terminal.
    pub console: Vec<String>,
    pub(super) signs: Signs,
    /// Whether the last answer over HTTP was another than the expected.
    pub(super) wrong_answer: bool,
    /// Whether a port of the guest never answered at all.
    pub(super) port_closed: bool,
}

impl VerifyFailure {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let Signs { no_memory, not_unpacked, no_init } = self.signs;
        let tcg = self.accelerator == UsedAccelerator::Tcg;
        let hint = if no_memory {
            "the guest ran out of memory: give it more with --memory"
        } else if not_unpacked {
            "the kernel could not unpack the initramfs: give it more memory, or another compression if the kernel \
             lacks this one (--compress gzip)"
        } else if no_init {
            "the kernel cannot execute /init: is the image for the kernel's architecture?"
        } else if self.end != GuestEnd::TimedOut {
            return None;
        } else if self.console.is_empty() {
            "nothing came to the console: does the kernel know this machine and its serial port (--machine, console= \
             on its command line)? Or did it need more time (--timeout)?"
        } else if self.wrong_answer {
            "the application answers, but not that: compare the path and the text that was expected"
        } else if self.port_closed {
            "nothing listens on the port, as it seems: does the application listen on all addresses (0.0.0.0), and \
             does the image have the drivers for the network card?"
        } else if tcg {
            "without KVM a guest is ten times slower: give it more time with --timeout"
        } else {
            "give it more time with --timeout"
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for VerifyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application did not come up: ")?;
        let after = format!("{:.1} s", self.elapsed.as_secs_f64());
        match &self.end {
            GuestEnd::TimedOut => write!(f, "the time was up after {after}")?,
            GuestEnd::Panicked(line) => write!(f, "the guest's kernel panicked after {after}: {line}")?,
            GuestEnd::Ended => write!(f, "the guest switched itself off or started anew after {after}")?,
            GuestEnd::Halted => write!(f, "the guest's kernel halted after {after}")?,
            GuestEnd::EmulatorFailed(status, message) => {
                write!(f, "the emulator failed after {after}")?;
                if let Some(status) = status {
                    write!(f, " ({status})")?;
                }
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
            }
        }
        for Met { what, seen, after } in &self.met {
            write!(f, "\nmet after {:.1} s: {what} ({seen})", after.as_secs_f64())?;
        }
        for Unmet { what, instead } in &self.unmet {
            write!(f, "\nnot met: {what}")?;
            if let Some(instead) = instead {
                write!(f, " ({instead})")?;
            }
        }
        if self.console.is_empty() {
            return f.write_str("\nnothing came to the console");
        }
        f.write_str("\nthe console's last lines:")?;
        self.console.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_serialise() {
        let report = VerifyReport {
            accelerator: UsedAccelerator::Kvm,
            met: vec![Met {
                what: ":80/=".into(),
                seen: "HTTP 200".into(),
                after: Duration::from_millis(1500),
            }],
            elapsed: Duration::from_millis(1500),
            trace: Some(Trace::default()),
        };
        let json = serde_json::to_string(&report).expect("serialisable");
        let expected =
            r#"{"accelerator":"kvm","met":[{"what":":80/=","seen":"HTTP 200","after":1.5}],"elapsed":1.5}"#;
        assert_eq!(json, expected);
    }
}
