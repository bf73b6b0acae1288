//! Writing the external term format.
//! Specification: <https://www.erlang.org/doc/apps/erts/erl_ext_dist.html>.
//!
//! What [`decode`](super::decode) reads comes out as the same term; the bytes are those that `term_to_binary` of
//! OTP 26 and later writes, which every version reads.

use super::{BeamError, Term};

/// The external form of a term, not compressed.
///
/// # Errors
/// For pids, ports, references and funs with their surroundings, whose parts are not kept.
pub fn encode(term: &Term) -> Result<Vec<u8>, BeamError> {
    let mut bytes = vec![131];
    write(term, &mut bytes)?;
    Ok(bytes)
}

fn write(term: &Term, bytes: &mut Vec<u8>) -> Result<(), BeamError> {
    match term {
        Term::Atom(name) => write_atom(name, bytes)?,
        Term::Integer(value) => write_integer(*value, bytes),
        Term::BigInteger { negative, magnitude } => {
            write_length(110, 111, magnitude.len(), bytes)?;
            bytes.push(u8::from(*negative));
            bytes.extend_from_slice(magnitude);
        }
        Term::Float(value) => {
            bytes.push(70);
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        Term::Binary(data) => {
            bytes.push(109);
            write_u32(data.len(), bytes)?;
            bytes.extend_from_slice(data);
        }
        Term::BitString { bytes: data, last_bits } => {
            bytes.push(77);
            write_u32(data.len(), bytes)?;
            bytes.push(*last_bits);
            bytes.extend_from_slice(data);
        }
        Term::Text(text) => write_text(text, bytes)?,
        Term::List(elements, tail) => {
            if !elements.is_empty() {
                bytes.push(108);
                write_u32(elements.len(), bytes)?;
                elements.iter().try_for_each(|element| write(element, bytes))?;
            }
            match tail {
                Some(tail) => write(tail, bytes)?,
                None => bytes.push(106),
            }
        }
        Term::Tuple(elements) => {
            write_length(104, 105, elements.len(), bytes)?;
            elements.iter().try_for_each(|element| write(element, bytes))?;
        }
        Term::Map(pairs) => {
            bytes.push(116);
            write_u32(pairs.len(), bytes)?;
            for (key, value) in pairs {
                write(key, bytes)?;
                write(value, bytes)?;
            }
        }
        Term::Export { module, function, arity } => {
            bytes.push(113);
            write_atom(module, bytes)?;
            write_atom(function, bytes)?;
            write_integer(i64::from(*arity), bytes);
        }
        Term::Opaque(_) => return Err(BeamError::shape("a term whose bytes are known", term)),
    }
    Ok(())
}

/// One byte of length with the tag `small`, or four with `large`.
fn write_length(small: u8, large: u8, length: usize, bytes: &mut Vec<u8>) -> Result<(), BeamError> {
    match u8::try_from(length) {
        Ok(length) => bytes.extend([small, length]),
        Err(_) => {
            bytes.push(large);
            write_u32(length, bytes)?;
        }
    }
    Ok(())
}

fn write_u32(number: usize, bytes: &mut Vec<u8>) -> Result<(), BeamError> {
    let number = u32::try_from(number)
        .map_err(|_| BeamError::TooLarge { what: "a part of a term", limit: u32::MAX as usize })?;
    bytes.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn write_integer(value: i64, bytes: &mut Vec<u8>) {
    if let Ok(value) = u8::try_from(value) {
        bytes.extend([97, value]);
    } else if let Ok(value) = i32::try_from(value) {
        bytes.push(98);
        bytes.extend_from_slice(&value.to_be_bytes());
    } else {
        let magnitude = value.unsigned_abs().to_le_bytes();
        let significant = magnitude.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.extend([110, significant as u8, u8::from(value < 0)]);
        bytes.extend_from_slice(&magnitude[..significant]);
    }
}

fn write_atom(name: &str, bytes: &mut Vec<u8>) -> Result<(), BeamError> {
    match (u8::try_from(name.len()), u16::try_from(name.len())) {
        (Ok(length), _) => bytes.extend([119, length]),
        (_, Ok(length)) => {
            bytes.push(118);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => return Err(BeamError::TooLarge { what: "an atom", limit: usize::from(u16::MAX) }),
    }
    bytes.extend_from_slice(name.as_bytes());
    Ok(())
}

/// A list of characters: as bytes where all are below 256 and there are few enough, else as integers.
fn write_text(text: &str, bytes: &mut Vec<u8>) -> Result<(), BeamError> {
    let latin1: Option<Vec<u8>> =
        text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    match latin1.map(|latin1| (u16::try_from(latin1.len()), latin1)) {
        Some((Ok(length), latin1)) => {
            bytes.push(107);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&latin1);
        }
        _ => {
            bytes.push(108);
            write_u32(text.chars().count(), bytes)?;
            text.chars().for_each(|character| write_integer(i64::from(u32::from(character)), bytes));
            bytes.push(106);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode;
    use super::*;

    fn terms() -> impl Strategy<Value = Term> {
        let leaf = prop_oneof![
            "[a-zé_@]{0,300}".prop_map(|name| Term::atom(&name)),
            any::<i64>().prop_map(Term::Integer),
            (-300i64..300).prop_map(Term::Integer),
            any::<f64>().prop_filter("NaN is not itself", |value| !value.is_nan()).prop_map(Term::Float),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Term::Binary),
            (proptest::collection::vec(any::<u8>(), 1..20), 1u8..8)
                .prop_map(|(bytes, last_bits)| Term::BitString { bytes, last_bits }),
            "[ -~é字]{1,20}".prop_map(|text| Term::text(&text)),
            (any::<bool>(), proptest::collection::vec(1u8..255, 9..300))
                .prop_map(|(negative, magnitude)| Term::BigInteger { negative, magnitude }),
            ("[a-z]{1,4}", "[a-z]{1,4}", 0u32..256).prop_map(|(module, function, arity)| Term::Export {
                module: module.into(),
                function: function.into(),
                arity
            }),
        ];
        leaf.prop_recursive(4, 300, 300, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Term::list),
                proptest::collection::vec(inner.clone(), 0..300).prop_map(Term::Tuple),
                proptest::collection::vec((inner.clone(), inner), 0..5).prop_map(Term::Map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn what_is_written_is_read_again(term in terms()) {
            let bytes = encode(&term).expect("it has no pids");
            prop_assert_eq!(decode(&bytes).expect("it is well formed"), term);
        }
    }

    #[test]
    fn long_text_and_what_has_no_form() {
        let long = Term::Text("x".repeat(70_000));
        assert_eq!(decode(&encode(&long).expect("text")).expect("text"), long);
        assert!(matches!(encode(&Term::Opaque("Pid")), Err(BeamError::Shape { .. })));
    }
}
