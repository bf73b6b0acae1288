//! What the scripts of packages would have done. They are never run: the effects of those that are known are
//! made here, the others are given back by name for the user to see.
//!
//! A script is known in one of two ways. Either every statement of it is one that leaves its mark only on the
//! account files (`addgroup -S …`, `adduser -S …`), whichever package it comes from; or it is one of
//! `KNOWN`, where a package and a kind of script have been read and their effect written down.

use std::collections::BTreeMap;

use super::accounts::{Accounts, NewGroup, NewUser};
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

/// A script of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageScript {
    /// The package's name.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// `post-install`, `trigger` …
    pub kind: String,
    /// Its text.
    pub text: String,
}

/// What a known script does, beyond account files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// busybox's applets get their links, and its user and group.
    BusyboxApplets,
    /// The certificates that are installed one by one become one bundle.
    CertificateBundle,
    /// The group `shadow` gets `/etc/shadow`.
    ShadowGroup,
    /// Nothing that an image needs.
    Nothing,
}

/// Package, kind of script, effect. Read from Alpine 3.16 to 3.23.
const KNOWN: [(&str, &str, Effect); 9] = [
    ("busybox", "post-install", Effect::BusyboxApplets),
    // The applets again, and depmod, whose results kernel packages carry.
    ("busybox", "trigger", Effect::BusyboxApplets),
    ("ca-certificates", "trigger", Effect::CertificateBundle),
    ("alpine-baselayout", "post-install", Effect::ShadowGroup),
    // depmod: kernel packages carry its results.
    ("kmod", "trigger", Effect::Nothing),
    // Rewrites its own settings, and makes the initramfs that leanfs makes.
    ("mkinitfs", "post-install", Effect::Nothing),
    ("mkinitfs", "trigger", Effect::Nothing),
    // Converts the runlevels of systems from before 2010.
    ("openrc", "post-install", Effect::Nothing),
    // musl has no cache of libraries, its ldconfig is for other programs' sake.
    ("musl-utils", "trigger", Effect::Nothing),
];

/// What came of the scripts.
#[derive(Debug, Default)]
pub struct ScriptReport {
    /// Those whose effect is not known: nothing of them has happened.
    pub unknown: Vec<PackageScript>,
    /// What is different from what the scripts would have done.
    pub notes: Vec<String>,
}

/// Makes the effects of `scripts`, in the order in which apk would run them: each package's in the order of
/// installation, `pre-install` before `post-install`, and all triggers at the end. Scripts for upgrades and
/// removals don't run on a fresh installation.
pub fn apply(tree: &mut Tree, scripts: &[PackageScript]) -> ScriptReport {
    let mut report = ScriptReport::default();
    let mut accounts = AccountFiles::read(tree);
    let installing = scripts.iter().filter(|script| matches!(&*script.kind, "pre-install" | "post-install"));
    let triggers = scripts.iter().filter(|script| script.kind == "trigger");
    for script in installing.chain(triggers) {
        let known = KNOWN
            .iter()
            .find(|(package, kind, _)| *package == script.package && *kind == script.kind)
            .map(|(_, _, effect)| *effect);
        // Of a script that is known by its name, the statements about accounts count too.
        let statements =
            account_statements(&script.text).or_else(|| known.map(|_| lines_of_accounts(&script.text)));
        let Some(statements) = statements else {
            report.unknown.push(script.clone());
            continue;
        };
        for statement in &statements {
            accounts.apply(statement);
        }
        match known {
            Some(Effect::BusyboxApplets) => applet_links(tree, script),
            Some(Effect::CertificateBundle) => certificate_bundle(tree, script, &mut report.notes),
            Some(Effect::ShadowGroup) => accounts.shadow_group = true,
            Some(Effect::Nothing) | None => {}
        }
    }
    accounts.write(tree);
    report
}

/// A statement that changes account files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Statement {
    Group(NewGroup),
    User(NewUser),
}

/// The statements of a script that does nothing else; none if there is anything that is not understood.
fn account_statements(text: &str) -> Option<Vec<Statement>> {
    let mut variables = BTreeMap::new();
    let mut statements = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || matches!(line, "exit 0" | "exit" | ":" | "true") {
            continue;
        }
        if let Some((name, value)) = line.split_once('=')
            && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
            && !value.contains(['$', '`', ' ', ';', '&', '|', '('])
        {
            variables.insert(name.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            continue;
        }
        statements.push(account_statement(line, &variables)?);
    }
    Some(statements)
}

/// The account statements of a script that does other things, too.
fn lines_of_accounts(text: &str) -> Vec<Statement> {
    text.lines().filter_map(|line| account_statement(line.trim(), &BTreeMap::new())).collect()
}

