//! The short texts that name a choice, the same in `leanfs.toml` and after a flag: `xz:9`, `package:linux-virt`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{Compression, KernelBuild, KernelSource, OtpSource, Profile, PruneLevel};

/// A text that names none of the choices there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no {what}: {allowed}")]
pub struct UnknownChoice {
    /// What was to be chosen.
    pub what: &'static str,
    /// The text.
    pub found: String,
    /// What could stand there, as a clause.
    pub allowed: String,
}

impl UnknownChoice {
    pub(super) fn new(what: &'static str, found: &str, allowed: impl Into<String>) -> Self {
        Self { what, found: found.to_owned(), allowed: allowed.into() }
    }
}

/// `xz`, `zstd`, `gzip`, `lz4` or `none`, and for the first three a level after a colon.
impl FromStr for Compression {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "xz[:0-9], zstd[:1-22], gzip[:1-9], lz4 and none are";
        let unknown = || UnknownChoice::new("compression", text, ALLOWED);
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => {
                // `u32::from_str` takes a sign, a level has none.
                let digits = !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_digit());
                (name, Some(level.parse::<u32>().ok().filter(|_| digits).ok_or_else(unknown)?))
            }
            None => (text, None),
        };
        let (compression, levels) = match name {
            "xz" => (Self::Xz { level }, 0..=9),
            "zstd" => (Self::Zstd { level }, 1..=22),
            "gzip" => (Self::Gzip { level }, 1..=9),
            "lz4" if level.is_none() => return Ok(Self::Lz4),
            "none" if level.is_none() => return Ok(Self::None),
            _ => return Err(unknown()),
        };
        match level {
            Some(level) if !levels.contains(&level) => Err(unknown()),
            _ => Ok(compression),
        }
    }
}

impl Compression {
    /// Its name, without a level.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip { .. } => "gzip",
            Self::Xz { .. } => "xz",
            Self::Zstd { .. } => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Its level, if one was said.
    pub fn level(self) -> Option<u32> {
        match self {
            Self::Gzip { level } | Self::Xz { level } | Self::Zstd { level } => level,
            Self::None | Self::Lz4 => None,
        }
    }
}

/// The form that [`FromStr`] takes.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level() {
            Some(level) => write!(f, "{}:{level}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// `none`, `apps`, `chunks` or `modules`.
impl FromStr for PruneLevel {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "apps" => Ok(Self::Apps),
            "chunks" => Ok(Self::Chunks),
            "modules" => Ok(Self::Modules),
            _ => Err(UnknownChoice::new("prune level", text, "none, apps, chunks and modules are")),
        }
    }
}

/// The form that [`FromStr`] takes.
impl fmt::Display for PruneLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Apps => "apps",
            Self::Chunks => "chunks",
            Self::Modules => "modules",
        })
    }
}

/// `none`, `server` or `tiny`.
impl FromStr for Profile {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "server" => Ok(Self::Server),
            "tiny" => Ok(Self::Tiny),
            _ => Err(UnknownChoice::new("profile", text, "none, server and tiny are")),
        }
    }
}

/// A size: a number of bytes, or of `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`,
/// `GiB`, `TiB` (of 1024), perhaps
/// with a fraction.
///
/// # Errors
/// Anything else, and what is no whole number of bytes below 2⁵³.
pub fn parse_size(text: &str) -> Result<u64, UnknownChoice> {
    const UNITS: [(&str, f64); 10] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
        ("", 1.0),
    ];
    /// Below it every whole number has a value of its own.
    const MOST: f64 = 9_007_199_254_740_992.0;
    let unknown =
        || UnknownChoice::new("size", text, "a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB is");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(unknown)?;
    let bytes = number.parse::<f64>().map_err(|_| unknown())? * factor;
    if bytes.is_finite() && bytes < MOST { Ok(bytes.round() as u64) } else { Err(unknown()) }
}

/// `none`, `package:NAME`, or the path of a kernel.
impl FromStr for KernelSource {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ALLOWED: &str = "`package:NAME`, `build:TARBALL`, a path and `none` are";
        match text.split_once(':') {
            _ if text == "none" => Ok(Self::None),
            _ if text.is_empty() => Err(UnknownChoice::new("kernel", text, ALLOWED)),
            Some(("package" | "build", "")) => Err(UnknownChoice::new("kernel", text, ALLOWED)),
            Some(("package", name)) => Ok(Self::Package(name.to_owned())),
            Some(("build", source)) if source.contains("://") => {
                let allowed =
                    "the path of a source is; in leanfs.toml an address can stand, with its SHA-256";
                Err(UnknownChoice::new("kernel", &crate::fetch::without_credentials(text), allowed))
            }
            Some(("build", source)) => {
                Ok(Self::Build(KernelBuild { source: source.to_owned(), ..KernelBuild::default() }))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// The 32 bytes of a SHA-256 in 64 hexadecimal digits.
///
/// # Errors
/// Anything else.
pub fn parse_sha256(text: &str) -> Result<[u8; 32], UnknownChoice> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) => Ok(hash),
        Err(_) => Err(UnknownChoice::new("SHA-256", text, "64 hexadecimal digits are")),
    }
}

