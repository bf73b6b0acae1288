//! New RSA keys of 2,048 bits: indexes of format v2 are signed by RSA only, and `ring`, which signs, makes none.
//!
//! Primes are found as FIPS 186-5, A.1.3 and B.3.1 (Miller–Rabin) describe; `ring` checks the parts against each other.

use crypto_bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use crypto_bigint::{Encoding, Limb, NonZero, U1024, U2048, U4096};

use crate::apk::der;

/// The usual public exponent, F4. A prime.
const EXPONENT: u64 = 65_537;
/// The same, as a divisor.
const EXPONENT_LIMB: Limb = Limb::from_u32(65_537);
/// Of each prime.
const PRIME_BYTES: usize = 128;
/// FIPS 186-5, table B.1 wants 4 for primes of this size; they cost little beside the search.
const ROUNDS: usize = 16;

/// The DER of an `RSAPrivateKey` (RFC 8017, A.1.2). Nothing if the random numbers are none.
pub(super) fn rsa_private_key(random: &mut dyn FnMut(&mut [u8]) -> bool) -> Option<Vec<u8>> {
    let p = prime(random)?;
    let mut q = prime(random)?;
    // FIPS 186-5 wants them apart by more than this; two equal ones mean a broken source.
    let far = U1024::ONE.shl_vartime(924);
    while distance(&p, &q) <= far {
        q = prime(random)?;
    }
    let (p, q) = if p > q { (p, q) } else { (q, p) };
    let (p1, q1) = (p.wrapping_sub(&U1024::ONE), q.wrapping_sub(&U1024::ONE));
    let n: U2048 = wide(&p, &q);
    let phi: U2048 = wide(&p1, &q1);
    // d = (1 + k·φ) / e, for the k that makes it whole.
    let remainder = u64_of(&phi.div_rem_limb(exponent()?).1);
    let k = (EXPONENT - inverse(remainder)) % EXPONENT;
    let multiple = phi.resize::<{ U4096::LIMBS }>().wrapping_mul(&U4096::from(k)).wrapping_add(&U4096::ONE);
    let (d, rest) = multiple.div_rem_limb(exponent()?);
    debug_assert_eq!(rest, Limb::ZERO, "k makes it whole");
    let d: U2048 = d.resize();
    let modulo = |by: &U1024| -> Option<U1024> {
        let by = Option::from(NonZero::new(by.resize::<{ U2048::LIMBS }>()))?;
        Some(d.rem(&by).resize())
    };
    // By Fermat, as p is prime.
    let inverse_of_q = power(&q, &p.wrapping_sub(&U1024::from(2_u8)), &p);
    let numbers: [&[u8]; 9] = [
        &[0],
        &n.to_be_bytes(),
        &EXPONENT.to_be_bytes(),
        &d.to_be_bytes(),
        &p.to_be_bytes(),
        &q.to_be_bytes(),
        &modulo(&p1)?.to_be_bytes(),
        &modulo(&q1)?.to_be_bytes(),
        &inverse_of_q.to_be_bytes(),
    ];
    Some(der::sequence_of_integers(&numbers.map(der::without_zeros)))
}

/// A random prime with its two highest bits set, so that two of them have a product of 2,048 bits, and with which the
/// exponent can be used.
fn prime(random: &mut dyn FnMut(&mut [u8]) -> bool) -> Option<U1024> {
    let small = small_primes();
    loop {
        let mut bytes = [0; PRIME_BYTES];
        if !random(&mut bytes) {
            return None;
        }
        bytes[0] |= 0xc0;
        bytes[PRIME_BYTES - 1] |= 1;
        let modulo =
            |divisor: u64| bytes.iter().fold(0, |rest, &byte| (rest * 256 + u64::from(byte)) % divisor);
        if small.iter().any(|&divisor| modulo(divisor) == 0) || modulo(EXPONENT) == 1 {
            continue;
        }
        let candidate = U1024::from_be_slice(&bytes);
        if is_prime(&candidate, random)? {
            return Some(candidate);
        }
    }
}

