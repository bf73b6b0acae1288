//! Modules without what only compilers, debuggers and documentation read.
//!
//! What the loader reads stays (`erts/emulator/beam/beam_file.c`): atoms, code, strings, imports, exports, lambdas,
//! literals, line numbers, and the types by which the JIT makes faster code. Debug information, documentation and the
//! options that a module was compiled with go.

use std::borrow::Cow;
use std::io::Write;

use super::container::{ChunkName, Container, write};
use super::module::literal_bytes;
use super::{BeamError, code};

/// What stays of a module beside its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StripOptions {
    /// Line numbers, which stack traces show.
    pub lines: bool,
    /// The attributes (`-behaviour` …) that `module_info(attributes)` tells.
    pub attributes: bool,
}

/// Chunks that the loader reads, in the order in which they are written: what resembles each other stands together.
const LOADED: [ChunkName; 9] =
    [*b"AtU8", *b"Atom", *b"Code", *b"Type", *b"StrT", *b"ImpT", *b"ExpT", *b"FunT", *b"LitT"];

/// The module in `bytes` with only what it runs with. Its literals are not compressed any more: an image compresses
/// all of them together, and better.
///
/// # Errors
/// What is no module, or contradicts itself.
pub fn strip(bytes: &[u8], options: StripOptions) -> Result<Vec<u8>, BeamError> {
    let container = Container::parse(bytes)?;
    let mut chunks: Vec<(ChunkName, Cow<'_, [u8]>)> = Vec::new();
    for name in LOADED {
        let Some(data) = container.chunk(&name) else { continue };
        chunks.push((
            name,
            match &name {
                // OTP reads it only where there is no AtU8.
                b"Atom" if container.chunk(b"AtU8").is_some() => continue,
                b"LitT" => plain_literals(&container, data)?,
                b"Code" if !options.lines => match code::without_lines(&container)? {
                    Some(code) => Cow::Owned(code),
                    None => Cow::Borrowed(data),
                },
                _ => Cow::Borrowed(data),
            },
        ));
    }
    for (name, wanted) in [(*b"Line", options.lines), (*b"Attr", options.attributes)] {
        if let Some(data) = container.chunk(&name).filter(|_| wanted) {
            chunks.push((name, Cow::Borrowed(data)));
        }
    }
    Ok(write(&chunks))
}

/// The chunk `LitT` with stored instead of compressed blocks. OTP up to 27 wants a zlib stream, of which that is one;
/// where the size in front is 0, as OTP 28 writes it, there is none.
fn plain_literals<'a>(container: &Container<'_>, data: &'a [u8]) -> Result<Cow<'a, [u8]>, BeamError> {
    if data.starts_with(&[0; 4]) {
        return Ok(Cow::Borrowed(data));
    }
    let Some(literals) = literal_bytes(container)? else { return Ok(Cow::Borrowed(data)) };
    let mut stored = data[..4].to_vec();
    let mut encoder = flate2::write::ZlibEncoder::new(&mut stored, flate2::Compression::none());
    encoder.write_all(&literals).and_then(|()| encoder.finish().map(drop)).expect("memory takes everything");
    Ok(Cow::Owned(stored))
}
