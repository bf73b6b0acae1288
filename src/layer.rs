//! What fills a tree: packages, Erlang/OTP, the release, libraries, the skeleton, the user's overlay.

pub mod init_conf;
pub mod start;
