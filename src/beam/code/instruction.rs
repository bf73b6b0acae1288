//! Instructions as they stand in the chunk `Code`.
//! Specification: `lib/compiler/src/genop.tab` (operations and their arities) and `beam_asm:encode_arg/2` (operands)
//! of Erlang/OTP.
//!
//! An instruction is the number of its operation and as many operands as that has. An operand's first byte holds
//! its tag in the lower three bits and its value, or how the value goes on, in the others.

use super::super::BeamError;
use super::super::container::Cursor;

/// The number of operands of each operation, from operation 1 on. Numbers are never used again, and those that are
/// no longer made are kept, so that one table serves every version: this one is of OTP 28.
const ARITIES: [u8; 184] = [
    1, 3, 0, 2, 3, 2, 2, 3, 2, 4, 5, 2, 3, 2, 3, 2, 1, 1, 0, 0, // 1–20
    0, 0, 2, 1, 1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, // 21–40
    3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, // 41–60
    1, 2, 1, 2, 3, 3, 3, 3, 3, 2, 1, 1, 0, 1, 1, 3, 2, 2, 2, 5, // 61–80
    5, 5, 4, 2, 1, 1, 2, 2, 5, 5, 5, 2, 1, 0, 1, 2, 2, 4, 4, 4, // 81–100
    4, 3, 1, 2, 1, 1, 1, 2, 6, 3, 5, 1, 2, 2, 3, 5, 7, 7, 7, 5, // 101–120
    3, 2, 2, 5, 6, 2, 2, 2, 2, 1, 3, 4, 0, 8, 6, 2, 6, 5, 4, 5, // 121–140
    4, 5, 4, 3, 3, 3, 3, 3, 0, 1, 1, 7, 1, 5, 5, 2, 3, 3, 4, 0, // 141–160
    0, 2, 2, 2, 3, 4, 3, 2, 2, 4, 3, 1, 2, 1, 1, 1, 6, 3, 0, 1, // 161–180
    5, 3, 2, 4, // 181–184
];

/// The operations that matter here, by their names in `genop.tab`.
pub(super) mod op {
    pub(crate) const LABEL: u8 = 1;
    pub(crate) const FUNC_INFO: u8 = 2;
    pub(crate) const INT_CODE_END: u8 = 3;
    pub(crate) const CALL_EXT: u8 = 7;
    pub(crate) const CALL_EXT_LAST: u8 = 8;
    pub(crate) const BIF1: u8 = 10;
    pub(crate) const BIF2: u8 = 11;
    pub(crate) const FIRST_COMPARISON: u8 = 39;
    pub(crate) const LAST_COMPARISON: u8 = 44;
    pub(crate) const SELECT_VAL: u8 = 59;
    pub(crate) const MOVE: u8 = 64;
    pub(crate) const CASE_END: u8 = 74;
    pub(crate) const MAKE_FUN: u8 = 76;
    pub(crate) const CALL_EXT_ONLY: u8 = 78;
    pub(crate) const MAKE_FUN2: u8 = 103;
    pub(crate) const APPLY: u8 = 112;
    pub(crate) const APPLY_LAST: u8 = 113;
    pub(crate) const GC_BIF1: u8 = 124;
    pub(crate) const GC_BIF2: u8 = 125;
    pub(crate) const ON_LOAD: u8 = 149;
    pub(crate) const GC_BIF3: u8 = 152;
    pub(crate) const LINE: u8 = 153;
    pub(crate) const PUT_MAP_ASSOC: u8 = 154;
    pub(crate) const PUT_MAP_EXACT: u8 = 155;
    pub(crate) const HAS_MAP_FIELDS: u8 = 157;
    pub(crate) const GET_MAP_ELEMENTS: u8 = 158;
    pub(crate) const IS_TAGGED_TUPLE: u8 = 159;
    pub(crate) const MAKE_FUN3: u8 = 171;
    pub(crate) const BS_CREATE_BIN: u8 = 177;
    pub(crate) const CALL_FUN2: u8 = 178;
    pub(crate) const BS_MATCH: u8 = 182;
    pub(crate) const EXECUTABLE_LINE: u8 = 183;
    pub(crate) const DEBUG_LINE: u8 = 184;
}

