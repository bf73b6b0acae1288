//! File systems on devices: the root that a boot initramfs leads to, and the data.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ptr::null;

use crate::cmdline::CommandLine;
use crate::conf::Conf;
use crate::device::{self, Wanted};
use crate::files;
use crate::filesystems;
use crate::line::say;
use crate::names::{EEXIST, EROFS};
use crate::sys::{self, Errno, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REMOUNT};

/// Where the root is mounted before it becomes the root.
const NEW_ROOT: &core::ffi::CStr = c"/root";
/// The program that goes on in it.
const INIT: &core::ffi::CStr = c"/init";

/// Mounts the root that the command line names (or, without a word there, the configuration), makes it the root and
/// becomes its `/init`. Comes back only when that can't be; the reason is on the console then.
pub fn switch(conf: &Conf, command_line: &CommandLine) {
    let Some(wanted) = command_line.root.as_ref().or(conf.root.as_ref().and_then(Option::as_ref)) else {
        drop(say("there is no root to mount: name it on the kernel's command line with root="));
        return;
    };
    let Some(device) = find(wanted, "the root") else { return };
    let kind = match (&command_line.root_type, device::file_system(&device)) {
        (Some(kind), _) => kind.clone(),
        (None, Ok(Some(found))) => found.kind.to_vec(),
        (None, Ok(None)) => {
            let line = say("").bytes(&device).text(" holds no ext4, squashfs or erofs");
            drop(line.text("; for another file system, name it with rootfstype="));
            return;
        }
        (None, Err(error)) => return drop(say("").bytes(&device).text(" can't be read").error(error)),
    };
    let flags = if command_line.is_root_writable { 0 } else { MS_RDONLY };
    let options = command_line.root_flags.as_deref().unwrap_or_default();
    // The program and its modules would keep their memory for good.
    let leftovers: Vec<&[u8]> =
        conf.modules.iter().map(Vec::as_slice).chain([INIT.to_bytes(), crate::CONF.to_bytes()]).collect();
    let result = mount(&device, NEW_ROOT.to_bytes(), &kind, flags, options).and_then(|()| {
        sys::change_directory(NEW_ROOT)?;
        for path in leftovers {
            if let Ok(path) = files::name(path) {
                let _ = sys::unlink(&path);
            }
        }
        filesystems::unmount_all();
        sys::mount(c".", c"/", c"", MS_MOVE, c"")?;
        sys::change_root(c".")?;
        sys::change_directory(c"/")
    });
    if let Err(error) = result {
        let line = say("the root ").bytes(&device).text(" (").bytes(&kind).text(") can't be mounted");
        return drop(line.error(error));
    }
    let arguments = [INIT.as_ptr(), null()];
    // SAFETY: the strings are constants, and both lists end with a null pointer.
    let error = unsafe { sys::execute(INIT, &arguments, &[null()]) };
    drop(say("/init of the root can't be started").error(error));
}

/// Mounts the data for writing; whether it is there now.
pub fn mount_data(wanted: &Wanted, place: &[u8]) -> bool {
    let Some(device) = find(wanted, "the data") else { return false };
    let kind = match device::file_system(&device) {
        Ok(Some(found)) => found.kind,
        // mount(2) says what is wrong with it.
        _ => b"ext4",
    };
    match mount(&device, place, kind, MS_NOSUID | MS_NODEV | MS_NOATIME, b"") {
        Ok(()) => true,
        Err(error) => {
            let line = say("the data on ").bytes(&device).text(" can't be mounted at ").bytes(place);
            drop(line.error(error));
            false
        }
    }
}

/// Ends the writing to the data and the root, so that neither has to be mended at the next start.
pub fn finish(data: Option<&[u8]>) {
    if let Some(Ok(place)) = data.map(files::name)
        && sys::unmount(&place, 0).is_err()
    {
        // Something still has it open.
        let _ = sys::mount(c"", &place, c"", MS_REMOUNT | MS_RDONLY, c"");
    }
    // Of an initramfs that does nothing.
    let _ = sys::mount(c"", c"/", c"", MS_REMOUNT | MS_RDONLY, c"");
}

fn find(wanted: &Wanted, what: &str) -> Option<Vec<u8>> {
    let device = wanted.wait();
    if device.is_none() {
        let (key, value): (&str, &[u8]) = match wanted {
            Wanted::Path(path) => ("", path),
            Wanted::Label(label) => ("LABEL=", label),
            Wanted::Uuid(uuid) => ("UUID=", uuid),
            Wanted::PartitionLabel(label) => ("PARTLABEL=", label),
            Wanted::PartitionUuid(uuid) => ("PARTUUID=", uuid),
        };
        let line =
            say("").text(what).text(" (").text(key).bytes(value).text(") has not appeared within 30 s");
        drop(line.text(": is its disk given to the machine, and is the driver built into the kernel or among the modules in init.conf?"));
    }
    device
}

fn mount(device: &[u8], place: &[u8], kind: &[u8], flags: usize, options: &[u8]) -> Result<(), Errno> {
    let place = files::name(place)?;
    match sys::make_directory(&place, 0o755) {
        // On a root that is only read, mount(2) says whether it is there.
        Ok(()) | Err(Errno(EEXIST | EROFS)) => {}
        Err(error) => return Err(error),
    }
    let words: [CString; 3] = [files::name(device)?, files::name(kind)?, files::name(options)?];
    let [device, kind, options] = &words;
    sys::mount(device, &place, kind, flags, options)
}
