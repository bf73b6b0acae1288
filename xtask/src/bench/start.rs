//! What a release costs from the first instruction to its first line: natively, without a kernel's start, the
//! pruned image's own start command beside the release's `bin/NAME start`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::setup;

/// How often each is started.
const RUNS: u32 = 15;

/// What one way of starting costs; the mean of all runs.
struct Start {
    name: String,
    /// User and system time of the process, its threads, and its children that have ended; in seconds.
    cpu: f64,
    /// Until the line came; in seconds.
    wall: f64,
    /// The most memory that it held, in bytes.
    memory: f64,
}

/// Compares the start of `release` with that of images, each with its name and its directory: what `leanfs assemble`
/// wrote, with an initramfs that is not compressed. `line` is what the application says.
pub(super) fn compare(release: &Path, name: &str, images: &[(&str, PathBuf)], line: &str) -> Result<()> {
    if !setup::is_root()? {
        println!("\nThe start of images is not measured: only root may chroot.");
        return Ok(());
    }
    let mut command = || {
        let mut command = Command::new(release.join("bin").join(name));
        command.arg("start");
        command
    };
    let own = measure(&format!("bin/{name} start"), &mut command, line)?;
    println!("\n| start | CPU | ratio | memory | ratio | time |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    row(&own, &own);
    for (image, directory) in images {
        let root = tempfile::tempdir()?;
        unpack(&directory.join("initramfs.cpio"), root.path())?;
        let conf = fs_err::read_to_string(root.path().join("etc/leanfs/init.conf"))?;
        let mut command = || start_command(root.path(), &conf);
        row(&measure(image, &mut command, line)?, &own);
    }
    Ok(())
}

fn row(start: &Start, own: &Start) {
    println!(
        "| {} | {:.3} s | {:.2}× | {:.1} MB | {:.2}× | {:.3} s |",
        start.name,
        start.cpu,
        start.cpu / own.cpu,
        start.memory / 1e6,
        start.memory / own.memory,
        start.wall
    );
}

fn unpack(archive: &Path, root: &Path) -> Result<()> {
    let mut cpio = Command::new("cpio");
    cpio.current_dir(root).args(["--extract", "--make-directories", "--quiet"]);
    let status = cpio.stdin(fs_err::File::open(archive)?.into_file()).status()?;
    if !status.success() {
        bail!("cpio could not read {}", archive.display());
    }
    fs_err::create_dir_all(root.join("dev"))?;
    let null = root.join("dev/null");
    if !null.exists() {
        let status = Command::new("mknod").args(["-m", "666"]).arg(&null).args(["c", "1", "3"]).status()?;
        if !status.success() {
            bail!("mknod could not make {}", null.display());
        }
    }
    fs_err::create_dir_all(root.join("tmp"))?;
    Ok(())
}

/// What PID 1 would start, in a chroot.
fn start_command(root: &Path, conf: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).env_clear();
    let mut arguments = Vec::new();
    for line in conf.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.replace("\\e", "").replace("\\s", " ").replace("\\\\", "\\");
        match key {
            "exec" => arguments.insert(0, value),
            "arg" => arguments.push(value),
            "env" => {
                let (name, value) = value.split_once('=').unwrap_or((&value, ""));
                command.env(name, value);
            }
            _ => {}
        }
    }
    // The program's own name comes first: chroot gives it as argument 0.
    if arguments.len() > 1 {
        arguments.remove(1);
    }
    // chroot itself is looked up here.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(arguments);
    command
}

fn measure(name: &str, command: &mut dyn FnMut() -> Command, line: &str) -> Result<Start> {
    let mut sum = Start { name: name.to_owned(), cpu: 0.0, wall: 0.0, memory: 0.0 };
    for _ in 0..RUNS {
        let started = Instant::now();
        let mut child = command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| name.to_owned())?;
        let mut stdout = child.stdout.take().context("its output")?;
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&said).contains(line) {
            let count = stdout.read(&mut buffer)?;
            if count == 0 {
                bail!("{name} ended without a line {line:?}: {}", String::from_utf8_lossy(&said));
            }
            said.extend_from_slice(&buffer[..count]);
        }
        sum.wall += started.elapsed().as_secs_f64();
        sum.cpu += processor_time(child.id())?;
        sum.memory += memory(child.id())?;
        child.kill()?;
        child.wait()?;
    }
    let runs = f64::from(RUNS);
    Ok(Start { cpu: sum.cpu / runs, wall: sum.wall / runs, memory: sum.memory / runs, ..sum })
}

/// `utime`, `stime`, `cutime` and `cstime` of proc_pid_stat(5): the 14th field and the three behind it, in ticks of a
/// hundredth of a second.
fn processor_time(pid: u32) -> Result<f64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("a process's state")?;
    let ticks: u64 =
        rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

/// `VmHWM` of proc_pid_status(5).
fn memory(pid: u32) -> Result<f64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a process's memory")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024.0)
}
