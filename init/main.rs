//! PID 1 of leanfs images: a static program without a standard or C library.
//!
//! It does what `/etc/leanfs/init.conf` and the kernel's command line say (the format is documented once, in
//! `src/layer/init_conf.rs`), in this order: mounts proc, sysfs, devtmpfs, devpts and two tmpfs; makes sure that
//! `/dev/null` and its kind exist; opens the console; sets the host's name; brings the loopback up; loads
//! modules; mounts the data; sets the address of the first network device if there is one on the command line; begins to trace what
//! is opened if the command line asks for it; copies files; starts the helpers and then the program; and from then
//! on only reaps children, passes signals on and says what was opened. When the program has ended, it stops what is
//! left and switches the machine off, or restarts or halts it.
//!
//! In an initramfs that is only the way to a root file system (`root` in its configuration) it loads modules, mounts that
//! root, and becomes the `/init` there, which is this program again. With the argument `container` it is the first
//! program of a container (`container`).
//!
//! Signals: SIGTERM and SIGINT (Ctrl-Alt-Del) end the program with a SIGTERM, which is what makes a BEAM call
//! `init:stop()`; SIGPWR and SIGUSR2 (what busybox's `poweroff` sends) do the same and then switch the machine
//! off; SIGUSR1, SIGHUP and SIGQUIT are passed on as they are. A program that hasn't ended a minute later is
//! killed.
//!
//! What goes wrong is a line on the console that begins with `leanfs-init: `; nothing of it ends PID 1, because
//! the kernel panics when PID 1 ends.
//!
//! `build.rs` of the crate builds it with the compiler alone. As a test target of `xtask` it is an ordinary
//! program with a standard library: its unit tests run there, and clippy sees it there.
//!
//! Invariant: `conf`, `cmdline`, `address` and `names` are pure; what is unsafe is in `arch`, `sys` and `runtime`,
//! and at the calls that `sys` can't make safe, in `network`, `processes` and `root`.

#![cfg_attr(not(test), no_std, no_main)]
#![cfg_attr(test, allow(dead_code, reason = "tests don't start PID 1"))]
#![deny(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

extern crate alloc;

mod address;
#[cfg_attr(target_arch = "x86_64", path = "arch/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "arch/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "arch/riscv64.rs")]
mod arch;
mod cmdline;
mod conf;
mod container;
mod device;
mod files;
mod filesystems;
mod line;
mod modules;
mod names;
mod network;
mod processes;
mod root;
#[cfg(not(test))]
mod runtime;
mod smbios;
mod sys;
mod trace;

use alloc::ffi::CString;
use alloc::vec::Vec;

use cmdline::CommandLine;
use conf::{Conf, OnExit};
use line::say;
use processes::Program;
use sys::Ended;
use trace::Trace;

