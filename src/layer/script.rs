//! What the scripts of packages would have done. They are never run: the effects of those that are known are
//! made here, the others are given back by name for the user to see.
//!
//! A script is known in one of two ways. Either every statement of it is one of those that packages share (`addgroup`,
//! `adduser`, `add-shell`, `rc-update add`), whichever package it comes from; or it is one of `KNOWN`, where a package
//! and a kind of script have been read and their effect written down.

mod effect;
mod statement;
#[cfg(test)]
mod tests;

use self::effect::AccountFiles;
use crate::tree::Tree;

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
    // The applets again, and depmod: see kmod's.
    ("busybox", "trigger", Effect::BusyboxApplets),
    ("ca-certificates", "trigger", Effect::CertificateBundle),
    ("alpine-baselayout", "post-install", Effect::ShadowGroup),
    // Kernel packages carry depmod's lists; where they don't, `kernel::depmod` makes them.
    ("kmod", "trigger", Effect::Nothing),
    // Rewrites its own settings, and makes the initramfs that leanfs makes.
    ("mkinitfs", "post-install", Effect::Nothing),
    ("mkinitfs", "trigger", Effect::Nothing),
    // Converts the runlevels of systems from before 2010.
    ("openrc", "post-install", Effect::Nothing),
    // musl has no cache of libraries, its ldconfig is for other programs' sake.
    ("musl-utils", "trigger", Effect::Nothing),
];

impl Effect {
    fn in_words(self) -> Option<&'static str> {
        match self {
            Self::BusyboxApplets => Some("a link for every applet"),
            Self::CertificateBundle => Some("the certificates in one bundle"),
            Self::ShadowGroup => Some("/etc/shadow for its group"),
            Self::Nothing => None,
        }
    }
}

/// A script whose effect was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownScript {
    /// The script.
    pub script: PackageScript,
    /// What was made, in words; empty if an image needs nothing of it.
    pub effects: Vec<String>,
}

/// What came of the scripts.
#[derive(Debug, Default)]
pub struct ScriptReport {
    /// Those whose effect is known.
    pub known: Vec<KnownScript>,
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
        // Of a script that is known by its name, the statements that packages share count too.
        let all = statement::all(&script.text);
        let Some(statements) = all.or_else(|| known.map(|_| statement::those_known(&script.text))) else {
            report.unknown.push(script.clone());
            continue;
        };
        let mut effects: Vec<String> =
            known.and_then(Effect::in_words).map(str::to_owned).into_iter().collect();
        for statement in &statements {
            accounts.apply(tree, script, statement);
            effect::make(tree, script, statement);
            effects.push(statement.in_words());
        }
        match known {
            Some(Effect::BusyboxApplets) => effect::applet_links(tree, script),
            Some(Effect::CertificateBundle) => effect::certificate_bundle(tree, script, &mut report.notes),
            Some(Effect::ShadowGroup) => accounts.shadow_group = true,
            Some(Effect::Nothing) | None => {}
        }
        report.known.push(KnownScript { script: script.clone(), effects });
    }
    accounts.write(tree);
    report
}
