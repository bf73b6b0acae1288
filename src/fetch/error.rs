//! What can go wrong between an address and verified contents.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::apk::ApkError;
use crate::archive::{ArchiveError, TarLimit};
use crate::recipe::{InputLimit, date};

/// Something could not be fetched, or is not what it should be.
///
/// Addresses in it never hold a user name, a password or a query; text that came from outside is escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An address can't be understood.
    #[error("the address {url} can't be used: {problem}")]
    BadAddress {
        /// As it was given, without credentials.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A proxy's address can't be understood.
    #[error("the proxy {proxy} can't be used: {problem}")]
    BadProxy {
        /// As it was given, without credentials.
        proxy: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file of certificate authorities holds none, or can't be read as PEM.
    #[error("{}: {problem}", path.display())]
    BadCaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The network may not be used and the cache doesn't have it.
    #[error("{url} is not in the cache {} and the network must not be used (offline)", cache.display())]
    Offline {
        /// What was wanted.
        url: String,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// No connection, or it broke, each time.
    #[error("{url} can't be reached ({}): {problem}", tries_of(*tries))]
    Unreachable {
        /// What was wanted.
        url: String,
        /// The last try's failure.
        problem: String,
        /// How often it was tried.
        tries: u32,
    },
    /// The server's identity could not be proven.
    #[error("{url}: no trusted connection (TLS): {problem}")]
    Tls {
        /// What was wanted.
        url: String,
        /// Why not.
        problem: String,
    },
    /// The server answers with an error.
    #[error("{url}: the server answers with status {status} ({})", tries_of(*tries))]
    Status {
        /// What was wanted.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// How often it was tried.
        tries: u32,
    },
    /// The server says that there is no such thing.
    #[error("{url} does not exist: the server answers with status {status}")]
    NotFound {
        /// What was wanted.
        url: String,
        /// The HTTP status code: 404 or 410.
        status: u16,
    },
    /// There is no such file in a local repository.
    #[error("{} does not exist", path.display())]
    NoSuchFile {
        /// The file.
        path: PathBuf,
    },
    /// The server sends elsewhere, to where leanfs doesn't go.
    #[error("{url} is redirected to {target}, which is refused: {reason}")]
    RedirectRefused {
        /// What was wanted.
        url: String,
        /// Where the server sends.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// The connection ended before everything had come, each time.
    #[error("{url}: the download is truncated: {received} of {expected} bytes came ({})", tries_of(*tries))]
    Truncated {
        /// What was wanted.
        url: String,
        /// How many bytes it has.
        expected: u64,
        /// How many came, over all tries.
        received: u64,
        /// How often it was tried.
        tries: u32,
    },
    /// More bytes than anything of its kind has.
    #[error("{url} has more than {limit} bytes, the most that is accepted")]
    TooLarge {
        /// What was wanted.
        url: String,
        /// The most that is accepted, in bytes.
        limit: u64,
        /// The setting that it is.
        setting: Option<InputLimit>,
    },
    /// More of something than is accepted.
    #[error("{location} goes beyond the limit {setting}, which is {limit}")]
    BeyondLimit {
        /// The address or path.
        location: String,
        /// The setting.
        setting: InputLimit,
        /// Its value in words.
        limit: String,
    },
    /// A download took longer than any may.
    #[error("{url}: the download takes longer than {limit}: {received} bytes came")]
    TooSlow {
        /// What was wanted.
        url: String,
        /// How long it may take, in words.
        limit: String,
        /// How many bytes came.
        received: u64,
    },
    /// A well-signed index from before the time that was given.
    #[error(
        "the index {location} is too old: {}, and it must have one of {} or later",
        newest.map_or_else(
            || "it doesn't say when its packages were built".to_owned(),
            |newest| format!("its newest package was built on {}", date(newest))
        ),
        date(*not_before)
    )]
    IndexTooOld {
        /// The address or path.
        location: String,
        /// When its newest package was built, in seconds since 1970.
        newest: Option<i64>,
        /// When it must have been built at the earliest.
        not_before: i64,
    },
    /// A well-signed index of another architecture.
    #[error("the index {location} is not for {wanted}: its packages are for {found}")]
    IndexOfAnotherArch {
        /// The address or path.
        location: String,
        /// The architecture that it was asked for.
        wanted: &'static str,
        /// The architecture of its first package.
        found: String,
    },
    /// The size is not what the index says.
    #[error(
        "{location} is not the package that its index names: it has {found} bytes, and {expected} are expected"
    )]
    WrongSize {
        /// The address or path.
        location: String,
        /// By the index, in bytes.
        expected: u64,
        /// By the server or the file system, in bytes.
        found: u64,
    },
    /// The SHA-256 is not the one that was asked for.
    #[error("{location} is not what was asked for: its SHA-256 is {found}, and {expected} is expected")]
    WrongHash {
        /// The address or path.
        location: String,
        /// 64 hexadecimal digits.
        expected: String,
        /// 64 hexadecimal digits.
        found: String,
    },
    /// Something else than what was locked.
    #[error("{location} is not {what} as it was locked: expected {expected}, found {found}")]
    NotAsLocked {
        /// What, with the lock's line.
        what: String,
        /// The address or path.
        location: String,
        /// What the lock says; of hashes the hexadecimal digits.
        expected: String,
        /// What was found.
        found: String,
    },
    /// What was locked is in no place.
    #[error("{what} is nowhere: neither in the cache{}", places(asked))]
    NoWhere {
        /// What, with the lock's line.
        what: String,
        /// Where it was looked for beside the cache.
        asked: Vec<String>,
    },
    /// A package that was locked with its signature, and none of the keys that made it is at hand.
    #[error("{what} was signed by a key that is not trusted here: {}", listed(keys, "none"))]
    NoLockedKey {
        /// What, with the lock's line.
        what: String,
        /// Fingerprints.
        keys: Vec<String>,
    },
    /// An index that nobody signed.
    #[error("the index {location} is not signed")]
    IndexUnsigned {
        /// The address or path.
        location: String,
    },
    /// An index that is signed only by keys that are not trusted.
    #[error(
        "the index {location} is signed by {}, which is not trusted (trusted: {})",
        listed(keys, "no key that can be named"),
        listed(trusted, "no key")
    )]
    IndexUnknownKey {
        /// The address or path.
        location: String,
        /// The names of the keys that signed.
        keys: Vec<String>,
        /// The names of the trusted keys.
        trusted: Vec<String>,
    },
    /// An index whose signature is by a trusted key's name and doesn't fit.
    #[error("the index {location} was changed: the signature by {key} does not fit its contents")]
    IndexChanged {
        /// The address or path.
        location: String,
        /// The name of the key.
        key: String,
    },
    /// An index whose bytes can't be read, so that its signature can't be checked.
    #[error("the index {location} is damaged: {problem}")]
    IndexDamaged {
        /// The address or path.
        location: String,
        /// In what way.
        problem: String,
    },
    /// A part of a package is not what the part before it says.
    #[error(
        "the package {package} was changed: the {member} member of {location} has the {} {found}, and {expected} is expected",
        hash_of(expected)
    )]
    MemberChanged {
        /// Name and version.
        package: String,
        /// The address or path.
        location: String,
        /// Which part.
        member: Member,
        /// By the index or the control member: hexadecimal digits, 40 of a SHA-1 or 64 of a SHA-256.
        expected: String,
        /// In the package, of the member's compressed bytes.
        found: String,
    },
    /// A part of a package can't be read, or its signature doesn't fit.
    #[error("the package {package} was changed: the {member} member of {location} is damaged: {problem}")]
    MemberDamaged {
        /// Name and version.
        package: String,
        /// The address or path.
        location: String,
        /// Which part.
        member: Member,
        /// In what way.
        problem: String,
    },
    /// A file in a package is not what its own header says.
    #[error(
        "the package {location} is inconsistent: {path} has the {} {found}, and its header says {expected}",
        hash_of(expected)
    )]
    FileChanged {
        /// The address or path.
        location: String,
        /// The file in the package.
        path: String,
        /// Hexadecimal digits, 40 of a SHA-1, 64 of a SHA-256 or 128 of a SHA-512.
        expected: String,
        /// As many hexadecimal digits.
        found: String,
    },
    /// A package, perhaps well signed, that the index doesn't name.
    #[error("{location} is {found}, which the index {index} does not name; it names {package} there")]
    NotNamed {
        /// Name and version that were wanted.
        package: String,
        /// The address or path of the package.
        location: String,
        /// What stands there.
        found: String,
        /// The address or path of the index.
        index: String,
    },
    /// The files of a package can't be taken: paths that lead out of it, for one.
    #[error("{location} can't be unpacked")]
    Archive {
        /// The address or path.
        location: String,
        /// The entry and what is wrong with it.
        source: Box<ArchiveError>,
    },
    /// A key file that can't be used.
    #[error("{}: not a key that can be trusted", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ApkError>,
    },
    /// A directory of keys without one.
    #[error("{} holds no key: no file whose name ends in .pub or .pem", path.display())]
    NoKeys {
        /// The directory.
        path: PathBuf,
    },
    /// A repository wants a key that is not there.
    #[error("{repository} trusts a key with the fingerprint {fingerprint}, and no known key has it")]
    NoSuchFingerprint {
        /// The repository.
        repository: String,
        /// The fingerprint.
        fingerprint: String,
    },
    /// Bytes that can't be read as what they should be, though nothing shows that they were changed.
    #[error("{location}: {problem}")]
    Malformed {
        /// The address or path.
        location: String,
        /// In what way.
        problem: String,
    },
    /// The file system is full.
    #[error("the disk is full: {} can't be written", path.display())]
    DiskFull {
        /// What was written.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file can't be read or written.
    #[error("{}: can't {action}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried: `read`, `create` …
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

/// The parts of a package: in format v2 each a gzip member of its own, in v3 blocks of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// Signatures of the control member or of the ADB block.
    Signature,
    /// `.PKGINFO` and scripts.
    Control,
    /// Of format v3: what the package says of itself and of its files.
    Adb,
    /// The files.
    Data,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Control => "control",
            Self::Adb => "ADB",
            Self::Data => "data",
        })
    }
}

