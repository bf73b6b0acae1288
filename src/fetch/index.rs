//! Indexes that a trusted key vouches for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::adb_index;
use super::envelope;
use super::error::shown;
use super::{FetchError, FetchErrorKind};
use crate::apk::adb::MAGIC;
use crate::apk::adb::index::PackagePath;
use crate::apk::index::{IndexArchive, IndexLimits};
use crate::apk::{ApkError, Index, IndexEntry, PublicKey};
use crate::arch::Arch;
use crate::recipe::{InputLimit, InputLimits, Repository};

/// A repository's index, signed by a trusted key (or taken unsigned because that was asked for). Made only by
/// [`super::Fetcher::index`].
#[derive(Debug, Clone)]
pub struct VerifiedIndex {
    index: Index,
    repository: Repository,
    arch: Arch,
    location: String,
    signed_by: Option<String>,
    /// Where packages stand below the repository's root; none where format v2 says it.
    package_path: Option<PackagePath>,
    layout: Layout,
    /// By name and version, where the packages of a lock were found.
    locked: BTreeMap<String, PathBuf>,
}

/// How a repository is laid out (`apk-repositories(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// A directory for each architecture, with index and packages.
    ByArch,
    /// An index whose own address was given, and packages beside it.
    Beside,
}

impl VerifiedIndex {
    /// What it says.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where it is from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The architecture that it was asked for.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The address or path of the index file, without credentials.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The name of the trusted key that signed it; `None` if it was taken untrusted.
    pub fn signed_by(&self) -> Option<&str> {
        self.signed_by.as_deref()
    }

    /// The release that the repository's address names and the one that the index says it is of, if they differ. Alpine's
    /// repositories have the release in both (`…/v3.23/main`, `v3.23.6-12-g0123abc`), and one key signs all releases.
    pub(super) fn other_release(&self) -> Option<(String, String)> {
        let Repository::Url(url) = &self.repository else { return None };
        let asked = url.split('/').find_map(|part| release(part).filter(|release| part[1..] == **release))?;
        let found = release(&self.index.description)?;
        (asked != found).then(|| (format!("v{asked}"), format!("v{found}")))
    }

    /// The path of a package's file below the repository's root.
    ///
    /// # Errors
    /// When the index gives none that is below it.
    pub(super) fn package_path(&self, entry: &IndexEntry) -> Result<String, FetchError> {
        match (&self.package_path, self.layout) {
            (Some(path), _) => path.of(entry).map_err(|reason| FetchError::Malformed {
                location: self.location.clone(),
                problem: shown(&reason),
            }),
            (None, Layout::ByArch) => Ok(format!("{}/{}", self.arch.alpine(), entry.file_name())),
            (None, Layout::Beside) => Ok(entry.file_name()),
        }
    }

    /// By name and version, where the packages were found, if it is a lock that names them.
    pub fn locked_files(&self) -> &BTreeMap<String, PathBuf> {
        &self.locked
    }

    /// Whether the index names exactly this package.
    pub(super) fn names(&self, entry: &IndexEntry) -> bool {
        self.index.entries.iter().any(|named| {
            (&named.name, &named.version, &named.control_hash, named.size)
                == (&entry.name, &entry.version, &entry.control_hash, entry.size)
        })
    }
}

/// `3.23` of `v3.23`, `v3.23.6-12-g0123abc` and so on.
fn release(text: &str) -> Option<&str> {
    let text = text.strip_prefix('v')?;
    let major = text.find(|c: char| !c.is_ascii_digit()).filter(|&end| end > 0)?;
    let minor = text[major..].strip_prefix('.')?;
    let end = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
    (end > 0).then(|| &text[..major + 1 + end])
}

/// What an index must be to be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexTrust<'a> {
    pub(super) keys: &'a [PublicKey],
    pub(super) allow_untrusted: bool,
    pub(super) limits: &'a InputLimits,
    pub(super) not_before: Option<i64>,
}

/// Where an index belongs to.
#[derive(Debug)]
pub(super) struct IndexSource<'a> {
    pub(super) repository: &'a Repository,
    pub(super) arch: Arch,
    pub(super) location: &'a str,
    pub(super) layout: Layout,
}

