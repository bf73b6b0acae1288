use std::collections::BTreeMap;

use super::statement::statement;
use super::*;
use crate::tree::{Content, Metadata, Node, NodeKind, Origin};

fn script(package: &str, kind: &str, text: &str) -> PackageScript {
    PackageScript { package: package.into(), version: "1-r0".into(), kind: kind.into(), text: text.into() }
}

fn text_of(tree: &Tree, path: &str) -> String {
    let (_, content) = tree.file(&path.parse().expect("good")).expect("a file");
    String::from_utf8(content.read(1 << 20).expect("readable")).expect("text")
}

fn with_files(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, text) in files {
        let content = Content::from_bytes(text.as_bytes().to_vec());
        let node = Node::file(content, Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path.parse().expect("good"), node);
    }
    tree
}

#[test]
fn accounts_are_made_and_other_scripts_are_named() {
    let mut tree =
        with_files(&[("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")]);
    let scripts = [
        script(
            "dhcpcd",
            "pre-install",
            "#!/bin/sh\n\nuser=dhcpcd\ngroup=dhcpcd\n\naddgroup -S $group 2>/dev/null\nadduser -S -D -H \
             -h /var/lib/$user -s /sbin/nologin -G ${group} -g \"$user\" $user 2>/dev/null\n\nexit 0\n",
        ),
        script("odd", "post-install", "#!/bin/sh\naddgroup -S odd\nrm -rf /\n"),
        script("odd", "post-upgrade", "anything"),
    ];
    let report = apply(&mut tree, &scripts);
    assert!(
        text_of(&tree, "etc/passwd").ends_with("dhcpcd:x:100:100:dhcpcd:/var/lib/dhcpcd:/sbin/nologin\n")
    );
    assert_eq!(text_of(&tree, "etc/group"), "root:x:0:\ndhcpcd:x:100:dhcpcd\n");
    assert_eq!(report.unknown, [scripts[1].clone()]);
}

#[test]
fn what_is_not_simple_is_not_understood() {
    for line in [
        "addgroup -S a; rm -rf /",
        "addgroup -S $(id)",
        "addgroup -S \"$unset\"",
        "addgroup -S 'open",
        "addgroup -Q a",
        "adduser -S a b",
        "adduser -S 'a:b'",
        "chown a b",
    ] {
        assert_eq!(statement(line, &BTreeMap::new()), None, "{line}");
    }
}

#[test]
fn busybox_gets_its_links_and_its_user() {
    let mut tree = with_files(&[
        ("etc/busybox-paths.d/busybox", "bin/ls\nbin/sh\nusr/bin/[\nsbin/none"),
        ("bin/sh", "mine"),
        ("usr/sbin/there", ""),
        ("etc/group", ""),
    ]);
    tree.insert("sbin".parse().expect("good"), Node::symlink("usr/sbin", Origin::skeleton()));
    let post_install =
        "#!/bin/busybox sh\n/bin/busybox --install -s || exit 1\naddgroup -S klogd 2>/dev/null\n";
    let report = apply(&mut tree, &[script("busybox", "post-install", post_install)]);
    assert!(report.unknown.is_empty());
    assert_eq!(text_of(&tree, "bin/sh"), "mine", "what is there stays");
    for link in ["bin/ls", "usr/bin/[", "usr/sbin/none"] {
        let node = tree.get(&link.parse().expect("good")).expect(link);
        assert!(matches!(&node.kind, NodeKind::Symlink(target) if target == b"/bin/busybox"), "{link}");
    }
    assert_eq!(text_of(&tree, "etc/group"), "klogd:x:100:\n");
}

#[test]
fn certificates_become_a_bundle() {
    let mut tree = with_files(&[
        ("etc/ca-certificates.conf", "# comment\nmozilla/a.crt\n!mozilla/b.crt\n../../../etc/passwd\n"),
        ("usr/share/ca-certificates/mozilla/a.crt", "A"),
        ("usr/share/ca-certificates/mozilla/b.crt", "B"),
        ("etc/passwd", "secret"),
    ]);
    apply(
        &mut tree,
        &[script("ca-certificates", "trigger", "#!/bin/sh\n/usr/sbin/update-ca-certificates\n")],
    );
    assert_eq!(text_of(&tree, "etc/ssl/certs/ca-certificates.crt"), "A\n");
}

#[test]
fn what_packages_share_is_made_whoever_wants_it() {
    let mut tree = with_files(&[
        ("etc/group", "www-data:x:82:\n"),
        ("etc/shells", "/bin/sh"),
        ("etc/init.d/mine", ""),
        ("etc/passwd", ""),
    ]);
    let text = "#!/bin/sh\naddgroup nginx www-data 2>/dev/null\nadd-shell '/bin/bash' /bin/sh\nrc-update -q add mine boot default\n\
        rc-update add absent boot\nexit 0\n";
    let report = apply(
        &mut tree,
        &[script("any", "post-install", text), script("late", "post-install", "rc-update add x\n")],
    );
    assert_eq!(text_of(&tree, "etc/group"), "www-data:x:82:nginx\n");
    assert_eq!(text_of(&tree, "etc/shells"), "/bin/sh\n/bin/bash\n");
    for level in ["boot", "default"] {
        let path = format!("etc/runlevels/{level}/mine");
        let node = tree.get(&path.parse().expect("good")).expect("a link");
        assert!(matches!(&node.kind, NodeKind::Symlink(target) if target == b"/etc/init.d/mine"));
    }
    assert!(tree.get(&"etc/runlevels/boot/absent".parse().expect("good")).is_none());
    assert_eq!(report.unknown.len(), 1, "without a level it depends on the one that runs");
    assert_eq!(
        report.known[0].effects,
        [
            "nginx as a member of www-data",
            "/bin/bash, /bin/sh in /etc/shells",
            "mine in the runlevel boot, default",
            "absent in the runlevel boot",
        ]
    );
}

#[test]
fn system_users_get_a_home_unless_they_want_none() {
    let mut tree = with_files(&[
        ("etc/passwd", ""),
        ("etc/group", "g:x:7:\n"),
        ("etc/skel/.profile", "x"),
        ("srv/old/x", ""),
    ]);
    tree.insert("home".parse().expect("good"), Node::directory(Metadata::DIRECTORY, Origin::skeleton()));
    let text = "adduser -S -D -G g new\nadduser -SDH -G g none\nadduser -S -D -G g -h /srv/old old\n\
        adduser -S -D -G g -h /no/such/home far\nadduser -S -G absent never\n";
    let report = apply(
        &mut tree,
        &[script("a", "pre-install", text), script("b", "pre-install", "adduser -D person\n")],
    );
    assert_eq!(text_of(&tree, "etc/group"), "g:x:7:new,none,old,far\n");
    assert!(text_of(&tree, "etc/passwd").starts_with("new:x:100:7::/home/new:/sbin/nologin\nnone:x:101:7:"));
    let access = |path: &str| {
        tree.get(&path.parse().expect("good")).map(|node| {
            let Metadata { mode, uid, gid, .. } = node.metadata;
            (mode, uid, gid)
        })
    };
    assert_eq!(access("home/new"), Some((0o2755, 100, 7)));
    assert_eq!(access("home/new/.profile"), Some((0o644, 100, 7)));
    assert_eq!(access("srv/old"), Some((0o2755, 102, 7)));
    assert_eq!((access("home/none"), access("no/such/home")), (None, None));
    assert_eq!(report.unknown.len(), 1, "people are not made");
}