/// Where the configuration is.
const CONF: &core::ffi::CStr = c"/etc/leanfs/init.conf";
/// The longest configuration and command line that is read.
const MOST_CONF_BYTES: usize = 1 << 20;
/// What the program's environment holds when neither the configuration nor the command line sets it.
const DEFAULT_ENV: [&[u8]; 3] =
    [b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", b"HOME=/root", b"TERM=linux"];

/// Does everything; `_start` comes here with an aligned stack, and with the address of what the kernel gave the
/// program: the number of its arguments, their addresses, 0, and the addresses of its environment, 0 (execve(2)).
///
/// # Safety
/// It must be that.
unsafe extern "C" fn pid1(stack: *const usize) -> ! {
    // SAFETY: the caller vouches for it.
    let (arguments, env) = unsafe { sys::arguments(stack) };
    if arguments.get(1).is_some_and(|word| *word == container::WORD) {
        container::run(&read_conf(), &env);
    }
    if sys::getpid() != 1 {
        say("this is PID 1 of a leanfs image, and it does nothing as another process");
        sys::exit(2);
    }
    processes::block_signals();
    filesystems::mount_devices();
    filesystems::open_console();
    filesystems::mount_the_rest();
    sys::ctrl_alt_del_is_a_signal();

    let mut command_line = files::read(c"/proc/cmdline", MOST_CONF_BYTES).unwrap_or_else(|error| {
        say("the kernel's command line can't be read").error(error);
        Vec::new()
    });
    // Only machines that have it show it.
    if let Ok(table) = files::read(smbios::TABLE, MOST_CONF_BYTES) {
        while command_line.last().is_some_and(u8::is_ascii_whitespace) {
            command_line.pop();
        }
        command_line.extend(smbios::command_line(&table));
    }
    let command_line = cmdline::parse(&command_line);
    for warning in &command_line.warnings {
        say("the kernel's command line: ").text(warning.what).text(": ").bytes(&warning.word);
    }
    let mut conf = read_conf();
    let on_exit = command_line.on_exit.or(conf.on_exit).unwrap_or(OnExit::PowerOff);
    if conf.root.is_some() {
        for module in &conf.modules {
            modules::load(module);
        }
        root::switch(&conf, &command_line);
        sys::power(on_exit);
    }

    let hostname = command_line.hostname.as_ref().or(conf.hostname.as_ref());
    network::set_hostname(hostname.map_or(b"leanfs.local", Vec::as_slice));
    network::loopback_up();
    for module in &conf.modules {
        modules::load(module);
    }
    let data = match mount_data(&conf, &command_line) {
        Ok(data) => data,
        // What it would write would be lost, and nobody would know.
        Err(()) => sys::power(on_exit),
    };
    if let Some(settings) = &command_line.network {
        network::configure(settings);
    }
    let mut trace = if command_line.trace { Trace::start() } else { None };
    if trace.is_some() {
        trace::load_on_demand(&mut conf.arguments);
    }
    let trace_env: &[Vec<u8>] = if trace.is_some() { &[trace::ENV.to_vec()] } else { &[] };
    let env = environment([&conf.env, &command_line.env, trace_env]);
    let (end, _) = start(&conf, &env, trace.as_mut());
    processes::stop_all();
    root::finish(data.as_deref());
    sys::power(end.unwrap_or(on_exit));
}

/// Takes the configuration; what is wrong with it is said.
fn read_conf() -> Conf {
    let conf = match files::read(CONF, MOST_CONF_BYTES) {
        Ok(text) => conf::parse(&text),
        Err(error) => {
            say(
                "/etc/leanfs/init.conf can't be read, so there is nothing to start; assemble the image again",
            )
            .error(error);
            Conf::default()
        }
    };
    for warning in &conf.warnings {
        say("line ")
            .number(warning.line as u64)
            .text(" of /etc/leanfs/init.conf is ignored: ")
            .text(warning.what);
    }
    conf
}

/// Mounts the data, if there is to be some; gives where it is then.
fn mount_data(conf: &Conf, command_line: &CommandLine) -> Result<Option<Vec<u8>>, ()> {
    match (&conf.data, &command_line.data) {
        (Some((wanted, place)), instead) => {
            let wanted = instead.as_ref().unwrap_or(wanted);
            if root::mount_data(wanted, place) { Ok(Some(place.clone())) } else { Err(()) }
        }
        (None, Some(_)) => {
            say("the kernel's command line: leanfs.data is ignored, as the image has no place for data");
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// Copies what is to be copied, starts the helpers and the program, and comes back when that has ended.
fn start(conf: &Conf, env: &[CString], trace: Option<&mut Trace>) -> (Option<OnExit>, Ended) {
    for (source, target) in &conf.copies {
        if let Err((what, error)) = files::copy(source, target) {
            say("")
                .bytes(source)
                .text(" can't be copied to ")
                .bytes(target)
                .text(": ")
                .text(what)
                .error(error);
        }
    }
    for helper in &conf.helpers {
        processes::start_helper(&Program::new(&helper.program, &helper.arguments, b"/", env));
    }
    let Some(program) = &conf.program else {
        say("/etc/leanfs/init.conf has no `exec` line: there is no program to start");
        return (None, Ended::Exit(processes::NOT_STARTED));
    };
    let directory = conf.directory.as_deref().unwrap_or(b"/");
    processes::run(&Program::new(program, &conf.arguments, directory, env), trace)
}

/// The environment as `NAME=VALUE` strings, each name once: a later source wins over an earlier one, and all over the
/// defaults; within one of them the last says it.
fn environment(sources: [&[Vec<u8>]; 3]) -> Vec<CString> {
    let given = sources.into_iter().flatten().map(Vec::as_slice);
    let all: Vec<&[u8]> = DEFAULT_ENV.into_iter().chain(given).collect();
    let name = |entry: &[u8]| entry.iter().position(|&byte| byte == b'=').unwrap_or(entry.len());
    let is_last = |index: usize, entry: &[u8]| {
        all[index + 1..].iter().all(|later| later[..name(later)] != entry[..name(entry)])
    };
    all.iter()
        .enumerate()
        .filter(|(index, entry)| is_last(*index, entry))
        .filter_map(|(_, entry)| CString::new(*entry).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_and_names_come_once() {
        let env = environment([
            &[b"A=1".to_vec(), b"PATH=/app/bin".to_vec(), b"A=2".to_vec(), b"AB=x=y".to_vec()],
            &[b"A=3".to_vec(), b"B=4".to_vec()],
            &[b"B=5".to_vec()],
        ]);
        let env: Vec<&[u8]> = env.iter().map(|entry| entry.as_bytes()).collect();
        assert_eq!(env, [&b"HOME=/root"[..], b"TERM=linux", b"PATH=/app/bin", b"AB=x=y", b"A=3", b"B=5"]);
    }
}
