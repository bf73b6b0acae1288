//! Software bills of materials: what an image is made of, for those who look for licences and vulnerabilities.
//!
//! Sources: [CycloneDX 1.6](https://cyclonedx.org/docs/1.6/json/) and [SPDX 2.3](https://spdx.github.io/spdx-spec/v2.3/),
//! both as JSON.
//!
//! - Parts are packages, the kernel, applications (of Erlang/OTP, Elixir and the release) and the emulator, and files that
//!   belong to nothing of these: libraries of a sysroot, the overlay, PID 1. Each is listed once.
//! - What pruning left nothing of is listed and marked: `scope` `excluded` in CycloneDX; in SPDX an annotation, and instead
//!   of `CONTAINS` the relationship `OTHER` with a comment.
//! - Licences are those that packages name for themselves; what is no SPDX expression is a named licence.
//! - Nothing is made up. Where a manifest doesn't say whose packages they are, there is no package URL; an application
//!   is `pkg:hex` only where a lock file or Hex's metadata says so, otherwise `pkg:otp`.
//! - The hash of a package is that of its data member, which its signed control member has, or of format v3 that of its
//!   signed metadata, which has those of its files; a fact beside it says so.
//!   The hash of a Hex package is that of its tarball.
//! - There is no clock: CycloneDX has a `timestamp` only where `SOURCE_DATE_EPOCH` was set, and SPDX, which must have a
//!   time, has that of the manifest, 1970 if it was not. Identifiers are UUIDs of version 8 (RFC 9562) made from the SHA-256
//!   of the manifest.

mod cyclonedx;
mod inventory;
mod license;
mod purl;
mod spdx;

use serde_json::Value;

use self::inventory::Inventory;
pub use self::license::License;
pub use self::purl::Purl;
use super::manifest::Manifest;
use crate::apk::checksum::sha256;
use crate::recipe::Uuid;

/// The forms that a bill of materials can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SbomFormat {
    /// CycloneDX 1.6, JSON.
    CycloneDx,
    /// SPDX 2.3, JSON.
    Spdx,
}

impl SbomFormat {
    /// `cyclonedx` or `spdx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CycloneDx => "cyclonedx",
            Self::Spdx => "spdx",
        }
    }
}

/// The bill of materials of the image of `manifest`; `bytes` is the manifest's file, from whose hash identifiers are
/// made. `distribution` (`alpine`) is whose packages are that don't say it themselves: it becomes the namespace of their
/// package URLs.
pub fn sbom(manifest: &Manifest, bytes: &[u8], format: SbomFormat, distribution: Option<&str>) -> Value {
    let inventory = Inventory::of(manifest, distribution);
    // The same manifest has documents of different forms: they are different documents.
    let mut hash = sha256(format.name().as_bytes()).to_vec();
    hash.extend(sha256(bytes));
    let uuid = Uuid::from_hash(&sha256(&hash)).to_string();
    match format {
        SbomFormat::CycloneDx => cyclonedx::document(manifest, &inventory, &uuid),
        SbomFormat::Spdx => spdx::document(manifest, &inventory, &uuid),
    }
}

/// An address of the web, which both formats want to be a URI.
fn web_address(text: &str) -> Option<&str> {
    let good = |c: char| c.is_ascii_graphic() && !"<>\"{}|\\^`[]".contains(c);
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    (!rest.is_empty() && rest.chars().all(good)).then_some(text)
}

#[cfg(test)]
mod tests;
