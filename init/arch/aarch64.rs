//! aarch64: the entry point and the system call instruction (syscall(2)).

#[path = "generic.rs"]
mod generic;

pub use generic::*;

#[cfg(not(test))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "mov x9, sp",
    "and sp, x9, #-16",
    "b {main}",
    main = sym crate::pid1
);

/// Enters the kernel; gives back its result, which is `-errno` for a failure.
///
/// # Safety
/// The arguments must be what system call `number` takes: every pointer among them valid for what the kernel
/// does with it.
pub unsafe fn syscall(number: usize, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the instruction changes x0 only, and memory as the caller vouches for.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    result
}
