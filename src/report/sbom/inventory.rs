//! What an image is made of, from its manifest, in the form that both formats write down.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::license::License;
use super::purl::Purl;
use crate::beam::{Platform, platform_of};
use crate::report::component::{Component, Group};
use crate::report::manifest::{ApplicationInfo, Manifest, PackageInfo};
use crate::tree::LayerKind;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A package of a distribution.
    Package,
    /// The kernel.
    Kernel,
    /// An application of Erlang/OTP, Elixir or the release; the emulator.
    Application,
    /// A file that belongs to nothing of these.
    File,
}

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Unlike that of every other part.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: String,
    pub(super) url: String,
    /// Name and, where that is one, address of who looks after it.
    pub(super) maintainer: Option<(String, Option<String>)>,
    pub(super) purl: Option<Purl>,
    pub(super) license: Option<License>,
    /// SHA-256, and of what.
    pub(super) sha256: Option<(String, &'static str)>,
    /// Facts that have no field of their own: name and value.
    pub(super) facts: Vec<(&'static str, String)>,
    /// Why nothing of it is in the image.
    pub(super) removed: Option<String>,
    /// The parts that it needs, by their ids.
    pub(super) needs: Vec<String>,
    /// The package that brought it.
    pub(super) inside: Option<String>,
}

impl Part {
    fn new(kind: Kind, id: String, name: &str, version: &str) -> Self {
        Self {
            id,
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            description: String::new(),
            url: String::new(),
            maintainer: None,
            purl: None,
            license: None,
            sha256: None,
            facts: Vec::new(),
            removed: None,
            needs: Vec::new(),
            inside: None,
        }
    }

    fn fact(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.facts.push((name, value.to_owned()));
        }
    }
}

/// All parts, and what the whole needs directly.
#[derive(Debug, Clone)]
pub(super) struct Inventory {
    /// Packages, kernel, applications, files, each in the manifest's order.
    pub(super) parts: Vec<Part>,
    /// What the image itself needs: what the recipe or the release asks for, and what nothing else needs.
    pub(super) needs: Vec<String>,
}

impl Inventory {
    /// `distribution` is whose packages are that don't say it themselves.
    pub(super) fn of(manifest: &Manifest, distribution: Option<&str>) -> Self {
        let presence = Presence::of(manifest);
        let mut parts: Vec<Part> =
            manifest.packages.iter().map(|info| package(info, distribution, &presence)).collect();
        parts.extend(kernel(manifest, distribution));
        let emulator = emulator(manifest);
        let emulator_version = emulator.as_ref().map(|part| part.version.clone());
        parts.extend(emulator);
        let is_emulator = |info: &&ApplicationInfo| {
            info.name == "erts" && emulator_version.as_deref() == Some(info.version.as_str())
        };
        parts.extend(
            manifest
                .applications
                .iter()
                .filter(|info| !is_emulator(info))
                .map(|info| application(info, &presence)),
        );
        let applications = applications_by_name(&parts);
        let packages: BTreeMap<&str, String> =
            manifest.packages.iter().map(|info| (info.name.as_str(), package_id(info))).collect();
        for part in &mut parts {
            let of = |name: &String| match part.kind {
                Kind::Application => applications.get(name).cloned().unwrap_or_default(),
                _ => packages.get(name.as_str()).cloned().into_iter().collect(),
            };
            part.needs = part.needs.iter().flat_map(of).filter(|id| *id != part.id).collect();
        }
        parts.extend(files(manifest));
        tell_apart(&mut parts);

        let needed: BTreeSet<&String> = parts.iter().flat_map(|part| &part.needs).collect();
        let asked: BTreeSet<String> = manifest
            .packages
            .iter()
            .filter(|info| info.wanted_by.len() < 2)
            .map(package_id)
            .chain(
                manifest
                    .release
                    .applications
                    .keys()
                    .flat_map(|name| applications.get(name).cloned().unwrap_or_default()),
            )
            .collect();
        let is_direct = |part: &&Part| {
            part.removed.is_none()
                && (asked.contains(&part.id) || part.inside.is_none() && !needed.contains(&part.id))
        };
        let needs = parts.iter().filter(is_direct).map(|part| part.id.clone()).collect();
        Self { parts, needs }
    }
}

/// Names that have been given out.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
    /// The number that a name got last.
    numbers: BTreeMap<String, u64>,
}

impl Names {
    /// The name, if nothing has it yet; else the first with a number behind it that nothing has.
    pub(super) fn unlike(&mut self, name: &str, before_number: &str) -> String {
        let mut unlike = name.to_owned();
        while !self.taken.insert(unlike.clone()) {
            let number = self.numbers.entry(name.to_owned()).or_insert(1);
            *number += 1;
            unlike = format!("{name}{before_number}{number}");
        }
        unlike
    }
}

/// What a manifest that leanfs wrote never has: two entries of one name. Each must still have a reference of its own.
fn tell_apart(parts: &mut [Part]) {
    let mut names = Names::default();
    for part in parts {
        part.id = names.unlike(&part.id, "#");
    }
}

