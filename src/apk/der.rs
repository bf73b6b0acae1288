//! As much of DER (ITU-T X.690) as RSA and EC keys need, and their PEM armour (RFC 7468).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ecdsa::Curve;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017, A.1).
const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// id-ecPublicKey, 1.2.840.10045.2.1 (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// Larger files are no keys.
const MOST_BYTES: usize = 64 * 1024;

/// The label and the content of the first PEM block.
pub(crate) fn pem(text: &[u8]) -> Result<(&str, Vec<u8>), &'static str> {
    if text.len() > MOST_BYTES {
        return Err("the file is larger than 64 KiB");
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not a PEM file")?;
    let (_, rest) = text.split_once("-----BEGIN ").ok_or("it is not a PEM file")?;
    let (label, rest) = rest.split_once("-----").ok_or("it is not a PEM file")?;
    let (body, rest) = rest.split_once("-----END ").ok_or("its PEM block has no end")?;
    if !rest.starts_with(label) {
        return Err("its PEM block ends as something else than it began");
    }
    if body.contains(':') {
        return Err("it is encrypted");
    }
    let body: String = body.split_ascii_whitespace().collect();
    let content = STANDARD.decode(body).map_err(|_| "its PEM block is not base64")?;
    Ok((label, content))
}

/// What a `SubjectPublicKeyInfo` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// `RSAPublicKey` (PKCS#1).
    Rsa(&'a [u8]),
    /// The curve, and the bytes of the point (SEC 1, 2.3.3).
    Ec(Curve, &'a [u8]),
}

/// The key in a `SubjectPublicKeyInfo` (RFC 5280, 4.1).
pub(super) fn subject_of_spki(der: &[u8]) -> Result<Subject<'_>, &'static str> {
    const BAD: &str = "it is no SubjectPublicKeyInfo";
    let (info, rest) = take(der, SEQUENCE).ok_or(BAD)?;
    let (algorithm, info) = take(info, SEQUENCE).ok_or(BAD)?;
    let (identifier, parameters) = take(algorithm, OBJECT_IDENTIFIER).ok_or(BAD)?;
    let (bits, end) = take(info, BIT_STRING).ok_or(BAD)?;
    let key = match bits.split_first() {
        // No bits of the last byte are unused.
        Some((0, key)) if rest.is_empty() && end.is_empty() => key,
        _ => return Err(BAD),
    };
    if identifier == RSA_ENCRYPTION {
        return match parameters.is_empty() || take(parameters, NULL).is_some() {
            true => Ok(Subject::Rsa(key)),
            false => Err(BAD),
        };
    }
    if identifier != EC_PUBLIC_KEY {
        return Err("it is neither an RSA nor an EC key");
    }
    let (curve, rest) = take(parameters, OBJECT_IDENTIFIER).ok_or("it does not name its curve")?;
    let known = Curve::ALL.iter().find(|(_, identifier)| *identifier == curve);
    match known {
        Some((curve, _)) if rest.is_empty() => Ok(Subject::Ec(*curve, key)),
        _ => Err("its curve is none of P-256, P-384 and P-521"),
    }
}

/// The modulus and the public exponent of an `RSAPublicKey` (RFC 8017, A.1.1), without leading zeros.
pub(super) fn rsa_public_numbers(pkcs1: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = take(pkcs1, SEQUENCE)?;
    let (modulus, key) = take(key, INTEGER)?;
    let (exponent, key) = take(key, INTEGER)?;
    let positive = |number: &[u8]| number.first().is_some_and(|first| first & 0x80 == 0);
    (rest.is_empty() && key.is_empty() && positive(modulus) && positive(exponent))
        .then_some((without_zeros(modulus), without_zeros(exponent)))
}

/// An `RSAPublicKey` of these numbers, big-endian and without leading zeros.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    sequence_of_integers(&[modulus, exponent])
}

/// A `SEQUENCE` of `INTEGER`s of these numbers, big-endian, positive and without leading zeros.
pub(super) fn sequence_of_integers(numbers: &[&[u8]]) -> Vec<u8> {
    let integer = |number: &&[u8]| {
        // A set first bit would make it negative; nothing at all is no number.
        let zero: &[u8] = if number.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
        element(INTEGER, &[zero, *number].concat())
    };
    element(SEQUENCE, &numbers.iter().map(integer).collect::<Vec<_>>().concat())
}

/// `SubjectPublicKeyInfo` around a key.
pub(super) fn spki(subject: Subject<'_>) -> Vec<u8> {
    let (identifier, parameters, key) = match subject {
        Subject::Rsa(pkcs1) => (&RSA_ENCRYPTION[..], element(NULL, &[]), pkcs1),
        Subject::Ec(curve, point) => {
            (&EC_PUBLIC_KEY[..], element(OBJECT_IDENTIFIER, curve.identifier()), point)
        }
    };
    let algorithm = element(SEQUENCE, &[element(OBJECT_IDENTIFIER, identifier), parameters].concat());
    let bits = element(BIT_STRING, &[&[0], key].concat());
    element(SEQUENCE, &[algorithm, bits].concat())
}

/// A big-endian number as DER wants it.
pub(super) fn without_zeros(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|&&byte| byte == 0).count()..]
}

/// Takes one element of type `tag`: its content, and what comes after it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let digits = without_zeros(&length);
    match digits {
        [] => bytes.push(0),
        [short @ 0..=0x7f] => bytes.push(*short),
        long => {
            // At most eight digits.
            bytes.push(0x80 | long.len() as u8);
            bytes.extend_from_slice(long);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_all_lengths_come_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![5; length];
            let bytes = [element(SEQUENCE, &content), vec![9]].concat();
            assert_eq!(take(&bytes, SEQUENCE), Some((&content[..], &[9][..])), "{length}");
            assert_eq!(
                take(&bytes[..bytes.len() - 2], SEQUENCE),
                None.filter(|_: &(&[u8], &[u8])| length > 0)
            );
        }
    }

    #[test]
    fn pem_blocks() {
        assert_eq!(pem(b"text\n-----BEGIN A B-----\nAQID\n-----END A B-----\n"), Ok(("A B", vec![1, 2, 3])));
        for bad in [
            "",
            "AQID",
            "-----BEGIN A-----\nAQID\n",
            "-----BEGIN A-----\nAQID\n-----END B-----",
            "-----BEGIN A-----\n!\n-----END A-----",
        ] {
            assert!(pem(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
