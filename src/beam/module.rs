//! Compiled modules: the tables of a `.beam` file that its code refers to.
//! Specification: `lib/compiler/src/beam_asm.erl` and `erts/emulator/beam/beam_file.c` of Erlang/OTP.

use super::container::{Container, Cursor};
use super::{Atom, BeamError, Term, decode};

/// The most that the literals of a module may unpack to.
const MOST_LITERAL_BYTES: usize = 64 << 20;

/// What a module says about itself, without its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name: the first of its atoms.
    pub name: Atom,
    /// The functions of other modules that it calls by name.
    pub imports: Vec<Import>,
    /// The functions that others may call, each with the label of its code.
    pub exports: Vec<Export>,
    /// All atoms of its code and its tables.
    pub(super) atoms: Vec<Atom>,
}

/// A function that a module calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Import {
    /// The module.
    pub module: Atom,
    /// The function.
    pub function: Atom,
    /// How many arguments it takes.
    pub arity: u32,
}

/// A function that a module lets others call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The function.
    pub function: Atom,
    /// How many arguments it takes.
    pub arity: u32,
    /// The label of its code.
    pub label: u32,
}

/// Functions that run `/bin/sh`. `erlang:open_port/2` with `{spawn, …}` does too, but what it is called with
/// can't be seen from the imports.
pub const SHELL_FUNCTIONS: [(&str, &str, u32); 4] =
    [("os", "cmd", 1), ("os", "cmd", 2), ("Elixir.System", "shell", 1), ("Elixir.System", "shell", 2)];

impl Module {
    /// Reads a `.beam` file.
    ///
    /// # Errors
    /// What is no BEAM file, truncated, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, BeamError> {
        Self::of(&Container::parse(bytes)?)
    }

    /// Reads a `.beam` file that was taken apart.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn of(container: &Container<'_>) -> Result<Self, BeamError> {
        let atoms = match (container.cursor(b"AtU8"), container.cursor(b"Atom")) {
            (Some(chunk), _) => chunk.atoms(true)?,
            (None, Some(chunk)) => chunk.atoms(false)?,
            (None, None) => {
                return Err(BeamError::Binary {
                    offset: 12,
                    expected: "a chunk AtU8",
                    found: "none".to_owned(),
                });
            }
        };
        let Some(name) = atoms.first() else {
            return Err(BeamError::Binary { offset: 12, expected: "atoms", found: "none".to_owned() });
        };
        let imports = match container.cursor(b"ImpT") {
            Some(chunk) => chunk.imports(&atoms)?,
            None => Vec::new(),
        };
        let exports = match container.cursor(b"ExpT") {
            Some(chunk) => chunk.exports(&atoms)?,
            None => Vec::new(),
        };
        Ok(Self { name: Atom::clone(name), imports, exports, atoms })
    }

    /// The first function that it calls and that runs a shell, of [`SHELL_FUNCTIONS`].
    pub fn shell_call(&self) -> Option<&Import> {
        self.imports
            .iter()
            .find(|import| SHELL_FUNCTIONS.contains(&(&*import.module, &*import.function, import.arity)))
    }
}

/// `module:function/arity`, escaped.
impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let atom = |name: &Atom| Term::Atom(Atom::clone(name));
        write!(f, "{}:{}/{}", atom(&self.module), atom(&self.function), self.arity)
    }
}

/// The attributes of a module (`-behaviour(gen_server)` …): a list of pairs of a name and a list of values.
///
/// # Errors
/// When the chunk `Attr` is no term.
pub fn attributes(container: &Container<'_>) -> Result<Option<Term>, BeamError> {
    container.chunk(b"Attr").map(decode).transpose()
}

/// The bytes of the chunk `LitT` without its compression: a count, and for each literal its length and an external
/// term. Up to OTP 27 they are compressed with zlib; from OTP 28 on the size in front is 0 and they are not.
///
/// # Errors
/// When they don't unpack to the size that the chunk announces.
pub fn literal_bytes(container: &Container<'_>) -> Result<Option<Vec<u8>>, BeamError> {
    let Some(mut cursor) = container.cursor(b"LitT") else { return Ok(None) };
    let size = cursor.u32()? as usize;
    if size == 0 {
        return Ok(Some(cursor.take(cursor.left())?.to_vec()));
    }
    if size > MOST_LITERAL_BYTES {
        return Err(BeamError::TooLarge { what: "the literals", limit: MOST_LITERAL_BYTES });
    }
    let start = cursor.offset;
    let compressed = cursor.take(cursor.left())?;
    let unpacked = super::external::inflate(compressed, size).map_err(|found| BeamError::Binary {
        offset: start,
        expected: "literals, compressed with zlib, of the size that is announced",
        found,
    })?;
    Ok(Some(unpacked))
}

