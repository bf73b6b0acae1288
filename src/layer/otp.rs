//! Erlang/OTP: an installation that packages put into the tree, one from a tarball, or the one that a release
//! brings itself; and whether a release fits it.
//!
//! An installation is recognised by `erts-VERSION/bin/beam.smp` and `lib/kernel-VERSION/`. A boot script names
//! the directories of exact application versions, so an OTP with others can't boot it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::archive::{self, ArchiveError};
use crate::layer::release::{ROOT as RELEASE_ROOT, Release};
use crate::layer::subtree::{part_of, subtree};
use crate::tree::{LayerKind, Metadata, NodeKind, Origin, SpoolWriter, Tree, TreePath};

/// Where OTP stands in an image if it is not in the release, without a leading slash: where Alpine's packages
/// put it.
pub const ROOT: &str = "usr/lib/erlang";

/// The major versions of ERTS that leanfs knows: those of OTP 25 to 28.
const KNOWN_ERTS: std::ops::RangeInclusive<u32> = 13..=16;
/// OTP's major version is ERTS's plus this, since OTP 17 (ERTS 6 was OTP 17, ERTS 13 is OTP 25).
const OTP_MINUS_ERTS: u32 = 12;

/// Applications that Alpine packs apart from `erlangNN`, as `erlangNN-APPLICATION`.
const PACKED_APART: [&str; 8] = ["debugger", "dialyzer", "et", "megaco", "observer", "odbc", "reltool", "wx"];

/// An installation of Erlang/OTP.
#[derive(Debug, Clone)]
pub struct Otp {
    /// Where it stands in the image: it holds `erts-VERSION/` and `lib/`.
    pub prefix: TreePath,
    /// The version of its emulator.
    pub erts_version: String,
    /// Its applications and their versions (usually one), in byte order.
    pub applications: BTreeMap<String, Vec<String>>,
    /// Its files, relative to `prefix`, if they are not in the tree yet: of a tarball.
    pub tree: Option<Tree>,
    /// Where it came from, for messages.
    source: String,
}

/// An OTP that can't be taken, or that the release doesn't fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtpError {
    /// It is none.
    #[error("{place} holds no Erlang/OTP: there is no {missing}")]
    NotOtp {
        /// The tarball or the directory.
        place: String,
        /// What was looked for.
        missing: &'static str,
    },
    /// A version of OTP that leanfs doesn't know.
    #[error("{what} is of ERTS {erts_version}: leanfs knows ERTS 13 to 16, of OTP 25 to 28")]
    Unsupported {
        /// The release or the OTP.
        what: String,
        /// Its version.
        erts_version: String,
    },
    /// The boot script names versions that are not there.
    #[error("the release {release} doesn't fit the Erlang/OTP from {place}: {}", Listed(.differences))]
    Differs {
        /// The release's name and version.
        release: String,
        /// Where the OTP is from.
        place: String,
        /// Every difference, ERTS first.
        differences: Vec<Difference>,
        /// The release of OTP that the release was made with, if it can be told.
        wanted_otp: Option<u32>,
        /// The release of OTP at hand.
        otp: Option<u32>,
    },
    /// A tarball that can't be read.
    #[error("{} can't be read", .path.display())]
    Archive {
        /// The tarball.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// Something can't be read.
    #[error("{} can't be read", .path.display())]
    Io {
        /// The tarball.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// An application that the release wants in a version that isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The application, or `erts`.
    pub application: String,
    /// The version that the boot script names.
    pub wanted: String,
    /// The versions that are there; none if the application is missing.
    pub there: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { application, wanted, there } = self;
        write!(f, "{} {} wanted, ", application.escape_debug(), wanted.escape_debug())?;
        if there.is_empty() { f.write_str("none there") } else { write!(f, "{} there", there.join(" and ")) }
    }
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{difference}")?;
        }
        Ok(())
    }
}

