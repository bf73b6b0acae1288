//! The entry points of `fuzz/`, on any toolchain: good files, changed in a fixed pseudo-random way a bounded number of
//! times.
//!
//! `LEANFS_FUZZ_SEEDS=DIR` writes the good files to `DIR/TARGET/`: what `cargo fuzz` should begin with.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own in fuzz/")]
mod entries;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use entries::ENTRIES;
use leanfs::apk::PackageHead;
use leanfs::apk::index::IndexArchive;
use leanfs::archive;
use leanfs::tree::{Metadata, Node, NodeKind, Origin};

use crate::repo::{TestRepo, key_file};
use crate::strip::{files_below, find, is_loadable, skip};
use crate::tiny;

/// How often each seed is changed.
const CASES: usize = 600;
/// The same with `LEANFS_TEST_FULL`.
const CASES_IN_FULL: usize = 20_000;
/// Seeds are small, so that changes hit something.
const LARGEST: u64 = 128 << 10;

/// Good files of a target's format.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    tiny::release(directory.path());
    let made = |path: &str| vec![directory.path().join(path)];
    let files = match target {
        "elf_read" | "elf_strip" => {
            [made("erts-15.0/bin/beam.smp"), compiled(directory.path()), foreign()].concat()
        }
        "beam_module" | "beam_code" => erlang(".beam"),
        "beam_term" => [made("releases/1/start.boot"), erlang(".boot")].concat(),
        "beam_boot" => [made("releases/1/start.boot"), erlang(".boot"), erlang(".script")].concat(),
        "beam_app" => [made("lib/tiny-1/ebin/tiny.app"), erlang(".app")].concat(),
        "beam_lock" => return [MIX_LOCK, REBAR_LOCK].map(|text| text.as_bytes().to_vec()).into(),
        "sbom" => return vec![include_bytes!("../../src/report/manifest/sample.json").to_vec()],
        "beam_rel" => [made("releases/1/tiny.rel"), erlang(".rel")].concat(),
        "apk_key" => vec![key_file()],
        "apk_dependency" => return vec![DEPENDENCIES.as_bytes().to_vec()],
        "apk_adb" => return crate::adb::seeds(),
        "lock" => return vec![crate::locked::sample().into_bytes()],
        "apk_installed" => return vec![INSTALLED.as_bytes().to_vec()],
        _ if target.starts_with("apk_") || target == "tar" => return packaged(directory.path(), target),
        other => panic!("no seeds for {other}"),
    };
    files.iter().map(|path| fs_err::read(path).expect("readable")).collect()
}

/// A line each.
const DEPENDENCIES: &str = "musl>=1.2.5-r0\nso:libz.so.1=1.3.1\n!dash\n!busybox<1.37\npc:zlib~1.3\n/bin/sh\n\
    cmd:git@edge>2.0_rc1\n1.2.3a_alpha1_p2-r7\n0.99f7-r0\n20251123\n1.0_git20240101~0123abcd-r0\n";

/// What Hex writes.
const MIX_LOCK: &str = "%{\n  \"a\": {:hex, :a, \"1.0.0\", \"00\", [:mix], [{:b, \"~> 1.0\", [hex: :b, optional: false]}], \
    \"hexpm\", \"00\"},\n  \"c\": {:git, \"https://c\", \"01\", [tag: \"2\"]},\n}\n";
/// What rebar3 writes.
const REBAR_LOCK: &str = "{\"1.2.0\",\n[{<<\"a\">>,{pkg,<<\"a\">>,<<\"1.0.0\">>},0}]}.\n[\n{pkg_hash,[\n {<<\"a\">>, \
    <<\"00\">>}]},\n{pkg_hash_ext,[\n {<<\"a\">>, <<\"00\">>}]}\n].\n";

/// Two packages: one with everything that can stand in a database, one without files.
const INSTALLED: &str = "C:Q19cIuu/B2wmiclbRdRyuhlR/qZTg=\nP:a\nV:3.7.2-r0\nA:x86_64\nS:6471\nI:6552\nT:text\nU:\n\
    L:MIT\no:a\nm:N <n@example.com>\nt:1774422169\nc:15b3b781\nk:10\nD:b=3.7.2-r0 /bin/sh\np:cmd:x=1\ni:a b\n\
    g:one two\nr:old<3 older\nq:1000\ns:edge\nf:fsxS\nF:\nR:x\nF:etc\nM:0:0:700\nR:motd\na:1:2:4755\n\
    Z:Q1SLkS9hBidUbPwwrw+XR0Whv3ww8=\n\nC:Q1xmQgSFQmCEJjunZNOpyQlQY1mkI=\nP:b\nV:1\nS:0\nI:0\nT:\nU:\nL:\n\n";