/// Miller–Rabin with random bases.
fn is_prime(candidate: &U1024, random: &mut dyn FnMut(&mut [u8]) -> bool) -> Option<bool> {
    let minus_one = candidate.wrapping_sub(&U1024::ONE);
    let twos = minus_one.trailing_zeros_vartime();
    let odd = minus_one.shr_vartime(twos);
    for _ in 0..ROUNDS {
        let mut bytes = [0; PRIME_BYTES];
        if !random(&mut bytes) {
            return None;
        }
        // Below the candidate, whose highest bit is set; and not one of those that say nothing.
        bytes[0] &= 0x7f;
        let base = U1024::from_be_slice(&bytes);
        if base <= U1024::ONE {
            continue;
        }
        let mut value = power(&base, &odd, candidate);
        if value == U1024::ONE || value == minus_one {
            continue;
        }
        let mut is_witness = true;
        for _ in 1..twos {
            value = power(&value, &U1024::from(2_u8), candidate);
            if value == minus_one {
                is_witness = false;
                break;
            }
        }
        if is_witness {
            return Some(false);
        }
    }
    Some(true)
}

fn power(base: &U1024, exponent: &U1024, modulus: &U1024) -> U1024 {
    DynResidue::new(base, DynResidueParams::new(modulus)).pow(exponent).retrieve()
}

fn wide(a: &U1024, b: &U1024) -> U2048 {
    let (low, high) = a.mul_wide(b);
    high.concat(&low)
}

fn distance(a: &U1024, b: &U1024) -> U1024 {
    if a > b { a.wrapping_sub(b) } else { b.wrapping_sub(a) }
}

fn exponent() -> Option<NonZero<Limb>> {
    Option::from(NonZero::new(EXPONENT_LIMB))
}

fn u64_of(limb: &Limb) -> u64 {
    limb.to_be_bytes().iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Modulo the exponent, by Fermat.
fn inverse(number: u64) -> u64 {
    let (mut base, mut power, mut result) = (number % EXPONENT, EXPONENT - 2, 1);
    while power > 0 {
        if power & 1 == 1 {
            result = result * base % EXPONENT;
        }
        base = base * base % EXPONENT;
        power >>= 1;
    }
    result
}

/// Those below 2,000: nine candidates of ten need no power.
fn small_primes() -> Vec<u64> {
    let is_prime = |number: &u64| {
        (2..*number)
            .take_while(|factor| factor * factor <= *number)
            .all(|factor| !number.is_multiple_of(factor))
    };
    (3..2000).filter(is_prime).collect()
}

#[cfg(test)]
mod tests {
    use ring::rand::{SecureRandom, SystemRandom};

    use super::*;
    use crate::apk::SignatureKind;
    use crate::apk::write::PrivateKey;

    fn random(bytes: &mut [u8]) -> bool {
        SystemRandom::new().fill(bytes).is_ok()
    }

    #[test]
    fn new_keys_sign_and_differ() {
        let [one, other] = [(); 2].map(|()| PrivateKey::generate("tests", &mut random).expect("a key"));
        let signature = one.sign(b"signed").expect("it signs");
        assert!(one.public().verify(SignatureKind::RsaSha256, b"signed", &signature).is_ok());
        assert!(one.public().verify(SignatureKind::RsaSha256, b"other", &signature).is_err());
        assert_eq!(one.public().bits(), 2048);
        assert!(one.public().name().starts_with("tests-") && one.public().name().ends_with(".rsa.pub"));
        assert_ne!(one.public().fingerprint(), other.public().fingerprint());
        assert!(PrivateKey::generate("tests", &mut |_| false).is_err());
    }

    #[test]
    fn primes_are_told_from_other_numbers() {
        // 2^521 - 1 is prime; 2^523 - 1 and a product of two primes are not.
        let below = |power: usize| U1024::ONE.shl_vartime(power).wrapping_sub(&U1024::ONE);
        let is_prime = |number: &U1024| {
            super::is_prime(number, &mut |bytes| {
                // Bases below the number, which is smaller here.
                random(bytes) && {
                    bytes[..PRIME_BYTES - 60].fill(0);
                    true
                }
            })
        };
        assert_eq!(is_prime(&below(521)), Some(true));
        assert_eq!(is_prime(&below(523)), Some(false));
        let product = below(521).wrapping_mul(&U1024::from(65_537_u32));
        assert_eq!(is_prime(&product), Some(false));
    }
}
