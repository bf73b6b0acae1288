//! File system images: leanfs's writers beside the usual tools, from the same directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use leanfs::image::target::Target;
use leanfs::image::{erofs, ext4, squashfs};
use leanfs::layer::directory;
use leanfs::recipe::Compression;
use leanfs::tree::{LayerKind, Origin};

use super::{Cost, measure};
use crate::run;

/// How many runs of each, of which the quickest counts: what else the machine does only ever adds.
const RUNS: usize = 2;

/// A row: leanfs's format and compression, and the tool that makes the same.
struct Peer {
    format: &'static str,
    compression: &'static str,
    command: &'static str,
    /// Of the tool, and so of leanfs: mkfs.erofs 1.5 has one.
    threads: usize,
    /// Whether it takes minutes for two gigabytes.
    is_slow: bool,
}

/// `$0` is the directory, `$1` the image, which isn't there.
const PEERS: [Peer; 8] = [
    Peer {
        format: "ext4",
        compression: "none",
        // The size that it needs is not known to it: it gets what leanfs took and half as much again. Small ones
        // would have blocks of 1 KiB.
        command: "truncate --size=\"$2\" \"$1\" && mke2fs -q -F -t ext4 -b 4096 -O ^has_journal -m 0 -d \"$0\" \"$1\"",
        threads: 2,
        is_slow: false,
    },
    Peer {
        format: "squashfs",
        compression: "gzip:9",
        command: "mksquashfs \"$0\" \"$1\" -quiet -no-progress -processors 2 -comp gzip",
        threads: 2,
        is_slow: false,
    },
    Peer {
        format: "squashfs",
        compression: "zstd:15",
        command: "mksquashfs \"$0\" \"$1\" -quiet -no-progress -processors 2 -comp zstd -Xcompression-level 15",
        threads: 2,
        is_slow: true,
    },
    Peer {
        format: "squashfs",
        compression: "xz",
        command: "mksquashfs \"$0\" \"$1\" -quiet -no-progress -processors 2 -comp xz -Xbcj x86",
        threads: 2,
        is_slow: true,
    },
    Peer {
        format: "squashfs",
        compression: "lz4",
        command: "mksquashfs \"$0\" \"$1\" -quiet -no-progress -processors 2 -comp lz4 -Xhc",
        threads: 2,
        is_slow: false,
    },
    Peer {
        format: "squashfs",
        compression: "none",
        command: "mksquashfs \"$0\" \"$1\" -quiet -no-progress -processors 2 -noI -noD -noF -noX",
        threads: 2,
        is_slow: false,
    },
    Peer {
        format: "erofs",
        compression: "none",
        command: "mkfs.erofs --quiet \"$1\" \"$0\"",
        threads: 1,
        is_slow: false,
    },
    Peer {
        format: "erofs",
        compression: "lz4",
        // In clusters of leanfs's size, and with the ends of files beside their inodes.
        command: "mkfs.erofs --quiet -zlz4hc -C65536 -Eztailpacking \"$1\" \"$0\"",
        threads: 1,
        is_slow: false,
    },
];

/// `xtask image FORMAT COMPRESSION THREADS DIRECTORY IMAGE`: a process of its own, so that its memory can be seen.
pub(crate) fn write(
    format: &str,
    compression: &str,
    threads: &str,
    directory: &Path,
    image: &Path,
) -> Result<()> {
    let tree = directory::read(directory, &Origin::new(LayerKind::Overlay, ""), &|_| true)?.validate()?;
    let file = fs_err::File::create_new(image)?.into_parts().0;
    let target = Target::new(&file);
    let (compression, threads): (Compression, usize) = (compression.parse()?, threads.parse()?);
    let length = match format {
        "ext4" => ext4::write(&tree, &ext4::Settings::default(), target)?,
        "squashfs" => {
            let features =
                leanfs::image::compress::DecompressorFeatures { xz_bcj: Some(leanfs::arch::Arch::X86_64) };
            let mut settings = squashfs::Settings::default();
            (settings.compression, settings.features, settings.threads) = (compression, features, threads);
            // As mksquashfs does with -Xhc.
            settings.lz4_high = true;
            squashfs::write(&tree, &settings, target)?
        }
        "erofs" => {
            let mut settings = erofs::Settings::default();
            (settings.compression, settings.threads) = (compression, threads);
            erofs::write(&tree, &settings, target)?
        }
        _ => bail!("{format} is no file system that leanfs writes"),
    };
    file.set_len(length)?;
    Ok(())
}

