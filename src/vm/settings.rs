//! What a guest is started with, and how its parts are written on a command line.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::VmError;
use crate::recipe::ImageFormat;

/// What [`launch`](super::launch) and [`verify`](super::verify) have in common: the image and the machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GuestSettings {
    /// An output directory of [`assemble`](crate::assemble()): it holds `manifest.json`, an initramfs and a kernel.
    pub directory: PathBuf,
    /// Which of the outputs is started; `None` takes the first that can be, of the formats in the order of
    /// [`ImageFormat::ALL`].
    pub format: Option<ImageFormat>,
    /// Firmware that boots disks; `None` takes the UEFI firmware that is installed.
    pub firmware: Option<PathBuf>,
    /// Whether what the guest writes to its disks is thrown away.
    pub snapshot: bool,
    /// The kind of machine; `None` takes `pc` for x86_64 and `virt` for the others.
    pub machine: Option<Machine>,
    /// Memory in MiB.
    pub memory_mib: NonZeroU32,
    /// Processors; `None` is one under TCG (more make some kernels panic there) and two with KVM, if the host
    /// has as many.
    pub cpus: Option<NonZeroU32>,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The emulator's file; `None` looks for `qemu-system-ARCH` in [`GuestSettings::program_directories`].
    pub qemu: Option<PathBuf>,
    /// Where programs are looked for, in order (the directories of `PATH`).
    pub program_directories: Vec<PathBuf>,
    /// A directory of the user's in which it is remembered, until the machine starts anew, that KVM doesn't
    /// work here. It need not exist. `None` remembers it for the process alone.
    pub cache: Option<PathBuf>,
    /// While the guest runs, end it when the process gets SIGINT, SIGTERM or SIGHUP, instead of dying of the
    /// signal and leaving it behind. The process ignores these signals afterwards: meant for commands that are
    /// about to exit, so it is off by default.
    pub catch_signals: bool,
}

impl GuestSettings {
    /// The guest that `directory` describes, with 256 MiB.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            format: None,
            firmware: None,
            snapshot: false,
            machine: None,
            memory_mib: NonZeroU32::new(256).expect("not zero"),
            cpus: None,
            accelerator: Accelerator::Auto,
            qemu: None,
            program_directories: ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from).into(),
            cache: None,
            catch_signals: false,
        }
    }
}

/// A guest whose console is the terminal.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LaunchSettings {
    /// The image and the machine.
    pub guest: GuestSettings,
    /// Ports of the host that lead to ports of the guest.
    pub forwards: Vec<Forward>,
}

impl LaunchSettings {
    /// The guest that `directory` describes, with no forwarded port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { guest: GuestSettings::new(directory), forwards: Vec::new() }
    }
}

/// A guest that has to show that the application came up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifySettings {
    /// The image and the machine.
    pub guest: GuestSettings,
    /// What must be seen on the console: each matches a line, whatever their order; one line may match several.
    /// Terminal control sequences and carriage returns are not part of a line. Make them with [`console_regex`].
    pub expect: Vec<regex::bytes::Regex>,
    /// What must be answered over HTTP.
    pub expect_http: Vec<HttpExpectation>,
    /// How long all of it may take, from the start of QEMU on.
    pub timeout: Duration,
    /// Find out which files of the image are opened, from the start of the release until everything expected has
    /// happened and nothing new was opened for a while. Modules are then loaded when they are first called, whatever
    /// mode the release says. PID 1 of the image must be leanfs's own program.
    pub trace: bool,
}

impl VerifySettings {
    /// The guest that `directory` describes, 120 seconds, and nothing expected yet.
    ///
    /// The guest's disks stay as they are ([`GuestSettings::snapshot`]).
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let mut guest = GuestSettings::new(directory);
        guest.snapshot = true;
        Self {
            guest,
            expect: Vec::new(),
            expect_http: Vec::new(),
            timeout: Duration::from_secs(120),
            trace: false,
        }
    }
}

/// A pattern for [`VerifySettings::expect`], in the syntax of the crate `regex`.
///
/// # Errors
/// [`VmError::Pattern`].
pub fn console_regex(pattern: &str) -> Result<regex::bytes::Regex, VmError> {
    regex::bytes::Regex::new(pattern)
        .map_err(|source| VmError::Pattern { pattern: pattern.to_owned(), source: Box::new(source) })
}

/// Kinds of machines, by QEMU's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// A PC with PCI and ACPI; x86_64.
    Pc,
    /// A machine without PCI, devices over virtio-mmio; x86_64.
    Microvm,
    /// The generic machine of aarch64 and riscv64.
    Virt,
}

impl Machine {
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Microvm => "microvm",
            Self::Virt => "virt",
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Machine {
    type Err = VmError;

    fn from_str(text: &str) -> Result<Self, VmError> {
        match text {
            "pc" => Ok(Self::Pc),
            "microvm" => Ok(Self::Microvm),
            "virt" => Ok(Self::Virt),
            _ => Err(VmError::setting("machine", text, "pc, microvm or virt")),
        }
    }
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// KVM where a guest has really run in it, TCG otherwise.
    #[default]
    Auto,
    /// KVM, or an error that says why it can't be used.
    Kvm,
    /// QEMU's own translation, which works everywhere.
    Tcg,
}

impl FromStr for Accelerator {
    type Err = VmError;