/// What an error means to whoever asked, as exit codes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FetchErrorKind {
    /// A signature, hash or size doesn't fit.
    Unverified,
    /// The network or a server failed.
    Network,
    /// It isn't there.
    Missing,
    /// Trusted bytes that make no sense.
    Malformed,
    /// A file of this machine can't be read or written, a full disk among the reasons.
    Io,
    /// What was asked for makes no sense.
    Settings,
}

impl FetchError {
    /// What it means.
    pub fn kind(&self) -> FetchErrorKind {
        match self {
            Self::BadAddress { .. }
            | Self::BadProxy { .. }
            | Self::BadCaFile { .. }
            | Self::BadKey { .. }
            | Self::NoKeys { .. }
            | Self::NoSuchFingerprint { .. } => FetchErrorKind::Settings,
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Status { .. }
            | Self::RedirectRefused { .. }
            | Self::TooSlow { .. }
            | Self::Truncated { .. } => FetchErrorKind::Network,
            Self::Offline { .. } | Self::NotFound { .. } | Self::NoSuchFile { .. } => FetchErrorKind::Missing,
            Self::TooLarge { .. }
            | Self::BeyondLimit { .. }
            | Self::IndexTooOld { .. }
            | Self::IndexOfAnotherArch { .. }
            | Self::WrongSize { .. }
            | Self::WrongHash { .. }
            | Self::NotAsLocked { .. }
            | Self::NoWhere { .. }
            | Self::NoLockedKey { .. }
            | Self::IndexUnsigned { .. }
            | Self::IndexUnknownKey { .. }
            | Self::IndexChanged { .. }
            | Self::IndexDamaged { .. }
            | Self::MemberChanged { .. }
            | Self::MemberDamaged { .. }
            | Self::FileChanged { .. }
            | Self::NotNamed { .. } => FetchErrorKind::Unverified,
            Self::Archive { .. } | Self::Malformed { .. } => FetchErrorKind::Malformed,
            Self::DiskFull { .. } | Self::Io { .. } => FetchErrorKind::Io,
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::BadAddress { .. } => "an address begins with http:// or https://; everything else is a local path".to_owned(),
            Self::BadProxy { .. } => "a proxy is written http://host:port, https://host:port or socks5://host:port".to_owned(),
            Self::BadCaFile { .. } => "the file must hold certificates in PEM (-----BEGIN CERTIFICATE-----)".to_owned(),
            Self::Offline { .. } => "run once without --offline, or give a local repository".to_owned(),
            Self::Unreachable { .. } => {
                "check the network and the proxy settings; with --offline, what is in the cache is used without asking".to_owned()
            }
            Self::Tls { .. } => {
                "if a proxy or a server of your own has a certificate of its own authority, give that authority's PEM file with --ca-file"
                    .to_owned()
            }
            Self::Status { status: 401 | 403 | 407, .. } => {
                "the server or the proxy wants credentials: write them into the address as https://USER:PASSWORD@host/"
                    .to_owned()
            }
            Self::Status { .. } => "try again later, or use another mirror".to_owned(),
            Self::NotFound { .. } | Self::NoSuchFile { .. } => {
                "check the repository's address and the architecture: a repository holds ARCH/APKINDEX.tar.gz or ARCH/Packages.adb, and the packages that it names"
                    .to_owned()
            }
            Self::TooLarge { setting: Some(setting), .. } | Self::BeyondLimit { setting, .. } => {
                format!("no real one does; if this one may, say {}", setting.flag())
            }
            Self::TooSlow { .. } => format!(
                "what has come is kept, and another run goes on from there; {} lets it take longer",
                InputLimit::DownloadTime.flag()
            ),
            Self::IndexTooOld { .. } => {
                "the mirror lags behind, or serves what was signed long ago: use another; --not-before says how old it may be"
                    .to_owned()
            }
            Self::IndexOfAnotherArch { .. } => {
                "use another mirror; if it is your own repository, check where its index stands".to_owned()
            }
            Self::RedirectRefused { .. } => "use the address that the server sends to, if you trust it".to_owned(),
            Self::Truncated { .. } => "run again: what has come is kept, and the download goes on from there".to_owned(),
            Self::WrongSize { .. } | Self::NotNamed { .. } => {
                "index and package are of different times: make the index anew, or use another mirror".to_owned()
            }
            Self::WrongHash { .. } => "check the SHA-256 against the publisher's page".to_owned(),
            Self::NotAsLocked { .. } => {
                "if leanfs.lock was changed by hand, take it from version control again; if this file is what you want, run \
                 `leanfs lock --update`"
                    .to_owned()
            }
            Self::NoWhere { .. } => {
                "give a repository or a directory of `leanfs vendor` that still has it (--repository, --vendor), or run \
                 `leanfs lock --update`"
                    .to_owned()
            }
            Self::NoLockedKey { .. } => {
                "give its file with --key, or a directory of `leanfs vendor`, which has it, with --vendor".to_owned()
            }
            Self::IndexUnsigned { .. } => {
                "sign it (leanfs index --key FILE); --allow-untrusted takes it as it is, unsafely".to_owned()
            }
            Self::IndexUnknownKey { .. } => {
                "if you trust that key, give its file with --key; --allow-untrusted takes the index as it is, unsafely"
                    .to_owned()
            }
            Self::IndexChanged { .. }
            | Self::IndexDamaged { .. }
            | Self::MemberChanged { .. }
            | Self::MemberDamaged { .. } => {
                "use another mirror; if it is your own repository, make the package and the index anew".to_owned()
            }
            Self::DiskFull { .. } => {
                "make room there, or choose another cache directory with --cache-dir".to_owned()
            }
            Self::BadKey { source, .. } => return source.hint(),
            Self::NoSuchFingerprint { .. } => {
                "`leanfs keys` lists the keys that are known; name the key's file beside the fingerprint".to_owned()
            }
            Self::NoKeys { .. } => "give the directory that holds NAME.rsa.pub or NAME.pem files, or the file itself".to_owned(),
            Self::Archive { source, .. } => return source.limit().map(|limit| {
                format!("no real package does; if this one may, say {}", setting_of(limit).flag())
            }),
            Self::TooLarge { .. }
            | Self::FileChanged { .. }
            | Self::Malformed { .. }
            | Self::Io { .. } => return None,
        };
        Some(text)
    }