/// A repository of two packages, as the targets take it.
fn packaged(directory: &Path, target: &str) -> Vec<Vec<u8>> {
    let repository = TestRepo::new()
        .package("musl", "1.2.5-r23")
        .provides("so:libc.musl-x86_64.so.1=1")
        .program("lib/ld-musl-x86_64.so.1", "the loader")
        .symlink("usr/lib/libc.so", "/lib/ld-musl-x86_64.so.1")
        .package("app", "1.0_rc2-r1")
        .depends("so:libc.musl-x86_64.so.1")
        .depends("!dash")
        .replaces("musl")
        .script(".post-install", "#!/bin/sh\naddgroup -S app\n")
        .info(|info| info.install_if = vec!["musl".parse().expect("a name")])
        .file("etc/app.conf", "x".repeat(3000))
        .node("usr/bin/app", Node::new(NodeKind::Fifo, Metadata::FILE, Origin::skeleton()));
    repository.build(directory);
    let read = |name: &str| fs_err::read(directory.join("x86_64").join(name)).expect("it was written");
    let (index, package) = (read("APKINDEX.tar.gz"), read("app-1.0_rc2-r1.apk"));
    let mut data = &package[..];
    let head = PackageHead::read(&mut data).expect("a package");
    match target {
        "apk_index" => vec![index],
        "apk_index_text" => vec![IndexArchive::open(&index).expect("an index").text.into_bytes()],
        "apk_package" => vec![package, read("musl-1.2.5-r23.apk")],
        "apk_info" => vec![head.info.to_text().expect("it was text").into_bytes()],
        _ => {
            let mut tar = Vec::new();
            let mut reader = archive::decompress(data).expect("compressed");
            reader.read_to_end(&mut tar).expect("whole");
            vec![tar, data.to_vec()]
        }
    }
}

/// A library with debugging information, if there is a compiler.
fn compiled(directory: &Path) -> Vec<PathBuf> {
    let (source, library) = (directory.join("seed.c"), directory.join("seed.so"));
    fs_err::write(&source, "int one; int answer(void) { return 41 + one; }").expect("written");
    let done = Command::new("cc").args(["-g", "-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if done.is_ok_and(|status| status.success()) { vec![library] } else { Vec::new() }
}

/// The smallest library of each other architecture that is here: both classes, both byte orders.
fn foreign() -> Vec<PathBuf> {
    let triples = ["aarch64-linux-gnu", "arm-linux-gnueabihf", "powerpc-linux-gnu", "s390x-linux-gnu"];
    let libraries = triples.map(|triple| files_below(&Path::new("/usr").join(triple).join("lib")));
    libraries.into_iter().flat_map(|files| smallest(files, 1, is_loadable)).collect()
}

/// A few small files of the host's Erlang.
fn erlang(ending: &str) -> Vec<PathBuf> {
    let root =
        find("erl").and_then(|erl| Some(fs_err::canonicalize(erl).ok()?.parent()?.parent()?.to_owned()));
    let Some(root) = root else { return Vec::new() };
    smallest(files_below(&root), 3, |path| path.to_string_lossy().ends_with(ending))
}

fn smallest(files: Vec<PathBuf>, count: usize, good: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let size = |path: &PathBuf| fs_err::metadata(path).map_or(0, |metadata| metadata.len());
    let mut files: Vec<PathBuf> = files.into_iter().filter(|path| good(path)).collect();
    files.retain(|path| (1..=LARGEST).contains(&size(path)));
    files.sort_by_key(size);
    files.truncate(count);
    files
}

fn write(directory: &Path, seeds: &[Vec<u8>]) {
    fs_err::create_dir_all(directory).expect("a directory");
    for (index, seed) in seeds.iter().enumerate() {
        fs_err::write(directory.join(format!("seed-{index}")), seed).expect("written");
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// A place in a file, more often near its ends, where the tables are.
    fn place(&mut self, length: usize) -> usize {
        match self.below(4) {
            0 => self.below(length.min(512)),
            1 => length - 1 - self.below(length.min(2048)),
            _ => self.below(length),
        }
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        const TELLING: [u64; 10] = [0, 1, 2, 0x7f, 0xff, 0x1000, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let at = self.place(length);
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.below(256) as u8,
            // A number of any width and byte order.
            2 | 3 => {
                let value = TELLING[self.below(TELLING.len())].wrapping_sub(self.below(2) as u64);
                let width = (1 << self.below(4)).min(length - at);
                let little = value.to_le_bytes();
                bytes[at..at + width].copy_from_slice(&little[..width]);
                if self.below(2) == 0 {
                    bytes[at..at + width].reverse();
                }
            }
            4 => {
                let from = self.place(length);
                let size = self.below(64).min(length - from).min(length - at);
                bytes.copy_within(from..from + size, at);
            }
            5 => drop(bytes.drain(at..(at + 1 + self.below(32)).min(length))),
            _ => match self.below(4) {
                0 => bytes.truncate(at),
                _ => drop(bytes.splice(at..at, vec![self.below(256) as u8; self.below(64)])),
            },
        }
    }
}

#[test]
fn no_bytes_break_an_entry_point() {
    let cases = if std::env::var_os("LEANFS_TEST_FULL").is_some() { CASES_IN_FULL } else { CASES };
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for (target, entry) in ENTRIES {
        let seeds = seeds(target);
        if seeds.is_empty() {
            skip(&format!("a file to begin with for {target}"));
        }
        if let Some(directory) = std::env::var_os("LEANFS_FUZZ_SEEDS") {
            write(&Path::new(&directory).join(target), &seeds);
        }
        entry(b"");
        for seed in &seeds {
            entry(seed);
            let mut bytes = seed.clone();
            for case in 0..cases {
                // Several changes one after the other, and then from the start again.
                if case % 4 == 0 {
                    bytes.clone_from(seed);
                }
                random.change(&mut bytes);
                entry(&bytes);
            }
        }
    }
}

/// Every place of a small module: cut there, and with each of its bits the other way round.
#[test]
fn a_module_damaged_anywhere_breaks_nothing() {
    let Some(seed) = seeds("beam_code").into_iter().next() else {
        skip("a module to begin with");
        return;
    };
    for at in 0..seed.len() {
        entries::beam_code(&seed[..at]);
        for bit in 0..8 {
            let mut bytes = seed.clone();
            bytes[at] ^= 1 << bit;
            entries::beam_code(&bytes);
        }
    }
}
