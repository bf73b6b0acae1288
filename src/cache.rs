//! What earlier runs worked out and this one need not: unpacked packages, rewritten files, what is known of modules,
//! compressed members of archives.
//!
//! ```text
//! derived/tree-<64 hex>      an unpacked package: all its contents, one after the other, and what they are
//! derived/memo-<64 hex>      what was worked out for one release: results by the SHA-256 of what they were made from
//! derived/member-<64 hex>    a compressed member of an archive
//! ```
//!
//! The digits are the SHA-256 of what the result was made from: hashes of contents, settings, and the version of the rules
//! (a hash of this program's sources). So nothing here can be out of date: another input has another name.
//!
//! Invariants: a file gets its name when it is complete. It is not synced to the disk, because everything in it is hashed
//! before it is used: what a crash, a full disk or a failing one has damaged is dropped, and made again. Nothing here is
//! needed: whatever can't be read or written is a miss, and the result of a run is the same without.

mod derived;
mod memo;
mod pack;
mod upkeep;

pub use derived::{Derived, Remote};
pub use memo::Memo;
pub(crate) use pack::{Pack, Place};
pub use upkeep::{Amount, Damaged, Kind, info, keep_within, prune, verify};

/// The version of everything that decides a result: results of another version are not found.
pub(crate) const RULES: &str = env!("LEANFS_RULES");