/// `addgroup -S …` or `adduser -S …`, with errors thrown away or not.
fn account_statement(line: &str, variables: &BTreeMap<String, String>) -> Option<Statement> {
    let line = line.trim_end_matches("|| true").trim_end_matches("|| :").trim_end();
    let line = line.strip_suffix("2>/dev/null").unwrap_or(line).trim_end();
    let line = line.strip_suffix(">/dev/null").unwrap_or(line).trim_end();
    let words = words(line, variables)?;
    let mut words = words.into_iter();
    let command = words.next()?;
    let mut group = NewGroup::default();
    let mut user = NewUser::default();
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        match (&*command, &*word) {
            ("addgroup" | "adduser", "-S") | ("adduser", "-D" | "-H") => {}
            ("adduser", "-SDH" | "-SD" | "-DH") => {}
            ("addgroup", "-g") => group.id = Some(words.next()?.parse().ok()?),
            ("adduser", "-u") => user.id = Some(words.next()?.parse().ok()?),
            ("adduser", "-h") => user.home = Some(words.next()?),
            ("adduser", "-s") => user.shell = Some(words.next()?),
            ("adduser", "-G") => user.group = Some(words.next()?),
            ("adduser", "-g") => user.gecos = Some(words.next()?),
            (_, option) if option.starts_with('-') => return None,
            _ => names.push(word),
        }
    }
    let [name] = <[String; 1]>::try_from(names).ok()?;
    if !name.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character)) {
        return None;
    }
    match &*command {
        "addgroup" => Some(Statement::Group(NewGroup { name, ..group })),
        "adduser" => Some(Statement::User(NewUser { name, ..user })),
        _ => None,
    }
}

/// Splits a simple command into words, with quotes and `$variables`; none if it is not simple.
fn words(line: &str, variables: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (end, Some(start)) if end == start => quote = None,
            ('$', None | Some('"')) => {
                let braces = characters.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = characters.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    name.push(next);
                }
                if braces && characters.next() != Some('}') {
                    return None;
                }
                word.get_or_insert_default().push_str(variables.get(&name)?);
            }
            (' ' | '\t', None) => words.extend(word.take()),
            (';' | '&' | '|' | '<' | '>' | '`' | '(' | ')' | '*' | '?' | '\\', None) => return None,
            ('`' | '\\', Some('"')) => return None,
            _ => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return None;
    }
    words.extend(word);
    Some(words)
}

/// `busybox --install -s`: a symbolic link for every applet whose path is free.
fn applet_links(tree: &mut Tree, script: &PackageScript) {
    /// A list of paths; the largest known has 4 kB.
    const MOST: u64 = 1 << 20;
    let list = TreePath::parse(b"etc/busybox-paths.d/busybox").expect("a constant path");
    let Some((_, content)) = tree.file(&list) else { return };
    let Ok(list) = content.read(MOST) else { return };
    let origin = Origin::new(LayerKind::Script, format!("{}-{}", script.package, script.version));
    for line in list.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(path) = TreePath::parse(line) else { continue };
        let Some(place) = tree.resolve_parent(&path) else { continue };
        if tree.get(&place).is_none() {
            tree.insert_with_parents(place, Node::symlink("/bin/busybox", origin.clone()));
        }
    }
}

/// `update-ca-certificates`: the certificates that `/etc/ca-certificates.conf` lists, one after the other, in
/// `/etc/ssl/certs/ca-certificates.crt`. The package `ca-certificates-bundle` brings the same file.
fn certificate_bundle(tree: &mut Tree, script: &PackageScript, notes: &mut Vec<String>) {
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
    let origin = Origin::new(LayerKind::Script, format!("{}-{}", script.package, script.version));
    tree.insert_with_parents(bundle, Node::file(Content::from_bytes(text), Metadata::FILE, origin));
    notes.push(
        "certificates are in one bundle, /etc/ssl/certs/ca-certificates.crt; links by hash are not made"
            .to_owned(),
    );
}

/// The account files of a tree.
struct AccountFiles {
    accounts: Accounts,
    before: Accounts,
    shadow_group: bool,
}

const PASSWD: &[u8] = b"etc/passwd";
const GROUP: &[u8] = b"etc/group";
const SHADOW: &[u8] = b"etc/shadow";

impl AccountFiles {
    fn read(tree: &Tree) -> Self {
        /// A file with a line an account.
        const MOST: u64 = 16 << 20;
        let read = |path: &[u8]| {
            let (_, content) = tree.file(&TreePath::parse(path).ok()?)?;
            String::from_utf8(content.read(MOST).ok()?).ok()
        };
        let accounts = Accounts {
            passwd: read(PASSWD).unwrap_or_default(),
            group: read(GROUP).unwrap_or_default(),
            shadow: read(SHADOW),
        };
        Self { before: accounts.clone(), accounts, shadow_group: false }
    }

    fn apply(&mut self, statement: &Statement) {
        match statement {
            Statement::Group(group) => self.accounts.add_group(group),
            Statement::User(user) => self.accounts.add_user(user),
        }
    }

    fn write(self, tree: &mut Tree) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn script(package: &str, kind: &str, text: &str) -> PackageScript {
        PackageScript {
            package: package.into(),
            version: "1-r0".into(),
            kind: kind.into(),
            text: text.into(),
        }
    }

    fn text(tree: &Tree, path: &str) -> String {
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
            text(&tree, "etc/passwd").ends_with("dhcpcd:x:100:100:dhcpcd:/var/lib/dhcpcd:/sbin/nologin\n")
        );
        assert_eq!(text(&tree, "etc/group"), "root:x:0:\ndhcpcd:x:100:\n");
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
            assert_eq!(account_statement(line, &BTreeMap::new()), None, "{line}");
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
        assert_eq!(text(&tree, "bin/sh"), "mine", "what is there stays");
        for link in ["bin/ls", "usr/bin/[", "usr/sbin/none"] {
            let node = tree.get(&link.parse().expect("good")).expect(link);
            assert!(matches!(&node.kind, NodeKind::Symlink(target) if target == b"/bin/busybox"), "{link}");
        }
        assert_eq!(text(&tree, "etc/group"), "klogd:x:100:\n");
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
        assert_eq!(text(&tree, "etc/ssl/certs/ca-certificates.crt"), "A\n");
    }
}
