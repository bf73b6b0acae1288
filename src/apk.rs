//! Alpine's package formats (version 2), pure: bytes in, values out, and back.
//!
//! - [`version`]: version numbers and their order; [`dependency`]: what a package asks for and provides.
//! - [`member`]: the gzip members that `.apk` files and indexes are made of, with exact boundaries and the
//!   hashes of their *compressed* bytes; [`package`]: signature and control members of a `.apk`.
//! - [`index`]: `APKINDEX.tar.gz`; [`package_info`]: `.PKGINFO`.
//! - [`installed`]: the database of installed packages, `lib/apk/db/*`.
//! - [`signature`]: signatures and the public keys that verify them; [`keys`]: Alpine's own.
//! - [`mod@write`]: packages and indexes from trees, as `abuild` and `apk index` would make them.
//!
//! The chain of trust is: a trusted key signs the index, the index names the control member by its hash, the
//! control member names the data member by its SHA-256, the data member carries each file's hash. This room
//! gives each link; `fetch` puts them together, and nothing else should.
//!
//! The formats are described in `apk-package(5)` and `apk-v2(5)` of apk-tools, and by what Alpine's servers
//! serve. Architecture invariant: no I/O (beyond a caller's reader and writer), no clock, no environment.

pub mod adb;
pub mod checksum;
pub mod dependency;
pub(crate) mod der;
mod ecdsa;
mod error;
pub mod index;
pub mod installed;
pub mod keys;
pub mod member;
pub mod package;
pub mod package_info;
mod segment;
pub mod signature;
pub mod version;
pub mod write;

pub use checksum::Checksum;
pub use dependency::{Constraint, Dependency, Operator};
pub use error::{ApkError, Quoted};
pub use index::{Index, IndexEntry};
pub use installed::{InstalledDatabase, InstalledPackage};
pub use package::PackageHead;
pub use package_info::PackageInfo;
pub use signature::{PublicKey, Signature, SignatureKind};
pub use version::Version;
