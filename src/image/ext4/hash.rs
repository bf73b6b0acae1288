//! The hash by which names are found in large directories: "half MD4" over bytes that are taken as signed, as
//! the tools on x86 make it. The superblock says so (`s_flags`), and every kernel heeds that.
//!
//! Source: the kernel's [hash tree directories](https://docs.kernel.org/filesystems/ext4/directory.html) and
//! `fs/ext4/hash.c`; the rounds are those of MD4 (RFC 1320) cut to eight words and 24 steps.

/// The state that hashing begins with when the file system has no seed (all zeros); MD4's own.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// The square roots of 2 and of 3, as in MD4.
const ROUND_2: u32 = 0x5a82_7999;
const ROUND_3: u32 = 0x6ed9_eba1;
/// No name has this hash, which means the end of a directory to readers.
const END: u32 = 0xffff_fffe;

/// The hash of a name: an even number.
pub(super) fn half_md4(name: &[u8], seed: &[u8; 16]) -> u32 {
    let mut state = DEFAULT_SEED;
    if *seed != [0; 16] {
        for (word, bytes) in state.iter_mut().zip(seed.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
    }
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = rest.get(32..).unwrap_or_default();
    }
    let hash = state[1] & !1;
    if hash == END { END - 2 } else { hash }
}

/// Up to 32 bytes as eight words, the first byte the most significant; what is not there is filled with the
/// number of bytes that are left of the name.
fn words(rest: &[u8]) -> [u32; 8] {
    let left = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let half = left | left << 8;
    let padding = half | half << 16;
    let mut words = [padding; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = (*word << 8).wrapping_add_signed(i32::from(byte.cast_signed()));
        }
    }
    words
}

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y) | ((x | y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut now = *state;
    round(&mut now, words, choose, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]);
    round(&mut now, words, majority, ROUND_2, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]);
    round(&mut now, words, parity, ROUND_3, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]);
    for (word, now) in state.iter_mut().zip(now) {
        *word = word.wrapping_add(now);
    }
}

/// Eight steps; the word that a step changes goes round: first, last, third, second.
fn round(
    state: &mut [u32; 4],
    words: &[u32; 8],
    mix: impl Fn(u32, u32, u32) -> u32,
    constant: u32,
    order: [usize; 8],
    shifts: [u32; 4],
) {
    for (step, word) in order.into_iter().enumerate() {
        let changed = (4 - step % 4) % 4;
        let [x, y, z] = [1, 2, 3].map(|distance| state[(changed + distance) % 4]);
        let sum = state[changed].wrapping_add(mix(x, y, z)).wrapping_add(words[word]).wrapping_add(constant);
        state[changed] = sum.rotate_left(shifts[step % 4]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `debugfs -R 'dx_hash -h half_md4 -s SEED NAME'` says, with a seed and without.
    #[test]
    fn hashes_are_those_of_the_tools() {
        let seed = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        for (name, seeded, unseeded) in [
            (&b"a"[..], 0x9375_2ee6, 0xd5fa_7d7a),
            (b"hello", 0x344c_a36e, 0x1746_da32),
            (b"a name of thirty-two bytes, as is", 0x5e07_4bca, 0xaceb_fb08),
            (b"a name of thirty-three bytes, as i", 0xe27d_21b2, 0xfb2c_d494),
            (&[b'x'; 255], 0x5966_f920, 0x2aa7_169e),
            (b"\xff\xfe\xc3\xa4", 0x46ed_a430, 0x1b26_fe5e),
        ] {
            assert_eq!(half_md4(name, &seed), seeded, "{name:?}");
            assert_eq!(half_md4(name, &[0; 16]), unseeded, "{name:?}");
        }
    }
}