    /// An I/O error at `path`; a full disk (or quota) becomes [`FetchError::DiskFull`].
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), source }
            }
            _ => Self::Io { path: path.to_owned(), action, source },
        }
    }
}

/// The setting that a limit of archives comes from.
fn setting_of(limit: TarLimit) -> InputLimit {
    match limit {
        TarLimit::Entries => InputLimit::PackageEntries,
        TarLimit::Bytes => InputLimit::PackageUnpacked,
        TarLimit::ExtensionBytes => InputLimit::PaxSize,
        TarLimit::PathBytes => InputLimit::PathLength,
        TarLimit::PathDepth => InputLimit::PathDepth,
        TarLimit::NameBytes => InputLimit::NamesSize,
    }
}

fn tries_of(tries: u32) -> String {
    if tries == 1 { "tried once".to_owned() } else { format!("tried {tries} times") }
}

fn hash_of(digits: &str) -> &'static str {
    match digits.len() {
        40 => "SHA-1",
        128 => "SHA-512",
        _ => "SHA-256",
    }
}

/// `, nor at A, B`
fn places(asked: &[String]) -> String {
    if asked.is_empty() { String::new() } else { format!(", nor at {}", listed(asked, "")) }
}

/// A list that can be read: Alpine's own keys alone are 18.
fn listed(names: &[String], none: &str) -> String {
    const MOST: usize = 3;
    match names {
        [] => none.to_owned(),
        few if few.len() <= MOST => few.join(", "),
        many => format!("{} and {} more", many[..MOST].join(", "), many.len() - MOST),
    }
}

/// Text from outside, safe to show.
pub(crate) use crate::text::shown;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said() {
        let error = FetchError::io(Path::new("/cache/x"), "write", io::ErrorKind::StorageFull.into());
        assert_eq!(error.to_string(), "the disk is full: /cache/x can't be written");
        assert_eq!(error.kind(), FetchErrorKind::Io);
        assert!(error.hint().is_some());
    }

    #[test]
    fn text_from_outside_can_not_steer_a_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c\u{e9}"), "a\\u{1b}[2Jb\\u{202e}c\u{e9}");
    }
    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(listed(&names[..0], "none"), "none");
        assert_eq!(listed(&names[..3], "none"), "a, b, c");
        assert_eq!(listed(&names, "none"), "a, b, c and 2 more");
    }
}
