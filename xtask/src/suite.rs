//! `cargo xtask test`: everything that CI runs, in an order in which the cheap and telling things come first.
//!
//! It ends with `N passed, N failed, N skipped` alone on a line, counted from what the test runner reports.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::run;

/// What the tests came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// What tests that could not test said.
    skips: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.skips.extend(other.skips);
    }
}

/// Runs the suite.
pub(crate) fn run(full: bool) -> Result<()> {
    let started = Instant::now();
    let mut times = Vec::new();
    let mut counts = Counts::default();
    let result = stages(full, &mut times, &mut counts);
    eprintln!("\n== time");
    for (name, seconds) in &times {
        eprintln!("{seconds:>8.1} s  {name}");
    }
    eprintln!("{:>8.1} s  in all", started.elapsed().as_secs_f64());
    for skip in &counts.skips {
        eprintln!("SKIP: {skip}");
    }
    if let Err(error) = &result {
        eprintln!("\nxtask: {error:#}");
        // A stage that is no test counts as one that failed.
        counts.failed = counts.failed.max(1);
    }
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if counts.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn stages(full: bool, times: &mut Vec<(&'static str, f64)>, counts: &mut Counts) -> Result<()> {
    let mut stage = |name: &'static str, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        run::heading(name);
        let started = Instant::now();
        let result = work();
        times.push((name, started.elapsed().as_secs_f64()));
        result.with_context(|| name)
    };
    let mirror = crate::default_mirror();
    stage("set-up", &mut crate::setup::run)?;
    stage("formatting", &mut || run::run(cargo().args(["fmt", "--all", "--check"])))?;
    stage("clippy", &mut || {
        run::run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
    })?;
    stage("rustdoc", &mut || {
        run::run(
            cargo().args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    stage("licences and sources of dependencies", &mut crate::deny::check)?;
    stage("test mirror", &mut || crate::mirror::build(&mirror))?;
    stage("tests", &mut || {
        let found = tests(full, &mirror)?;
        let failed = found.failed;
        counts.add(found);
        if failed > 0 { bail!("{failed} tests failed") } else { Ok(()) }
    })?;
    stage("fuzzing", &mut || {
        counts.passed += crate::fuzz::run(crate::fuzz::SECONDS, &[])?;
        Ok(())
    })?;
    stage("documentation's examples", &mut || {
        let mut command = cargo();
        command.args(["test", "--doc", "--package", "leanfs", "--locked"]);
        let found = libtest(&mut command)?;
        let failed = found.failed;
        counts.add(found);
        if failed > 0 { bail!("{failed} examples failed") } else { Ok(()) }
    })?;
    stage("the published crate", &mut || crate::package::check(full, &mirror))
}

/// The cargo that runs this program, in the checkout.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

/// A tool is not there and can't be had: a failure in CI, a visible skip elsewhere.
pub(crate) fn missing(tool: &str) -> Result<()> {
    if run::in_ci() {
        bail!("{tool} is missing");
    }
    eprintln!("SKIP: {tool} is missing");
    Ok(())
}

fn tests(full: bool, mirror: &Path) -> Result<Counts> {
    let apk = crate::apk_tool::build(mirror)?;
    let otp28 = crate::otp28::directory();
    let sbom_validators = crate::sbom_validators::directory();
    let moto = crate::moto::directory();
    let environment = |command: &mut Command| {
        command.env("LEANFS_TEST_MIRROR", mirror).env("LEANFS_APK", &apk);
        command.env("LEANFS_FUZZ_SEEDS", crate::fuzz::seeds());
        if let Some(otp28) = &otp28 {
            command.env("LEANFS_TEST_OTP28", otp28);
        }
        if let Some(directory) = &moto {
            command.env("LEANFS_TEST_MOTO", directory);
        }
        if let Some(directory) = &sbom_validators {
            command.env("LEANFS_TEST_SBOM_VALIDATORS", directory);
        }
        if full {
            command.env("LEANFS_TEST_FULL", "1");
        }
    };
    if !run::on_path("cargo-nextest") {
        let mut command = cargo();
        environment(&mut command);
        command.args(["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"]);
        return libtest(command.args(["--", "--show-output"]));
    }
    let report = crate::target().join("nextest/ci/junit.xml");
    if report.exists() {
        fs_err::remove_file(&report)?;
    }
    let mut command = cargo();
    environment(&mut command);
    command.args(["nextest", "run", "--workspace", "--all-targets", "--locked", "--profile", "ci"]);
    let result = run::run(&mut command);
    let Ok(xml) = fs_err::read_to_string(&report) else {
        // Nothing ran: the tests don't compile.
        result?;
        bail!("nextest wrote no report");
    };
    let counts = read_junit(&xml).context("nextest's report")?;
    if counts.failed == 0 {
        result?;
    }
    Ok(counts)
}

/// Reads nextest's JUnit report: the attributes of the root element, and `SKIP:` lines of what tests printed.
fn read_junit(xml: &str) -> Option<Counts> {
    let root = xml.get(xml.find("<testsuites ")?..)?;
    let root = root.get(..root.find('>')?)?;
    let attribute = |name: &str| -> Option<u64> {
        let (_, rest) = root.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    let skips = skips(xml);
    let not_tested = skips.1;
    let passed = attribute("tests")?.checked_sub(failed)?.checked_sub(not_tested)?;
    Some(Counts { passed, failed, skipped: not_tested, skips: skips.0 })
}

/// What `SKIP:` lines say, each once, and how many test cases say any.
fn skips(xml: &str) -> (Vec<String>, u64) {
    let mut all = Vec::new();
    let mut cases = 0;
    for case in xml.split("<testcase ").skip(1) {
        let mut any = false;
        // A test that failed is not skipped, whatever else it said.
        let failed = case.contains("<failure") || case.contains("<error");
        for line in case.lines() {
            // Only at the start of a line, or right behind the element that holds what was printed.
            if let Some((before, reason)) = line.split_once("SKIP: ")
                && (before.trim().is_empty() || before.ends_with('>'))
            {
                any = true;
                let reason = reason.split('<').next().unwrap_or(reason).trim().to_owned();
                if !all.contains(&reason) {
                    all.push(reason);
                }
            }
        }
        if any && !failed {
            cases += 1;
        }
    }
    (all, cases)
}

/// Runs libtest's own runner, shows what it prints and counts its results.
fn libtest(command: &mut Command) -> Result<Counts> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("the runner's output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        if let Some(found) = result_line(&line) {
            counts.add(found);
        } else if let Some(reason) = line.strip_prefix("SKIP: ") {
            counts.skips.push(reason.to_owned());
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("the tests did not run: {status}");
    }
    let not_tested = counts.passed.min(counts.skips.len() as u64);
    counts.passed -= not_tested;
    counts.skipped += not_tested;
    counts.skips.sort();
    counts.skips.dedup();
    Ok(counts)
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
fn result_line(line: &str) -> Option<Counts> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| -> u64 {
        rest.split(';')
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
            .unwrap_or_default()
    };
    Some(Counts {
        passed: number("passed"),
        failed: number("failed"),
        skipped: number("ignored"),
        skips: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junit_report_is_counted() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="4" failures="1" errors="0" uuid="x">
  <testsuite name="leanfs" tests="4" disabled="0" errors="0" failures="1">
    <testcase name="a"><system-out>running 1 test
SKIP: ../shared is absent
test a ... ok</system-out></testcase>
    <testcase name="b"></testcase>
    <testcase name="c"><system-err>SKIP: ../shared is absent</system-err></testcase>
    <testcase name="d"><failure type="test failure">SKIP: not this one</failure></testcase>
  </testsuite>
</testsuites>"#;
        let counts = read_junit(xml).expect("a report");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (1, 1, 2));
        assert_eq!(counts.skips, ["../shared is absent", "not this one"]);
    }

    #[test]
    fn libtests_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished";
        let counts = result_line(line).expect("a result line");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (3, 2, 1));
        assert_eq!(result_line("test a ... ok"), None);
    }
}