impl OtpError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOtp { .. } => Some(
                "An OTP tarball holds erts-VERSION/ and lib/, at its top or in one directory: the tree that \
                 `make install` of Erlang/OTP puts at lib/erlang."
                    .into(),
            ),
            Self::Unsupported { .. } => Some("Build the release with OTP 25, 26, 27 or 28.".into()),
            Self::Differs { wanted_otp, otp, .. } => {
                let build = match otp {
                    Some(otp) if Some(*otp) != *wanted_otp => {
                        format!("Build the release with the OTP that goes into the image (OTP {otp})")
                    }
                    _ => "Build the release with exactly the OTP that goes into the image".to_owned(),
                };
                let tarball = match wanted_otp {
                    Some(wanted) => format!("an installation of the OTP {wanted} that it was built with"),
                    None => "an installation of the OTP that it was built with".to_owned(),
                };
                Some(format!(
                    "{build}; or let it bring its own (`include_erts: true` in mix.exs, `{{include_erts, true}}` in \
                     rebar.config); or pass --otp with {tarball}."
                ))
            }
            Self::Archive { .. } | Self::Io { .. } => None,
        }
    }
}

/// The release of OTP that an ERTS belongs to: 27 for `15.2.7`. `None` if the version can't be understood.
pub fn otp_release(erts_version: &str) -> Option<u32> {
    let major = erts_version.split('.').next()?.parse::<u32>().ok()?;
    major.checked_add(OTP_MINUS_ERTS)
}

/// Whether leanfs knows that version of ERTS.
fn is_known(erts_version: &str) -> bool {
    let major = erts_version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_some_and(|major| KNOWN_ERTS.contains(&major))
}

/// The packages that may hold an OTP for that ERTS, the most wanted first: Alpine has `erlang27` (which also
/// provides `erlang`) and, for the release of OTP that is its default, had only `erlang`.
pub fn package_candidates(erts_version: &str) -> Vec<String> {
    let mut candidates: Vec<String> =
        otp_release(erts_version).map(|release| format!("erlang{release}")).into_iter().collect();
    candidates.push("erlang".to_owned());
    candidates
}

/// The packages that a release needs beside `main` (one of [`package_candidates`]): for applications that
/// Alpine packs apart.
pub fn extra_packages(release: &Release, main: &str) -> Vec<String> {
    release
        .applications
        .iter()
        .filter(|application| !application.own && PACKED_APART.contains(&application.name.as_str()))
        .map(|application| format!("{main}-{}", application.name))
        .collect()
}

/// What a release needs of an OTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needed {
    /// Names and versions of the applications, in byte order.
    pub applications: Vec<(String, String)>,
    /// The directories that must stay: the emulator and those applications, in the image.
    pub paths: Vec<TreePath>,
}

/// What `release` needs of `otp`: the emulator, and the applications of its `.rel` file and its boot script
/// that it doesn't bring. Everything else of the OTP may go.
pub fn needed(release: &Release, otp: &Otp) -> Needed {
    let applications = foreign_applications(release);
    let mut paths: Vec<TreePath> = applications
        .iter()
        .filter_map(|(name, version)| otp.prefix.join(format!("lib/{name}-{version}")).ok())
        .collect();
    paths.extend(otp.bin_directory().parent());
    paths.sort();
    Needed { applications, paths }
}

/// Names and versions of the applications that the release uses and doesn't bring.
fn foreign_applications(release: &Release) -> Vec<(String, String)> {
    let mut applications: Vec<(String, String)> = release
        .applications
        .iter()
        .filter(|application| !application.own)
        .map(|application| (application.name.clone(), application.version.clone()))
        .collect();
    for path in release.boot.paths() {
        let Some((name, version)) = application_of(path) else { continue };
        let own = TreePath::parse(format!("lib/{name}-{version}/ebin").as_bytes())
            .is_ok_and(|path| release.tree.resolve(&path).is_some());
        if !own {
            applications.push((name.to_owned(), version.to_owned()));
        }
    }
    applications.sort();
    applications.dedup();
    applications
}

/// Name and version in `$ROOT/lib/kernel-10.2/ebin`.
pub(crate) fn application_of(path: &str) -> Option<(&str, &str)> {
    let (_, directory) = path.strip_suffix("/ebin")?.rsplit_once('/')?;
    // A version may hold a `-` (1.0-rc.1), a name may not.
    directory.split_once('-')
}

