//! CRC-32C as ext4 uses it: every checksum goes on from another one, and none is inverted at its end.
//!
//! Source: the kernel's [checksums](https://docs.kernel.org/filesystems/ext4/checksums.html). The superblock's
//! begins with all ones, all others with that of the file system's UUID.

/// Castagnoli's polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][byte]` is what `byte` comes to with `n` zero bytes after it, so that eight bytes are taken at a
/// time.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Where checksums of the superblock begin.
pub(super) const START: u32 = !0;

/// The checksum of what `crc` is the checksum of, followed by `bytes`.
pub(super) fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc;
    let (eights, rest) = bytes.as_chunks::<8>();
    for &[a, b, c, d, e, f, g, h] in eights {
        crc ^= u32::from_le_bytes([a, b, c, d]);
        crc = TABLES[7][(crc & 0xff) as usize]
            ^ TABLES[6][(crc >> 8 & 0xff) as usize]
            ^ TABLES[5][(crc >> 16 & 0xff) as usize]
            ^ TABLES[4][(crc >> 24) as usize]
            ^ TABLES[3][usize::from(e)]
            ^ TABLES[2][usize::from(f)]
            ^ TABLES[1][usize::from(g)]
            ^ TABLES[0][usize::from(h)];
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize];
    }
    crc
}

/// Where the checksums of everything that belongs to an inode begin: its number and generation, which is zero.
pub(super) fn inode_seed(seed: u32, inode: u32) -> u32 {
    crc32c(crc32c(seed, &inode.to_le_bytes()), &0_u32.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_algorithm() {
        // The catalogue's check value is inverted at the end.
        assert_eq!(!crc32c(START, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn pieces_come_to_the_same_as_the_whole() {
        let bytes: Vec<u8> = (0..100_u8).map(|byte| byte.wrapping_mul(37)).collect();
        for split in 0..bytes.len() {
            let (a, b) = bytes.split_at(split);
            assert_eq!(crc32c(crc32c(START, a), b), crc32c(START, &bytes));
        }
    }
}
