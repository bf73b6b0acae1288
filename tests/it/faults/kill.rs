//! SIGKILL.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::place::{Place, Variant, check_cache, left_over, make_old, names};
use super::tool::{Fault, Kind, Tool};
use super::{Random, full};

/// Several runs on one cache, each killed at a random moment, again and again.
#[test]
fn runs_that_are_killed_harm_nothing() {
    const RUNNING: u64 = 3;
    let mut random = Random::new("runs_that_are_killed_harm_nothing");
    let place = Place::new();
    let cache = place.path("cache");
    let kills = if full() { 400 } else { 27 };
    let began = Instant::now();
    place.succeed(Variant::One, &place.path("timed"), &place.path("timed-cache"));
    // As long as a run takes beside others that want the same processors.
    let longest = began.elapsed() * 2;
    let killed = AtomicUsize::new(0);
    for round in 0..kills / RUNNING {
        // A cold cache has the most to break; a warm one is what runs find.
        if random.below(3) == 0 {
            let _ = std::fs::remove_dir_all(&cache);
        }
        let variant = Variant::BOTH[random.below(2) as usize];
        let waits = [0; RUNNING as usize].map(|_| longest.mul_f64(random.below(1000) as f64 / 1000.0));
        std::thread::scope(|scope| {
            for (number, wait) in waits.into_iter().enumerate() {
                let (place, cache, killed) = (&place, &cache, &killed);
                scope.spawn(move || {
                    let out = place.path(&format!("out-{number}"));
                    let mut run = place.command(variant, &out, cache).spawn().expect("it starts");
                    let began = Instant::now();
                    while began.elapsed() < wait && run.try_wait().expect("ours").is_none() {
                        place.check_names(&out);
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    let _ = run.kill();
                    let status = run.wait().expect("ours");
                    match status.code() {
                        None => drop(killed.fetch_add(1, Ordering::Relaxed)),
                        Some(code) => {
                            assert_eq!(code, 0, "round {round}: a run among others that are killed")
                        }
                    }
                    place.check_outputs(&out, true);
                });
            }
        });
        check_cache(&cache);
    }
    let killed = killed.into_inner();
    println!("{killed} of {kills} runs were killed");
    assert!(killed as u64 > kills / 3, "too few: {killed}");

    for number in 0..RUNNING {
        place.succeed_and_check(
            Variant::BOTH[number as usize % 2],
            &place.path(&format!("out-{number}")),
            &cache,
        );
    }
    make_old(&cache);
    place.succeed_and_check(Variant::One, &place.path("out-0"), &cache);
    assert_eq!(left_over(&cache), [""; 0], "what killed runs left is swept or used");
}

/// A run that is killed before a change of a file, for each of them.
#[test]
fn a_run_that_is_killed_before_any_change_harms_nothing() {
    let mut random = Random::new("a_run_that_is_killed_before_any_change_harms_nothing");
    let Some(tool) = Tool::new() else { return };
    let place = Place::new();
    let run = |fault, variant, out: &str, cache: &str| {
        let [out, cache] = [out, cache].map(|name| place.path(name));
        tool.run(fault, place.root(), &mut place.command(variant, &out, &cache))
    };
    let count = run(None, Variant::One, "counted", "counted-cache").count(Kind::Kill);
    assert!(count > 100, "{count} changes");
    // Over outputs of an earlier run, with what each killed run left of the cache.
    let [out, cache] = ["out", "cache"].map(|name| place.path(name));
    place.succeed_and_check(Variant::One, &out, &place.path("counted-cache"));
    let mut there = Variant::One;
    let step = if full() { 1 } else { count / 24 };
    let mut first = 1 + random.below(step);
    let mut kills = 0;
    while first <= count {
        let fault = Fault { kind: Kind::Kill, first, count: 1 };
        let killed = run(Some(fault), there.other(), "out", "cache");
        // A cache that holds more needs fewer changes: then it is the next run's turn.
        if let Some(at) = killed.failed {
            assert_eq!(killed.output.status.code(), Some(137), "{fault:?} {at:?}: {:?}", killed.output);
            kills += 1;
        }
        place.check_outputs(&out, true);
        check_cache(&cache);
        let whole = random.below(4) == 0;
        if whole {
            there = there.other();
            place.succeed_and_check(there, &out, &cache);
        }
        if random.below(3) == 0 {
            fs_err::remove_dir_all(&cache).expect("removed");
        }
        first += step;
    }
    println!("{kills} runs were killed, of {count} changes each");
    place.succeed_and_check(there.other(), &out, &cache);
    assert!(names(&out).iter().all(|name| !name.starts_with('.')), "what killed runs left is cleared away");
}
