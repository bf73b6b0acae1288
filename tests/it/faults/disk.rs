//! Disks that are full or broken.

use std::path::Path;
use std::process::{Command, Output};

use super::place::{Place, Variant, check_cache, said};
use super::tool::{Fault, Kind, Run, Tool};
use super::{Random, full};

/// What is wrong with the end of a run that met a fault and failed: it has to say which path, why, and what to do.
fn complaint(place: &Place, output: &Output) -> Option<String> {
    let text = said(output);
    let root = place.root().to_str().expect("UTF-8");
    let bad = output.status.code() != Some(1)
        || ["Error: ", "Hint: ", root].iter().any(|part| !text.contains(part))
        || ["panicked", "uncategorized"].iter().any(|part| text.contains(part));
    bad.then(|| format!("{}: {text}", output.status))
}

/// Every call, or some of them, that a run makes fails once, and fails from then on.
struct Sweep {
    kind: Kind,
    /// Only of calls below this directory.
    below: &'static str,
    /// Only of so many calls.
    most: u64,
    /// How many of them are tried in CI.
    sampled: u64,
}

impl Sweep {
    fn of(kind: Kind, sampled: u64) -> Self {
        Self { kind, below: "", most: u64::MAX, sampled }
    }
}

#[track_caller]
fn sweep(test: &str, Sweep { kind, below, most, sampled }: Sweep) {
    let mut random = Random::new(test);
    let Some(tool) = Tool::new() else { return };
    let place = Place::new();
    let run = |fault, variant, out: &Path, cache: &Path| -> Run {
        let below = if below.is_empty() { place.root().to_owned() } else { place.path(below) };
        tool.run(fault, &below, &mut place.command(variant, out, cache))
    };
    let [out, cache] = ["out", "cache"].map(|name| place.path(name));
    let count = run(None, Variant::One, &out, &cache).count(kind).min(most);
    assert!(count > 10, "{count} calls");
    let (mut there, mut complaints) = (Variant::One, Vec::new());
    let step = (count / if full() { 16 * sampled } else { sampled }).max(1);
    let (mut first, mut failed, mut met) = (1 + random.below(step), 0, 0);
    while first <= count {
        let lasting = random.below(2) == 0;
        let fault = Fault { kind, first, count: u64::from(!lasting) };
        if random.below(4) > 0 {
            fs_err::remove_dir_all(&cache).expect("removed");
        }
        let ended = run(Some(fault), there.other(), &out, &cache);
        let what = format!("{fault:?} {:?}", ended.failed);
        let done = ended.output.status.success();
        met += u64::from(ended.failed.is_some());
        if done {
            // What went wrong can be done without, and made no difference.
            there = there.other();
            place.check_all(&out, there, &what);
        } else {
            failed += 1;
            complaints
                .extend(complaint(&place, &ended.output).map(|complaint| format!("{what}: {complaint}")));
            // A broken disk doesn't let go of what is unfinished.
            place.check_outputs(&out, kind == Kind::Broken);
        }
        check_cache(&cache);
        if !done || random.below(4) == 0 {
            there = Variant::BOTH[random.below(2) as usize];
            place.succeed_and_check(there, &out, &cache);
        }
        first += step;
    }
    println!("of {count} calls {met} failed, and with them {failed} runs");
    assert!(failed > met / 8, "{failed} of {met}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_disk_that_gets_full_at_any_call_is_said_and_harms_nothing() {
    sweep("a_disk_that_gets_full_at_any_call_is_said_and_harms_nothing", Sweep::of(Kind::Full, 16));
}

#[test]
fn a_disk_that_breaks_at_any_call_is_said_and_harms_nothing() {
    sweep("a_disk_that_breaks_at_any_call_is_said_and_harms_nothing", Sweep::of(Kind::Broken, 24));
}

/// What can't be read back was not changed by anybody: exit code 1, and not 3.
#[test]
fn a_package_that_a_broken_disk_does_not_give_back_is_not_a_changed_one() {
    let test = "a_package_that_a_broken_disk_does_not_give_back_is_not_a_changed_one";
    sweep(test, Sweep { below: "cache/partial", ..Sweep::of(Kind::Broken, 12) });
}

/// Directories and settings that can't be looked at are there all the same.
#[test]
fn a_disk_that_breaks_at_the_beginning_is_not_a_wrong_command_line() {
    let test = "a_disk_that_breaks_at_the_beginning_is_not_a_wrong_command_line";
    sweep(test, Sweep { most: 24, ..Sweep::of(Kind::Broken, 12) });
}

/// Runs leanfs on a file system of this size that holds the outputs of an earlier run; gives what is in there
/// afterwards to `left`. `None` where nobody may mount one.
fn on_small_disk(kilobytes: u64, old: &Path, left: &Path, run: &Command) -> Option<Output> {
    const SCRIPT: &str = "mount -t tmpfs -o size=${1}k tmpfs \"$2\" || exit 125\n\
        cp -r \"$3\" \"$2/out\" || exit 126\nleft=$4\ndisk=$2\nshift 4\n\"$@\"\ncode=$?\n\
        cp -r \"$disk/.\" \"$left\" || exit 126\nexit $code\n";
    let disk = old.with_file_name("disk");
    fs_err::create_dir_all(&disk).expect("made");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", SCRIPT, "sh", &kilobytes.to_string()]);
    command.args([&disk, old, left]).arg(run.get_program()).args(run.get_args());
    let output = command.output().ok()?;
    assert_ne!(output.status.code(), Some(126), "{}", said(&output));
    // unshare(1) itself ends with 1 where it may not.
    let refused = output.status.code() == Some(125) || said(&output).starts_with("unshare: ");
    (!refused).then_some(output)
}

/// Real short writes, and no room even for directories.
#[test]
fn a_file_system_that_is_full_is_said_and_harms_nothing() {
    let mut random = Random::new("a_file_system_that_is_full_is_said_and_harms_nothing");
    let place = Place::new();
    let old = place.path("old");
    place.succeed_and_check(Variant::One, &old, &place.path("cache"));
    let bytes: u64 = fs_err::read_dir(&old)
        .expect("there")
        .map(|entry| entry.expect("readable").metadata().expect("there").len())
        .sum();
    let (mut failed, mut done) = (0, 0);
    for round in 0..if full() { 200 } else { 10 } {
        let kilobytes = bytes.div_ceil(1024) + 512 + random.below(2 * bytes / 1024 + 3_000);
        let left = place.path("left");
        fs_err::create_dir_all(&left).expect("made");
        // The outputs alone, and with the cache.
        let disk = place.path("disk");
        let cache = if round % 2 == 0 { disk.join("cache") } else { place.path("cache") };
        let run = place.command(Variant::Two, &disk.join("out"), &cache);
        let Some(output) = on_small_disk(kilobytes, &old, &left, &run) else {
            println!("SKIP: no tmpfs can be mounted here (unshare -rm, mount)");
            return;
        };
        let what = format!("{kilobytes} kB: ");
        if output.status.success() {
            done += 1;
            place.check_all(&left.join("out"), Variant::Two, &what);
        } else {
            failed += 1;
            assert_eq!(complaint(&place, &output), None, "{what}");
            assert!(said(&output).contains("full"), "{what}{}", said(&output));
            place.check_outputs(&left.join("out"), false);
        }
        check_cache(&left.join("cache"));
        place.succeed_and_check(Variant::One, &left.join("out"), &left.join("cache"));
        fs_err::remove_dir_all(&left).expect("removed");
    }
    println!("{failed} runs found the disk full, {done} did not");
    assert!(failed > 0);
}

/// Verbs that write one file: it is what it was, or the new one.
#[test]
fn files_that_verbs_write_are_whole_or_as_they_were() {
    let Some(tool) = Tool::new() else { return };
    let place = Place::new();
    let directory = place.path("files");
    fs_err::create_dir_all(directory.join("src")).expect("made");
    fs_err::write(directory.join("src/file"), vec![7; 200_000]).expect("written");
    let of = |verb: &str| -> Vec<String> {
        let words = verb.replace("HERE", directory.to_str().expect("UTF-8"));
        words.split(' ').map(str::to_owned).collect()
    };
    let mut met = 0;
    for verb in [
        "pack HERE/src --name x --pkgver 1-r0 -o HERE/out/x-1-r0.apk",
        "pack HERE/src --name x --pkgver 1-r0 --format v3 -o HERE/out/x-1-r0.apk",
        "index HERE/x-1-r0.apk -o HERE/out/APKINDEX.tar.gz",
        "index HERE/x-1-r0.apk --format v3 -o HERE/out/Packages.adb",
    ] {
        let words = of(verb);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let file = std::path::PathBuf::from(words.last().expect("a file"));
        let out = directory.join("out");
        fs_err::create_dir_all(&out).expect("made");
        let run = |fault| tool.run(fault, &directory, &mut crate::cli::leanfs(place.root(), &words));
        let clean = run(None);
        assert!(clean.output.status.success(), "{verb}: {}", said(&clean.output));
        let new = fs_err::read(&file).expect("written");
        if verb.contains("pack") && !verb.contains("v3") {
            fs_err::copy(&file, directory.join("x-1-r0.apk")).expect("copied");
        }
        for kind in [Kind::Full, Kind::Broken] {
            for first in 1..=clean.count(kind) {
                fs_err::write(&file, "old").expect("written");
                let fault = Fault { kind, first, count: first % 2 };
                let ended = run(Some(fault));
                let what = format!("{verb}: {fault:?} {:?}", ended.failed);
                met += u64::from(ended.failed.is_some());
                let there = fs_err::read(&file).expect("there");
                if ended.output.status.success() {
                    assert!(there == new, "{what}");
                } else {
                    assert_eq!(complaint(&place, &ended.output), None, "{what}");
                    assert!(there == b"old" || there == new, "{what}");
                }
                // A broken disk doesn't let go of what is unfinished.
                let names = super::place::names(&out);
                assert!(kind == Kind::Broken || names.len() == 1, "{what}: {names:?}");
            }
            fs_err::remove_dir_all(&out).expect("removed");
            fs_err::create_dir_all(&out).expect("made");
        }
        fs_err::remove_dir_all(&out).expect("removed");
    }
    println!("{met} calls failed");
}
