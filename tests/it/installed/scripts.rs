//! What scripts do, beside what they really do when the real `apk` runs them in a root of its own.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use leanfs::layer::packages;
use leanfs::layer::script::{self, PackageScript, ScriptReport};
use leanfs::recipe::Repository;
use leanfs::tree::{NodeKind, Tree};

use super::oracle::Oracle;
use super::{fetch, layers};
use crate::end_to_end::bench::{Mirror, shared};

/// Packages with all scripts that there are in the mirrors, and what they depend on.
const PACKAGES: [&str; 11] = [
    "alpine-baselayout",
    "alpine-release",
    "busybox",
    "busybox-binsh",
    "ca-certificates",
    "dhcpcd",
    "kmod",
    "mkinitfs",
    "musl-utils",
    "openrc",
    "sudo",
];

/// Each script that runs at an installation, and what is made for it.
const EFFECTS: [(&str, &str, &[&str]); 10] = [
    ("alpine-baselayout", "post-install", &["/etc/shadow for its group"]),
    ("alpine-baselayout", "pre-install", &["the group shadow"]),
    ("busybox", "post-install", &["a link for every applet", "the group klogd", "the user klogd"]),
    ("busybox", "trigger", &["a link for every applet"]),
    ("ca-certificates", "trigger", &["the certificates in one bundle"]),
    ("dhcpcd", "pre-install", &["the group dhcpcd", "the user dhcpcd"]),
    ("kmod", "trigger", &[]),
    ("mkinitfs", "post-install", &[]),
    ("mkinitfs", "trigger", &[]),
    ("openrc", "post-install", &[]),
];

fn laid(repository: &Path, keys: &Path, names: &[String]) -> (Tree, ScriptReport) {
    let fetched = fetch(&Repository::Directory(repository.to_owned()), keys, names);
    let mut tree = Tree::new();
    packages::lay(&mut tree, &layers(&fetched)).expect("laid");
    let scripts: Vec<PackageScript> = fetched
        .iter()
        .flat_map(|apk| {
            apk.scripts().iter().map(|(kind, text)| PackageScript {
                package: apk.entry().name.clone(),
                version: apk.entry().version.clone(),
                kind: kind.trim_start_matches('.').to_owned(),
                text: String::from_utf8_lossy(text).into_owned(),
            })
        })
        .collect();
    let report = script::apply(&mut tree, &scripts);
    (tree, report)
}

/// In both mirrors, every package of them: none unknown, none that is not in the table.
#[test]
fn every_script_of_the_mirrors_has_an_effect() {
    let mut mirrors = Vec::new();
    mirrors.extend(Mirror::host().map(|mirror| mirror.directory));
    mirrors.extend(shared().map(|shared| shared.join("mirror")));
    for mirror in mirrors {
        for name in ["main", "community"] {
            let (repository, keys) = (mirror.join("v3.23").join(name), mirror.join("keys"));
            let mut found: Vec<(String, String)> = Vec::new();
            for entry in fs_err::read_dir(repository.join("x86_64")).expect("readable").flatten() {
                let path = entry.path();
                if path.extension().is_none_or(|extension| extension != "apk") {
                    continue;
                }
                let mut file = std::io::BufReader::new(fs_err::File::open(&path).expect("readable"));
                let head = leanfs::apk::PackageHead::read(&mut file).expect("whole");
                let runs = |kind: &str| ["pre-install", "post-install", "trigger"].contains(&kind);
                let kinds = head.scripts.iter().map(|(kind, _)| kind.trim_start_matches('.').to_owned());
                found.extend(kinds.filter(|kind| runs(kind)).map(|kind| (head.info.name.clone(), kind)));
            }
            found.sort();
            let expected: Vec<(String, String)> = match name {
                "main" => {
                    EFFECTS.iter().map(|(package, kind, _)| ((*package).into(), (*kind).into())).collect()
                }
                _ => Vec::new(),
            };
            assert_eq!(found, expected, "{}", repository.display());
            if name == "main" {
                let (_, report) = laid(&repository, &keys, &PACKAGES.map(str::to_owned));
                assert_eq!(report.unknown, []);
                let mut made: Vec<(String, String, Vec<String>)> = report
                    .known
                    .into_iter()
                    .map(|known| (known.script.package, known.script.kind, known.effects))
                    .collect();
                made.sort();
                let made: Vec<(&str, &str, Vec<&str>)> = made
                    .iter()
                    .map(|(package, kind, effects)| {
                        (&**package, &**kind, effects.iter().map(String::as_str).collect())
                    })
                    .collect();
                let expected: Vec<_> = EFFECTS
                    .iter()
                    .map(|(package, kind, effects)| (*package, *kind, effects.to_vec()))
                    .collect();
                assert_eq!(made, expected);
            }
        }
    }
}

/// What differs between the two roots, and why it may.
fn is_explained(path: &str) -> bool {
    // The database and its log, which `package_db` makes.
    path.starts_with("/lib/apk/db")
        || path.starts_with("/etc/apk/")
        || path == "/var/log/apk.log"
        // Links by name and by hash to certificates that are all in the bundle; leanfs says so in a note.
        || path.starts_with("/etc/ssl/certs/") && path != "/etc/ssl/certs/ca-certificates.crt"
        // Copies that busybox's adduser leaves of what it changes, and the lock.
        || ["/etc/passwd-", "/etc/group-", "/etc/shadow-"].contains(&path)
}

