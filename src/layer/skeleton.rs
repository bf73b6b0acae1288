//! Files, directories and devices that every image gets: `rootfs-skeleton/` as it stands there, the places that
//! PID 1 mounts on, and the devices that must be there before anything is mounted.

use crate::tree::{Content, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// The files of `rootfs-skeleton/` but `init.sh`, which is PID 1 (see [`super::init_conf`]).
const FILES: [(&str, &[u8]); 4] = [
    ("etc/group", include_bytes!("../../rootfs-skeleton/etc/group")),
    ("etc/hosts", include_bytes!("../../rootfs-skeleton/etc/hosts")),
    ("etc/nsswitch.conf", include_bytes!("../../rootfs-skeleton/etc/nsswitch.conf")),
    ("etc/passwd", include_bytes!("../../rootfs-skeleton/etc/passwd")),
];

/// Directories and their modes.
const DIRECTORIES: [(&str, u32); 12] = [
    ("", 0o755),
    ("dev", 0o755),
    ("dev/pts", 0o755),
    ("dev/shm", 0o1777),
    ("etc", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// Character devices: path, mode, major and minor numbers (`Documentation/admin-guide/devices.txt` of Linux).
/// The kernel opens the console before PID 1 can mount a `devtmpfs`, and without `/dev/null` the BEAM spins for
/// ever.
const DEVICES: [(&str, u32, u32, u32); 2] = [("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3)];

/// Symbolic links. The name servers are written when the network is known, and the root may be read-only then.
const LINKS: [(&str, &str); 1] = [("etc/resolv.conf", "/run/resolv.conf")];

/// Lays the skeleton. What packages brought stays: an image with `alpine-baselayout` has its files.
pub fn lay(tree: &mut Tree, mtime: i64) {
    let origin = Origin::skeleton();
    let directories = DIRECTORIES.iter().map(|&(path, mode)| {
        (path, Node::directory(Metadata { mode, mtime, ..Metadata::DIRECTORY }, origin.clone()))
    });
    let files = FILES.iter().map(|&(path, bytes)| {
        (
            path,
            Node::file(
                Content::from_bytes(bytes.to_vec()),
                Metadata { mtime, ..Metadata::FILE },
                origin.clone(),
            ),
        )
    });
    let devices = DEVICES.iter().map(|&(path, mode, major, minor)| {
        let metadata = Metadata { mode, mtime, ..Metadata::FILE };
        (path, Node::new(NodeKind::CharDevice { major, minor }, metadata, origin.clone()))
    });
    let links = LINKS.iter().map(|&(path, target)| {
        let mut node = Node::symlink(target, origin.clone());
        node.metadata.mtime = mtime;
        (path, node)
    });
    for (path, node) in directories.chain(files).chain(devices).chain(links) {
        let path = TreePath::parse(path.as_bytes()).expect("paths in the code are good");
        let place = tree.resolve_parent(&path).unwrap_or(path);
        if tree.get(&place).is_none() {
            tree.insert_with_parents(place, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_first() {
        let mut tree = Tree::new();
        let node = Node::file(Content::from_bytes(*b"theirs"), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents("etc/passwd".parse().expect("good"), node);
        lay(&mut tree, 5);
        let dump = tree.validate().expect("valid").dump().expect("readable");
        assert!(dump.contains("0:0 0 6:"), "{dump}");
        for line in [
            "c0666 0:0 5 1:3 /dev/null",
            "c0600 0:0 5 5:1 /dev/console",
            "d1777 0:0 5 - /tmp",
            "d0555 0:0 5 - /proc",
            "l0777 0:0 5 /run/resolv.conf /etc/resolv.conf",
        ] {
            assert!(dump.lines().any(|there| there == line), "{line} in {dump}");
        }
    }
}
