//! Which block device is meant: by its name, or by what stands on it.
//!
//! Sources: ext4's superblock (`fs/ext4/ext4.h`), squashfs's (`fs/squashfs/squashfs_fs.h`) and EROFS's
//! (`fs/erofs/erofs_fs.h`) for types, labels and UUIDs; names and UUIDs of partitions are those of the partition table,
//! as the kernel tells them in sysfs.

use alloc::vec::Vec;

use crate::files;
use crate::sys::{self, Descriptor, Errno, Milliseconds};

/// How much of a device is looked at: all superblocks stand in its first 2 KiB.
const HEAD_BYTES: usize = 2048;
/// How long a device may take to appear.
const MOST_WAIT: Milliseconds = Milliseconds(30_000);
/// How long between two looks.
const POLL: Milliseconds = Milliseconds(20);
/// The longest of the kernel's descriptions of a device that is read.
const MOST_UEVENT_BYTES: usize = 64 << 10;
/// The list of all block devices.
const DEVICES: &core::ffi::CStr = c"/sys/class/block";

/// What is looked for, in the words of the kernel's `root=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `/dev/vda`.
    Path(Vec<u8>),
    /// `LABEL=`: of the file system.
    Label(Vec<u8>),
    /// `UUID=`: of the file system.
    Uuid(Vec<u8>),
    /// `PARTLABEL=`: of the partition.
    PartitionLabel(Vec<u8>),
    /// `PARTUUID=`: of the partition.
    PartitionUuid(Vec<u8>),
}

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// As mount(2) takes it.
    pub kind: &'static [u8],
    /// Empty where there is none.
    pub label: Vec<u8>,
    /// As text, in small letters; empty where there is none.
    pub uuid: Vec<u8>,
}

impl Wanted {
    /// Takes a word.
    pub fn parse(word: &[u8]) -> Option<Self> {
        let rest = |prefix: &[u8]| word.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if let Some(label) = rest(b"LABEL=") {
            return Some(Self::Label(label.to_vec()));
        }
        if let Some(uuid) = rest(b"UUID=") {
            return Some(Self::Uuid(uuid.to_ascii_lowercase()));
        }
        if let Some(label) = rest(b"PARTLABEL=") {
            return Some(Self::PartitionLabel(label.to_vec()));
        }
        if let Some(uuid) = rest(b"PARTUUID=") {
            return Some(Self::PartitionUuid(uuid.to_ascii_lowercase()));
        }
        word.starts_with(b"/dev/").then(|| Self::Path(word.to_vec()))
    }

    /// The path of the device, once it is there and, unless it is named by its path, holds what is looked for. None
    /// when it has not appeared in time.
    pub fn wait(&self) -> Option<Vec<u8>> {
        let mut left = MOST_WAIT.0;
        loop {
            if let Some(path) = self.find() {
                return Some(path);
            }
            if left == 0 {
                return None;
            }
            left = left.saturating_sub(POLL.0);
            sys::sleep(POLL);
        }
    }

    fn find(&self) -> Option<Vec<u8>> {
        if let Self::Path(path) = self {
            // It can be opened once its driver has it.
            let device = open(path).ok()?;
            sys::close(device);
            return Some(path.clone());
        }
        // Of several, always the same.
        let names = files::names_in(DEVICES).ok()?;
        let name = names.into_iter().filter(|name| self.is(name)).min()?;
        Some([b"/dev/", name.as_slice()].concat())
    }

    fn is(&self, name: &[u8]) -> bool {
        let uevent = |key: &[u8], value: &[u8]| {
            let path = [DEVICES.to_bytes(), b"/", name, b"/uevent"].concat();
            let text = files::name(&path).and_then(|path| files::read(&path, MOST_UEVENT_BYTES));
            text.is_ok_and(|text| says(&text, key, value))
        };
        let holds = |is: &dyn Fn(&FileSystem) -> bool| {
            file_system(&[b"/dev/", name].concat()).is_ok_and(|found| found.is_some_and(|found| is(&found)))
        };
        match self {
            Self::Path(_) => false,
            Self::Label(label) => holds(&|found| found.label == *label),
            Self::Uuid(uuid) => holds(&|found| found.uuid == *uuid),
            Self::PartitionLabel(label) => uevent(b"PARTNAME", label),
            Self::PartitionUuid(uuid) => uevent(b"PARTUUID", uuid),
        }
    }
}

