//! riscv64: the entry point and the system call instruction (syscall(2)).

#[path = "generic.rs"]
mod generic;

pub use generic::*;

#[cfg(not(test))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    ".option push",
    ".option norelax",
    "la gp, __global_pointer$",
    ".option pop",
    "mv a0, sp",
    "andi sp, sp, -16",
    "tail {main}",
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
    // SAFETY: the instruction changes a0 only, and memory as the caller vouches for.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a as isize => result,
            in("a1") b, in("a2") c, in("a3") d, in("a4") e, in("a5") f,
            options(nostack),
        );
    }
    result
}