/// The same files, links, owners and modes as where the scripts ran.
#[test]
fn scripts_leave_what_they_really_do() {
    let Some(oracle) = Oracle::new() else { return };
    let Some(mirror) = Mirror::host() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: scripts run only where apk may change its root");
        return;
    }
    let (repository, keys) = (mirror.directory.join("v3.23/main"), mirror.directory.join("keys"));
    let said = oracle.add_with_scripts(&[&repository], &keys, &PACKAGES);
    if !said.contains("Executing") || said.contains("ERROR") {
        println!("SKIP: apk may not run scripts here: {said}");
        return;
    }
    let (mut tree, _) = laid(&repository, &keys, &PACKAGES.map(str::to_owned));
    assert_same(&tree, &oracle);

    // What packages share, as busybox does it.
    let root = oracle.path("root");
    let chroot = std::process::Command::new("chroot").arg(&root).args(["/bin/sh", "-c", SHARED]).output();
    let Ok(chroot) = chroot else {
        println!("SKIP: chroot is missing");
        return;
    };
    assert!(chroot.status.success(), "{chroot:?}");
    let script = PackageScript {
        package: "shared".to_owned(),
        version: "1-r0".to_owned(),
        kind: "post-install".to_owned(),
        text: SHARED.to_owned(),
    };
    let report = script::apply(&mut tree, &[script]);
    assert_eq!(report.unknown, []);
    assert_same(&tree, &oracle);
}

/// Statements that succeed, and such that fail.
const SHARED: &str = "#!/bin/sh
addgroup -S shared
addgroup -S -g 777 numbered
addgroup -S -g 0 taken
addgroup -S shared
adduser -S -D -H plain
adduser -S -D -H -G shared -g 'Full Name' -s /bin/false one
adduser -S -D -h /var/lib/two -G shared two
adduser -S -D -h /no/such/place -G shared three
adduser -S -D -h /srv -G numbered four
adduser -S -D -G nosuch five
adduser -S -D -H -u 0 six
adduser -SDH -u 555 -G shared seven
addgroup one numbered
adduser two numbered
addgroup one numbered
add-shell /bin/one /bin/sh
add-shell '/bin/two'
rc-update -q add local default
rc-update add nosuch boot
exit 0
";

#[track_caller]
fn assert_same(tree: &Tree, oracle: &Oracle) {
    let tree = tree.clone().validate().expect("valid");
    let mut theirs = BTreeMap::new();
    walk(&oracle.path("root"), "", &mut theirs);
    let mut ours = BTreeMap::new();
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_root()) {
        let content = |node: &leanfs::tree::Node| match &node.kind {
            NodeKind::File(content) => digest(&path.to_string(), &content.read(1 << 30).expect("readable")),
            _ => unreachable!("valid trees' hardlinks lead to files"),
        };
        let what = match &node.kind {
            NodeKind::Directory => "directory".to_owned(),
            NodeKind::Symlink(target) => format!("link {}", String::from_utf8_lossy(target)),
            NodeKind::File(_) => content(node),
            NodeKind::Hardlink(target) => content(tree.tree().get(target).expect("there")),
            other => other.name().to_owned(),
        };
        let metadata = node.metadata;
        let access = match node.kind {
            NodeKind::Symlink(_) => String::new(),
            _ => format!(" {:o} {}:{}", metadata.mode, metadata.uid, metadata.gid),
        };
        ours.insert(path.to_string(), what + &access);
    }
    let paths: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differences: Vec<String> = paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path) && !is_explained(path))
        .map(|path| format!("{path}: ours {:?}, theirs {:?}", ours.get(path), theirs.get(path)))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(ours.len() > 900, "{}", ours.len());
}

fn walk(root: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs_err::read_dir(root.join(below.trim_start_matches('/'))).expect("readable").flatten() {
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        let metadata = fs_err::symlink_metadata(entry.path()).expect("there");
        let access = format!(" {:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        if metadata.is_symlink() {
            let target = fs_err::read_link(entry.path()).expect("a link");
            found.insert(path, format!("link {}", String::from_utf8_lossy(target.as_os_str().as_bytes())));
        } else if metadata.is_dir() {
            found.insert(path.clone(), format!("directory{access}"));
            walk(root, &path, found);
        } else {
            let bytes = fs_err::read(entry.path()).expect("readable");
            found.insert(path.clone(), digest(&path, &bytes) + &access);
        }
    }
}

/// The hash of a file; of account files the text, and of passwords without the day on which they were set.
fn digest(path: &str, bytes: &[u8]) -> String {
    match path {
        "/etc/passwd" | "/etc/group" | "/etc/shells" => String::from_utf8_lossy(bytes).into_owned(),
        "/etc/shadow" => String::from_utf8_lossy(bytes)
            .lines()
            .map(|line| {
                let fields = line.split(':').enumerate();
                let fields = fields.map(|(number, field)| if number == 2 { "" } else { field });
                fields.collect::<Vec<_>>().join(":")
            })
            .collect::<Vec<_>>()
            .join("\n"),
        _ => hex::encode(leanfs::apk::checksum::sha1(bytes)),
    }
}
