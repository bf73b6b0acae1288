//! `cargo xtask demo`: what a user does, from a Mix project to its first line in a virtual machine.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use leanfs::recipe::Repository;
use leanfs::report::manifest::Manifest;
use leanfs::tree::LayerKind;

use crate::{fixtures, mirror, run, server, setup, suite};

/// Runs the demo.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    run::heading("leanfs itself");
    // The profile that this program was built with: what it has of leanfs is built already.
    run::run(suite::cargo().args(["build", "--package", "leanfs", "--locked"]))?;
    let leanfs = crate::target().join("debug/leanfs");

    run::heading("a sample release: fixtures/apps/hello");
    let project = fixtures::mix_release("hello")?;
    let output = project.join("leanfs");

    let mut assemble = Command::new(&leanfs);
    assemble.current_dir(&project).args(["assemble", "--initramfs"]);
    if alpine_is_reachable() {
        run::heading("leanfs assemble, from Alpine's servers");
    } else {
        run::heading("Alpine's servers are not reachable: a mirror of real packages, served on this machine");
        let directory = crate::default_mirror();
        mirror::build(&directory)?;
        let address = server::serve(&directory)?;
        for name in ["main", "community"] {
            assemble
                .args(["--repository", &format!("http://{address}/{}/{name}", Repository::DEFAULT_ALPINE)]);
        }
        assemble.arg("--key").arg(directory.join("keys"));
        run::heading("leanfs assemble");
    }
    run::run(&mut assemble)?;

    run::heading("leanfs verify");
    run::run(Command::new(&leanfs).current_dir(&project).args([
        "verify",
        "--expect",
        "hello from hello on OTP",
    ]))?;
    print!("\n{}", table(&output)?);
    Ok(())
}

/// Flags that take packages from the mirror as a directory.
pub(crate) fn mirror_flags(command: &mut Command, mirror: &Path) {
    for name in ["main", "community"] {
        command.arg("--repository").arg(mirror.join(Repository::DEFAULT_ALPINE).join(name));
    }
    command.arg("--key").arg(mirror.join("keys"));
}

/// Whether the default repositories answer: a connection within three seconds.
fn alpine_is_reachable() -> bool {
    let host = Repository::defaults().into_iter().find_map(|repository| match repository {
        Repository::Url(url) => Some(url.split('/').nth(2)?.to_owned()),
        Repository::Directory(_) => None,
    });
    // Looking a name up has no time limit of its own.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let addresses = host.and_then(|host| (host.as_str(), 443).to_socket_addrs().ok());
        let connected = addresses
            .into_iter()
            .flatten()
            .take(2)
            .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok());
        let _ = sender.send(connected);
    });
    receiver.recv_timeout(Duration::from_secs(5)).unwrap_or(false)
}

/// What an output directory holds and weighs, from its manifest.
fn table(output: &Path) -> Result<String> {
    let path: PathBuf = output.join("manifest.json");
    let manifest: Manifest =
        serde_json::from_slice(&fs_err::read(&path)?).with_context(|| path.display().to_string())?;
    Ok(render(&manifest))
}

/// A layer and its part, with the number of files and their bytes.
type Row<'a> = ((LayerKind, &'a str), (usize, u64));

fn render(manifest: &Manifest) -> String {
    /// Smaller ones come together in one line.
    const SHOWN: usize = 16;
    let mut parts: BTreeMap<(LayerKind, &str), (usize, u64)> = BTreeMap::new();
    for file in &manifest.files {
        // Of a sysroot each library is a part.
        let part = if file.layer == LayerKind::Sysroot { "libraries" } else { file.part.as_str() };
        let (count, size) = parts.entry((file.layer, part)).or_default();
        *count += 1;
        *size += file.size;
    }
    let mut rows: Vec<Row<'_>> = parts.into_iter().collect();
    rows.sort_by_key(|(_, (_, size))| std::cmp::Reverse(*size));
    let mut text = format!(
        "{} {} on ERTS {}, {}\n\n",
        manifest.release.name, manifest.release.version, manifest.release.erts, manifest.arch
    );
    let mut line = |name: &str, files: &str, size: u64| {
        text.push_str(&format!("{name:<44}{files:>7}{:>12}\n", megabytes(size)));
    };
    let sum =
        |rows: &[Row<'_>]| rows.iter().fold((0, 0), |(count, size), (_, row)| (count + row.0, size + row.1));
    let (shown, rest) = rows.split_at(rows.len().min(SHOWN));
    for ((layer, part), (count, size)) in shown {
        line(format!("{layer} {part}").trim_end(), &count.to_string(), *size);
    }
    if !rest.is_empty() {
        let (count, size) = sum(rest);
        line(&format!("{} smaller parts", rest.len()), &count.to_string(), size);
    }
    let (count, size) = sum(&rows);
    line("all files", &count.to_string(), size);
    for output in &manifest.outputs {
        line(&output.name, "", output.size);
    }
    text
}

/// Bytes as people compare images.
fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(megabytes(12_637_184), "12.64 MB");
    }
}
