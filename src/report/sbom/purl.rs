//! Package URLs: <https://github.com/package-url/purl-spec> and the definitions of the types `apk`, `hex`, `otp` and
//! `generic` there.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A package URL of one of the types that an image needs; as text `pkg:TYPE/NAMESPACE/NAME@VERSION?KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl {
    kind: &'static str,
    namespace: Vec<String>,
    name: String,
    version: String,
    qualifiers: BTreeMap<&'static str, String>,
}

impl Purl {
    /// A package of a distribution that has apk packages.
    pub fn apk(distribution: &str, name: &str, version: &str) -> Self {
        Self {
            namespace: vec![distribution.to_ascii_lowercase()],
            ..Self::new("apk", &name.to_ascii_lowercase(), version)
        }
    }

    /// A package of Hex; of a private one the organisation.
    pub fn hex(organisation: Option<&str>, name: &str, version: &str) -> Self {
        Self {
            namespace: organisation.iter().map(|organisation| organisation.to_ascii_lowercase()).collect(),
            ..Self::new("hex", &name.to_ascii_lowercase(), version)
        }
    }

    /// An OTP application that isn't known to be of Hex.
    pub fn otp(name: &str, version: &str) -> Self {
        Self::new("otp", &name.to_ascii_lowercase(), version)
    }

    /// What has no type of its own.
    pub fn generic(name: &str, version: &str) -> Self {
        Self::new("generic", name, version)
    }

    fn new(kind: &'static str, name: &str, version: &str) -> Self {
        Self {
            kind,
            namespace: Vec::new(),
            name: name.to_owned(),
            version: version.to_owned(),
            qualifiers: BTreeMap::new(),
        }
    }

    /// With a qualifier; one without a value is none.
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        if !value.is_empty() {
            self.qualifiers.insert(key, value.to_owned());
        }
        self
    }
}

impl std::fmt::Display for Purl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for part in self.namespace.iter().chain([&self.name]) {
            write!(f, "/{}", encoded(part))?;
        }
        if !self.version.is_empty() {
            write!(f, "@{}", encoded(&self.version))?;
        }
        for (number, (key, value)) in self.qualifiers.iter().enumerate() {
            write!(f, "{}{key}={}", if number == 0 { '?' } else { '&' }, encoded(value))?;
        }
        Ok(())
    }
}

/// Percent-encoded but for what purl leaves as it is: letters, digits, `.-_~` and the colon.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_specification_writes_them() {
        for (purl, want) in [
            (
                Purl::apk("Alpine", "curl", "7.83.0-r0").with("arch", "x86"),
                "pkg:apk/alpine/curl@7.83.0-r0?arch=x86",
            ),
            (
                Purl::apk("alpine", "libcrypto3", "3.5.5-r0")
                    .with("upstream", "openssl")
                    .with("distro", "alpine-edge")
                    .with("arch", "x86_64"),
                "pkg:apk/alpine/libcrypto3@3.5.5-r0?arch=x86_64&distro=alpine-edge&upstream=openssl",
            ),
            (
                Purl::apk("alpine", "libstdc++", "15~1-r2").with("arch", ""),
                "pkg:apk/alpine/libstdc%2B%2B@15~1-r2",
            ),
            (Purl::hex(None, "Jason", "1.1.2"), "pkg:hex/jason@1.1.2"),
            (Purl::hex(Some("acme"), "foo", "2.3.0+build"), "pkg:hex/acme/foo@2.3.0%2Bbuild"),
            (Purl::otp("stdlib", "3.11.2"), "pkg:otp/stdlib@3.11.2"),
            (Purl::generic("a/b c", "1:2@3"), "pkg:generic/a%2Fb%20c@1:2%403"),
            (Purl::generic("a", ""), "pkg:generic/a"),
        ] {
            assert_eq!(purl.to_string(), want);
        }
    }
}
