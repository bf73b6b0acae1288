//! Where packages come from, and who may sign there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{UnknownChoice, words};

/// Where a repository of packages is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repository {
    /// An `http://` or `https://` address, without a trailing slash; `/ARCH/APKINDEX.tar.gz` is added.
    Url(String),
    /// A local directory that holds `ARCH/APKINDEX.tar.gz`.
    Directory(PathBuf),
}

impl Repository {
    /// Alpine's stable release that is used when nothing else is said.
    pub const DEFAULT_ALPINE: &'static str = "v3.23";

    /// Alpine's current stable `main` and `community`.
    pub fn defaults() -> Vec<Self> {
        ["main", "community"]
            .map(|name| {
                Self::Url(format!("https://dl-cdn.alpinelinux.org/alpine/{}/{name}", Self::DEFAULT_ALPINE))
            })
            .into()
    }

    /// Takes an address or a directory, as people write it.
    ///
    /// # Errors
    /// The text itself when it has a scheme (`ftp://`) that is not supported.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(Self::Directory(path.into()));
        }
        match text.split_once("://") {
            Some(("http" | "https", _)) => Ok(Self::Url(text.trim_end_matches('/').to_owned())),
            Some(_) => Err(text.to_owned()),
            None => Ok(Self::Directory(text.into())),
        }
    }
}

/// As [`Repository::parse`].
impl FromStr for Repository {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |found: &str| {
            UnknownChoice::new("repository", found, "an https:// or http:// address, or a directory, is")
        };
        if text.is_empty() {
            return Err(unknown(text));
        }
        Self::parse(text).map_err(|found| unknown(&crate::fetch::without_credentials(&found)))
    }
}

/// Without credentials.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&crate::fetch::without_credentials(url)),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A repository, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySource {
    /// Where it is.
    pub repository: Repository,
    /// A name, without the `@`: its packages are taken only for what is wanted as `NAME@TAG`, and for what that
    /// depends on.
    pub tag: Option<String>,
    /// The keys that may sign here, and nothing of any other repository. Without any, those of
    /// [`super::Recipe::keys`] may.
    pub keys: Vec<TrustedKey>,
}

impl RepositorySource {
    /// Alpine's current stable `main` and `community`.
    pub fn defaults() -> Vec<Self> {
        Repository::defaults().into_iter().map(Self::from).collect()
    }
}

impl From<Repository> for RepositorySource {
    fn from(repository: Repository) -> Self {
        Self { repository, tag: None, keys: Vec::new() }
    }
}

/// As in apk's file of repositories: an address or a directory, perhaps with `@TAG` before it.
impl FromStr for RepositorySource {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(tagged) = text.strip_prefix('@') else { return Ok(text.parse::<Repository>()?.into()) };
        let (tag, place) = tagged.split_once([' ', '\t']).unwrap_or((tagged, ""));
        Ok(Self { tag: Some(parse_tag(tag)?), ..Self::from(place.trim_start().parse::<Repository>()?) })
    }
}

/// Without credentials.
impl fmt::Display for RepositorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, "@{tag} ")?;
        }
        self.repository.fmt(f)
    }
}

/// A tag, without the `@`.
///
/// # Errors
/// What could not stand in a file of repositories or behind a package's name.
pub fn parse_tag(text: &str) -> Result<String, UnknownChoice> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        return Err(UnknownChoice::new("tag", text, "letters, digits and +-._ are"));
    }
    Ok(text.to_owned())
}

/// A key that may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedKey {
    /// A key's file, or a directory of keys.
    File(PathBuf),
    /// The key among those that are known (built in, of [`super::Recipe::keys`], or of a file beside it) that has this
    /// fingerprint: the SHA-256 of its `SubjectPublicKeyInfo` in DER.
    Fingerprint([u8; 32]),
}

/// How fingerprints begin.
pub(crate) const FINGERPRINT: &str = "sha256:";

/// A path, or `sha256:` and 64 hexadecimal digits.
impl FromStr for TrustedKey {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(FINGERPRINT) {
            Some(digits) => words::parse_sha256(digits).map(Self::Fingerprint),
            None if text.is_empty() => {
                Err(UnknownChoice::new("key", text, "a file, a directory or sha256:FINGERPRINT is"))
            }
            None => Ok(Self::File(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        assert_eq!("https://a/b/".parse(), Ok(Repository::Url("https://a/b".to_owned())));
        assert_eq!("mirror/main".parse(), Ok(Repository::Directory("mirror/main".into())));
        let error = "ftp://me:secret@a/b".parse::<Repository>().expect_err("no ftp");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!("".parse::<Repository>().is_err());
    }

    #[test]
    fn repositories_as_apk_writes_them() {
        let parse = |text: &str| text.parse::<RepositorySource>();
        let plain = parse("https://a/b/").expect("good");
        assert_eq!((plain.repository, plain.tag), (Repository::Url("https://a/b".to_owned()), None));
        let tagged = parse("@edge https://me:secret@a/b").expect("good");
        assert_eq!(tagged.tag.as_deref(), Some("edge"));
        assert_eq!(tagged.to_string(), "@edge https://a/b");
        assert_eq!(parse("@local \t mirror/main").expect("good").to_string(), "@local mirror/main");
        for bad in ["", "@", "@edge", "@edge ", "@a/b https://a", "@ https://a", "ftp://a"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_files_or_fingerprints() {
        assert_eq!("keys/a.rsa.pub".parse(), Ok(TrustedKey::File("keys/a.rsa.pub".into())));
        let text = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(text.parse(), Ok(TrustedKey::Fingerprint([0xab; 32])));
        for bad in ["", "sha256:", "sha256:abcd"] {
            assert!(bad.parse::<TrustedKey>().is_err(), "{bad}");
        }
    }
}