/// Which packages and directories have something in the image, and which rules took what is gone.
struct Presence<'a> {
    /// Parts of the package layer that brought something that is no directory.
    packages: BTreeMap<&'a str, u64>,
    /// Paths of everything that is no directory, in their order.
    paths: Vec<&'a str>,
    removed_packages: BTreeMap<&'a str, BTreeSet<&'a str>>,
    removed_paths: BTreeMap<&'a str, &'a str>,
}

impl<'a> Presence<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let mut presence = Self {
            packages: BTreeMap::new(),
            paths: Vec::new(),
            removed_packages: BTreeMap::new(),
            removed_paths: BTreeMap::new(),
        };
        for file in manifest.files.iter().filter(|file| file.kind != "directory") {
            presence.paths.push(&file.path);
            if file.layer == LayerKind::Package {
                *presence.packages.entry(&file.part).or_default() += 1;
            }
        }
        presence.paths.sort_unstable();
        for file in &manifest.removed {
            presence.removed_paths.insert(&file.path, &file.rule);
            if file.layer == LayerKind::Package {
                presence.removed_packages.entry(&file.part).or_default().insert(&file.rule);
            }
        }
        presence
    }

    /// How many files a package has, and why it has none. One that never had any is there.
    fn of_package(&self, full_name: &str) -> (u64, Option<String>) {
        let count = self.packages.get(full_name).copied().unwrap_or_default();
        let rules = self.removed_packages.get(full_name).filter(|_| count == 0);
        (count, rules.map(|rules| because(rules.iter().copied())))
    }

    /// How many files stand below a directory, and why there are none.
    fn below(&self, directory: &str) -> (u64, Option<String>) {
        let prefix = format!("{directory}/");
        let start = self.paths.partition_point(|path| *path < prefix.as_str());
        let count = self.paths[start..].iter().take_while(|path| path.starts_with(&prefix)).count() as u64;
        let removed = || {
            let all = self.removed_paths.range(prefix.as_str()..);
            let rules: BTreeSet<&str> =
                all.take_while(|(path, _)| path.starts_with(&prefix)).map(|(_, rule)| *rule).collect();
            because(rules.into_iter())
        };
        (count, (count == 0).then(removed))
    }
}

fn because<'a>(rules: impl Iterator<Item = &'a str>) -> String {
    let rules: Vec<&str> = rules.collect();
    match rules.as_slice() {
        [] => "nothing of it is in the image".to_owned(),
        rules => format!("pruned: {}", rules.join(", ")),
    }
}

fn package_id(info: &PackageInfo) -> String {
    format!("package:{}", info.full_name())
}

fn package(info: &PackageInfo, distribution: Option<&str>, presence: &Presence<'_>) -> Part {
    let (count, removed) = presence.of_package(&info.full_name());
    let mut part = described(Kind::Package, info, distribution);
    part.fact("files", &count.to_string());
    part.removed = removed;
    part
}

/// What a package says of itself.
fn described(kind: Kind, info: &PackageInfo, distribution: Option<&str>) -> Part {
    let mut part = Part::new(kind, package_id(info), &info.name, &info.version);
    part.description.clone_from(&info.description);
    part.url.clone_from(&info.url);
    part.maintainer = maintainer(&info.maintainer);
    part.license = License::parse(&info.license);
    part.purl = info
        .distribution
        .as_deref()
        .or(distribution)
        .map(|distribution| Purl::apk(distribution, &info.name, &info.version).with("arch", &info.arch));
    part.sha256 = match &info.data_sha256 {
        Some(hash) => Some((hash.clone(), "the compressed data member of the package")),
        None => info.checksum.strip_prefix("Q2").and_then(|text| STANDARD.decode(text).ok()).map(|hash| {
            (hex::encode(hash), "the package's metadata (ADB), which has the hash of every file")
        }),
    };
    part.fact("arch", &info.arch);
    part.fact("repository", &info.repository);
    part.fact("origin", &info.origin);
    part.fact("commit", &info.commit);
    part.fact("checksum", &info.checksum);
    // Names, until all parts are known.
    part.needs.clone_from(&info.needs);
    part
}

