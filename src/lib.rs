//! leanfs turns a BEAM release (`mix release`, or any OTP release) into a bootable image of a few megabytes.
//! It needs no container runtime, no root, no user namespaces, no loop devices and no shell.
//!
//! ```text
//! recipe ─► resolve ─► fetch ─► layers ─► tree ─► prune ─► image writers ─► launch / verify
//! ```

pub mod apk;
pub mod arch;
pub mod archive;
pub mod assemble;
pub mod beam;
pub mod cache;
pub mod check;
pub mod elf;
pub mod fetch;
pub mod image;
pub mod kernel;
pub mod layer;
pub mod lock;
pub mod os_error;
pub mod prune;
pub mod recipe;
pub mod report;
pub mod resolve;
pub mod text;
pub mod tree;
pub mod vm;

pub use assemble::{AssembleError, assemble};