/// Checks the signature of an index of either format and reads it.
///
/// # Errors
/// [`FetchErrorKind::Unverified`] unless a trusted key signed it; without any trusted signature it is taken
/// when `allow_untrusted`. A signature by a trusted key that does not fit is always an error.
pub(super) fn verify(
    file: &[u8],
    source: &IndexSource<'_>,
    trust: &IndexTrust<'_>,
) -> Result<VerifiedIndex, FetchError> {
    if file.starts_with(&MAGIC) {
        return adb_index::verify(file, source, trust);
    }
    let &IndexTrust { keys, allow_untrusted, limits, not_before } = trust;
    let location = || source.location.to_owned();
    if source.location.ends_with(".adb") {
        // What stands there says by its name that it is no other; apk sees it so too.
        let problem = "it is of format v2, and its name says that it is of format v3".to_owned();
        return Err(FetchError::IndexDamaged { location: location(), problem });
    }
    let within = IndexLimits {
        unpacked: limits.index_unpacked,
        expansion: limits.expansion,
        entries: limits.index_entries,
        relations: limits.index_relations,
    };
    let archive = IndexArchive::open_within(file, &within).map_err(|error| match limit_of(&error) {
        Some(setting) => beyond(location(), setting, limits),
        None => FetchError::IndexDamaged { location: location(), problem: chain(&error) },
    })?;
    let signatures = file.get(..file.len().saturating_sub(archive.signed.len())).unwrap_or_default();
    envelope::check(signatures, archive.signed)
        .map_err(|problem| FetchError::IndexDamaged { location: location(), problem: problem.to_owned() })?;
    let mut signed_by = None;
    let mut unfit = None;
    for signature in &archive.signatures {
        for key in keys.iter().filter(|key| key.name() == signature.key_name) {
            if key.verify(signature.kind, archive.signed, &signature.bytes).is_ok() {
                signed_by.get_or_insert_with(|| key.name().to_owned());
            } else {
                unfit.get_or_insert_with(|| shown(key.name()));
            }
        }
    }
    if signed_by.is_none() {
        if let Some(key) = unfit {
            return Err(FetchError::IndexChanged { location: location(), key });
        }
        if !allow_untrusted {
            if archive.signatures.is_empty() {
                return Err(FetchError::IndexUnsigned { location: location() });
            }
            let signers = archive.signatures.iter().map(|signature| shown(&signature.key_name)).collect();
            let trusted = keys.iter().map(|key| shown(key.name())).collect();
            return Err(FetchError::IndexUnknownKey { location: location(), keys: signers, trusted });
        }
    }
    let mut index = Index::parse_within(&archive.text, &within).map_err(|error| match limit_of(&error) {
        Some(setting) => beyond(location(), setting, limits),
        None => FetchError::Malformed { location: location(), problem: chain(&error) },
    })?;
    index.description = archive.description;
    taken(index, source, not_before, signed_by, None)
}

/// The index, if it is for whom it should be and not too old.
pub(super) fn taken(
    index: Index,
    source: &IndexSource<'_>,
    not_before: Option<i64>,
    signed_by: Option<String>,
    package_path: Option<PackagePath>,
) -> Result<VerifiedIndex, FetchError> {
    let location = source.location.to_owned();
    check_arch(&index, source)?;
    if let (Some(not_before), newest) = (not_before, index.newest_build())
        && newest.is_none_or(|newest| newest < not_before)
    {
        return Err(FetchError::IndexTooOld { location, newest, not_before });
    }
    Ok(VerifiedIndex {
        index,
        repository: source.repository.clone(),
        arch: source.arch,
        location,
        signed_by,
        package_path,
        layout: source.layout,
        locked: BTreeMap::new(),
    })
}

/// The index that a lock stands in place of; its packages were found and verified.
pub(super) fn of_lock(
    index: Index,
    repository: Repository,
    arch: Arch,
    location: String,
    signed_by: Option<String>,
    locked: BTreeMap<String, PathBuf>,
) -> VerifiedIndex {
    let layout = Layout::ByArch;
    VerifiedIndex { index, repository, arch, location, signed_by, package_path: None, layout, locked }
}

/// An index of which nothing is for the architecture at hand is another one's, perhaps well signed.
fn check_arch(index: &Index, source: &IndexSource<'_>) -> Result<(), FetchError> {
    let wanted = source.arch.alpine();
    let fits =
        |entry: &IndexEntry| matches!(entry.arch.as_str(), "" | "noarch" | "all") || entry.arch == wanted;
    match index.entries.first() {
        Some(first) if !index.entries.iter().any(fits) => Err(FetchError::IndexOfAnotherArch {
            location: source.location.to_owned(),
            wanted,
            found: shown(&first.arch),
        }),
        _ => Ok(()),
    }
}

/// Which setting would let more through.
pub(super) fn limit_of(error: &ApkError) -> Option<InputLimit> {
    match error {
        ApkError::TooLarge { member: "index", .. } => Some(InputLimit::IndexUnpacked),
        ApkError::TooLarge { member: "control", .. } => Some(InputLimit::ControlSize),
        ApkError::TooLarge { member: "data", .. } => Some(InputLimit::PackageUnpacked),
        ApkError::ExpandsTooMuch { .. } => Some(InputLimit::Expansion),
        ApkError::TooMany { what: "packages", .. } => Some(InputLimit::IndexEntries),
        ApkError::TooMany { .. } => Some(InputLimit::IndexRelations),
        _ => None,
    }
}

/// The error of what is more than a setting lets through.
pub(super) fn beyond(location: String, setting: InputLimit, limits: &InputLimits) -> FetchError {
    FetchError::BeyondLimit { location, setting, limit: setting.show(limits.get(setting)) }
}

/// An error with what caused it, in one line and safe to show.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    shown(&text)
}

/// Whether fetching the bytes once more could make this error go away.
pub(super) fn is_of_contents(error: &FetchError) -> bool {
    matches!(error.kind(), FetchErrorKind::Unverified | FetchErrorKind::Malformed)
}