/// An operand, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// A number: a count, the index of an import …
    Unsigned(u64),
    /// The number of an atom from 1 on; 0 is the empty list.
    Atom(u64),
    /// An X register.
    X(u64),
    /// A label; 0 is none.
    Label(u64),
    /// The index of a literal.
    Literal(u64),
    /// A list of operands.
    List(Vec<Operand>),
    /// Integers, Y and floating-point registers, allocations.
    Other,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(super) struct Instruction {
    pub(super) operation: u8,
    pub(super) operands: Vec<Operand>,
    /// Where it begins, in bytes from the start of the file.
    pub(super) start: usize,
}

/// The deepest nesting of operands: lists hold no lists.
const MOST_NESTING: usize = 4;

impl Cursor<'_> {
    pub(super) fn instruction(&mut self) -> Result<Instruction, BeamError> {
        let start = self.offset;
        let operation = self.u8()?;
        let Some(&arity) = usize::from(operation).checked_sub(1).and_then(|index| ARITIES.get(index)) else {
            self.offset = start;
            return self.fail("an operation that OTP 25 to 28 have", operation.to_string());
        };
        let mut operands = Vec::with_capacity(usize::from(arity));
        for _ in 0..arity {
            operands.push(self.operand(0)?);
        }
        Ok(Instruction { operation, operands, start })
    }

    fn operand(&mut self, nesting: usize) -> Result<Operand, BeamError> {
        const UNSIGNED: u8 = 0;
        const ATOM: u8 = 2;
        const X: u8 = 3;
        const LABEL: u8 = 5;
        const EXTENDED: u8 = 7;
        const LIST: u8 = 1;
        const FLOAT_REGISTER: u8 = 2;
        const ALLOCATION: u8 = 3;
        const LITERAL: u8 = 4;
        const TYPED_REGISTER: u8 = 5;

        let start = self.offset;
        let first = self.u8()?;
        if nesting > MOST_NESTING {
            return self.fail("an operand", "a list in lists".to_owned());
        }
        if first & 0b111 != EXTENDED {
            let value = self.compact(first)?;
            return Ok(match (first & 0b111, value) {
                (UNSIGNED, Some(value)) => Operand::Unsigned(value),
                (ATOM, Some(value)) => Operand::Atom(value),
                (X, Some(value)) => Operand::X(value),
                (LABEL, Some(value)) => Operand::Label(value),
                _ => Operand::Other,
            });
        }
        Ok(match first >> 4 {
            LIST => {
                let count = self.unsigned()?;
                // Each has a byte at the least.
                if count > self.left() as u64 {
                    let found = format!("{} bytes for {count} operands", self.left());
                    return self.fail("as many operands as announced", found);
                }
                let mut list = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    list.push(self.operand(nesting + 1)?);
                }
                Operand::List(list)
            }
            FLOAT_REGISTER => {
                self.unsigned()?;
                Operand::Other
            }
            ALLOCATION => {
                for _ in 0..self.unsigned()? {
                    self.unsigned()?;
                    self.unsigned()?;
                }
                Operand::Other
            }
            LITERAL => Operand::Literal(self.unsigned()?),
            TYPED_REGISTER => {
                let register = self.operand(nesting + 1)?;
                self.unsigned()?;
                register
            }
            other => {
                self.offset = start;
                return self.fail("an operand", format!("the extended tag {other}"));
            }
        })
    }

    /// A number with the tag of unsigned ones.
    fn unsigned(&mut self) -> Result<u64, BeamError> {
        let start = self.offset;
        let first = self.u8()?;
        match (first & 0b111, self.compact(first)?) {
            (0, Some(value)) => Ok(value),
            _ => {
                self.offset = start;
                self.fail("a number", format!("0x{first:02x}"))
            }
        }
    }

    /// The value whose first byte is `first`; `None` for one of more than eight bytes, and for negative ones.
    fn compact(&mut self, first: u8) -> Result<Option<u64>, BeamError> {
        if first & 0b1000 == 0 {
            return Ok(Some(u64::from(first >> 4)));
        }
        if first & 0b1_0000 == 0 {
            return Ok(Some(u64::from(first >> 5) << 8 | u64::from(self.u8()?)));
        }
        let length = match first >> 5 {
            7 => {
                // The length is a number itself, and always one of the short forms.
                let length = self.u8()?;
                if length & 0b111 != 0 || length & 0b1_1000 == 0b1_1000 {
                    return self.fail("the length of a number", format!("0x{length:02x}"));
                }
                let length = self.compact(length)?;
                length
                    .and_then(|length| usize::try_from(length).ok())
                    .and_then(|length| length.checked_add(9))
            }
            short => Some(usize::from(short) + 2),
        };
        let Some(length) = length.filter(|&length| length <= self.left()) else {
            return self.fail("a number", "the end".to_owned());
        };
        let bytes = self.take(length)?;
        let negative = bytes.first().is_some_and(|&byte| byte >= 0x80);
        let significant = bytes.iter().position(|&byte| byte != 0).unwrap_or(length);
        let bytes = &bytes[significant..];
        Ok((!negative && bytes.len() <= 8)
            .then(|| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(bytes: &[u8]) -> Result<Instruction, BeamError> {
        Cursor { bytes, offset: 0 }.instruction()
    }

    #[test]
    fn operands() {
        // move {x,1} {y,2}; move {atom,300} {x,0}; move {literal,5} {x,0}; move {tr,{x,1},7} {x,0}.
        for (bytes, want) in [
            (&[64, 0x13, 0x24][..], [Operand::X(1), Operand::Other]),
            (&[64, 0x2a, 0x2c, 0x03], [Operand::Atom(300), Operand::X(0)]),
            (&[64, 0x47, 0x50, 0x03], [Operand::Literal(5), Operand::X(0)]),
            (&[64, 0x57, 0x13, 0x70, 0x03], [Operand::X(1), Operand::X(0)]),
            // An integer of two bytes, and one of nine.
            (&[64, 0x19, 1, 0, 0x03], [Operand::Other, Operand::X(0)]),
            (&[64, 0xf9, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x03], [Operand::Other, Operand::X(0)]),
        ] {
            assert_eq!(instruction(bytes).expect("an instruction").operands, want, "{bytes:?}");
        }
        // select_val {x,0} {f,3} [{atom,1},{f,4}].
        let list = Operand::List(vec![Operand::Atom(1), Operand::Label(4)]);
        assert_eq!(
            instruction(&[59, 0x03, 0x35, 0x17, 0x20, 0x12, 0x45]).expect("an instruction").operands,
            [Operand::X(0), Operand::Label(3), list]
        );
    }

    #[test]
    fn what_is_none() {
        for (bytes, expected) in [
            (&[0][..], "an operation that OTP 25 to 28 have"),
            (&[185], "an operation that OTP 25 to 28 have"),
            (&[64, 0x13], "more bytes"),
            (&[64, 0x67], "an operand"),
            (&[59, 0x03, 0x35, 0x17, 0xf0, 0x12], "as many operands as announced"),
            (&[64, 0xf8, 0xf8, 0xff], "more bytes"),
        ] {
            match instruction(bytes) {
                Err(BeamError::Binary { expected: wanted, .. }) => assert!(
                    [expected, "a number", "the length of a number"].contains(&wanted),
                    "{bytes:?}: {wanted}, not {expected}"
                ),
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
        // A list in a list in a list …, and numbers whose length is a number whose length …
        assert!(instruction(&[&[59, 0x03, 0x35][..], &[0x17, 0x10].repeat(100_000)].concat()).is_err());
        for byte in [0xf8, 0xf9] {
            assert!(instruction(&[&[64][..], &[byte].repeat(100_000)].concat()).is_err());
        }
    }

    /// The compiler's own table. The host's may be older, and then it ends earlier.
    #[test]
    fn arities_are_those_of_the_compiler() {
        let expression = r#"[case catch beam_opcodes:opname(I) of
            {N, A} when is_atom(N), is_integer(A) -> io:format("~b ~b~n", [I, A]);
            _ -> ok end || I <- lists:seq(1, 255)], halt()."#;
        let Ok(output) = std::process::Command::new("erl").args(["-noshell", "-eval", expression]).output()
        else {
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "erl is needed in CI");
            println!("SKIP: erl is absent");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let mut known = 0;
        for line in said.lines() {
            let (operation, arity) = line.split_once(' ').expect("two numbers");
            let (operation, arity): (usize, u8) =
                (operation.parse().expect("a number"), arity.parse().expect("a number"));
            // What is newer than the table is refused.
            if let Some(ours) = ARITIES.get(operation - 1) {
                assert_eq!(*ours, arity, "operation {operation}");
                known += 1;
            }
        }
        assert!(known > 150, "{known}: {said}");
    }
}
