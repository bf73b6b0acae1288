//! Writes to the image, put together to large ones, and done by a thread of their own while the next contents are
//! read.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::BLOCK;
use super::content::PIECE;
use crate::image::ImageError;
use crate::image::target::Target;

/// What is held at most, and how many buffers of this size there are.
const BUFFER: usize = 512 << 10;
const BUFFERS: usize = 4;

/// Collects blocks that stand one after the other.
pub(super) struct Output<'scope> {
    target: Target<'scope>,
    /// Blocks that are not written yet, and room behind them.
    buffer: Vec<u8>,
    held: usize,
    /// Where the room ends that was asked for last.
    room: usize,
    /// The first block that is held.
    first: u64,
    writer: Option<Writer<'scope>>,
}

/// The thread, what it gets to write, and the buffers that come back from it.
struct Writer<'scope> {
    thread: ScopedJoinHandle<'scope, io::Result<()>>,
    full: SyncSender<Full>,
    empty: Receiver<Vec<u8>>,
}

/// A buffer's first bytes that belong to a position of the image.
struct Full {
    position: u64,
    buffer: Vec<u8>,
    length: usize,
}

impl<'scope> Output<'scope> {
    /// An output to `target`, with a thread that ends with [`Output::finish`] or when the output is dropped.
    pub(super) fn new(target: Target<'scope>, scope: &'scope Scope<'scope, '_>) -> Self {
        let (full, work) = sync_channel::<Full>(BUFFERS);
        let (done, empty) = channel();
        for _ in 1..BUFFERS {
            // The receiver is there.
            let _ = done.send(Vec::new());
        }
        let thread = scope.spawn(move || {
            for Full { position, buffer, length } in work {
                target.write_at(position, &buffer[..length])?;
                // Nobody wants it any more where this fails.
                let _ = done.send(buffer);
            }
            Ok(())
        });
        let writer = Some(Writer { thread, full, empty });
        Self { target, buffer: vec![0; BUFFER], held: 0, room: 0, first: 0, writer }
    }

    /// Room for `count` bytes, at most [`PIECE`], to be filled and kept: its place in the buffer.
    pub(super) fn room(&mut self, count: usize) -> Result<Range<usize>, ImageError> {
        self.room = self.held;
        if self.buffer.len() - self.held < count {
            self.write_held()?;
        }
        self.room = self.held + count;
        Ok(self.held..self.room)
    }

    /// The room's bytes.
    pub(super) fn bytes(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.buffer[range]
    }

    /// Puts whole blocks of the room to `block`. Parts are kept from the room's beginning to its end; what is not
    /// kept is lost with the next room.
    pub(super) fn keep(&mut self, range: Range<usize>, block: u64) -> Result<(), ImageError> {
        if self.held > 0 && block != self.first + self.held as u64 / BLOCK {
            self.write_held()?;
        }
        if self.held == 0 {
            self.first = block;
        }
        let count = range.len();
        if range.start != self.held {
            self.buffer.copy_within(range, self.held);
        }
        self.held += count;
        Ok(())
    }

    /// Writes bytes that begin with a block; zeros fill the last one.
    pub(super) fn put(&mut self, block: u64, bytes: &[u8]) -> Result<(), ImageError> {
        for (number, piece) in (0..).zip(bytes.chunks(PIECE)) {
            let room = self.room(piece.len().next_multiple_of(BLOCK as usize))?;
            let place = &mut self.buffer[room.clone()];
            place[..piece.len()].copy_from_slice(piece);
            place[piece.len()..].fill(0);
            self.keep(room, block + number * (PIECE as u64 / BLOCK))?;
        }
        Ok(())
    }

    /// Writes a block at once: what is in the room stays.
    pub(super) fn put_now(&self, block: u64, bytes: &[u8]) -> Result<(), ImageError> {
        self.target.write_at(block * BLOCK, bytes).map_err(ImageError::Write)
    }

    /// Waits until everything is written.
    pub(super) fn finish(mut self) -> Result<(), ImageError> {
        self.room = self.held;
        self.write_held()?;
        self.join()
    }

    /// Gives what is held to the thread, and goes on with another buffer, into which the rest of the room moves.
    fn write_held(&mut self) -> Result<(), ImageError> {
        let length = std::mem::take(&mut self.held);
        if length == 0 {
            return Ok(());
        }
        let Some(writer) = &self.writer else { return Ok(()) };
        let Ok(mut buffer) = writer.empty.recv() else { return self.join() };
        buffer.resize(BUFFER, 0);
        buffer[length..self.room.max(length)].copy_from_slice(&self.buffer[length..self.room.max(length)]);
        let full = Full {
            position: self.first * BLOCK,
            buffer: std::mem::replace(&mut self.buffer, buffer),
            length,
        };
        match writer.full.send(full) {
            Ok(()) => Ok(()),
            Err(_) => self.join(),
        }
    }

    /// What the thread has come to.
    fn join(&mut self) -> Result<(), ImageError> {
        let Some(Writer { thread, full, empty }) = self.writer.take() else { return Ok(()) };
        drop((full, empty));
        let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.map_err(ImageError::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_is_kept_stands_where_it_belongs() {
        let file = tempfile::tempfile().expect("a file");
        let block = BLOCK as usize;
        std::thread::scope(|scope| {
            let mut output = Output::new(Target::new(&file), scope);
            output.put(3, &[1; 10]).expect("written");
            let room = output.room(6 * block).expect("room");
            for (number, bytes) in output.bytes(room.clone()).chunks_mut(block).enumerate() {
                bytes.fill(b'a' + u8::try_from(number).expect("small"));
            }
            let part = |from: usize, to: usize| room.start + from * block..room.start + to * block;
            // Behind what was there; a block left out; elsewhere, in between a write at once.
            output.keep(part(0, 1), 4).expect("kept");
            output.keep(part(2, 4), 5).expect("kept");
            output.put_now(8, &[b'!'; 4096]).expect("written");
            output.keep(part(4, 6), 9).expect("kept");
            output.put(20, &vec![b'z'; 5 << 20]).expect("written");
            output.finish().expect("written");
        });
        let mut bytes = vec![0; 20 * block];
        file.read_exact_at(&mut bytes, 0).expect("read");
        let starts: Vec<u8> = bytes.chunks(block).map(|block| block[9]).collect();
        assert_eq!(starts, *b"\0\0\0\x01acd\0!ef\0\0\0\0\0\0\0\0\0");
        assert_eq!(bytes[3 * block + 10], 0);
        assert_eq!(file.metadata().expect("there").len(), 20 * BLOCK + (5 << 20));
    }

    #[test]
    fn what_can_not_be_written_is_told() {
        let file = fs_err::File::open("/dev/null").expect("a file to read").into_parts().0;
        std::thread::scope(|scope| {
            let mut output = Output::new(Target::new(&file), scope);
            let result = (0..100).try_for_each(|number| output.put(number * 1000, &[1; 1 << 20]));
            let result = result.and_then(|()| output.finish());
            assert!(matches!(result, Err(ImageError::Write(_))), "{result:?}");
        });
    }
}
