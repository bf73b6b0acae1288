//! Assembling: from nothing beside `apk add` of the same packages, and after a change of the application alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::measure;
use crate::{apk_tool, fixtures, mirror, run, suite};

/// How often each runs, in turn; the median counts.
const RUNS: usize = 11;
/// How many packages of [`FILES`] files the tables of growth have.
const PACKAGES: [usize; 3] = [10, 100, 1000];
const FILES: usize = 20;
const FILE_BYTES: usize = 4096;

/// A release and where its packages are.
struct Subject {
    name: &'static str,
    release: PathBuf,
    repositories: Vec<PathBuf>,
    keys: PathBuf,
    /// What `apk add` is asked for.
    packages: Vec<&'static str>,
}

/// Compares both.
pub(crate) fn compare() -> Result<()> {
    let place = crate::default_mirror();
    mirror::build(&place)?;
    let apk = apk_tool::build(&place)?;
    run::run(suite::cargo().args(["build", "--release", "--package", "leanfs", "--locked"]))?;
    let leanfs = crate::target().join("release/leanfs");
    let scratch = tempfile::tempdir()?;
    let mut subjects = Vec::new();
    let shared = crate::root().join("../shared");
    if shared.join("mirror").is_dir() {
        let release = scratch.path().join("hello");
        fs_err::create_dir(&release)?;
        let archive = shared.join("releases/hello-otp27-noerts.tar.gz");
        run::run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&release))?;
        subjects.push(Subject {
            name: "hello",
            release,
            repositories: ["main", "community"].map(|name| shared.join("mirror/v3.23").join(name)).into(),
            keys: shared.join("mirror/keys"),
            packages: vec!["erlang27", "linux-virt"],
        });
    }
    let web = scratch.path().join("web");
    run::run(
        Command::new("cp").arg("-r").arg(fixtures::mix_release("web")?.join("_build/prod/rel/web")).arg(&web),
    )?;
    subjects.push(Subject {
        name: "web",
        release: web,
        repositories: ["main", "community"].map(|name| place.join("v3.23").join(name)).into(),
        keys: place.join("keys"),
        packages: vec!["linux-virt"],
    });
    for subject in &subjects {
        subject.compare(&leanfs, &apk, scratch.path())?;
    }
    grow(&leanfs, scratch.path())
}

impl Subject {
    fn assemble(&self, leanfs: &Path, scratch: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(leanfs);
        command.args(["assemble", "--offline", "--quiet", "--release"]).arg(&self.release);
        for repository in &self.repositories {
            command.arg("--repository").arg(repository);
        }
        command.arg("--key").arg(&self.keys).arg("--cache-dir").arg(scratch.join("cache"));
        command.args(words).arg("-o").arg(scratch.join("out"));
        command
    }

