//! Types of nodes and their metadata.

use leanfs::tree::{Content, NodeKind, TreePath};

use super::{Maker, noise, path};

pub(super) fn devices(maker: &mut Maker) {
    let numbers = [
        (1, 3),
        (5, 1),
        (0, 1),
        (1, 0),
        (255, 255),
        (255, 256),
        (256, 0),
        (256, 255),
        (259, 65_536),
        (511, 4095),
        (4095, 0),
        (4095, 1_048_575),
        (0, 1_048_575),
    ];
    for (major, minor) in numbers {
        maker.add(&format!("devices/c{major}:{minor}"), NodeKind::CharDevice { major, minor });
        maker.add(&format!("devices/b{major}:{minor}"), NodeKind::BlockDevice { major, minor });
    }
    maker.add("devices/b0:0", NodeKind::BlockDevice { major: 0, minor: 0 });
    for name in ["fifo", "other fifo"] {
        maker.add(&format!("devices/{name}"), NodeKind::Fifo);
    }
}

fn target(length: usize) -> Vec<u8> {
    (0..length).map(|place| if place % 50 == 49 { b'/' } else { b'a' + (place % 23) as u8 }).collect()
}

pub(super) fn symlinks(maker: &mut Maker) {
    for length in [1, 2, 3, 20, 58, 59, 60, 61, 63, 64, 100, 127, 128, 254, 255] {
        maker.add(&format!("symlinks/{length}"), NodeKind::Symlink(target(length)));
    }
    let odd: [&[u8]; 10] =
        [b".", b"..", b"/", b"/abs", b"trailing/", b"a -> b", b"new\nline", b"\xff\xfe", b"//x", b"-rf"];
    for (number, target) in odd.into_iter().enumerate() {
        maker.add(&format!("symlinks/odd {number}"), NodeKind::Symlink(target.to_vec()));
    }
}

pub(super) fn long_symlinks(maker: &mut Maker) {
    for length in [256, 257, 511, 1023, 1024, 2048, 4062, 4094, 4095] {
        maker.add(&format!("long-symlinks/{length}"), NodeKind::Symlink(target(length)));
    }
}

pub(super) fn hardlinks(maker: &mut Maker) {
    let link = |maker: &mut Maker, place: &str, target: &str| {
        maker.add(place, NodeKind::Hardlink(path(target)));
    };
    maker.file("hardlinks/m/file", b"it has names before and after it");
    for name in ["hardlinks/a", "hardlinks/a-b/c", "hardlinks/m/a", "hardlinks/m/z", "hardlinks/z/z"] {
        link(maker, name, "hardlinks/m/file");
    }
    maker.file("hardlinks/z/last", b"its other name comes first");
    link(maker, "hardlinks/first", "hardlinks/z/last");
    maker.file("hardlinks/empty", b"");
    link(maker, "hardlinks/empty too", "hardlinks/empty");
    maker.file("hardlinks/large", &noise(3, 300_000));
    link(maker, "hardlinks/large too", "hardlinks/large");
    // The same content is not the same file.
    maker.file("hardlinks/large copy", &noise(3, 300_000));
    let file = NodeKind::File(Content::from_bytes(*b"attributes"));
    maker.add("hardlinks/mode", file).metadata.mode = 0o6711;
    link(maker, "hardlinks/mode too", "hardlinks/mode");
    maker.file("hardlinks/many", b"many");
    for number in 0..if maker.is_full() { 60_000 } else { 300 } {
        link(maker, &format!("hardlinks/all/{number}"), "hardlinks/many");
    }
    // A name outside of the part's own directory.
    link(maker, "a hardlink", "hardlinks/m/file");
}

pub(super) fn modes(maker: &mut Maker) {
    for mode in
        [0, 1, 0o4, 0o7, 0o70, 0o111, 0o444, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o6755, 0o7000, 0o7777]
    {
        maker.one_of_each(&format!("modes/{mode:04o}"), |node| {
            if !matches!(node.kind, NodeKind::Symlink(_)) {
                node.metadata.mode = mode;
            }
        });
    }
}

pub(super) fn owners(maker: &mut Maker) {
    for owner in [65_535, 65_536, 65_537, 16_777_216, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe] {
        maker.one_of_each(&format!("owners/{owner}"), |node| node.metadata.uid = owner);
        maker.one_of_each(&format!("owners/group {owner}"), |node| node.metadata.gid = owner);
        maker.one_of_each(&format!("owners/both {owner}"), |node| {
            node.metadata.uid = owner;
            node.metadata.gid = owner - 1;
        });
    }
}

pub(super) const TIMES: [i64; 8] =
    [0, 1, 999_999_999, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff];
pub(super) const EARLY_TIMES: [i64; 6] = [-1, -2, -86_400, -1_000_000_000, -0x7fff_ffff, -0x8000_0000];
/// The last is what ext4's two further bits can say.
pub(super) const LATE_TIMES: [i64; 6] =
    [0x1_0000_0000, 0x1_0000_0001, 0x1_7fff_ffff, 0x1_8000_0000, 0x2_0000_0000, 0x3_7fff_ffff];

pub(super) fn times(maker: &mut Maker, directory: &str, times: &[i64]) {
    for &time in times {
        // A name doesn't begin with a minus here.
        maker.one_of_each(&format!("{directory}/at {time}"), |node| node.metadata.mtime = time);
        let place: TreePath = path(&format!("{directory}/at {time}"));
        maker.tree.get_mut(&place).expect("it was made").metadata.mtime = time;
    }
}