/// Checks that `otp` has the emulator and the applications that `release` was made for; gives back those that it has
/// in another version of the same release of OTP, for which the boot script has to be
/// [adapted](super::boot::adapt).
///
/// # Errors
/// [`OtpError::Differs`] lists all that differ when one is missing, or the releases of OTP are not the same.
pub fn check(release: &Release, otp: &Otp) -> Result<Vec<Difference>, OtpError> {
    for (what, erts_version) in [
        (format!("the release {} {}", release.name, release.version), &release.erts_version),
        (format!("the Erlang/OTP from {}", otp.source), &otp.erts_version),
    ] {
        if !is_known(erts_version) {
            return Err(OtpError::Unsupported {
                what: what.escape_debug().to_string(),
                erts_version: erts_version.escape_debug().to_string(),
            });
        }
    }
    let mut differences = Vec::new();
    // The emulator that a release brings is its own affair, even if it is not the one of the .rel file.
    let wanted_erts = release.own_erts.as_ref().unwrap_or(&release.erts_version);
    if otp.erts_version != *wanted_erts {
        differences.push(Difference {
            application: "erts".to_owned(),
            wanted: wanted_erts.clone(),
            there: vec![otp.erts_version.clone()],
        });
    }
    for (application, wanted) in foreign_applications(release) {
        let there = otp.applications.get(&application).cloned().unwrap_or_default();
        if !there.contains(&wanted) {
            differences.push(Difference { application, wanted, there });
        }
    }
    let patch = otp_release(&release.erts_version) == otp_release(&otp.erts_version)
        && differences.iter().all(|difference| !difference.there.is_empty());
    if differences.is_empty() || patch {
        return Ok(differences);
    }
    Err(OtpError::Differs {
        release: format!("{} {}", release.name, release.version).escape_debug().to_string(),
        place: otp.source.clone(),
        differences,
        wanted_otp: otp_release(&release.erts_version),
        otp: otp_release(&otp.erts_version),
    })
}

impl Otp {
    /// The installation at `prefix` of a tree.
    ///
    /// # Errors
    /// [`OtpError::NotOtp`] says what was looked for.
    pub fn in_tree(tree: &Tree, prefix: &TreePath) -> Result<Self, OtpError> {
        let mut emulators: Vec<String> = Vec::new();
        let mut applications: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, _) in tree.below(prefix) {
            let Some(Ok(below)) = path.strip_prefix(prefix).map(std::str::from_utf8) else { continue };
            let mut components = below.split('/');
            match (components.next(), components.next(), components.next(), components.next()) {
                (Some(directory), Some("bin"), Some("beam.smp"), None) => {
                    emulators.extend(directory.strip_prefix("erts-").map(str::to_owned));
                }
                (Some("lib"), Some(directory), Some("ebin"), None) => {
                    if let Some((name, version)) = directory.split_once('-') {
                        applications.entry(name.to_owned()).or_default().push(version.to_owned());
                    }
                }
                _ => {}
            }
        }
        let place = prefix.to_string();
        emulators.sort_by_key(|version| numbers(version));
        let Some(erts_version) = emulators.pop() else {
            return Err(OtpError::NotOtp { place, missing: "erts-VERSION/bin/beam.smp" });
        };
        for versions in applications.values_mut() {
            versions.sort_by_key(|version| numbers(version));
        }
        Ok(Self { prefix: prefix.clone(), erts_version, applications, tree: None, source: place })
    }

    /// The installation that a release brings, if it does: the release stands at [`RELEASE_ROOT`].
    ///
    /// # Errors
    /// [`OtpError::NotOtp`] if it doesn't.
    pub fn of_release(release: &Release) -> Result<Self, OtpError> {
        let place = format!("the release {} {}", release.name, release.version).escape_debug().to_string();
        let Some(erts_version) = &release.own_erts else {
            return Err(OtpError::NotOtp { place, missing: "erts-VERSION/bin/beam.smp" });
        };
        let inside = Self::in_tree(&release.tree, &TreePath::root())?;
        Ok(Self {
            prefix: TreePath::parse(RELEASE_ROOT.as_bytes()).expect("a good path"),
            erts_version: erts_version.clone(),
            source: place,
            ..inside
        })
    }

    /// The installation in a tarball (plain, gzip, xz or zstd), unpacked into a nameless file in `spool_dir`;
    /// it comes to stand at [`ROOT`]. Directories that it stands in are dropped: `erlang/`, `OTP-27.3/` …
    /// Owner, modes and times are normalised like a release's.
    ///
    /// # Errors
    /// When it can't be read, or holds no OTP.
    pub fn open_tarball(path: &Path, spool_dir: &Path, epoch: i64) -> Result<Self, OtpError> {
        let io_error = |source| OtpError::Io { path: path.to_owned(), source };
        let reader = archive::open(path).map_err(io_error)?;
        let spool = SpoolWriter::new_in(spool_dir).map_err(io_error)?;
        let whole = archive::read_whole_tar(reader, spool, &Origin::new(LayerKind::Otp, ""))
            .map_err(|source| OtpError::Archive { path: path.to_owned(), source })?;
        let place = path.display().to_string();
        let Some(top) = top(&whole) else {
            return Err(OtpError::NotOtp {
                place,
                missing: "erts-VERSION/bin/beam.smp beside a directory lib/kernel-VERSION",
            });
        };
        let mut tree = subtree(&whole, &top);
        normalise(&mut tree, epoch);
        let inside = Self::in_tree(&tree, &TreePath::root())?;
        Ok(Self {
            prefix: TreePath::parse(ROOT.as_bytes()).expect("a good path"),
            source: place,
            tree: Some(tree),
            ..inside
        })
    }

    /// Where its programs are: `erts-VERSION/bin`.
    pub fn bin_directory(&self) -> TreePath {
        self.prefix.join(format!("erts-{}/bin", self.erts_version)).unwrap_or_else(|_| self.prefix.clone())
    }

    /// The release of OTP: 27 for ERTS 15.2.7.
    pub fn release(&self) -> Option<u32> {
        otp_release(&self.erts_version)
    }
}