    /// Makes it another release: a file of the application, and a module.
    fn change(&self, number: usize) -> Result<()> {
        let library = self.release.join("lib");
        let application = fs_err::read_dir(&library)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                name.starts_with(&format!("{}-", self.name))
            })
            .context("the release's own application")?;
        fs_err::create_dir_all(application.join("priv"))?;
        fs_err::write(application.join("priv/build"), format!("{number}\n"))?;
        let modules =
            fs_err::read_dir(application.join("ebin"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let module = modules
            .filter(|path| path.extension().is_some_and(|extension| extension == "beam"))
            .min()
            .context("a module")?;
        let mut bytes = fs_err::read(&module)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            bail!("{} is compressed: it can't be changed here", module.display());
        }
        // A chunk that nobody reads (`FOR1`, size, `BEAM`, then chunks of name, size and bytes).
        bytes.extend_from_slice(b"LnFs");
        bytes.extend_from_slice(&8_u32.to_be_bytes());
        bytes.extend_from_slice(&(number as u64).to_be_bytes());
        let size = u32::try_from(bytes.len() - 8)?;
        bytes[4..8].copy_from_slice(&size.to_be_bytes());
        fs_err::write(&module, bytes)?;
        Ok(())
    }

    fn compare(&self, leanfs: &Path, apk: &Path, scratch: &Path) -> Result<()> {
        let cache = scratch.join("cache");
        let root = scratch.join("root");
        let (mut cold, mut added, mut plain, mut bare) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let memory_of = |command: &mut Command| -> Result<f64> { Ok(measure(command)?.memory as f64 / 1e6) };
        let mut memory = Vec::new();
        for _ in 0..RUNS {
            remove(&cache)?;
            cold.push(time(&mut self.assemble(leanfs, scratch, &["--compress", "zstd:3"]))?);
            added.push(time(&mut self.apk_add(apk, &root, &self.packages)?)?);
            // What both do alone is to unpack: without the kernel's package, the rest of leanfs weighs more.
            remove(&cache)?;
            bare.push(time(&mut self.assemble(
                leanfs,
                scratch,
                &["--compress", "zstd:3", "--kernel", "none"],
            ))?);
            let others: Vec<&str> =
                self.packages.iter().filter(|name| **name != "linux-virt").copied().collect();
            if !others.is_empty() {
                plain.push(time(&mut self.apk_add(apk, &root, &others)?)?);
            }
        }
        remove(&cache)?;
        memory.push((
            "cold, zstd -3",
            memory_of(&mut self.assemble(leanfs, scratch, &["--compress", "zstd:3"]))?,
        ));
        println!("\n| {}, nothing cached, zstd -3 | time |\n| --- | ---: |", self.name);
        let (ours, theirs) = (median(cold)?, median(added)?);
        println!("| leanfs assemble | {:.0} ms |", ours * 1e3);
        println!("| apk add {} | {:.0} ms |", self.packages.join(" "), theirs * 1e3);
        println!("| ratio | {:.2}× |", ours / theirs);
        let ours = median(bare)?;
        println!("| leanfs assemble --kernel none | {:.0} ms |", ours * 1e3);
        if let Ok(theirs) = median(plain) {
            println!("| apk add {} | {:.0} ms |", self.packages[0], theirs * 1e3);
            println!("| ratio | {:.2}× |", ours / theirs);
        }

        println!("\n| {}, all cached, the application changed | time |\n| --- | ---: |", self.name);
        for words in [
            ["--initramfs", "--compress", "zstd:3"].as_slice(),
            &["--ext4"],
            &["--initramfs", "--compress", "xz"],
        ] {
            let mut times = Vec::new();
            for number in 0..RUNS + 2 {
                self.change(number * 7 + times.len())?;
                let seconds = time(&mut self.assemble(leanfs, scratch, words))?;
                // The first ones fill the cache.
                if number >= 2 {
                    times.push(seconds);
                }
            }
            println!("| {} | {:.0} ms |", words.join(" "), median(times)? * 1e3);
            self.change(99)?;
            memory.push((words[0], memory_of(&mut self.assemble(leanfs, scratch, words))?));
        }
        self.compare_xz(leanfs, scratch, &mut memory)?;
        println!("\n| {}, peak memory | MB |\n| --- | ---: |", self.name);
        for (what, megabytes) in memory {
            println!("| {what} | {megabytes:.0} |");
        }
        Ok(())
    }

    /// `xz -9` over the unpruned root, beside leanfs from nothing.
    fn compare_xz(&self, leanfs: &Path, scratch: &Path, memory: &mut Vec<(&'static str, f64)>) -> Result<()> {
        let (cache, files) = (scratch.join("cache"), scratch.join("files"));
        run::run(&mut self.assemble(
            leanfs,
            scratch,
            &["--initramfs", "--compress", "none", "--prune", "none"],
        ))?;
        remove(&files)?;
        fs_err::create_dir(&files)?;
        let script = "cpio --extract --make-directories --quiet --no-preserve-owner < \"$0\"";
        let archive = scratch.join("out/initramfs.cpio");
        run::run(Command::new("sh").current_dir(&files).args(["-c", script]).arg(&archive))?;
        let script =
            "cd \"$0\" && find . | cpio --create --format=newc --quiet | xz -9 -T2 --check=crc32 > \"$1\"";
        let packed = scratch.join("theirs.xz");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            remove(&cache)?;
            ours.push(time(&mut self.assemble(leanfs, scratch, &["--initramfs", "--compress", "xz:9"]))?);
            theirs.push(time(Command::new("sh").args(["-c", script]).arg(&files).arg(&packed))?);
        }
        remove(&cache)?;
        let command = &mut self.assemble(leanfs, scratch, &["--initramfs", "--compress", "xz:9"]);
        memory.push(("cold, xz -9", measure(command)?.memory as f64 / 1e6));
        let (ours, theirs) = (median(ours)?, median(theirs)?);
        println!("\n| {}, nothing cached, xz -9 | time |\n| --- | ---: |", self.name);
        println!("| leanfs assemble | {:.2} s |", ours);
        println!("| find, cpio, xz -9 -T2 of the unpruned root | {:.2} s |", theirs);
        println!("| ratio | {:.2}× |", ours / theirs);
        Ok(())
    }

    /// Into an empty root; its scripts are not run, as leanfs runs none.
    fn apk_add(&self, apk: &Path, root: &Path, packages: &[&str]) -> Result<Command> {
        remove(root)?;
        fs_err::create_dir_all(root.join("etc/apk/keys"))?;
        fs_err::create_dir_all(root.join("lib/apk/db"))?;
        for entry in fs_err::read_dir(&self.keys)? {
            let path = entry?.path();
            fs_err::copy(&path, root.join("etc/apk/keys").join(path.file_name().context("a name")?))?;
        }
        for file in ["etc/apk/world", "lib/apk/db/installed"] {
            fs_err::write(root.join(file), "")?;
        }
        let mut command = Command::new(apk);
        command.arg("--root").arg(root).args([
            "--arch",
            "x86_64",
            "--no-cache",
            "--repositories-file",
            "/dev/null",
        ]);
        for repository in &self.repositories {
            command.arg("-X").arg(repository);
        }
        command.args(["add", "--no-scripts"]).args(packages);
        Ok(command)
    }
}

