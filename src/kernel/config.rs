//! Configurations of kernels: fragments, what they make together, and what a kernel's own tools made of it.
//!
//! ```text
//! names ─► catalog ─► fragments ─► merge ─► asked ──┐
//!                                    │              ├─► check ─► what was dropped, and why
//!             allnoconfig, olddefconfig (kernel) ─► .config
//!                                   Kconfig files ──┘
//! ```
//! All of it is pure: texts in, values out. `kernel::build` reads the files and runs `make`.

mod catalog;
mod check;
mod dotconfig;
mod expression;
mod fragment;
mod kconfig;
mod merge;
mod needs;

pub use catalog::{BUILT_IN, BuiltIn, CatalogError, Kind, expand, is_path};
pub use check::{Cause, Dropped, check};
pub use dotconfig::DotConfig;
pub use fragment::{Condition, Fragment, FragmentError, KernelVersion, MOST_FRAGMENT_BYTES, Setting, Value};
pub use kconfig::{KconfigError, Symbols};
pub use merge::{Asked, Merged, Overridden, merge};
pub use needs::{Needs, fragments_for};

/// A text from outside in a message: quoted, escaped and not longer than a line.
fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
