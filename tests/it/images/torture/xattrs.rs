//! Extended attributes.

use leanfs::tree::{Content, Node, NodeKind};

use super::{Maker, noise};

fn file() -> NodeKind {
    NodeKind::File(Content::from_bytes(*b"content"))
}

/// An attribute of up to 200 bytes for each of the numbers.
fn set(node: &mut Node, prefix: &str, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let value = noise(number as u64, number * 7 % 200);
        node.xattrs.insert(format!("{prefix}{number}").into_bytes(), value);
    }
}

pub(super) fn user(maker: &mut Maker) {
    maker.tree.get_mut(&"/".parse().expect("good")).expect("it is always there").xattrs =
        [(b"user.of the root".to_vec(), b"/".to_vec())].into();
    maker.with_xattrs("user-xattrs/empty value", file(), &[(b"user.empty", b"")]);
    maker.with_xattrs("user-xattrs/bytes", file(), &[(b"user.bytes", b"\0\xff\n\0")]);
    maker.with_xattrs("user-xattrs/directory", NodeKind::Directory, &[(b"user.d", b"directory")]);
    // Names that sort oddly, and one that is the beginning of others.
    let names: [(&[u8], &[u8]); 6] = [
        (b"user.a", b"1"),
        (b"user.a.b", b"2"),
        (b"user.ab", b"3"),
        (b"user.A", b"4"),
        (b"user.overlay.opaque", b"y"),
        (b"user.trusted.x", b"5"),
    ];
    maker.with_xattrs("user-xattrs/names", file(), &names);
    for length in 0..10 {
        let value = vec![b'v'; length];
        maker.with_xattrs(&format!("user-xattrs/value of {length}"), file(), &[(b"user.v", &value)]);
        let name = format!("user.{}", "n".repeat(length + 1));
        maker.with_xattrs(&format!("user-xattrs/name of {length}"), file(), &[(name.as_bytes(), b"v")]);
    }
    // The same set on several nodes, and sets that share a part.
    for number in 0..40 {
        let node = maker.add(&format!("user-xattrs/shared/{number:02}"), file());
        set(node, "user.", number % 4..number % 4 + 4);
    }
}

pub(super) fn names(maker: &mut Maker) {
    let names: [&[u8]; 8] = [
        b"user.a=b",
        b"user.=",
        b"user. ",
        b"user.\n",
        b"user.\xff\xfe",
        b"user.\"'\\",
        b"user..",
        b"user.\xc3\xa9",
    ];
    for (number, name) in names.into_iter().enumerate() {
        maker.with_xattrs(&format!("xattr-names/{number}"), file(), &[(name, name)]);
    }
    maker.with_xattrs("xattr-names/all", file(), &names.map(|name| (name, b"value".as_slice())));
}

pub(super) fn large(maker: &mut Maker) {
    for length in [100, 255, 256, 1000, 2048, 3000] {
        let place = format!("large-xattrs/value of {length}");
        maker.with_xattrs(&place, file(), &[(b"user.large", &noise(1, length))]);
        let place = format!("large-xattrs/directory with {length}");
        maker.with_xattrs(&place, NodeKind::Directory, &[(b"user.large", &noise(2, length))]);
    }
    // The same large value on files that differ otherwise.
    for number in 0..3 {
        let own = [number];
        let xattrs: [(&[u8], &[u8]); 2] = [(b"user.large", &noise(1, 3000)), (b"user.own", &own)];
        maker.with_xattrs(&format!("large-xattrs/same {number}"), file(), &xattrs);
    }
    let longest = format!("user.{}", "n".repeat(250));
    maker.with_xattrs("large-xattrs/longest name", file(), &[(longest.as_bytes(), b"v")]);
    let many = maker.add("large-xattrs/many", file());
    for number in 0..100 {
        many.xattrs.insert(format!("user.{number}").into_bytes(), vec![b'v'; number % 5]);
    }
}

pub(super) fn huge(maker: &mut Maker) {
    let large = noise(4, 60 << 10);
    maker.with_xattrs("huge-xattrs/one", file(), &[(b"user.huge", &large)]);
    maker.with_xattrs("huge-xattrs/one again", file(), &[(b"user.huge", &large), (b"user.other", b"x")]);
    let many = maker.add("huge-xattrs/many", file());
    for number in 0..20 {
        many.xattrs.insert(format!("user.{number}").into_bytes(), noise(number, 3 << 10));
    }
}

