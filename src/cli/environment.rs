//! What leanfs takes from environment variables. Nothing else reads them.

use std::ffi::OsString;
use std::path::PathBuf;

use leanfs::recipe::{ProxySettings, S3Credentials, parse_size};

use super::failure::{Because, Failure};

/// The variables that matter, read once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// `LEANFS_CACHE_DIR`, or `leanfs` in `XDG_CACHE_HOME`, or in `.cache` of `HOME`.
    pub cache: Option<PathBuf>,
    /// `LEANFS_CACHE_SIZE`: how many bytes the cache may have.
    pub cache_size: Option<u64>,
    /// The cache that several machines share.
    pub shared_cache: SharedCache,
    /// `SSL_CERT_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, and all but the first in upper case too, as
    /// curl takes them: a web server gives its CGI programs an `HTTP_PROXY` that the client chose.
    pub proxy: ProxySettings,
    /// The directories of `PATH`.
    pub program_directories: Vec<PathBuf>,
    /// `SOURCE_DATE_EPOCH`, seconds since 1970.
    pub source_date_epoch: Option<i64>,
    /// `NO_COLOR` is set, or `TERM` is `dumb`.
    pub no_color: bool,
    /// `TERM` is `dumb` or missing: the cursor can't be moved.
    pub dumb_terminal: bool,
    /// The locale's characters are UTF-8's (`LC_ALL`, `LC_CTYPE`, `LANG`, the first that is set).
    pub utf8: bool,
}

/// What the environment says of the cache that several machines share.
#[derive(Default, PartialEq, Eq)]
pub(super) struct SharedCache {
    /// `LEANFS_SHARED_CACHE`.
    pub address: Option<String>,
    /// `LEANFS_SHARED_CACHE_WRITE` is set.
    pub write: bool,
    /// `LEANFS_SHARED_CACHE_KEY`.
    pub key: Option<Vec<u8>>,
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub credentials: Option<S3Credentials>,
}

/// Without the secrets.
impl std::fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCache").field("write", &self.write).finish_non_exhaustive()
    }
}

impl Environment {
    pub(super) fn of_process() -> Result<Self, Failure> {
        Self::read(|name| std::env::var_os(name))
    }

    /// An empty variable is the same as none.
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        let proxy = |names: [&str; 2]| names.into_iter().find_map(text);
        // The XDG specification says that relative paths are to be ignored.
        let absolute = |name: &str| raw(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = raw("LEANFS_CACHE_DIR")
            .map(PathBuf::from)
            .or_else(|| absolute("XDG_CACHE_HOME").map(|cache| cache.join("leanfs")))
            .or_else(|| absolute("HOME").map(|home| home.join(".cache/leanfs")));
        let source_date_epoch = match raw("SOURCE_DATE_EPOCH") {
            None => None,
            Some(value) => match value.to_str().and_then(|text| text.parse::<u32>().ok()) {
                Some(seconds) => Some(i64::from(seconds)),
                None => {
                    return Err(Failure::usage(format!(
                        "SOURCE_DATE_EPOCH is {value:?}: seconds since 1970, from 0 to 4294967295, are expected"
                    )));
                }
            },
        };
        let cache_size = match text("LEANFS_CACHE_SIZE").map(|text| parse_size(&text)).transpose() {
            Ok(size) => size,
            Err(error) => return Err(Failure::usage(Because::new("LEANFS_CACHE_SIZE can't be used", error))),
        };
        let dumb_terminal = raw("TERM").is_none_or(|term| term == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default();
        let codeset = locale.split(['@']).next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
        let utf8 = ["utf-8", "utf8"].iter().any(|name| codeset.eq_ignore_ascii_case(name));
        Ok(Self {
            cache,
            cache_size,
            shared_cache: SharedCache {
                address: text("LEANFS_SHARED_CACHE"),
                write: raw("LEANFS_SHARED_CACHE_WRITE").is_some(),
                key: raw("LEANFS_SHARED_CACHE_KEY").map(OsString::into_encoded_bytes),
                credentials: text("AWS_ACCESS_KEY_ID").zip(text("AWS_SECRET_ACCESS_KEY")).map(
                    |(key_id, secret)| S3Credentials { key_id, secret, token: text("AWS_SESSION_TOKEN") },
                ),
            },
            ca_file: raw("SSL_CERT_FILE").map(PathBuf::from),
            proxy: ProxySettings {
                http_proxy: text("http_proxy"),
                https_proxy: proxy(["https_proxy", "HTTPS_PROXY"]),
                all_proxy: proxy(["all_proxy", "ALL_PROXY"]),
                no_proxy: proxy(["no_proxy", "NO_PROXY"]),
            },
            program_directories: raw("PATH")
                .map(|path| std::env::split_paths(&path).collect())
                .unwrap_or_default(),
            source_date_epoch,
            no_color: dumb_terminal || raw("NO_COLOR").is_some(),
            dumb_terminal,
            utf8,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
        .expect("nothing is wrong with it")
    }

    #[test]
    fn the_cache_is_where_the_user_says_first() {
        for (variables, want) in [
            (&[("HOME", "/h")][..], Some("/h/.cache/leanfs")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/leanfs")),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "relative")], Some("/h/.cache/leanfs")),
            (&[("XDG_CACHE_HOME", "/x"), ("LEANFS_CACHE_DIR", "here")], Some("here")),
            (&[("HOME", "")], None),
            (&[], None),
        ] {
            assert_eq!(read(variables).cache, want.map(PathBuf::from), "{variables:?}");
        }
    }

    #[test]
    fn proxies_as_curl_reads_them() {
        let proxy = read(&[
            ("HTTP_PROXY", "http://evil"),
            ("HTTPS_PROXY", "http://upper"),
            ("https_proxy", "http://lower"),
            ("ALL_PROXY", "socks5://a"),
            ("no_proxy", ""),
            ("NO_PROXY", "localhost"),
        ])
        .proxy;
        assert_eq!(proxy.http_proxy, None);
        assert_eq!(proxy.https_proxy.as_deref(), Some("http://lower"));
        assert_eq!(proxy.all_proxy.as_deref(), Some("socks5://a"));
        assert_eq!(proxy.no_proxy.as_deref(), Some("localhost"));
    }

    #[test]
    fn characters_of_the_locale() {
        for (variables, want) in [
            (&[][..], false),
            (&[("LANG", "C")], false),
            (&[("LANG", "C.UTF-8")], true),
            (&[("LANG", "de_DE.utf8@euro")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], false),
            (&[("LANG", "en_US.UTF-8"), ("LC_ALL", "POSIX")], false),
            (&[("LANG", "C"), ("LC_CTYPE", "C.UTF-8"), ("LC_ALL", "")], true),
        ] {
            assert_eq!(read(variables).utf8, want, "{variables:?}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(read(&[("SOURCE_DATE_EPOCH", "1700000000")]).source_date_epoch, Some(1_700_000_000));
        for bad in ["yesterday", "-1", "4294967296", "1.5"] {
            let result = Environment::read(|name| (name == "SOURCE_DATE_EPOCH").then(|| OsString::from(bad)));
            assert!(result.is_err(), "{bad}");
        }
    }
}
