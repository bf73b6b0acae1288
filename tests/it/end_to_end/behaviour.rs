//! What is pruned behaves as what is not: applications that try many things, asked from outside.
//!
//! The answers are the same whatever was pruned, and so is what comes to the console when something crashes. CI boots
//! what is pruned most and compares with what stands here; `LEANFS_TEST_FULL=1` boots the unpruned too and compares
//! both with each other.

mod otp28_app;
mod otp_app;
mod web;

/// The level that takes the most, and is tried in CI.
const REACHABLE: &str = "modules";

/// The level that takes nothing.
const UNPRUNED: &str = "none";

/// Whether the level goes below whole applications, so that modules that nothing names are gone unless kept.
fn takes_modules(level: &str) -> bool {
    level == "modules"
}

/// The flags for a level, with what it has to keep.
fn prune(level: &str, keep: &[&str]) -> Vec<String> {
    let mut flags = vec!["--prune".to_owned(), level.to_owned()];
    if takes_modules(level) {
        flags.extend(keep.iter().flat_map(|glob| ["--keep", glob]).map(str::to_owned));
    }
    flags
}
