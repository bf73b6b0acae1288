//! Formats of the BEAM.

use leanfs::beam::{BootScript, Module, ReleaseFile, consult};

/// A compiled module.
pub fn beam_module(bytes: &[u8]) {
    if let Ok(module) = Module::parse(bytes) {
        let _ = module.shell_call();
    }
}

/// A boot script: `start.boot`, or the text of `start.script`.
pub fn beam_boot(bytes: &[u8]) {
    for script in [BootScript::parse(bytes), BootScript::parse_text(bytes)].into_iter().flatten() {
        let _ = (script.applications(), script.modules());
    }
}

/// Erlang terms as text: `.app`, `sys.config`.
pub fn beam_app(bytes: &[u8]) {
    for term in consult(bytes).into_iter().flatten() {
        let _ = term.to_string();
    }
}

/// A `.rel` file.
pub fn beam_rel(bytes: &[u8]) {
    let _ = ReleaseFile::parse(bytes);
}
