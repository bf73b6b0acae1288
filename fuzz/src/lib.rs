//! What is fuzzed: functions that take any bytes, and panic when something is wrong that no bytes may cause.
//!
//! The targets in `fuzz_targets/` call them under `cargo fuzz`, and `tests/it/fuzz_entries.rs` calls the same with
//! changed good files on any toolchain.

mod adb;
mod apk;
mod beam;
mod elf;
mod lock;
mod sbom;

pub use adb::apk_adb;
pub use apk::{
    apk_dependency, apk_index, apk_index_text, apk_info, apk_installed, apk_key, apk_package, tar,
};
pub use beam::{beam_app, beam_boot, beam_code, beam_lock, beam_module, beam_rel, beam_term};
pub use elf::{elf_read, elf_strip};
pub use lock::lock;
pub use sbom::sbom;

/// A function that is fuzzed.
pub type Entry = fn(&[u8]);

/// All of them, by the names of the targets.
pub const ENTRIES: [(&str, Entry); 20] = [
    ("elf_read", elf_read),
    ("elf_strip", elf_strip),
    ("beam_module", beam_module),
    ("beam_code", beam_code),
    ("beam_term", beam_term),
    ("beam_boot", beam_boot),
    ("beam_app", beam_app),
    ("beam_rel", beam_rel),
    ("apk_index", apk_index),
    ("apk_index_text", apk_index_text),
    ("apk_package", apk_package),
    ("apk_info", apk_info),
    ("apk_installed", apk_installed),
    ("apk_dependency", apk_dependency),
    ("apk_key", apk_key),
    ("tar", tar),
    ("apk_adb", apk_adb),
    ("beam_lock", beam_lock),
    ("sbom", sbom),
    ("lock", lock),
];
