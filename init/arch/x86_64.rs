//! x86_64: the entry point, the system call instruction (syscall(2)) and the numbers.

#[cfg(not(test))]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
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
    // SAFETY: the instruction changes rax, rcx and r11 only, and memory as the caller vouches for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

pub const READ: usize = 0;
pub const WRITE: usize = 1;
pub const CLOSE: usize = 3;
pub const MMAP: usize = 9;
pub const RT_SIGPROCMASK: usize = 14;
pub const IOCTL: usize = 16;
pub const NANOSLEEP: usize = 35;
pub const GETPID: usize = 39;
pub const SOCKET: usize = 41;
pub const CLONE: usize = 56;
pub const EXECVE: usize = 59;
pub const WAIT4: usize = 61;
pub const KILL: usize = 62;
pub const CHDIR: usize = 80;
pub const FCHMOD: usize = 91;
pub const SETSID: usize = 112;
pub const RT_SIGTIMEDWAIT: usize = 128;
pub const CHROOT: usize = 161;
pub const SYNC: usize = 162;
pub const MOUNT: usize = 165;
pub const UMOUNT2: usize = 166;
pub const REBOOT: usize = 169;
pub const SETHOSTNAME: usize = 170;
pub const INIT_MODULE: usize = 175;
pub const GETDENTS64: usize = 217;
pub const EXIT_GROUP: usize = 231;
pub const INOTIFY_ADD_WATCH: usize = 254;
pub const OPENAT: usize = 257;
pub const MKDIRAT: usize = 258;
pub const MKNODAT: usize = 259;
pub const UNLINKAT: usize = 263;
pub const SYMLINKAT: usize = 266;
pub const FACCESSAT: usize = 269;
pub const DUP3: usize = 292;
pub const INOTIFY_INIT1: usize = 294;
pub const PRLIMIT64: usize = 302;
pub const FINIT_MODULE: usize = 313;
pub const STATX: usize = 332;
