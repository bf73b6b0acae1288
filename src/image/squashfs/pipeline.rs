//! Blocks on their way through compressors: read one after the other, compressed by several threads, given back in the
//! order in which they came. Only so many are on the way that memory stays bounded.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::codec::Codec;
use crate::image::ImageError;
use crate::image::compress::refused;

/// How many bytes the buffers of all blocks on the way may have.
const BYTES_ON_THE_WAY: usize = 24 << 20;
/// More blocks than these per thread wait in vain.
const MOST_PER_THREAD: usize = 32;
/// More than the processors of any machine that reads fast enough for them.
const MOST_THREADS: usize = 256;

/// A block that is to be compressed.
struct Job {
    number: u64,
    block: Block,
}

/// A block and, behind the compressor, what came of it.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Its bytes.
    pub(super) input: Vec<u8>,
    output: Vec<u8>,
    /// How many bytes of the output are used; nothing where the input is stored as it is.
    length: Option<usize>,
}

impl Block {
    /// The bytes to be stored, and whether they are compressed.
    pub(super) fn packed(&self) -> (&[u8], bool) {
        match self.length {
            Some(length) => (&self.output[..length], true),
            None => (&self.input, false),
        }
    }
}

/// What a thread tells.
enum Message {
    Done(Job),
    Failed(ImageError),
    /// It panicked; joining it will tell more.
    Died,
}

/// Blocks on their way, each with what its owner wants to know it by.
pub(super) struct Pipeline<O> {
    /// What the output of a block needs.
    room: usize,
    /// Taken away when no more come.
    jobs: Option<mpsc::Sender<Job>>,
    results: Receiver<Message>,
    /// None where nothing is compressed.
    workers: Vec<JoinHandle<()>>,
    most: usize,
    owners: VecDeque<O>,
    /// From the oldest on that is on its way, those that have come through.
    done: VecDeque<Option<Block>>,
    /// The number of the oldest.
    oldest: u64,
    spare: Vec<Block>,
}

impl<O> Pipeline<O> {
    /// Starts the threads, which end when the pipeline is dropped; as many as the system gives.
    pub(super) fn new(codec: Codec, block_size: u32, threads: usize) -> Result<Self, ImageError> {
        let wanted = if codec.stores() { 0 } else { threads.clamp(1, MOST_THREADS) };
        let (job_sender, jobs) = mpsc::channel();
        let (sender, results) = mpsc::channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut workers = Vec::new();
        for _ in 0..wanted {
            let (jobs, sender) = (Arc::clone(&jobs), sender.clone());
            match thread::Builder::new().spawn(move || work(codec, &jobs, Sender(sender))) {
                Ok(worker) => workers.push(worker),
                Err(error) if workers.is_empty() => return Err(refused("a thread", &error.to_string())),
                Err(_) => break,
            }
        }
        let threads = workers.len();
        let room = block_size as usize + codec.room(block_size as usize);
        let most = (BYTES_ON_THE_WAY / room).clamp(2 * threads, MOST_PER_THREAD * threads);
        Ok(Self {
            room: codec.room(block_size as usize),
            jobs: Some(job_sender),
            results,
            workers,
            most,
            owners: VecDeque::new(),
            done: VecDeque::new(),
            oldest: 0,
            spare: Vec::new(),
        })
    }

    /// A block whose input is to be filled; whatever is in it is left from another one.
    pub(super) fn spare(&mut self) -> Block {
        self.spare.pop().unwrap_or_else(|| Block { output: vec![0; self.room], ..Block::default() })
    }

    /// Takes a block back that is not needed any more.
    pub(super) fn give_back(&mut self, block: Block) {
        self.spare.push(block);
    }

    /// Whether a block has to come out before another one may go in.
    pub(super) fn is_full(&self) -> bool {
        self.owners.len() > self.most
    }

    /// Sends a block on its way.
    pub(super) fn push(&mut self, mut block: Block, owner: O) -> Result<(), ImageError> {
        let number = self.oldest + self.owners.len() as u64;
        block.length = None;
        self.owners.push_back(owner);
        if self.workers.is_empty() {
            self.done.push_back(Some(block));
            return Ok(());
        }
        self.done.push_back(None);
        match &self.jobs {
            Some(jobs) if jobs.send(Job { number, block }).is_ok() => Ok(()),
            // No thread is left, and each told why before it went.
            _ => Err(self.failure()),
        }
    }

