//! What earlier runs leave in the cache: it saves time, and changes nothing, whatever becomes of it.

mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::end_to_end::bench::{Bench, Mirror, succeed, text};

/// The outputs by name.
type Outputs = BTreeMap<String, Vec<u8>>;

fn outputs(directory: &Path) -> Outputs {
    let entries = fs_err::read_dir(directory).expect("an output directory");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs_err::read(entry.path()).expect("an output"))
        })
        .collect()
}

fn assert_same(found: &Outputs, expected: &Outputs, when: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{when}");
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs {when}");
    }
}

/// What is damaged, and how.
type Damage<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));

/// A run of the sample application.
struct Place {
    bench: Bench,
    mirror: Mirror,
    release: PathBuf,
}

impl Place {
    fn new() -> Option<Self> {
        let (mirror, bench) = (Mirror::host()?, Bench::new());
        let release = bench.mix_project("hello", false)?.join("_build/prod/rel/hello");
        Some(Self { bench, mirror, release })
    }

    fn command(&self, cache: &Path) -> Command {
        let mut command = self.bench.leanfs(["assemble", "--compress", "zstd:1", "--initramfs", "--ext4"]);
        command.arg("--release").arg(&self.release).args(self.mirror.flags()).arg("-o").arg(self.out());
        command.env("LEANFS_CACHE_DIR", cache);
        command
    }

    fn out(&self) -> PathBuf {
        self.bench.path("out")
    }

    /// The outputs, and what was said.
    fn run(&self, cache: &Path, more: &[&str]) -> (Outputs, String) {
        let said = text(&succeed(self.command(cache).args(more)));
        let made = outputs(&self.out());
        fs_err::remove_dir_all(self.out()).expect("removed");
        (made, said)
    }

    fn verify(&self, cache: &Path) {
        succeed(self.bench.leanfs(["cache", "verify"]).env("LEANFS_CACHE_DIR", cache));
    }
}

fn derived(cache: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(cache.join("derived")).expect("a cache");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn nothing_in_the_cache_changes_a_result() {
    let test = || -> Option<()> {
        let place = Place::new()?;
        let cache = place.bench.path("cache");
        let (cold, _) = place.run(&cache, &[]);
        let kept = derived(&cache);
        let kinds = ["memo-", "member-", "tree-"];
        let is_there = |kind: &&str| kept.iter().any(|path| path.display().to_string().contains(*kind));
        assert!(kinds.iter().all(is_there), "{kept:?}");
        for jobs in ["1", "16"] {
            assert_same(&place.run(&cache, &["--jobs", jobs]).0, &cold, "from a full cache");
        }

        // Other settings take only what is the same for them.
        let settings: &[&str] = &["--strip-lines", "--keep", "mnesia"];
        let (other, _) = place.run(&cache, settings);
        assert!(other["initramfs.cpio.zst"] != cold["initramfs.cpio.zst"]);
        assert_same(&place.run(&place.bench.path("cold"), settings).0, &other, "from an empty cache");
        // The application changes.
        let overlay = place.bench.path("overlay");
        fs_err::create_dir_all(overlay.join("etc")).expect("made");
        fs_err::write(overlay.join("etc/new"), "new").expect("written");
        let overlay = ["--overlay", overlay.to_str().expect("UTF-8")];
        let (changed, _) = place.run(&cache, &overlay);
        assert_same(&place.run(&place.bench.path("cold2"), &overlay).0, &changed, "from an empty cache");

        // All that would be read is damaged, then all descriptions, then all is empty.
        let damages: [Damage; 3] = [
            ("contents", &|bytes| {
                let end = bytes.len() - bytes.len() / 8;
                bytes[..end].iter_mut().step_by(50).for_each(|byte| *byte ^= 0xff);
            }),
            ("descriptions", &|bytes| {
                let place = bytes.len() - 49;
                bytes[place] ^= 1;
            }),
            ("all", &|bytes| bytes.clear()),
        ];
        for (what, damage) in damages {
            place.run(&cache, &[]);
            for path in derived(&cache) {
                let mut bytes = fs_err::read(&path).expect("read");
                damage(&mut bytes);
                fs_err::write(&path, bytes).expect("written");
            }
            let (found, said) = place.run(&cache, &[]);
            assert_same(&found, &cold, &format!("after damage to {what}"));
            assert_eq!(
                said.contains("was damaged and is dropped from the cache"),
                what == "contents",
                "{said}"
            );
            assert_same(&place.run(&cache, &[]).0, &cold, "afterwards");
        }
        // What no run has read since is found by reading everything.
        let verify = |code| {
            let mut command = place.bench.leanfs(["cache", "verify"]);
            let output = command.env("LEANFS_CACHE_DIR", &cache).output().expect("started");
            assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        };
        // Of some files nobody has seen yet that they are empty.
        verify(3);
        verify(0);
        let path = derived(&cache).into_iter().next().expect("the last run left some");
        let mut bytes = fs_err::read(&path).expect("read");
        bytes[0] ^= 1;
        fs_err::write(&path, bytes).expect("written");
        verify(3);
        verify(0);
        Some(())
    };
    let _ = test();
}