impl OtpSource {
    /// What `--otp` and `--otp-sha256` name: `packages`, an address (which needs the hash) or a path.
    ///
    /// # Errors
    /// An address without a hash, an address that is not `https://` or `http://`, a hash for packages.
    pub fn parse(text: &str, sha256: Option<[u8; 32]>) -> Result<Self, UnknownChoice> {
        let refuse = |found: &str, allowed: &str| {
            Err(UnknownChoice::new("source of OTP", &crate::fetch::without_credentials(found), allowed))
        };
        match (text.split_once("://"), sha256) {
            (None, _) if text.is_empty() => refuse(text, "`packages`, a path or an address is"),
            (None, None) if text == "packages" => Ok(Self::Packages),
            (None, Some(_)) if text == "packages" => {
                refuse(text, "a SHA-256 belongs to a path or an address, packages have their own")
            }
            (None, _) => Ok(Self::Tarball { path: PathBuf::from(text), sha256 }),
            (Some(("http" | "https", _)), Some(sha256)) => Ok(Self::Url { url: text.to_owned(), sha256 }),
            (Some(("http" | "https", _)), None) => {
                refuse(text, "an address needs the SHA-256 of what it gives")
            }
            (Some(_), _) => refuse(text, "`packages`, a path, or an https:// or http:// address is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions() {
        for (text, want) in [
            ("xz", Compression::Xz { level: None }),
            ("xz:0", Compression::Xz { level: Some(0) }),
            ("xz:9", Compression::Xz { level: Some(9) }),
            ("zstd:19", Compression::Zstd { level: Some(19) }),
            ("gzip:1", Compression::Gzip { level: Some(1) }),
            ("lz4", Compression::Lz4),
            ("none", Compression::None),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
            assert_eq!(want.to_string(), text);
        }
        for text in [
            "",
            "xz:",
            "xz:10",
            "xz:+9",
            "xz:nine",
            "zstd:0",
            "zstd:23",
            "gzip:0",
            "lz4:1",
            "none:0",
            "bzip2",
            "xz:99999999999",
        ] {
            let error = text.parse::<Compression>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("{text:?} is no compression: xz[:0-9], zstd[:1-22], gzip[:1-9], lz4 and none are")
            );
        }
    }

    #[test]
    fn kernels() {
        assert_eq!("none".parse(), Ok(KernelSource::None));
        assert_eq!("package:linux-virt".parse(), Ok(KernelSource::Package("linux-virt".to_owned())));
        assert_eq!("boot/vmlinuz".parse(), Ok(KernelSource::File("boot/vmlinuz".into())));
        assert!("".parse::<KernelSource>().is_err());
        let build = KernelBuild { source: "linux-6.1.tar.xz".to_owned(), ..KernelBuild::default() };
        assert_eq!("build:linux-6.1.tar.xz".parse(), Ok(KernelSource::Build(build)));
        assert!("package:".parse::<KernelSource>().is_err());
        assert!("build:".parse::<KernelSource>().is_err());
        assert!("build:https://a/linux.tar.xz".parse::<KernelSource>().is_err(), "it needs a hash");
    }

    #[test]
    fn prune_levels() {
        for level in [PruneLevel::None, PruneLevel::Apps, PruneLevel::Chunks, PruneLevel::Modules] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "all".parse::<PruneLevel>().expect_err("not offered");
        assert_eq!(error.to_string(), "\"all\" is no prune level: none, apps, chunks and modules are");
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("4 MiB", 4 << 20),
            ("4MiB", 4 << 20),
            ("3.1 MB", 3_100_000),
            ("17", 17),
            ("0.5 kB", 500),
            ("2 GiB", 2 << 30),
            ("16TiB", 16 << 40),
            ("1.5 TB", 1_500_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "4 mib", "-1", "1e3", "1.2.3 MB", "99999999 GB", "4 MiB x"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn otp_sources() {
        let hash = [0xab; 32];
        assert_eq!(parse_sha256(&"aB".repeat(32)), Ok(hash));
        for text in ["", "ab", &"ab".repeat(33), &"xy".repeat(32)] {
            assert!(parse_sha256(text).is_err(), "{text}");
        }
        assert_eq!(OtpSource::parse("packages", None), Ok(OtpSource::Packages));
        assert_eq!(
            OtpSource::parse("otp.tar.xz", Some(hash)),
            Ok(OtpSource::Tarball { path: "otp.tar.xz".into(), sha256: Some(hash) })
        );
        assert_eq!(
            OtpSource::parse("https://a/otp.tar.gz", Some(hash)),
            Ok(OtpSource::Url { url: "https://a/otp.tar.gz".to_owned(), sha256: hash })
        );
        let error = OtpSource::parse("https://u:p@a/otp.tar.gz", None).expect_err("no hash");
        assert_eq!(
            error.to_string(),
            "\"https://a/otp.tar.gz\" is no source of OTP: an address needs the SHA-256 of what it gives"
        );
        assert!(OtpSource::parse("ftp://a/otp.tar.gz", Some(hash)).is_err());
        assert!(OtpSource::parse("packages", Some(hash)).is_err());
        assert!(OtpSource::parse("", None).is_err());
    }
}