/// How time and memory grow with packages and files.
fn grow(leanfs: &Path, scratch: &Path) -> Result<()> {
    let shared = crate::root().join("../shared/releases/hello-otp27-musl-erts.tar.gz");
    if !shared.is_file() {
        println!("\nHow it grows is not measured: ../shared is absent.");
        return Ok(());
    }
    let (key, public) = (
        crate::root().join("tests/keys/leanfs-test.rsa"),
        crate::root().join("tests/keys/leanfs-test.rsa.pub"),
    );
    println!("\n| packages | files | nothing cached | all cached | peak memory |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for count in PACKAGES {
        let repository = scratch.join(format!("repository-{count}"));
        fs_err::create_dir_all(repository.join("x86_64"))?;
        let mut state = 0x1eaf_f5ee_d5ee_d5ee_u64;
        for number in 0..count {
            let directory = scratch.join("package");
            remove(&directory)?;
            let place = directory.join(format!("usr/share/p{number}"));
            fs_err::create_dir_all(&place)?;
            for file in 0..FILES {
                let bytes: Vec<u8> = std::iter::repeat_with(|| {
                    // xorshift64 (Marsaglia, 2003); half of it can be compressed.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 8) as u8 & 0x0f
                })
                .take(FILE_BYTES)
                .collect();
                fs_err::write(place.join(format!("f{file}")), bytes)?;
            }
            let mut pack = Command::new(leanfs);
            pack.args([
                "pack",
                "--quiet",
                "--name",
                &format!("p{number}"),
                "--pkgver",
                "1-r0",
                "--arch",
                "x86_64",
            ]);
            pack.arg("--key").arg(&key).arg("-o").arg(repository.join(format!("x86_64/p{number}-1-r0.apk")));
            run::output(pack.arg(&directory))?;
        }
        let mut index = Command::new(leanfs);
        index
            .args(["index", "--quiet", "--key"])
            .arg(&key)
            .arg("-o")
            .arg(repository.join("x86_64/APKINDEX.tar.gz"));
        let packages =
            fs_err::read_dir(repository.join("x86_64"))?.filter_map(|entry| Some(entry.ok()?.path()));
        run::output(index.args(packages))?;
        let command = || {
            let mut command = Command::new(leanfs);
            command.args([
                "assemble",
                "--offline",
                "--quiet",
                "--kernel",
                "none",
                "--compress",
                "zstd:3",
                "--release",
            ]);
            command.arg(&shared).arg("--repository").arg(&repository).arg("--key").arg(&public);
            command.arg("--cache-dir").arg(scratch.join("cache")).arg("-o").arg(scratch.join("out"));
            for number in 0..count {
                command.args(["--package", &format!("p{number}")]);
            }
            command
        };
        remove(&scratch.join("cache"))?;
        let cost = measure(&mut command())?;
        let mut warm = Vec::new();
        for _ in 0..3 {
            warm.push(time(&mut command())?);
        }
        println!(
            "| {count} | {} | {:.2} s | {:.2} s | {:.0} MB |",
            count * FILES,
            cost.seconds,
            median(warm)?,
            cost.memory as f64 / 1e6
        );
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        fs_err::remove_dir_all(path)?;
    }
    Ok(())
}

fn time(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!(
            "{}: {}: {}",
            command.get_program().to_string_lossy(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> Result<f64> {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().context("no run")
}
