//! `cargo xtask bench`: leanfs beside the usual tools on the same files, on this machine.

pub(crate) mod assemble;
pub(crate) mod images;
pub(crate) mod resolve;
mod start;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{demo, fixtures, mirror, run, setup, suite};

/// What one command cost.
struct Cost {
    seconds: f64,
    /// The most memory that the process held, in bytes.
    memory: u64,
}

/// Runs the benchmark.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    let place = crate::default_mirror();
    mirror::build(&place)?;
    run::run(suite::cargo().args(["build", "--release", "--package", "leanfs", "--locked"]))?;
    let leanfs = crate::target().join("release/leanfs");
    let project = fixtures::mix_release("hello")?;
    let scratch = tempfile::tempdir()?;
    let cache = scratch.path().join("cache");
    let assemble = |compression: &str, output: &Path| -> Result<Cost> {
        let mut command = Command::new(&leanfs);
        command.current_dir(&project).args(["assemble", "--initramfs", "--offline", "--quiet", "--compress"]);
        command.arg(compression).arg("-o").arg(output).arg("--cache-dir").arg(&cache);
        demo::mirror_flags(&mut command, &place);
        measure(&mut command)
    };
    println!("| what | time | peak memory | size |");
    println!("| --- | ---: | ---: | ---: |");
    let first = scratch.path().join("first");
    row("leanfs assemble, xz, cold cache", &assemble("xz", &first)?, &first.join("initramfs.cpio.xz"))?;
    let mut ours = Vec::new();
    for (compression, extension) in [
        ("none", "cpio"),
        ("gzip:9", "cpio.gz"),
        ("zstd:19", "cpio.zst"),
        ("xz:6", "cpio.xz"),
        ("xz:9", "cpio.xz"),
    ] {
        let output = scratch.path().join(compression.replace(':', "-"));
        let cost = assemble(compression, &output)?;
        let image = output.join(format!("initramfs.{extension}"));
        row(&format!("leanfs assemble, {compression}"), &cost, &image)?;
        ours.push((cost.seconds, fs_err::metadata(&image)?.len()));
    }
    // The usual tools get the very same files, which something else had to put together for them.
    let files = scratch.path().join("files");
    fs_err::create_dir(&files)?;
    let plain = scratch.path().join("none/initramfs.cpio");
    let mut unpack = Command::new("cpio");
    unpack.current_dir(&files).args(["--extract", "--make-directories", "--quiet", "--no-preserve-owner"]);
    let status = unpack.stdin(fs_err::File::open(&plain)?.into_file()).status()?;
    if !status.success() {
        bail!("cpio could not read {}", plain.display());
    }
    let archive = scratch.path().join("theirs.cpio");
    let script = "cd \"$0\" && find . | LC_ALL=C sort | cpio --create --format=newc --quiet > \"$1\"";
    let cpio = measure(Command::new("sh").args(["-c", script]).arg(&files).arg(&archive))?;
    row("find, sort and cpio", &cpio, &archive)?;
    let mut theirs = vec![(cpio.seconds, fs_err::metadata(&archive)?.len())];
    for (words, extension) in [
        (["gzip", "-9"].as_slice(), "gz"),
        (["zstd", "-19", "-T2"].as_slice(), "zst"),
        (["xz", "-6", "-T2", "--check=crc32"].as_slice(), "xz"),
        (["xz", "-9", "-T2", "--check=crc32"].as_slice(), "xz"),
    ] {
        let (program, arguments) = words.split_first().context("a program")?;
        let mut command = Command::new(program);
        let cost = measure(command.args(arguments).args(["--keep", "--force", "--quiet"]).arg(&archive))?;
        let packed = archive.with_extension(format!("cpio.{extension}"));
        row(&words.join(" "), &cost, &packed)?;
        theirs.push((cpio.seconds + cost.seconds, fs_err::metadata(&packed)?.len()));
    }
    println!("\n| leanfs against find, cpio and the same compressor | time | size |");
    println!("| --- | ---: | ---: |");
    let names = ["no compressor", "gzip -9", "zstd -19", "xz -6", "xz -9"];
    for (name, (ours, theirs)) in names.into_iter().zip(ours.into_iter().zip(theirs)) {
        println!("| {name} | {:.2}× | {:.3}× |", ours.0 / theirs.0, ours.1 as f64 / theirs.1 as f64);
    }
    let mut images = Vec::new();
    for profile in ["server", "tiny"] {
        let output = scratch.path().join(profile);
        let mut command = Command::new(&leanfs);
        command.current_dir(&project).args(["assemble", "--offline", "--quiet", "--compress", "none"]);
        command.args(["--profile", profile, "-o"]).arg(&output).arg("--cache-dir").arg(&cache);
        demo::mirror_flags(&mut command, &place);
        run::run(&mut command)?;
        images.push((profile, output));
    }
    let named: Vec<(String, _)> =
        images.into_iter().map(|(name, output)| (format!("leanfs, profile {name}"), output)).collect();
    let named: Vec<(&str, _)> = named.iter().map(|(name, output)| (name.as_str(), output.clone())).collect();
    start::compare(&project.join("_build/prod/rel/hello"), "hello", &named, "hello from")?;
    assemble::compare()?;
    resolve::compare()?;
    images::compare()
}

fn row(name: &str, cost: &Cost, file: &Path) -> Result<()> {
    let size = fs_err::metadata(file)?.len();
    println!(
        "| {name} | {:.2} s | {:.0} MB | {:.2} MB |",
        cost.seconds,
        cost.memory as f64 / 1e6,
        size as f64 / 1e6
    );
    Ok(())
}

/// Runs a command and looks at its memory (`VmHWM` of proc(5), without its children) while it runs.
fn measure(command: &mut Command) -> Result<Cost> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let exit = loop {
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            memory = memory.max(kilobytes.unwrap_or(0) * 1024);
        }
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if !exit.success() {
        bail!("{exit}: {}", command.get_program().to_string_lossy());
    }
    Ok(Cost { seconds: started.elapsed().as_secs_f64(), memory })
}