    /// The block that is the longest on its way, when it has come through; nothing where none is on its way.
    pub(super) fn pop(&mut self) -> Result<Option<(O, Block)>, ImageError> {
        let Some(owner) = self.owners.pop_front() else { return Ok(None) };
        loop {
            if let Some(block) = self.done.front_mut().and_then(Option::take) {
                self.done.pop_front();
                self.oldest += 1;
                return Ok(Some((owner, block)));
            }
            match self.results.recv() {
                Ok(Message::Done(Job { number, block })) => {
                    self.done[(number - self.oldest) as usize] = Some(block);
                }
                Ok(Message::Failed(error)) => return Err(error),
                Ok(Message::Died) | Err(_) => return Err(died()),
            }
        }
    }

    fn failure(&self) -> ImageError {
        self.results
            .try_iter()
            .find_map(|message| match message {
                Message::Failed(error) => Some(error),
                _ => None,
            })
            .unwrap_or_else(died)
    }
}

fn died() -> ImageError {
    refused("a thread", "it ended before its work did")
}

impl<O> Drop for Pipeline<O> {
    fn drop(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            if let Err(panic) = worker.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Tells of a panic, so that nobody waits for what will not come.
struct Sender(mpsc::Sender<Message>);

impl Drop for Sender {
    fn drop(&mut self) {
        if thread::panicking() {
            // Where nobody listens nobody waits.
            let _ = self.0.send(Message::Died);
        }
    }
}

/// Compresses until no more blocks come or nobody wants them.
fn work(codec: Codec, jobs: &Mutex<Receiver<Job>>, sender: Sender) {
    let mut compressor = match codec.data() {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = sender.0.send(Message::Failed(error));
            return;
        }
    };
    loop {
        // Nothing that panics is done under the lock.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { number, mut block }) = next else { return };
        let message = match compressor.compress(&block.input, &mut block.output) {
            Ok(length) => {
                block.length = length;
                Message::Done(Job { number, block })
            }
            Err(error) => Message::Failed(error),
        };
        if sender.0.send(message).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::squashfs::Settings;
    use crate::recipe::Compression;

    fn pipeline(compression: Compression, threads: usize) -> Pipeline<usize> {
        let settings = Settings { compression, block_size: 4096, ..Settings::default() };
        Pipeline::new(Codec::new(&settings).expect("known"), settings.block_size, threads).expect("started")
    }

    #[test]
    fn blocks_come_out_in_the_order_in_which_they_went_in() {
        for compression in [Compression::None, Compression::Zstd { level: Some(3) }] {
            let mut pipeline = pipeline(compression, 3);
            let mut expected = 0;
            let mut pop = |pipeline: &mut Pipeline<usize>| {
                let Some((owner, block)) = pipeline.pop().expect("compressed") else { return false };
                assert_eq!(owner, expected);
                assert_eq!(block.input, vec![owner as u8; 1 + owner * 37 % 4096]);
                if block.input.len() > 100 {
                    assert_eq!(block.packed().1, compression != Compression::None);
                }
                pipeline.give_back(block);
                expected += 1;
                true
            };
            for owner in 0..500 {
                let mut block = pipeline.spare();
                block.input.clear();
                block.input.resize(1 + owner * 37 % 4096, owner as u8);
                pipeline.push(block, owner).expect("taken");
                while pipeline.is_full() {
                    pop(&mut pipeline);
                }
            }
            while pop(&mut pipeline) {}
            assert_eq!(expected, 500);
            assert!(pipeline.spare.len() <= pipeline.most + 2, "{} blocks", pipeline.spare.len());
        }
    }

    /// A compressor that fails is an error for who waits, not a wait without end.
    #[test]
    fn who_waits_hears_of_failures() {
        let mut pipeline = pipeline(Compression::Lz4, 2);
        // Without room for what comes out.
        let block = Block { input: (0..=255).collect(), ..Block::default() };
        pipeline.push(block, 0).expect("taken");
        assert!(matches!(pipeline.pop(), Err(ImageError::Compressor { .. })));
    }
}