/// `Natanael Copa <ncopa@alpinelinux.org>`
fn maintainer(text: &str) -> Option<(String, Option<String>)> {
    let text = text.trim();
    let (name, address) = match text.split_once('<') {
        Some((name, rest)) => (name.trim(), rest.split('>').next().map(str::trim)),
        None => (text, None),
    };
    let is_address = |address: &&str| {
        let good = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        address.chars().all(good)
            && address
                .split_once('@')
                .is_some_and(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'))
    };
    (!name.is_empty()).then(|| (name.to_owned(), address.filter(is_address).map(str::to_owned)))
}

fn kernel(manifest: &Manifest, distribution: Option<&str>) -> Option<Part> {
    let kernel = manifest.kernel.as_ref()?;
    let mut part = match &kernel.package {
        // Asked for as a package too, it is there already.
        Some(info) if manifest.packages.iter().any(|other| other.full_name() == info.full_name()) => {
            return None;
        }
        Some(info) => described(Kind::Kernel, info, distribution),
        None => {
            let mut part = Part::new(Kind::Kernel, format!("kernel:{}", kernel.name), &kernel.name, "");
            part.sha256 = Some((kernel.sha256.clone(), "the file"));
            part
        }
    };
    part.fact("kernel-sha256", &kernel.sha256);
    Some(part)
}

/// The Erlang runtime system, which is there without its `.app` file.
fn emulator(manifest: &Manifest) -> Option<Part> {
    let (file, version) = manifest.files.iter().find_map(|file| {
        let component = Component::of(&file.path, file.layer, &file.part);
        (file.kind == "file" && component.group == Group::Erts).then_some((file, component.version?))
    })?;
    let mut part = Part::new(Kind::Application, format!("application:erts-{version}"), "erts", &version);
    part.description = "Erlang runtime system".to_owned();
    part.purl = Some(Purl::otp("erts", &version));
    part.inside = inside(file.layer, &file.part);
    Some(part)
}

fn inside(layer: LayerKind, part: &str) -> Option<String> {
    (layer == LayerKind::Package).then(|| format!("package:{part}"))
}

fn application(info: &ApplicationInfo, presence: &Presence<'_>) -> Part {
    let (count, removed) = presence.below(&info.path);
    let id = format!("application:{}", info.path);
    let mut part = Part::new(Kind::Application, id, &info.name, &info.version);
    part.description.clone_from(&info.description);
    part.license = License::parse_all(&info.licenses);
    part.purl = Some(match &info.hex {
        Some(hex) => {
            // The others are servers, of which a lock file has only a name.
            let organisation = hex.repository.as_deref().and_then(|name| name.strip_prefix("hexpm:"));
            Purl::hex(organisation, &hex.name, &hex.version)
        }
        None => Purl::otp(&info.name, &info.version),
    });
    if let Some(hex) = &info.hex {
        part.sha256 = hex.sha256.clone().map(|hash| (hash, "the package's tarball"));
        part.fact("hex-repository", hex.repository.as_deref().unwrap_or_default());
    }
    part.fact("path", &info.path);
    part.fact(
        "application",
        match platform_of(&info.name) {
            Some(Platform::Otp) => "otp",
            Some(Platform::Elixir) => "elixir",
            None => "release",
        },
    );
    part.fact("files", &count.to_string());
    part.removed = removed;
    part.needs.clone_from(&info.needs);
    part.inside = inside(info.layer, &info.part);
    part
}

/// The ids of the applications of each name: those in the image, or else the others.
fn applications_by_name(parts: &[Part]) -> BTreeMap<String, Vec<String>> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for removed in [false, true] {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for part in parts.iter().filter(|part| part.kind == Kind::Application) {
            if part.removed.is_some() == removed && !by_name.contains_key(&part.name) {
                found.entry(part.name.clone()).or_default().push(part.id.clone());
            }
        }
        by_name.extend(found);
    }
    by_name
}

/// Files of which nothing else tells what they are: libraries of a sysroot, the overlay, PID 1.
fn files(manifest: &Manifest) -> impl Iterator<Item = Part> {
    manifest.files.iter().filter(|file| file.kind == "file").filter_map(|file| {
        let mut part = match file.layer {
            LayerKind::Sysroot | LayerKind::Overlay => {
                Part::new(Kind::File, format!("file:{}", file.path), &file.path, "")
            }
            LayerKind::Skeleton if file.path == "/init" => {
                let mut part = Part::new(Kind::File, "file:/init".to_owned(), "/init", &manifest.leanfs);
                part.description = "leanfs's own PID 1".to_owned();
                part.license = License::parse(env!("CARGO_PKG_LICENSE"));
                part
            }
            _ => return None,
        };
        part.fact("layer", &file.layer.to_string());
        part.sha256 = file.sha256.clone().map(|hash| (hash, "the file"));
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken() {
        let mut names = Names::default();
        let given: Vec<String> =
            ["a", "a-2", "a", "a", "b", "a-2"].iter().map(|name| names.unlike(name, "-")).collect();
        assert_eq!(given, ["a", "a-2", "a-3", "a-4", "b", "a-2-2"]);
    }

    #[test]
    fn maintainers() {
        for (text, want) in [
            ("Natanael Copa <ncopa@alpinelinux.org>", Some(("Natanael Copa", Some("ncopa@alpinelinux.org")))),
            ("Somebody", Some(("Somebody", None))),
            ("Somebody <no address>", Some(("Somebody", None))),
            ("Somebody <a@b>", Some(("Somebody", None))),
            ("Somebody <a@b@c.d>", Some(("Somebody", None))),
            ("<a@b.c>", None),
            ("", None),
        ] {
            let found = maintainer(text);
            let found = found.as_ref().map(|(name, address)| (name.as_str(), address.as_deref()));
            assert_eq!(found, want, "{text}");
        }
    }
}
