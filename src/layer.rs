//! What fills a tree: packages, Erlang/OTP, the release, libraries, the skeleton, the user's overlay.

pub mod accounts;
pub mod boot;
pub mod directory;
pub mod init_conf;
pub mod libraries;
pub mod merge;
pub mod otp;
pub mod overlay;
pub mod package_db;
pub mod packages;
mod protected;
pub mod release;
pub mod script;
pub mod skeleton;
pub mod special;
pub mod start;
mod subtree;
pub mod sysroot;