/// A version's numbers, so that 9 comes before 10.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// The directory that holds both `erts-VERSION/bin/beam.smp` and `lib/kernel-VERSION`; the shortest if there
/// are several.
fn top(tree: &Tree) -> Option<TreePath> {
    let mut tops: Vec<TreePath> = tree
        .iter()
        .filter(|(path, _)| path.file_name() == Some(b"beam.smp"))
        .filter_map(|(path, _)| {
            let bin = path.parent()?;
            let erts = bin.parent()?;
            (bin.file_name()? == b"bin" && erts.file_name()?.starts_with(b"erts-")).then(|| erts.parent())?
        })
        .filter(|top| {
            top.join("lib").is_ok_and(|lib| {
                tree.below(&lib).any(|(path, _)| {
                    path.strip_prefix(&lib).is_some_and(|below| below.starts_with(b"kernel-"))
                })
            })
        })
        .collect();
    tops.sort_by_key(|top| (top.as_bytes().len(), top.clone()));
    tops.into_iter().next()
}

fn normalise(tree: &mut Tree, mtime: i64) {
    for path in tree.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>() {
        let part = part_of(&path).unwrap_or_default();
        let Some(node) = tree.get_mut(&path) else { continue };
        let base = match &node.kind {
            NodeKind::Directory => Metadata::DIRECTORY,
            NodeKind::Symlink(_) => Metadata { mode: 0o777, ..Metadata::FILE },
            _ if node.metadata.mode & 0o100 != 0 => Metadata::PROGRAM,
            _ => Metadata::FILE,
        };
        node.metadata = Metadata { mtime, ..base };
        node.origin = Origin::new(LayerKind::Otp, part.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (erts, release) in [("13.1.5", Some(25)), ("15.2.7", Some(27)), ("16.0", Some(28)), ("x", None)] {
            assert_eq!(otp_release(erts), release, "{erts}");
        }
        assert_eq!(package_candidates("15.2.7"), ["erlang27", "erlang"]);
        assert_eq!(package_candidates("?"), ["erlang"]);
        assert!(!is_known("12.3") && is_known("13.0") && is_known("16.9") && !is_known("17.0"));
        assert!(numbers("9.10") > numbers("9.9.9"));
    }

    #[test]
    fn applications_in_paths() {
        for (path, expected) in [
            ("$ROOT/lib/kernel-10.2/ebin", Some(("kernel", "10.2"))),
            ("$RELEASE_LIB/a-1.0-rc.1/ebin", Some(("a", "1.0-rc.1"))),
            ("$RELEASE_LIB/my_app-0.1.0/ebin", Some(("my_app", "0.1.0"))),
            ("$RELEASE_LIB/../releases/1/consolidated", None),
            ("ebin", None),
        ] {
            assert_eq!(application_of(path), expected, "{path}");
        }
    }
}
