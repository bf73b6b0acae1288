//! Kernel modules.

use crate::files;
use crate::line::say;
use crate::names::{EEXIST, ENOSYS};
use crate::sys::{self, Errno};

/// The largest module that is taken through memory, where the kernel can't take it from a file.
const MOST_MODULE_BYTES: usize = 128 << 20;

/// Loads an uncompressed module. One that is there already is fine; another failure is a line on the console,
/// because the program may do without.
pub fn load(path: &[u8]) {
    match try_to_load(path) {
        Ok(()) | Err(Errno(EEXIST)) => {}
        Err(error) => {
            say("the module ").bytes(path).text(" can't be loaded").error(error);
        }
    }
}

fn try_to_load(path: &[u8]) -> Result<(), Errno> {
    let file = sys::open(&files::name(path)?, sys::O_RDONLY, 0)?;
    let result = match sys::load_module(file) {
        Err(Errno(ENOSYS)) => {
            files::read_from(file, MOST_MODULE_BYTES).and_then(|bytes| sys::load_module_bytes(&bytes))
        }
        other => other,
    };
    sys::close(file);
    result
}
