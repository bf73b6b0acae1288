//! Work done by several threads whose results come in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Takes units from `units`, works on them in at most `threads` threads, each of which has a state made by `start`,
/// and gives the results to `sink` in the order of the units. No more than three units a thread are under way at a
/// time, so memory does not grow with their number.
///
/// # Errors
/// The first error in the order of units, of `work` or of `sink`.
pub(super) fn ordered<Unit, State, Done, E>(
    threads: usize,
    units: impl Iterator<Item = Unit> + Send,
    start: impl Fn() -> State + Sync,
    work: impl Fn(&mut State, Unit) -> Result<Done, E> + Sync,
    mut sink: impl FnMut(Done) -> Result<(), E>,
) -> Result<(), E>
where
    Done: Send,
    E: Send,
{
    let threads = threads.max(1);
    let most = threads.saturating_mul(3);
    let shared = Mutex::new(Queue {
        units: units.fuse(),
        taken: 0,
        ended: false,
        stopped: false,
        alive: threads,
        done: BTreeMap::new(),
        given: 0,
    });
    let (room, ready) = (Condvar::new(), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // However it ends, by a panic too, the others must not wait for it.
                let _leave = Leave { queue: &shared, room: &room, ready: &ready };
                let mut state = start();
                loop {
                    let mut queue = lock(&shared);
                    while !queue.stopped && queue.taken - queue.given >= most {
                        queue = room.wait(queue).unwrap_or_else(PoisonError::into_inner);
                    }
                    if queue.stopped {
                        return;
                    }
                    let Some(unit) = queue.units.next() else {
                        queue.ended = true;
                        ready.notify_all();
                        return;
                    };
                    let number = queue.taken;
                    queue.taken += 1;
                    drop(queue);
                    let result = work(&mut state, unit);
                    lock(&shared).done.insert(number, result);
                    ready.notify_all();
                }
            });
        }
        // If the sink panics the threads must end, or the scope would wait for them.
        let stop = Stop { queue: &shared, room: &room };
        loop {
            let mut queue = lock(&shared);
            let result = loop {
                let next = queue.given;
                if let Some(result) = queue.done.remove(&next) {
                    queue.given += 1;
                    break result;
                }
                if queue.ended && queue.given == queue.taken || queue.alive == 0 {
                    return Ok(());
                }
                queue = ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            room.notify_all();
            if let Err(error) = result.and_then(&mut sink) {
                drop(stop);
                return Err(error);
            }
        }
    })
}

struct Queue<Units, Done, E> {
    units: Units,
    taken: usize,
    /// There are no more units.
    ended: bool,
    /// Nobody wants more results.
    stopped: bool,
    /// Threads that are still there.
    alive: usize,
    done: BTreeMap<usize, Result<Done, E>>,
    given: usize,
}

/// A thread that panicked left nothing half done: its unit is missing, and the scope passes its panic on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Leave<'a, Units, Done, E> {
    queue: &'a Mutex<Queue<Units, Done, E>>,
    room: &'a Condvar,
    ready: &'a Condvar,
}

impl<Units, Done, E> Drop for Leave<'_, Units, Done, E> {
    fn drop(&mut self) {
        let mut queue = lock(self.queue);
        queue.alive -= 1;
        if std::thread::panicking() {
            // Its result will never come, and the others can't go on without.
            queue.stopped = true;
            self.room.notify_all();
        }
        self.ready.notify_all();
    }
}

struct Stop<'a, Units, Done, E> {
    queue: &'a Mutex<Queue<Units, Done, E>>,
    room: &'a Condvar,
}

impl<Units, Done, E> Drop for Stop<'_, Units, Done, E> {
    fn drop(&mut self) {
        lock(self.queue).stopped = true;
        self.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        for threads in [0, 1, 2, 7] {
            let mut results = Vec::new();
            let work = |_: &mut (), unit: u64| {
                std::thread::sleep(Duration::from_micros(unit * 7919 % 300));
                Ok::<_, ()>(unit * 2)
            };
            ordered(
                threads,
                0..200,
                || (),
                work,
                |done| {
                    results.push(done);
                    Ok(())
                },
            )
            .expect("no error");
            assert_eq!(results, (0..200).map(|unit| unit * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_in_order_ends_it() {
        for threads in [1, 4] {
            let mut count = 0;
            let work = |_: &mut (), unit: u32| if unit >= 50 { Err(unit) } else { Ok(()) };
            let error = ordered(
                threads,
                0..1_000_000,
                || (),
                work,
                |()| {
                    count += 1;
                    Ok(())
                },
            );
            assert_eq!((error, count), (Err(50), 50));
            let error = ordered(
                threads,
                0..1_000_000,
                || (),
                |_, unit| Ok(unit),
                |unit| {
                    if unit == 30 { Err("sink") } else { Ok(()) }
                },
            );
            assert_eq!(error, Err("sink"));
        }
    }

    #[test]
    fn a_panic_is_passed_on() {
        let result = std::panic::catch_unwind(|| {
            let work = |_: &mut (), unit: u32| {
                assert_ne!(unit, 20);
                Ok::<_, ()>(unit)
            };
            ordered(2, 0..100, || (), work, |_| Ok(()))
        });
        assert!(result.is_err());
    }
}
