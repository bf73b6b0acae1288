//! From a release to a booted application, with real packages, as a user does it: by the `leanfs` command.
//!
//! Packages come from the test mirror that `cargo xtask mirror` makes ([`bench::Mirror::host`]) or from
//! `../shared/mirror`. A boot takes 15 to 25 s of a processor under emulation: the ones that each show something of
//! their own run always, the rest with `LEANFS_TEST_FULL=1` (`cargo xtask test --full`).

mod apk;
mod behaviour;
pub(crate) mod bench;
mod boots;
mod formats;
mod promises;
mod running;
mod trace;