/// The literals of a module, in the order in which its code numbers them.
///
/// # Errors
/// When the chunk `LitT` is damaged.
pub fn literals(container: &Container<'_>) -> Result<Vec<Term>, BeamError> {
    let Some(bytes) = literal_bytes(container)? else { return Ok(Vec::new()) };
    let mut cursor = Cursor { bytes: &bytes, offset: 0 };
    let count = cursor.u32()? as usize;
    if count > cursor.left() / 5 {
        let found = format!("{} bytes for {count} literals", cursor.left());
        return cursor.fail("as many literals as announced", found);
    }
    let mut literals = Vec::with_capacity(count);
    for _ in 0..count {
        let length = cursor.u32()? as usize;
        literals.push(decode(cursor.take(length)?)?);
    }
    Ok(literals)
}

/// A function that is made into a value with variables of its surroundings (`fun() -> X end`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lambda {
    pub(super) label: u32,
}

impl Cursor<'_> {
    /// A length in the compact form of instructions (`beam_asm:encode/2` with tag `u`, which is 0): values
    /// below 16 in the upper four bits, below 2,048 in eleven bits over two bytes. Longer forms exist, but an
    /// atom has at most 255 characters, which are at most 1,020 bytes.
    fn compact_length(&mut self) -> Result<usize, BeamError> {
        let start = self.offset;
        let first = usize::from(self.take(1)?[0]);
        match (first & 0b111, first & 0b1000, first & 0b1_0000) {
            (0, 0, _) => Ok(first >> 4),
            (0, _, 0) => Ok((first >> 5) << 8 | usize::from(self.take(1)?[0])),
            _ => {
                self.offset = start;
                self.fail("an atom's length", format!("0x{first:02x}"))
            }
        }
    }

    /// A count, and for each atom its length and its name. From OTP 28 on the count may be negative: then the
    /// lengths are compact integers instead of bytes.
    fn atoms(mut self, utf8: bool) -> Result<Vec<Atom>, BeamError> {
        let count = self.u32()?.cast_signed();
        let long = count < 0;
        let count = count.unsigned_abs() as usize;
        let left = self.bytes.len() - self.offset;
        if count > left {
            return self.fail("as many atoms as announced", format!("{left} bytes for {count} atoms"));
        }
        let mut atoms = Vec::with_capacity(count);
        for _ in 0..count {
            let length = if long { self.compact_length()? } else { usize::from(self.take(1)?[0]) };
            let start = self.offset;
            let name = self.take(length)?;
            atoms.push(if utf8 {
                match std::str::from_utf8(name) {
                    Ok(name) => name.into(),
                    Err(_) => {
                        self.offset = start;
                        return self.fail("UTF-8", format!("`{}`", name.escape_ascii()));
                    }
                }
            } else {
                name.iter().map(|&byte| char::from(byte)).collect::<String>().into()
            });
        }
        Ok(atoms)
    }

    /// A count, and for each import the numbers of its module's and its function's atom, from 1, and its arity.
    fn imports(mut self, atoms: &[Atom]) -> Result<Vec<Import>, BeamError> {
        let count = self.u32()? as usize;
        let left = self.bytes.len() - self.offset;
        if count > left / 12 {
            return self.fail("as many imports as announced", format!("{left} bytes for {count} imports"));
        }
        let mut imports = Vec::with_capacity(count);
        for _ in 0..count {
            imports.push(Import {
                module: self.atom(atoms)?,
                function: self.atom(atoms)?,
                arity: self.u32()?,
            });
        }
        Ok(imports)
    }

    fn atom(&mut self, atoms: &[Atom]) -> Result<Atom, BeamError> {
        let start = self.offset;
        let number = self.u32()? as usize;
        match number.checked_sub(1).and_then(|index| atoms.get(index)) {
            Some(atom) => Ok(Atom::clone(atom)),
            None => {
                self.offset = start;
                self.fail("the number of an atom", format!("{number} of {}", atoms.len()))
            }
        }
    }

    /// A count, and for each export the number of its atom, its arity and its label.
    fn exports(mut self, atoms: &[Atom]) -> Result<Vec<Export>, BeamError> {
        let count = self.u32()? as usize;
        if count > self.left() / 12 {
            let found = format!("{} bytes for {count} exports", self.left());
            return self.fail("as many exports as announced", found);
        }
        let mut exports = Vec::with_capacity(count);
        for _ in 0..count {
            exports.push(Export { function: self.atom(atoms)?, arity: self.u32()?, label: self.u32()? });
        }
        Ok(exports)
    }

    /// A count, and for each lambda the number of its atom, arity, label, index, number of free variables and a
    /// hash.
    pub(super) fn lambdas(mut self) -> Result<Vec<Lambda>, BeamError> {
        let count = self.u32()? as usize;
        if count > self.left() / 24 {
            let found = format!("{} bytes for {count} lambdas", self.left());
            return self.fail("as many lambdas as announced", found);
        }
        let mut lambdas = Vec::with_capacity(count);
        for _ in 0..count {
            let (_atom, _arity, label) = (self.u32()?, self.u32()?, self.u32()?);
            self.take(12)?;
            lambdas.push(Lambda { label });
        }
        Ok(lambdas)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::beam::container::write;

    fn beam(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let chunks: Vec<_> = chunks.iter().map(|(name, data)| (**name, Cow::from(data))).collect();
        write(&chunks)
    }

    fn atoms(names: &[&str], long: bool) -> Vec<u8> {
        let count = names.len() as i32;
        let mut data = (if long { -count } else { count }).to_be_bytes().to_vec();
        for name in names {
            match (long, name.len()) {
                (false, length) => data.push(length as u8),
                (true, length @ 0..16) => data.push((length as u8) << 4),
                (true, length) => data.extend([((length >> 8) as u8) << 5 | 0b1000, length as u8]),
            }
            data.extend_from_slice(name.as_bytes());
        }
        data
    }

    fn imports(list: &[[u32; 3]]) -> Vec<u8> {
        let mut data = (list.len() as u32).to_be_bytes().to_vec();
        data.extend(list.iter().flatten().flat_map(|number| number.to_be_bytes()));
        data
    }

    fn sample(long: bool) -> Vec<u8> {
        let long_name = "ü".repeat(200);
        let long_name = if long { long_name.as_str() } else { "x" };
        beam(&[
            (b"AtU8", atoms(&["m", "os", "cmd", long_name, "this_name_has_30_bytes_exactly"], long)),
            (b"Code", vec![0; 5]),
            (b"ImpT", imports(&[[4, 5, 1], [2, 3, 1]])),
        ])
    }

    #[test]
    fn both_forms_of_atoms() {
        for long in [false, true] {
            let module = Module::parse(&sample(long)).expect("a module");
            assert_eq!(&*module.name, "m");
            assert_eq!(&*module.imports[0].function, "this_name_has_30_bytes_exactly");
            assert_eq!(module.shell_call().expect("it calls os:cmd/1").to_string(), "os:cmd/1");
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&sample(true)).expect("memory");
        assert!(Module::parse(&gzip.finish().expect("memory")).is_ok());
    }

    #[test]
    fn older_and_smaller_modules() {
        let module = Module::parse(&beam(&[(b"Atom", b"\0\0\0\x01\x01\xe9".to_vec())])).expect("a module");
        assert_eq!((&*module.name, module.imports.len(), module.shell_call()), ("é", 0, None));
    }

    #[test]
    fn what_is_no_module() {
        for (bytes, expected) in [
            (b"".to_vec(), "the magic FOR1 of a BEAM file"),
            (b"FOR1\0\0\0\xffBEAM".to_vec(), "the whole form"),
            (b"FOR1\0\0\0\x04BEEF".to_vec(), "the form BEAM"),
            (beam(&[]), "a chunk AtU8"),
            (beam(&[(b"AtU8", vec![0; 4])]), "atoms"),
            (beam(&[(b"AtU8", vec![0x7f, 0xff, 0xff, 0xff])]), "as many atoms as announced"),
            (beam(&[(b"AtU8", vec![0x80, 0, 0, 0])]), "as many atoms as announced"),
            (beam(&[(b"AtU8", vec![0, 0, 0, 1, 1, 0xff])]), "UTF-8"),
            (beam(&[(b"AtU8", vec![0xff, 0xff, 0xff, 0xff, 0x18, 0])]), "an atom's length"),
            (
                beam(&[(b"AtU8", atoms(&["m"], false)), (b"ImpT", vec![255; 4])]),
                "as many imports as announced",
            ),
            (
                beam(&[(b"AtU8", atoms(&["m"], false)), (b"ImpT", imports(&[[1, 0, 0]]))]),
                "the number of an atom",
            ),
            (
                beam(&[(b"AtU8", atoms(&["m"], false)), (b"ImpT", imports(&[[2, 1, 0]]))]),
                "the number of an atom",
            ),
        ] {
            match Module::parse(&bytes) {
                Err(BeamError::Binary { expected: wanted, .. }) => assert_eq!(wanted, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_change_panics(at in 0usize..300, byte in any::<u8>(), end in 0usize..1000) {
            let mut bytes = sample(true);
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(end);
            let _ = Module::parse(&bytes);
        }
    }
}