/// Prints the tables.
pub(crate) fn compare() -> Result<()> {
    let scratch = tempfile::tempdir_in(crate::target())?;
    let itself = std::env::current_exe()?;
    for (title, directory, is_large) in [
        (
            "4,000 entries, of Erlang and Elixir and whatever follows them on the machine",
            small(scratch.path())?,
            false,
        ),
        ("100,000 files, 2 GB, made up", large(scratch.path())?, true),
    ] {
        println!("\n{title}: {}\n", count(&directory)?);
        println!("| format | leanfs | tool | time | memory | size | size by the tool |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for Peer { format, compression, command, threads, is_slow } in PEERS {
            if is_large && is_slow {
                continue;
            }
            let image = scratch.path().join("image");
            let (ours, size) = best(&image, || {
                let mut ours = Command::new(&itself);
                ours.args(["image", format, compression, &threads.to_string()]).arg(&directory).arg(&image);
                ours
            })?;
            let room = (size + size / 2).next_multiple_of(4096);
            let (theirs, their_size) = best(&image, || {
                let mut theirs = Command::new("sh");
                theirs.args(["-c", command]).arg(&directory).arg(&image).arg(room.to_string());
                theirs.env("PATH", path_with_sbin());
                theirs
            })?;
            println!(
                "| {format} {compression} | {:.2} s | {:.2} s | {:.2}× | {:.0} MB | {:.2} MB | {:.3}× |",
                ours.seconds,
                theirs.seconds,
                ours.seconds / theirs.seconds,
                ours.memory as f64 / 1e6,
                size as f64 / 1e6,
                size as f64 / their_size as f64
            );
        }
    }
    Ok(())
}

/// The quickest of several runs, and what the image takes on disk.
fn best(image: &Path, command: impl Fn() -> Command) -> Result<(Cost, u64)> {
    let mut best: Option<(Cost, u64)> = None;
    for _ in 0..RUNS {
        let cost = measure(&mut command())?;
        let size = std::os::unix::fs::MetadataExt::blocks(&fs_err::metadata(image)?) * 512;
        fs_err::remove_file(image)?;
        if best.as_ref().is_none_or(|(least, _)| cost.seconds < least.seconds) {
            best = Some((cost, size));
        }
    }
    best.context("a run")
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The first 4,000 entries of what Erlang and Elixir are on this machine, and documents and libraries behind them.
fn small(scratch: &Path) -> Result<PathBuf> {
    let directory = scratch.join("small");
    fs_err::create_dir(&directory)?;
    let script = "set -e; cd /; find usr/lib/erlang usr/lib/elixir usr/lib/x86_64-linux-gnu/perl usr/share/perl \
         usr/share/zoneinfo usr/lib/python3 -xdev \\( -type d -o -type f -o -type l \\) -print | head -n 4000 > \"$0.list\"; \
         cpio --quiet -pdm \"$0\" < \"$0.list\"";
    run::run(Command::new("sh").args(["-c", script]).arg(&directory))?;
    Ok(directory)
}

/// 100,000 files in 1,000 directories, from empty ones to some of a megabyte, 2 GB in all: of text that
/// compresses as programs do, and of noise.
fn large(scratch: &Path) -> Result<PathBuf> {
    const FILES: u64 = 100_000;
    let directory = scratch.join("large");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let words: Vec<Vec<u8>> = (0..4096)
        .map(|_| {
            let length = 2 + random.below(9);
            (0..length).map(|_| b'a' + random.below(26) as u8).collect()
        })
        .collect();
    for index in 0..FILES {
        let below = directory.join(format!("{:03}", index / 100));
        if index % 100 == 0 {
            fs_err::create_dir_all(&below)?;
        }
        // Most are small and a few large, as in every system: 20 kB in the mean.
        let size = match random.below(100) {
            0..3 => 0,
            3..70 => random.below(8_000),
            70..97 => random.below(50_000),
            _ => random.below(720_000),
        };
        let size = usize::try_from(size)?;
        let mut bytes = Vec::with_capacity(size + 16);
        let noise = random.below(8) == 0;
        while bytes.len() < size {
            if noise {
                bytes.extend_from_slice(&random.next().to_le_bytes());
            } else {
                // Frequent words are more frequent, as in language.
                let place = random.below(64) * random.below(64);
                bytes.extend_from_slice(&words[usize::try_from(place)?]);
                bytes.push(b' ');
            }
        }
        bytes.truncate(size);
        fs_err::File::create(below.join(format!("file-{index:06}")))?.write_all(&bytes)?;
    }
    Ok(directory)
}

/// What there is, in words.
fn count(directory: &Path) -> Result<String> {
    let tree = directory::read(directory, &Origin::new(LayerKind::Overlay, ""), &|_| true)?;
    let bytes: u64 = tree.iter().map(|(_, node)| node.size()).sum();
    Ok(format!("{} entries, {:.0} MB", tree.len(), bytes as f64 / 1e6))
}

/// xorshift64*, so that every machine has the same files.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, most: u64) -> u64 {
        (self.next() >> 33) % most
    }
}
