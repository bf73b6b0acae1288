//! The first program of a container: `/init container`.
//!
//! The runtime has mounted what is needed, set the network and the host's name, and gives the environment, which wins
//! over that of the configuration. What is left to do is what a BEAM does not do by itself: to put files in their
//! place, to start helpers, to reap what others left behind, to make a SIGTERM of any signal that asks for the end,
//! and to give the program's exit status to the runtime.

use alloc::ffi::CString;
use alloc::vec::Vec;

use crate::conf::Conf;
use crate::processes;
use crate::sys::{self, Ended};

/// The argument that asks for this.
pub const WORD: &[u8] = b"container";

/// Does everything. The exit status is the program's, or 128 and the number of the signal that ended it.
pub fn run(conf: &Conf, given: &[&[u8]]) -> ! {
    processes::block_signals();
    let given: Vec<Vec<u8>> = given.iter().map(|entry| entry.to_vec()).collect();
    let env: Vec<CString> = crate::environment([&conf.env, &given, &[]]);
    let (_, ended) = crate::start(conf, &env, None);
    if sys::getpid() == 1 {
        processes::stop_all();
    }
    sys::exit(match ended {
        Ended::Exit(status) => status,
        Ended::Signal(signal) => 128 | signal,
    });
}
