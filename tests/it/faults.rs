//! Whatever goes wrong while leanfs works, outputs are whole, the cache is clean, and the next run does it.
//!
//! - `kill`: SIGKILL at random moments, of several runs on one cache, and before every single change of a file.
//! - `disk`: ENOSPC and EIO at every call, and a file system that is really full.
//! - `network`: a server that has all the faults that servers have, at random.
//!
//! Each test prints its seed; `LEANFS_TEST_SEED` sets it. CI samples, `LEANFS_TEST_FULL=1` runs hundreds.

mod disk;
mod kill;
mod network;
mod place;
mod tool;

use std::time::{SystemTime, UNIX_EPOCH};

/// Whether what CI only samples runs too.
fn full() -> bool {
    std::env::var_os("LEANFS_TEST_FULL").is_some()
}

/// Random numbers: xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    /// From `LEANFS_TEST_SEED`, else from the clock; printed either way.
    fn new(test: &str) -> Self {
        let given = std::env::var("LEANFS_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            u64::from(now.subsec_nanos()) | 1
        });
        println!("{test}: LEANFS_TEST_SEED={seed}");
        Self::of(seed)
    }

    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `end`, without `end`.
    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }
}
