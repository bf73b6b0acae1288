#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leanfs_fuzz::apk_installed(bytes));
