//! Formats of the BEAM.

use leanfs::beam::container::Container;
use leanfs::beam::{
    AppFile, BootScript, Code, HexMetadata, Module, ReleaseFile, StripOptions, consult, decode, encode,
    literals, lock_file, strip,
};

/// A compiled module.
pub fn beam_module(bytes: &[u8]) {
    if let Ok(module) = Module::parse(bytes) {
        let _ = module.shell_call();
    }
}

/// The code of a compiled module, and the module without what only tools read: that is a module with the same tables,
/// and nothing is left to strip.
pub fn beam_code(bytes: &[u8]) {
    if let Ok(container) = Container::parse(bytes) {
        let _ = literals(&container);
        if let Ok(module) = Module::of(&container) {
            let _ = Code::of(&container, &module);
        }
    }
    for lines in [true, false] {
        let options = StripOptions { lines, attributes: lines };
        let Ok(stripped) = strip(bytes, options) else { continue };
        assert_eq!(strip(&stripped, options).as_ref(), Ok(&stripped), "stripping once is enough");
        assert_eq!(Module::parse(&stripped).ok(), Module::parse(bytes).ok(), "the tables are the same");
    }
}

/// An external term: what is written of it is read as the same term.
pub fn beam_term(bytes: &[u8]) {
    let Ok(term) = decode(bytes) else { return };
    // As text, since a float that is no number is not equal to itself.
    if let Ok(written) = encode(&term) {
        assert_eq!(decode(&written).map(|read| read.to_string()), Ok(term.to_string()));
    }
}

/// A boot script: `start.boot`, or the text of `start.script`.
pub fn beam_boot(bytes: &[u8]) {
    for script in [BootScript::parse(bytes), BootScript::parse_text(bytes)].into_iter().flatten() {
        let _ = (script.applications(), script.modules(), script.to_bytes());
    }
}

/// Erlang terms as text: `.app`, `sys.config`, `hex_metadata.config`.
pub fn beam_app(bytes: &[u8]) {
    if let Ok(file) = AppFile::parse(bytes) {
        let needs = file.needs();
        assert!(needs.is_sorted() && !file.name.is_empty());
    }
    let _ = HexMetadata::parse(bytes);
    for term in consult(bytes).into_iter().flatten() {
        let _ = term.to_string();
    }
}

/// A project's lock file, of either kind.
pub fn beam_lock(bytes: &[u8]) {
    for name in ["mix.lock", "rebar.lock"] {
        let _ = lock_file::parse(name, bytes);
    }
}

/// A `.rel` file.
pub fn beam_rel(bytes: &[u8]) {
    let _ = ReleaseFile::parse(bytes);
}