pub(super) fn trusted(maker: &mut Maker) {
    maker.one_of_each("trusted-xattrs", |node| set(node, "trusted.", 1..3));
    maker.with_xattrs("trusted-xattrs/opaque", NodeKind::Directory, &[(b"trusted.overlay.opaque", b"y")]);
}

/// `struct vfs_cap_data` of `linux/capability.h`: revision and the effective bit, permitted and inheritable
/// capabilities in two words each, and in revision 3 the user who is root where it counts.
fn capability(permitted: u64, inheritable: u64, root: Option<u32>) -> Vec<u8> {
    const EFFECTIVE: u32 = 1;
    let revision = if root.is_some() { 0x0300_0000 } else { 0x0200_0000 };
    let mut words = vec![revision | EFFECTIVE];
    for half in [0, 32] {
        words.extend([permitted, inheritable].map(|set| (set >> half & 0xffff_ffff) as u32));
    }
    words.extend(root);
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

pub(super) fn security(maker: &mut Maker) {
    let name = b"security.capability".as_slice();
    for (place, value) in [
        // cap_net_bind_service
        ("v2", capability(1 << 10, 0, None)),
        // cap_bpf and cap_checkpoint_restore are in the second word.
        ("v2 high", capability(1 << 39 | 1 << 40, 1 << 5, None)),
        // Root of a container whose users begin at 100,000: for root of the host the kernel says it as version 2.
        ("v3", capability(1 << 10, 0, Some(100_000))),
    ] {
        maker.with_xattrs(&format!("security-xattrs/{place}"), file(), &[(name, &value)]);
    }
    maker.one_of_each("security-xattrs", |node| set(node, "security.other", 1..3));
    maker.with_xattrs(
        "security-xattrs/all namespaces",
        file(),
        &[(b"user.x", b"u"), (b"trusted.x", b"t"), (b"security.x", b"s"), (name, &capability(1, 0, None))],
    );
}

/// The form that `system.posix_acl_*` has between programs and the kernel (`linux/posix_acl_xattr.h`).
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    const VERSION: u32 = 2;
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

pub(super) fn acls(maker: &mut Maker) {
    const OWNER: u16 = 1;
    const USER: u16 = 2;
    const OWNING_GROUP: u16 = 4;
    const GROUP: u16 = 8;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;
    const NOBODY: u32 = u32::MAX;
    // The mode's group bits are the mask.
    let access = acl(&[
        (OWNER, 6, NOBODY),
        (USER, 7, 1000),
        (USER, 4, 3_000_000_000),
        (OWNING_GROUP, 5, NOBODY),
        (GROUP, 1, 70_000),
        (MASK, 5, NOBODY),
        (OTHER, 4, NOBODY),
    ]);
    let mut many = vec![(OWNER, 6, NOBODY)];
    many.extend((0..100).map(|user| (USER, 4, user)));
    many.extend([(OWNING_GROUP, 4, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY)]);
    let default = acl(&[(OWNER, 7, NOBODY), (OWNING_GROUP, 5, NOBODY), (OTHER, 0, NOBODY)]);
    let (access_name, default_name) = (b"system.posix_acl_access", b"system.posix_acl_default");
    maker.with_xattrs("acls/file", file(), &[(access_name, &access)]);
    maker.with_xattrs("acls/many", file(), &[(access_name, &acl(&many))]);
    maker.with_xattrs(
        "acls/directory",
        NodeKind::Directory,
        &[(access_name, &access), (default_name, &default)],
    );
    maker.with_xattrs("acls/default", NodeKind::Directory, &[(default_name, &default)]);
    maker.with_xattrs("acls/and more", file(), &[(access_name, &access), (b"user.more", b"x")]);
    maker.add("acls/fifo", NodeKind::Fifo).xattrs = [(access_name.to_vec(), access.clone())].into();
    for (place, mode) in [
        ("file", 0o654),
        ("many", 0o640),
        ("directory", 0o654),
        ("default", 0o755),
        ("and more", 0o4654),
        ("fifo", 0o654),
    ] {
        let place = super::path(&format!("acls/{place}"));
        maker.tree.get_mut(&place).expect("it was made").metadata.mode = mode;
    }
}
