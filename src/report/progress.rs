//! How much of something is done: counted by whoever does it, told by somebody who waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is told.
const INTERVAL: Duration = Duration::from_millis(100);

/// A count of bytes, of which it is known how many there will be. Counted from any thread.
#[derive(Debug, Default)]
pub struct Progress {
    done: Arc<AtomicU64>,
    total: AtomicU64,
}

impl Progress {
    /// Of so many bytes in all.
    pub fn of(total: u64) -> Self {
        Self { done: Arc::default(), total: AtomicU64::new(total) }
    }

    /// There will be so many more.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many more are done.
    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What counts those that are done.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// How many are done, and how many there will be. What is done twice counts once: it is never more than all.
    pub fn get(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }
}

/// Does `work`, and calls `tell` ten times a second while it goes on, in another thread.
pub fn while_telling<R>(tell: impl FnMut() + Send, work: impl FnOnce() -> R) -> R {
    let (working, ended) = channel::<()>();
    std::thread::scope(|scope| {
        let mut tell = tell;
        scope.spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                tell();
            }
        });
        let result = work();
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_while_work_goes_on_and_ends_with_it() {
        let progress = Progress::of(10);
        progress.expect(5);
        let (told, telling) = channel();
        let result = while_telling(
            || told.send(progress.get()).expect("the test listens"),
            || {
                progress.add(7);
                let first = telling.recv().expect("it is told");
                progress.add(100);
                (first, telling.recv().expect("again"))
            },
        );
        assert_eq!(result, ((7, 15), (15, 15)));
    }
}
