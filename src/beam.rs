//! Formats of the BEAM, pure: Erlang terms as text and in the external term format, `.rel`, `.app` and `.boot`
//! files, and what a compiled module imports.
//!
//! Every parser takes bytes from outside: lengths are checked before they are used, nesting and sizes are
//! capped, and nothing panics. Text that is put into messages is escaped.

mod app_file;
mod boot;
mod code;
pub mod container;
mod encode;
mod external;
pub mod lock_file;
mod module;
mod platform;
mod release_file;
mod strip;
mod term;
mod text;

pub use app_file::{AppFile, HexMetadata};
pub use boot::{BootInstruction, BootScript, LoadedApplication};
pub use code::{Apply, Code, Function};
pub use encode::encode;
pub use external::decode;
pub use lock_file::LockedPackage;
pub use module::{Export, Import, Module, SHELL_FUNCTIONS, attributes, literal_bytes, literals};
pub use platform::{Platform, is_platform_application, platform_of};
pub use release_file::{ReleaseFile, StartType};
pub use strip::{StripOptions, strip};
pub use term::{Atom, Term};
pub use text::consult;

/// What is wrong with a BEAM file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeamError {
    /// The text is no Erlang term.
    #[error("line {line}: expected {expected}, found {found}")]
    Text {
        /// The line, from 1.
        line: usize,
        /// What may stand there.
        expected: &'static str,
        /// What stands there, escaped and cut.
        found: String,
    },
    /// The bytes are no external term, or no BEAM file.
    #[error("at byte {offset}: expected {expected}, found {found}")]
    Binary {
        /// Where, from 0. In what a compressed file unpacks to.
        offset: usize,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// More than leanfs takes.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The term is well formed, but not what such a file holds.
    #[error("expected {expected}, found {found}")]
    Shape {
        /// What such a file holds.
        expected: &'static str,
        /// What was found, as text, cut.
        found: String,
    },
}

impl BeamError {
    fn shape(expected: &'static str, found: &Term) -> Self {
        Self::Shape { expected, found: found.excerpt() }
    }
}

/// Text from outside as it may be shown: control characters escaped, cut after 60 characters.
fn excerpt(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MOST {
            shown.push('…');
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
