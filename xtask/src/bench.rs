//! `cargo xtask bench`: leanfs beside the usual tools on the same files, on this machine.

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
    for (compression, extension) in
        [("none", "cpio"), ("gzip", "cpio.gz"), ("zstd", "cpio.zst"), ("xz", "cpio.xz")]
    {
        let output = scratch.path().join(compression);
        let cost = assemble(compression, &output)?;
        row(
            &format!("leanfs assemble, {compression}"),
            &cost,
            &output.join(format!("initramfs.{extension}")),
        )?;
    }
    // The usual tools get the very same files, which something else had to put together for them.
    let files = scratch.path().join("files");
    fs_err::create_dir(&files)?;
    let ours = scratch.path().join("none/initramfs.cpio");
    let mut unpack = Command::new("cpio");
    unpack.current_dir(&files).args(["--extract", "--make-directories", "--quiet", "--no-preserve-owner"]);
    let status = unpack.stdin(fs_err::File::open(&ours)?.into_file()).status()?;
    if !status.success() {
        bail!("cpio could not read {}", ours.display());
    }
    let theirs = scratch.path().join("theirs.cpio");
    let script = "cd \"$0\" && find . | LC_ALL=C sort | cpio --create --format=newc --quiet > \"$1\"";
    let cost = measure(Command::new("sh").args(["-c", script]).arg(&files).arg(&theirs))?;
    row("find, sort and cpio", &cost, &theirs)?;
    for (words, extension) in [
        (["gzip", "--best", "--keep", "--force"].as_slice(), "gz"),
        (["zstd", "-19", "--quiet", "--force"].as_slice(), "zst"),
        (["xz", "--check=crc32", "-6", "--keep", "--force"].as_slice(), "xz"),
        (["xz", "--check=crc32", "-9e", "--keep", "--force"].as_slice(), "xz"),
    ] {
        let (program, arguments) = words.split_first().context("a program")?;
        let cost = measure(Command::new(program).args(arguments).arg(&theirs))?;
        row(
            &words.get(..2).unwrap_or(words).join(" "),
            &cost,
            &theirs.with_extension(format!("cpio.{extension}")),
        )?;
    }
    Ok(())
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