/// Whether one of the lines is `KEY=VALUE`.
fn says(text: &[u8], key: &[u8], value: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n')
        .any(|line| line.strip_prefix(key).and_then(|rest| rest.strip_prefix(b"=")) == Some(value))
}

fn open(path: &[u8]) -> Result<Descriptor, Errno> {
    sys::open(&files::name(path)?, sys::O_RDONLY, 0)
}

/// What the device at `path` holds, if that is known here.
pub fn file_system(path: &[u8]) -> Result<Option<FileSystem>, Errno> {
    let device = open(path)?;
    let mut head = [0; HEAD_BYTES];
    let mut length = 0;
    let result = loop {
        match sys::read(device, &mut head[length..]) {
            Ok(0) => break Ok(identify(&head[..length])),
            Ok(count) => length += count,
            Err(error) => break Err(error),
        }
    };
    sys::close(device);
    result
}

/// Takes the first bytes of a device.
fn identify(head: &[u8]) -> Option<FileSystem> {
    const SUPERBLOCK: usize = 1024;
    let at = |offset: usize, length: usize| head.get(offset..offset + length).unwrap_or_default();
    let named = |kind, uuid: usize, label: usize| FileSystem {
        kind,
        label: at(label, 16).split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
        uuid: uuid_text(at(uuid, 16)),
    };
    if at(SUPERBLOCK + 56, 2) == [0x53, 0xef] {
        return Some(named(b"ext4", SUPERBLOCK + 104, SUPERBLOCK + 120));
    }
    if at(SUPERBLOCK, 4) == [0xe2, 0xe1, 0xf5, 0xe0] {
        return Some(named(b"erofs", SUPERBLOCK + 48, SUPERBLOCK + 64));
    }
    (at(0, 4) == b"hsqs").then(|| FileSystem { kind: b"squashfs", label: Vec::new(), uuid: Vec::new() })
}

fn uuid_text(bytes: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_kernel() {
        let wanted = |word: &str| Wanted::parse(word.as_bytes());
        assert_eq!(wanted("/dev/vda"), Some(Wanted::Path(b"/dev/vda".to_vec())));
        assert_eq!(wanted("LABEL=a"), Some(Wanted::Label(b"a".to_vec())));
        assert_eq!(wanted("UUID=AB"), Some(Wanted::Uuid(b"ab".to_vec())));
        assert_eq!(wanted("PARTLABEL=A b"), Some(Wanted::PartitionLabel(b"A b".to_vec())));
        assert_eq!(wanted("PARTUUID=AB"), Some(Wanted::PartitionUuid(b"ab".to_vec())));
        for wrong in ["", "vda", "LABEL=", "8:1", "ID=x"] {
            assert_eq!(wanted(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn superblocks_are_known() {
        let mut head = [0; HEAD_BYTES];
        assert_eq!(identify(&head), None);
        head[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        head[1024 + 104..1024 + 120]
            .copy_from_slice(&core::array::from_fn::<u8, 16, _>(|place| place as u8 + 0xa0));
        head[1024 + 120..1024 + 124].copy_from_slice(b"data");
        let found = identify(&head).expect("ext4");
        assert_eq!((found.kind, found.label.as_slice()), (&b"ext4"[..], &b"data"[..]));
        assert_eq!(found.uuid, b"a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf");
        let mut head = [0; HEAD_BYTES];
        head[1024..1028].copy_from_slice(&[0xe2, 0xe1, 0xf5, 0xe0]);
        head[1024 + 64..1024 + 80].copy_from_slice(b"sixteen bytes it");
        assert_eq!(identify(&head).expect("erofs").label, b"sixteen bytes it");
        assert_eq!(identify(b"hsqs....").expect("squashfs").kind, b"squashfs");
        assert_eq!(identify(b"hsq"), None);
    }

    #[test]
    fn partitions_are_told_by_the_kernel() {
        let text = b"MAJOR=254\nDEVNAME=vda2\nPARTN=2\nPARTNAME=root x\nPARTUUID=0a-b\n";
        assert!(says(text, b"PARTNAME", b"root x") && says(text, b"PARTUUID", b"0a-b"));
        assert!(!says(text, b"PARTNAME", b"root") && !says(text, b"NAME", b"root x"));
    }
}
