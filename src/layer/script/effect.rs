//! What known scripts leave in a tree.

use super::PackageScript;
use super::statement::Statement;
use crate::layer::accounts::Accounts;
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// A file with a line an account or a shell.
const MOST_LINES: u64 = 16 << 20;

/// `busybox --install -s`: a symbolic link for every applet whose path is free; and the same for `busybox-extras`. The
/// directories that links are made in are made first.
pub(super) fn applet_links(tree: &mut Tree, script: &PackageScript) {
    let origin = origin(script);
    for directory in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        let path = TreePath::parse(directory.as_bytes()).expect("a constant path");
        if tree.get(&path).is_none() {
            tree.insert_with_parents(path, Node::directory(Metadata::DIRECTORY, origin.clone()));
        }
    }
    for program in ["busybox-extras", "busybox"] {
        let path = |directory: &str| TreePath::parse(format!("{directory}/{program}").as_bytes());
        let (Ok(list), Ok(at)) = (path("etc/busybox-paths.d"), path("bin")) else { continue };
        // Of a list without its program nothing would be made; busybox is there, or its script couldn't run.
        if program != "busybox" && tree.file(&at).is_none() {
            continue;
        }
        let Some(list) = tree.file(&list).and_then(|(_, content)| content.read(MOST_LINES).ok()) else {
            continue;
        };
        for line in list.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(path) = TreePath::parse(line) else { continue };
            let Some(place) = tree.resolve_parent(&path) else { continue };
            if tree.get(&place).is_none() {
                tree.insert_with_parents(place, Node::symlink(format!("/bin/{program}"), origin.clone()));
            }
        }
    }
}

/// What statements do beside accounts.
pub(super) fn make(tree: &mut Tree, script: &PackageScript, statement: &Statement) {
    match statement {
        Statement::Group(_) | Statement::User(_) | Statement::Member { .. } => {}
        Statement::Shells(paths) => shells(tree, script, paths),
        Statement::Service { name, levels } => {
            for level in levels {
                runlevel_link(tree, script, name, level);
            }
        }
    }
}

/// `add-shell`: a line in `/etc/shells` for each that is not there.
fn shells(tree: &mut Tree, script: &PackageScript, paths: &[String]) {
    let place = TreePath::parse(b"etc/shells").expect("a constant path");
    let there = tree.file(&place).and_then(|(_, content)| content.read(MOST_LINES).ok()).unwrap_or_default();
    let mut text = String::from_utf8_lossy(&there).into_owned();
    for path in paths {
        if !text.lines().any(|line| line == path) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(path);
            text.push('\n');
        }
    }
    let content = Content::from_bytes(text.into_bytes());
    match tree.get_mut(&place) {
        Some(node) => node.kind = NodeKind::File(content),
        None => {
            tree.insert_with_parents(place, Node::file(content, Metadata::FILE, origin(script)));
        }
    }
}

/// `rc-update add`: a link in the runlevel's directory to a service that is there.
fn runlevel_link(tree: &mut Tree, script: &PackageScript, name: &str, level: &str) {
    let service = format!("/etc/init.d/{name}");
    let paths = [service.clone(), format!("etc/runlevels/{level}/{name}")];
    let [Ok(init), Ok(link)] = paths.map(|path| TreePath::parse(path.as_bytes())) else { return };
    if tree.file(&init).is_some() && tree.get(&link).is_none() {
        tree.insert_with_parents(link, Node::symlink(service, origin(script)));
    }
}

/// The home of a new user, where `mkdir` could make it or it is there: its own, and what `/etc/skel` holds in a new one.
fn home(tree: &mut Tree, script: &PackageScript, path: &str, uid: u32, gid: u32) {
    let Some(place) = TreePath::parse(path.as_bytes()).ok().and_then(|path| tree.resolve_parent(&path))
    else {
        return;
    };
    let is_directory = |tree: &Tree, path: &TreePath| {
        path.is_root() || tree.get(path).is_some_and(|node| matches!(node.kind, NodeKind::Directory))
    };
    let metadata = Metadata { mode: 0o2755, uid, gid, mtime: 0 };
    if let Some(there) = tree.get_mut(&place) {
        if matches!(there.kind, NodeKind::Directory) {
            there.metadata = Metadata { mtime: there.metadata.mtime, ..metadata };
        }
        return;
    }
    if !place.parent().is_some_and(|parent| is_directory(tree, &parent)) {
        return;
    }
    tree.insert(place.clone(), Node::directory(metadata, origin(script)));
    let skel = TreePath::parse(b"etc/skel").expect("a constant path");
    let copies: Vec<(TreePath, Node)> = tree
        .below(&skel)
        .filter_map(|(path, node)| {
            let mut copy = node.clone();
            (copy.metadata.uid, copy.metadata.gid, copy.origin) = (uid, gid, origin(script));
            Some((place.join(path.strip_prefix(&skel)?).ok()?, copy))
        })
        .collect();
    for (path, node) in copies {
        tree.insert(path, node);
    }
}

