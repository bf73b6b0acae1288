//! What can go wrong, and what to do then.

use std::path::PathBuf;
use std::process::ExitStatus;

use super::console::escape;
use super::{Machine, VerifyFailure};
use crate::arch::Arch;
use crate::report::manifest::ManifestError;

/// Why a guest could not be started, or was not what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// A setting that is written wrongly.
    #[error("{what}: {text:?} is not {expected}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// What was written.
        text: String,
        /// What can be written.
        expected: &'static str,
    },
    /// A pattern that is no regular expression.
    #[error("{pattern:?} is no regular expression")]
    Pattern {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// [`verify`](super::verify) without anything that would show that the application came up.
    #[error("nothing is expected of the guest, so there is nothing to verify")]
    NothingExpected,
    /// A kind of machine that the image's architecture doesn't have.
    #[error("there is no {machine} machine for {arch}")]
    MachineMismatch {
        /// What was asked for.
        machine: Machine,
        /// The image's architecture.
        arch: Arch,
    },
    /// What was assembled can't be told.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file that can't be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest lists no output of a kind that a guest needs.
    #[error("{}: lists no {kind}, which a guest needs", .manifest.display())]
    NoOutput {
        /// The manifest.
        manifest: PathBuf,
        /// `kernel` or `initramfs`.
        kind: &'static str,
    },
    /// The manifest names an output that is no plain file name.
    #[error("{}: the output name {name:?} is no plain file name", .manifest.display())]
    OutputName {
        /// The manifest.
        manifest: PathBuf,
        /// The name.
        name: String,
    },
    /// An output is not what the manifest says.
    #[error("{}: {found} bytes, but the manifest says {expected}", .path.display())]
    OutputSize {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The manifest's.
        expected: u64,
    },
    /// A kernel command line that can't be given to a kernel.
    #[error("{}: the command line {text:?} holds a NUL character", .manifest.display())]
    CommandLine {
        /// The manifest.
        manifest: PathBuf,
        /// What it says.
        text: String,
    },
    /// A disk, and nothing that could boot it.
    #[error("no UEFI firmware for {arch} is installed: there is none of {}", listed(.candidates))]
    FirmwareMissing {
        /// Where it was looked for.
        candidates: Vec<PathBuf>,
        /// The image's architecture.
        arch: Arch,
    },
    /// The emulator is not installed.
    #[error("{program} is not installed: it is not in {}", list(.directories))]
    QemuMissing {
        /// Its name or path.
        program: String,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
        /// What it would have emulated.
        arch: Arch,
    },
    /// The emulator can't be executed.
    #[error("{}: cannot be started", .program.display())]
    QemuStart {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The emulator ended before there was a guest.
    #[error("{} failed ({status}): {}", .program.display(), escape(.message.trim_end().as_bytes()))]
    QemuFailed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
    /// KVM was asked for and can't be used.
    #[error("KVM cannot be used: {reason}")]
    Kvm {
        /// Why.
        reason: String,
    },
    /// The host has no port to reach the guest through.
    #[error("no free TCP port on 127.0.0.1")]
    NoPort {
        /// Why.
        source: std::io::Error,
    },
    /// Something of the host's failed: a thread, a pipe, a signal handler.
    #[error("{what}")]
    Host {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The process was told to end while the guest ran; the guest is gone.
    #[error("ended by signal {signal} while the guest was running")]
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// A trace of an image that has only some of its modules.
    #[error("{}: modules were pruned from this image, so a trace of it can name no others than those it kept", .directory.display())]
    TraceOfPruned {
        /// The output directory.
        directory: PathBuf,
    },
    /// The guest came up, and nothing said that it was traced.
    #[error("the application came up, but the image's first program did not trace it")]
    NotTraced,
    /// PID 1 of the guest can't find out what is opened.
    #[error("PID 1 cannot trace it: {reason}")]
    TraceFailed {
        /// What it said.
        reason: String,
    },
    /// More was opened at a time than the guest's kernel keeps in mind.
    #[error("the trace is not complete: the guest's kernel dropped some of the files that were opened")]
    TraceLost,
    /// A line of the trace did not arrive as it was written, or one before it didn't arrive.
    #[error("the trace is not complete: a line of it was damaged on the console: {line}")]
    TraceDamaged {
        /// The first line that is not as it should be, fit for a terminal.
        line: String,
    },
    /// The guest ran, and what was expected of it did not happen.
    #[error("{0}")]
    NotUp(Box<VerifyFailure>),
}

/// The candidates in a sentence.
fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

impl VmError {
    pub(super) fn setting(what: &'static str, text: &str, expected: &'static str) -> Self {
        Self::Setting { what, text: text.to_owned(), expected }
    }

    /// Whether it is the request that is wrong, rather than anything that was found while following it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Setting { .. }
                | Self::Pattern { .. }
                | Self::NothingExpected
                | Self::MachineMismatch { .. }
        )
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NothingExpected => Some(
                "say what shows that it came up: --expect REGEX for a line of the console, or --expect-http \
                 :PORT/path=SUBSTRING"
                    .to_owned(),
            ),
            Self::MachineMismatch { arch: Arch::X86_64, .. } => Some("use pc or microvm".to_owned()),
            Self::MachineMismatch { .. } => Some("use virt".to_owned()),
            Self::Manifest(error) => error.hint(),
            Self::OutputSize { .. } => Some("assemble the image again".to_owned()),
            Self::NoOutput { kind: "kernel", .. } => {
                Some("assemble with a kernel: --kernel package:linux-virt, or --kernel PATH".to_owned())
            }
            Self::NoOutput { kind: "boot", .. } => Some("assemble it again: the initramfs that mounts it is missing".to_owned()),
            Self::NoOutput { kind, .. } => Some(format!("assemble with --{kind}")),
            Self::FirmwareMissing { arch, .. } => {
                let debian = match arch {
                    Arch::X86_64 => "ovmf",
                    Arch::Aarch64 => "qemu-efi-aarch64",
                    Arch::Riscv64 => "qemu-efi-riscv64",
                };
                Some(format!(
                    "install it (the package is {debian} on Debian and Ubuntu, {} on Alpine), or name its file with \
                     --firmware",
                    if *arch == Arch::X86_64 { "ovmf" } else { "aavmf" }
                ))
            }
            Self::QemuMissing { arch, .. } => {
                let debian = match arch {
                    Arch::X86_64 => "qemu-system-x86",
                    Arch::Aarch64 => "qemu-system-arm",
                    Arch::Riscv64 => "qemu-system-misc (qemu-system-riscv since Debian 13)",
                };
                Some(format!(
                    "install it: the package is {debian} on Debian and Ubuntu, qemu-system-{arch} on Alpine"
                ))
            }
            Self::QemuFailed { message, .. } => qemu_hint(message),
            Self::Kvm { .. } => {
                Some("without KVM the guest runs in QEMU's own translation (TCG), slower".to_owned())
            }
            Self::TraceOfPruned { directory } => Some(format!(
                "assemble it with --prune chunks -o {} first, and with --prune modules and the trace afterwards",
                directory.display()
            )),
            Self::NotTraced => Some(
                "that needs leanfs's own PID 1. An image of an older leanfs has to be assembled again; one whose PID 1 is \
                 the busybox script, by a leanfs that was built where Rust's `core` for its architecture is installed \
                 (rustup target add)"
                    .to_owned(),
            ),
            // As PID 1 says it of a system call that is not there.
            Self::TraceFailed { reason } if reason.ends_with("the kernel was built without this") => {
                Some("the kernel must have inotify (CONFIG_INOTIFY_USER), as linux-virt has".to_owned())
            }
            Self::TraceLost | Self::TraceDamaged { .. } => {
                Some("run it again: another time it may go well".to_owned())
            }
            Self::NotUp(failure) => failure.hint(),
            _ => None,
        }
    }
}

fn qemu_hint(message: &str) -> Option<String> {
    let hint = if message.contains("Could not set up host forwarding rule") {
        "another program listens on that port, or the port is below 1024 and needs root: forward another one"
    } else if message.contains("cannot set up guest memory") || message.contains("Cannot allocate memory") {
        "this host has too little free memory for the guest: give it less"
    } else if message.contains("network backend 'user' is not compiled")
        || message.contains("'user' is not a valid")
    {
        "this QEMU is built without user networking (slirp): take the distribution's own"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

fn list(directories: &[PathBuf]) -> String {
    if directories.is_empty() {
        return "any directory (there are none to look in)".to_owned();
    }
    let names: Vec<_> = directories.iter().map(|directory| directory.display().to_string()).collect();
    names.join(", ")
}
