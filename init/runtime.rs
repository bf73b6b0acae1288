//! What a program without a standard library must bring itself: memory and what happens at a panic.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::panic::PanicInfo;
use core::ptr::null_mut;

use crate::conf::OnExit;
use crate::line::say;
use crate::sys;

/// Hands memory out from one end to the other and never takes it back: PID 1 allocates while it starts, a few
/// times the size of its configuration (and, to trace, of the names of the image's files), and then no more.
struct Arena {
    next: Cell<usize>,
    end: Cell<usize>,
}

/// How much is mapped at a time, unless one allocation needs more.
const CHUNK_BYTES: usize = 256 * 1024;

// SAFETY: PID 1 has one thread and no signal handlers, so nothing else uses the arena at the same time.
unsafe impl Sync for Arena {}

#[global_allocator]
static ARENA: Arena = Arena { next: Cell::new(0), end: Cell::new(0) };

// SAFETY: `alloc` gives ranges of fresh anonymous mappings that never overlap, with the alignment that is asked
// for; null when there is no memory.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = self.next.get().next_multiple_of(layout.align());
        if let Some(end) = start.checked_add(layout.size())
            && end <= self.end.get()
        {
            self.next.set(end);
            return start as *mut u8;
        }
        let Some(wanted) = layout.size().checked_add(layout.align()) else { return null_mut() };
        let length = wanted.max(CHUNK_BYTES);
        let Ok(chunk) = sys::map_memory(length) else { return null_mut() };
        let start = chunk.next_multiple_of(layout.align());
        self.next.set(start + layout.size());
        self.end.set(chunk + length);
        start as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// A panic is a defect of this program. The machine is switched off rather than left with nothing running.
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    if let Some(location) = info.location() {
        say("a bug in PID 1, at ")
            .text(location.file())
            .text(":")
            .number(u64::from(location.line()))
            .text("; please report it");
    }
    if sys::getpid() == 1 { sys::power(OnExit::PowerOff) } else { sys::exit(127) }
}

/// The functions that compilers assume to be there (their meaning: string(3)). The accesses are volatile, so
/// that the compiler can't recognise a loop as the very function that it is in; PID 1 moves a few kilobytes.
mod memory {
    use core::ffi::c_int;

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
        for index in 0..count {
            // SAFETY: the caller vouches for `count` bytes at both.
            unsafe { target.add(index).write_volatile(source.add(index).read_volatile()) };
        }
        target
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(target: *mut u8, source: *const u8, count: usize) -> *mut u8 {
        if (target as usize).wrapping_sub(source as usize) >= count {
            // SAFETY: as the caller vouches; going up, no byte is overwritten before it is read.
            return unsafe { memcpy(target, source, count) };
        }
        for index in (0..count).rev() {
            // SAFETY: the caller vouches for `count` bytes at both.
            unsafe { target.add(index).write_volatile(source.add(index).read_volatile()) };
        }
        target
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memset(target: *mut u8, byte: c_int, count: usize) -> *mut u8 {
        for index in 0..count {
            // SAFETY: the caller vouches for `count` bytes.
            unsafe { target.add(index).write_volatile(byte as u8) };
        }
        target
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
        for index in 0..count {
            // SAFETY: the caller vouches for `count` bytes at both.
            let (left, right) =
                unsafe { (left.add(index).read_volatile(), right.add(index).read_volatile()) };
            if left != right {
                return c_int::from(left) - c_int::from(right);
            }
        }
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> c_int {
        // SAFETY: as the caller vouches.
        unsafe { memcmp(left, right, count) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn strlen(text: *const u8) -> usize {
        let mut count = 0;
        // SAFETY: the caller vouches for a NUL byte at the end.
        while unsafe { text.add(count).read_volatile() } != 0 {
            count += 1;
        }
        count
    }
}