fn origin(script: &PackageScript) -> Origin {
    Origin::new(LayerKind::Script, format!("{}-{}", script.package, script.version))
}

/// `update-ca-certificates`: the certificates that `/etc/ca-certificates.conf` lists, one after the other, in
/// `/etc/ssl/certs/ca-certificates.crt`. The package `ca-certificates-bundle` brings the same file.
pub(super) fn certificate_bundle(tree: &mut Tree, script: &PackageScript, notes: &mut Vec<String>) {
    /// Certificates have 1–3 kB.
    const MOST: u64 = 1 << 20;
    let bundle = TreePath::parse(b"etc/ssl/certs/ca-certificates.crt").expect("a constant path");
    if tree.get(&bundle).is_some() {
        return;
    }
    let read = |path: &TreePath| tree.file(path).and_then(|(_, content)| content.read(MOST).ok());
    let root = TreePath::parse(b"usr/share/ca-certificates").expect("a constant path");
    let Some(list) = TreePath::parse(b"etc/ca-certificates.conf").ok().and_then(|path| read(&path)) else {
        return;
    };
    let mut text = Vec::new();
    for line in list.split(|&byte| byte == b'\n') {
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"!") {
            continue;
        }
        if let Some(certificate) = root.join(line).ok().and_then(|path| read(&path)) {
            text.extend_from_slice(&certificate);
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
    }
    tree.insert_with_parents(bundle, Node::file(Content::from_bytes(text), Metadata::FILE, origin(script)));
    notes.push(
        "certificates are in one bundle, /etc/ssl/certs/ca-certificates.crt; links by hash are not made"
            .to_owned(),
    );
}

/// The account files of a tree.
pub(super) struct AccountFiles {
    accounts: Accounts,
    before: Accounts,
    pub(super) shadow_group: bool,
}

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";
const SHADOW: &[u8] = b"etc/shadow";

impl AccountFiles {
    pub(super) fn read(tree: &Tree) -> Self {
        let read = |path: &[u8]| {
            let (_, content) = tree.file(&TreePath::parse(path).ok()?)?;
            String::from_utf8(content.read(MOST_LINES).ok()?).ok()
        };
        let accounts = Accounts {
            passwd: read(PASSWD).unwrap_or_default(),
            group: read(GROUP).unwrap_or_default(),
            shadow: read(SHADOW),
        };
        Self { before: accounts.clone(), accounts, shadow_group: false }
    }

    pub(super) fn apply(&mut self, tree: &mut Tree, script: &PackageScript, statement: &Statement) {
        match statement {
            Statement::Group(group) => self.accounts.add_group(group),
            Statement::User(user) => {
                if let Some((uid, gid)) = self.accounts.add_user(user)
                    && !user.no_home
                {
                    home(tree, script, &user.home_path(), uid, gid);
                }
            }
            Statement::Member { user, group } => self.accounts.add_member(user, group),
            Statement::Shells(_) | Statement::Service { .. } => {}
        }
    }

    pub(super) fn write(self, tree: &mut Tree) {
        let mut put = |path: &[u8], text: &str, before: &str| {
            if text == before {
                return;
            }
            let path = TreePath::parse(path).expect("a constant path");
            let content = Content::from_bytes(text.as_bytes().to_vec());
            match tree.get_mut(&path) {
                Some(node) => node.kind = NodeKind::File(content),
                None => {
                    let node = Node::file(content, Metadata::FILE, Origin::new(LayerKind::Script, ""));
                    tree.insert_with_parents(path, node);
                }
            }
        };
        put(PASSWD, &self.accounts.passwd, &self.before.passwd);
        put(GROUP, &self.accounts.group, &self.before.group);
        if let (Some(shadow), Some(before)) = (&self.accounts.shadow, &self.before.shadow) {
            put(SHADOW, shadow, before);
        }
        if self.shadow_group
            && let Some(id) = self.accounts.group_id("shadow")
            && let Ok(path) = TreePath::parse(SHADOW)
            && let Some(node) = tree.get_mut(&path)
        {
            node.metadata.gid = id;
        }
    }
}