    fn from_str(text: &str) -> Result<Self, VmError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(VmError::setting("accelerator", text, "auto, kvm or tcg")),
        }
    }
}

/// A TCP port of the host that leads to one of the guest: `8080:80`, or `0.0.0.0:8080:80` for more than this
/// host's own programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forward {
    /// The host's address; 127.0.0.1 when none is written.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = VmError;

    fn from_str(text: &str) -> Result<Self, VmError> {
        let wrong =
            || VmError::setting("forward", text, "HOST-PORT:GUEST-PORT, or ADDRESS:HOST-PORT:GUEST-PORT");
        let (rest, guest) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (address.parse().map_err(|_| wrong())?, host),
            None => (Ipv4Addr::LOCALHOST, rest),
        };
        let host = port(host).ok_or_else(wrong)?;
        let guest = port(guest).ok_or_else(wrong)?;
        Ok(Self { address, host, guest })
    }
}

/// What the guest must answer over HTTP: `:PORT/path=SUBSTRING`.
///
/// The first `=` ends the path; in a path with a query (`/find?key=value=ok`) it is the last one. The substring is
/// searched in the body, whatever the status is; an empty one takes any answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HttpExpectation {
    /// The guest's TCP port.
    pub port: u16,
    /// The path with its query, as it is sent: printable ASCII, beginning with `/`.
    pub path: String,
    /// What the body must hold.
    pub substring: String,
}

impl FromStr for HttpExpectation {
    type Err = VmError;

    fn from_str(text: &str) -> Result<Self, VmError> {
        let wrong = || VmError::setting("HTTP expectation", text, ":PORT/path=SUBSTRING");
        let rest = text.strip_prefix(':').ok_or_else(wrong)?;
        let (digits, rest) = rest.split_at(rest.find('/').ok_or_else(wrong)?);
        let mut equals = rest.find('=').ok_or_else(wrong)?;
        if rest[..equals].contains('?') {
            equals = rest.rfind('=').unwrap_or(equals);
        }
        let (path, substring) = (&rest[..equals], &rest[equals + 1..]);
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(VmError::setting(
                "HTTP expectation",
                text,
                "a path of printable ASCII without spaces",
            ));
        }
        let port = port(digits).ok_or_else(wrong)?;
        Ok(Self { port, path: path.to_owned(), substring: substring.to_owned() })
    }
}

impl std::fmt::Display for HttpExpectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ":{}{}={}", self.port, self.path, self.substring)
    }
}

/// A port number that something can listen on.
fn port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards() {
        let table = [
            ("8080:80", Some((Ipv4Addr::LOCALHOST, 8080, 80))),
            ("0.0.0.0:8080:80", Some((Ipv4Addr::UNSPECIFIED, 8080, 80))),
            ("192.168.1.7:1:65535", Some((Ipv4Addr::new(192, 168, 1, 7), 1, 65535))),
            ("", None),
            ("8080", None),
            (":80", None),
            ("8080:", None),
            ("0:80", None),
            ("80:0", None),
            ("+8080:80", None),
            ("65536:80", None),
            ("host:8080:80", None),
            ("1.2.3.4:8080", None),
            ("8080:80,guestfwd=x", None),
        ];
        for (text, expected) in table {
            let found =
                text.parse::<Forward>().ok().map(|forward| (forward.address, forward.host, forward.guest));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn http_expectations() {
        let table = [
            (":8080/health=ok", Some((8080, "/health", "ok"))),
            (":80/=", Some((80, "/", ""))),
            (":80/a=b=c", Some((80, "/a", "b=c"))),
            (":80/a?k=v=c", Some((80, "/a?k=v", "c"))),
            (":80/a=what? me=", Some((80, "/a", "what? me="))),
            (":80/=Grüße, \"x\"", Some((80, "/", "Grüße, \"x\""))),
            ("8080/health=ok", None),
            ("http://localhost:80/=x", None),
            (":8080/health", None),
            (":8080=ok", None),
            (":/health=ok", None),
            (":0/=x", None),
            (":99999/=x", None),
            (":80/a b=x", None),
            (":80/a\r\nHost: x=y", None),
            (":80/ü=y", None),
        ];
        for (text, expected) in table {
            let found = text.parse::<HttpExpectation>().ok();
            let found = found.as_ref().map(|http| (http.port, http.path.as_str(), http.substring.as_str()));
            assert_eq!(found, expected, "{text:?}");
            if let Ok(http) = text.parse::<HttpExpectation>() {
                assert_eq!(http.to_string(), text);
            }
        }
    }

    #[test]
    fn names() {
        for machine in [Machine::Pc, Machine::Microvm, Machine::Virt] {
            assert_eq!(machine.name().parse::<Machine>().expect("its own name"), machine);
        }
        let error = "q35\u{1b}[2J".parse::<Machine>().expect_err("not offered");
        assert_eq!(error.to_string(), r#"machine: "q35\u{1b}[2J" is not pc, microvm or virt"#);
        assert_eq!("kvm".parse::<Accelerator>().expect("a name"), Accelerator::Kvm);
        assert!("hvf".parse::<Accelerator>().is_err());
        assert!(console_regex("hello from").is_ok());
        assert!(console_regex("(").is_err());
    }
}
