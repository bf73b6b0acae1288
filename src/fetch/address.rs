//! Addresses of the web, as far as downloads need them (RFC 3986, RFC 9110): parsed, joined with the target
//! of a redirect, compared by origin, and never shown with what is secret in them.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::FetchError;
use super::error::shown;

/// The two schemes that are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An `http://` or `https://` address. Shown without user name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    scheme: Scheme,
    /// Lower case, without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// From the first slash on, without the query.
    path: String,
    query: Option<String>,
    /// User name and password, decoded.
    credentials: Option<(String, String)>,
}

impl Address {
    /// # Errors
    /// [`FetchError::BadAddress`] when it is no http or https address.
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        Self::read(text).map_err(|problem| FetchError::BadAddress {
            url: shown(&super::without_credentials(text)),
            problem: problem.to_owned(),
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err("its scheme is neither http nor https"),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it holds a space or a control character");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        let (user, host_and_port) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let credentials = match user {
            None => None,
            Some(user) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                Some((percent_decoded(name)?, percent_decoded(password)?))
            }
        };
        let (host, port) = if let Some(bracketed) = host_and_port.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or("its IPv6 address has no closing bracket")?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or("its port is wrong")?)
        } else {
            host_and_port.split_once(':').unwrap_or((host_and_port, ""))
        };
        if host.is_empty() {
            return Err("it has no host");
        }
        let port = match port {
            "" => scheme.default_port(),
            digits => digits.parse().map_err(|_| "its port is no number up to 65535")?,
        };
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, path, query, credentials })
    }

    /// Where a `Location` header leads from here (RFC 3986, section 5.2). Credentials of this address are
    /// kept only for the same origin.
    ///
    /// # Errors
    /// [`FetchError::RedirectRefused`] for another scheme, from https to http, and for what is no address.
    pub(crate) fn redirect(&self, location: &str) -> Result<Self, FetchError> {
        let refused = |reason| FetchError::RedirectRefused {
            url: self.to_string(),
            target: shown(&super::without_credentials(location)),
            reason,
        };
        let scheme_end = location.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let has_scheme = matches!(scheme_end, Some(at) if at > 0 && location.as_bytes()[at] == b':');
        let mut target = if has_scheme {
            let scheme = location.split(':').next().unwrap_or_default().to_ascii_lowercase();
            match scheme.as_str() {
                "http" | "https" => {}
                _ => return Err(refused("its scheme is neither http nor https")),
            }
            Self::read(location).map_err(refused)?
        } else if location.starts_with("//") {
            Self::read(&format!("{}:{location}", self.scheme.name())).map_err(refused)?
        } else {
            let location = location.split('#').next().unwrap_or_default();
            let (path, query) = match location.split_once('?') {
                Some((path, query)) => (path, Some(query.to_owned())),
                None => (location, None),
            };
            if location.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(refused("it holds a space or a control character"));
            }
            let directory = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            let path = match path {
                "" => self.path.clone(),
                path if path.starts_with('/') => without_dots(path),
                path => without_dots(&format!("{directory}{path}")),
            };
            Self { path, query, ..self.clone() }
        };
        if self.scheme == Scheme::Https && target.scheme == Scheme::Http {
            return Err(refused("it leads from https to http"));
        }
        if target.credentials.is_none() && target.is_same_origin(self) {
            target.credentials.clone_from(&self.credentials);
        }
        Ok(target)
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// The last component of the path: what a user calls it.
    pub(crate) fn file_name(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        shown(if name.is_empty() { &self.host } else { name })
    }

    /// For the request: everything but the credentials, which go into a header.
    pub(crate) fn request_target(&self) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}://{}{}{query}", self.scheme.name(), self.authority(), self.path)
    }

    /// Host and, where it isn't the scheme's own, port.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// The value of an `Authorization` header, if the address has credentials.
    pub(crate) fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(|(name, password)| basic(name, password))
    }
}

/// The value of a header that gives a user name and a password (RFC 7617).
pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), shown(&self.authority()), shown(&self.path))?;
        if self.query.is_some() { f.write_str("?…") } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

fn percent_decoded(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "its user name or password is wrongly encoded";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(WRONG)?;
        let mut decoded = [0];
        hex::decode_to_slice(digits, &mut decoded).map_err(|_| WRONG)?;
        bytes.push(decoded[0]);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| WRONG)
}

/// Takes `.` and `..` out of an absolute path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    let mut directory = false;
    for component in path.split('/').skip(1) {
        directory = matches!(component, "." | "..");
        match component {
            "." => {}
            ".." => {
                components.pop();
            }
            name => components.push(name),
        }
    }
    let mut joined: String = components.iter().flat_map(|component| ["/", component]).collect();
    if joined.is_empty() || directory {
        joined.push('/');
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parsing_and_showing() {
        for (text, shown, target, host, port) in [
            ("http://h/a", "http://h/a", "http://h/a", "h", 80),
            (
                "HTTPS://H.Example:8443",
                "https://h.example:8443/",
                "https://h.example:8443/",
                "h.example",
                8443,
            ),
            ("https://u:p%40q@h/a?t=secret#f", "https://h/a?…", "https://h/a?t=secret", "h", 443),
            ("http://[::1]:80/x", "http://[::1]/x", "http://[::1]/x", "::1", 80),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.request_target(), target);
            assert_eq!((address.host(), address.port()), (host, port));
        }
        let address = Address::parse("https://u:p%40q@h/").expect("an address");
        assert_eq!(address.authorization().as_deref(), Some("Basic dTpwQHE="));
        assert!(!format!("{address:?}").contains("p@q"));
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "h/a",
            "ftp://h/a",
            "http:///a",
            "http://h:99999/",
            "http://h/a b",
            "http://[::1/",
            "http://%zz@h/",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(matches!(error, FetchError::BadAddress { .. }), "{text}: {error}");
        }
        let error = Address::parse("ftp://user:secret@h/a").expect_err("no http");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn redirects() {
        let from = Address::parse("https://u:p@h/a/b?q").expect("an address");
        for (location, target) in [
            ("https://other/x?y", "https://other/x?y"),
            ("//other/x", "https://other/x"),
            ("/x/./y/../z", "https://h/x/z"),
            ("c", "https://h/a/c"),
            ("../c/", "https://h/c/"),
            ("../../../..", "https://h/"),
            ("?r", "https://h/a/b?r"),
        ] {
            assert_eq!(from.redirect(location).expect(location).request_target(), target, "{location}");
        }
        for location in
            ["http://h/a/b", "ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "https://", "/a b"]
        {
            let error = from.redirect(location).expect_err(location);
            assert!(matches!(error, FetchError::RedirectRefused { .. }), "{location}: {error}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let from = Address::parse("http://u:p@h/a").expect("an address");
        assert!(from.redirect("/b").expect("same").authorization().is_some());
        for elsewhere in ["http://other/b", "http://h:81/b", "https://h/b"] {
            assert_eq!(from.redirect(elsewhere).expect("fine").authorization(), None, "{elsewhere}");
        }
    }
}
