//! Debian's Erlang and Elixir of this machine, with the glibc libraries that they need, as packages.
//!
//! A release that the machine's `mix` makes names exact versions of Erlang's applications; a package `erlang` of
//! the same Debian version has them. The libraries stand at their Debian paths, where glibc's loader looks, and
//! so beside Alpine's of the same names; their packages are called `debian-NAME`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use leanfs::apk::{Dependency, PackageInfo};
use leanfs::elf::ElfFile;
use leanfs::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin, Tree, TreePath};

use super::Package;
use crate::{run, setup};

/// What becomes the package `erlang`: ERTS and the applications that a release can hold.
const ERLANG: &[&str] = &[
    "base",
    "asn1",
    "crypto",
    "diameter",
    "edoc",
    "eldap",
    "eunit",
    "ftp",
    "inets",
    "mnesia",
    "os-mon",
    "parsetools",
    "public-key",
    "runtime-tools",
    "snmp",
    "ssh",
    "ssl",
    "syntax-tools",
    "tftp",
    "tools",
    "xmerl",
];

/// A Debian package with its version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Deb {
    name: String,
    version: String,
}

/// Which Debian packages become Alpine ones.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    erlang: Vec<Deb>,
    elixir: Deb,
    libraries: Vec<Deb>,
}

/// What decides what the packages must hold, as text. Newer libraries of the same Debian serve as well.
pub(crate) fn inputs() -> Result<String> {
    let installed = installed()?;
    let version = |name: &str| installed.get(name).cloned().unwrap_or_else(|| "none".to_owned());
    Ok(["erlang-base", "elixir", "libc6"].map(|name| format!("{name}={}\n", version(name))).concat())
}

impl Plan {
    /// As this machine's dpkg and apt say: Erlang and Elixir as installed, libraries as offered.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let installed = installed()?;
        let take = |name: &str| -> Result<Deb> {
            let version = installed.get(name).with_context(|| {
                format!("the Debian package {name} is not installed: the mirror offers this machine's Erlang")
            })?;
            Ok(Deb { name: name.to_owned(), version: version.clone() })
        };
        let base = take("erlang-base")?;
        let names: Vec<String> = ERLANG.iter().map(|name| format!("erlang-{name}")).collect();
        let mut offered = candidates(&names)?;
        if offered.is_empty() && setup::is_root()? {
            setup::update()?;
            offered = candidates(&names)?;
        }
        // Parts that are not installed go along at the version of those that are.
        let erlang =
            offered.into_iter().map(|deb| Deb { version: base.version.clone(), ..deb }).collect::<Vec<_>>();
        if erlang.is_empty() {
            bail!("apt offers no erlang-base: `apt-get update` fetches the lists of packages");
        }
        let mut wanted: Vec<String> = names;
        let mut libraries: BTreeSet<String> = BTreeSet::new();
        while !wanted.is_empty() {
            let found = dependencies(&wanted)?;
            wanted = found.into_iter().filter(|name| libraries.insert(name.clone())).collect();
        }
        let libraries = candidates(&libraries.into_iter().collect::<Vec<_>>())?;
        Ok(Self { erlang, elixir: take("elixir")?, libraries })
    }

    fn debs(&self) -> impl Iterator<Item = &Deb> {
        self.erlang.iter().chain([&self.elixir]).chain(&self.libraries)
    }

    /// Downloads and unpacks all of them, below the working directory.
    fn unpack(&self) -> Result<BTreeMap<String, PathBuf>> {
        let cache = crate::work().join("debs");
        fs_err::create_dir_all(&cache)?;
        let place = |deb: &Deb| cache.join(format!("{}_{}", deb.name, deb.version.replace(':', "%3a")));
        let missing: Vec<&Deb> = self.debs().filter(|deb| !place(deb).join(".unpacked").exists()).collect();
        if !missing.is_empty() {
            let downloads = cache.join("download");
            if downloads.exists() {
                fs_err::remove_dir_all(&downloads)?;
            }
            fs_err::create_dir_all(&downloads)?;
            download(&missing, &downloads)?;
            for entry in fs_err::read_dir(&downloads)? {
                let file = entry?.path();
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // NAME_VERSION_ARCH.deb
                let deb = missing.iter().find(|deb| name.starts_with(&format!("{}_", deb.name)));
                let Some(deb) = deb else { continue };
                let target = place(deb);
                if target.exists() {
                    fs_err::remove_dir_all(&target)?;
                }
                run::output(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&target))?;
                fs_err::write(target.join(".unpacked"), "")?;
            }
            fs_err::remove_dir_all(&downloads)?;
        }
        let mut places = BTreeMap::new();
        for deb in self.debs() {
            let place = place(deb);
            if !place.join(".unpacked").exists() {
                bail!("apt-get did not download {} {}", deb.name, deb.version);
            }
            places.insert(deb.name.clone(), place);
        }
        Ok(places)
    }

    /// The packages: `erlang`, `elixir` and the libraries.
    pub(crate) fn packages(&self, arch: &str, taken: &BTreeSet<String>) -> Result<Vec<Package>> {
        let places = self.unpack()?;
        let place = |deb: &Deb| places.get(&deb.name).context("unpacked").map(PathBuf::as_path);
        let mut libraries = Vec::new();
        for deb in &self.libraries {
            let name = format!("debian-{}", deb.name);
            let origin = Origin::new(LayerKind::Package, name.as_str());
            let mut tree = Tree::new();
            add(&mut tree, place(deb)?, &origin, &|path| {
                (path.starts_with("lib") || path.starts_with("usr/lib"))
                    && !path.contains("/gconv/") // character sets: 8 MB that the BEAM has no use for
                    || path.ends_with("/copyright")
            })?;
            loader_directory(&mut tree, &origin)?;
            let objects = Objects::of(&tree)?;
            if !objects.sonames.is_empty() {
                libraries.push((deb, name, tree, objects));
            }
        }
        // Which package has which library. Alpine's own come first to a name that both have: packages of Alpine
        // ask for them by that name.
        let owners: BTreeMap<String, String> = libraries
            .iter()
            .flat_map(|(_, name, _, objects)| {
                objects.sonames.iter().map(move |soname| (soname.clone(), name.clone()))
            })
            .collect();
        let depends = |objects: &Objects| -> Result<BTreeSet<String>> {
            let mut depends = BTreeSet::new();
            for soname in objects.needed.difference(&objects.sonames) {
                let owner =
                    owners.get(soname).with_context(|| format!("no Debian package at hand has {soname}"))?;
                depends.insert(if taken.contains(soname) { owner.clone() } else { format!("so:{soname}") });
            }
            Ok(depends)
        };
        let erlang = self.erlang(&places, arch, &depends)?;
        let elixir = self.elixir(place(&self.elixir)?, arch, &erlang)?;
        // Only libraries that something needs.
        let mut reached: BTreeSet<String> = BTreeSet::new();
        let mut wanted: Vec<String> = Objects::of(&erlang.tree)?.needed.into_iter().collect();
        while let Some(soname) = wanted.pop() {
            let Some(owner) = owners.get(&soname) else { continue };
            if reached.insert(owner.clone())
                && let Some((.., objects)) = libraries.iter().find(|(_, name, ..)| name == owner)
            {
                wanted.extend(objects.needed.iter().cloned());
            }
        }
        let mut packages = vec![erlang, elixir];
        for (deb, name, tree, objects) in libraries {
            if !reached.contains(&name) {
                continue;
            }
            let version = alpine_version(&deb.version)?;
            let number = version.split("-r").next().unwrap_or_default().to_owned();
            let provides: Vec<String> =
                objects.sonames.difference(taken).map(|soname| format!("so:{soname}={number}")).collect();
            let mut info = info(&name, &version, arch, &format!("{} of Debian {}", deb.name, deb.version));
            info.origin = deb.name.clone();
            info.depends = parse_all(depends(&objects)?)?;
            info.provides = parse_all(provides)?;
            packages.push(Package { info, scripts: Vec::new(), tree });
        }
        Ok(packages)
    }

    fn erlang(
        &self,
        places: &BTreeMap<String, PathBuf>,
        arch: &str,
        depends: &dyn Fn(&Objects) -> Result<BTreeSet<String>>,
    ) -> Result<Package> {
        let origin = Origin::new(LayerKind::Package, "erlang");
        let mut tree = Tree::new();
        for deb in &self.erlang {
            let place = places.get(&deb.name).context("unpacked")?;
            add(&mut tree, place, &origin, &|path| {
                path.starts_with("usr/lib/erlang/")
                    || path.starts_with("usr/bin/")
                    || path.ends_with("/copyright")
            })?;
        }
        let base = self.erlang.iter().find(|deb| deb.name == "erlang-base").context("no erlang-base")?;
        let version = alpine_version(&base.version)?;
        let mut info = info("erlang", &version, arch, &format!("Erlang/OTP of Debian {}", base.version));
        let mut wanted = depends(&Objects::of(&tree)?)?;
        // `erl` and its like are shell scripts.
        wanted.insert("/bin/sh".to_owned());
        info.depends = parse_all(wanted)?;
        info.provides = parse_all(commands(&tree, &version))?;
        Ok(Package { info, scripts: Vec::new(), tree })
    }

    fn elixir(&self, place: &Path, arch: &str, erlang: &Package) -> Result<Package> {
        let mut tree = Tree::new();
        add(&mut tree, place, &Origin::new(LayerKind::Package, "elixir"), &|path| {
            path.starts_with("usr/lib/elixir/")
                || path.starts_with("usr/bin/")
                || path.ends_with("/copyright")
        })?;
        let version = alpine_version(&self.elixir.version)?;
        let mut info = info("elixir", &version, arch, &format!("Elixir of Debian {}", self.elixir.version));
        info.depends = parse_all([format!("erlang={}", erlang.info.version), "/bin/sh".to_owned()])?;
        info.provides = parse_all(commands(&tree, &version))?;
        Ok(Package { info, scripts: Vec::new(), tree })
    }
}

fn info(name: &str, version: &str, arch: &str, description: &str) -> PackageInfo {
    PackageInfo {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: arch.to_owned(),
        description: description.to_owned(),
        origin: name.to_owned(),
        license: "custom".to_owned(),
        build_time: Some(0),
        ..PackageInfo::default()
    }
}

fn parse_all(words: impl IntoIterator<Item = String>) -> Result<Vec<Dependency>> {
    words.into_iter().map(|word| word.parse().with_context(|| format!("the dependency {word:?}"))).collect()
}

/// `cmd:NAME=VERSION` for what stands in `usr/bin`, as Alpine's tools write it.
fn commands(tree: &Tree, version: &str) -> Vec<String> {
    tree.iter()
        .filter_map(|(path, _)| path.to_string().strip_prefix("/usr/bin/").map(str::to_owned))
        .filter(|name| !name.contains('/'))
        .map(|name| format!("cmd:{name}={version}"))
        .collect()
}

/// An Alpine version for a Debian one: the numbers at the start of the upstream part, and a revision from the
/// digits of Debian's, which keeps their order (`1:25.2.3+dfsg-1+deb12u4` is `25.2.3-r11204`).
fn alpine_version(debian: &str) -> Result<String> {
    let (_, without_epoch) = debian.split_once(':').unwrap_or(("", debian));
    let (upstream, revision) = without_epoch.rsplit_once('-').unwrap_or((without_epoch, "0"));
    let end = upstream.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upstream.len());
    let number = upstream.get(..end).unwrap_or_default().trim_matches('.');
    if number.is_empty() {
        bail!("the Debian version {debian:?} starts with no number");
    }
    let revision = revision
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<u64>().ok())
        .fold(0_u64, |sum, part| sum.saturating_mul(100).saturating_add(part.min(99)));
    Ok(format!("{number}-r{revision}"))
}

/// What dpkg has: versions by name.
fn installed() -> Result<BTreeMap<String, String>> {
    let text = run::output(
        Command::new("dpkg-query")
            .args(["--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n"]),
    )?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "installed").then_some(())?;
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect())
}

/// What apt would install for each of the names that it knows.
fn candidates(names: &[String]) -> Result<Vec<Deb>> {
    let text = run::output(Command::new("apt-cache").arg("policy").args(names))?;
    let mut debs = Vec::new();
    let mut name = None;
    for line in text.lines() {
        if !line.starts_with(' ') {
            name = line.strip_suffix(':').map(str::to_owned);
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
            && let Some(name) = name.take()
        {
            debs.push(Deb { name, version: version.to_owned() });
        }
    }
    debs.sort();
    Ok(debs)
}

/// The libraries that packages depend on directly, as apt offers them.
fn dependencies(names: &[String]) -> Result<BTreeSet<String>> {
    let mut command = Command::new("apt-cache");
    command.args(["depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"]);
    let text = run::output(command.args(["--no-replaces", "--no-enhances"]).args(names))?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let line = line.trim().trim_start_matches('|');
            line.strip_prefix("Depends: ").or_else(|| line.strip_prefix("PreDepends: "))
        })
        .filter(|name| name.starts_with("lib") || name.starts_with("zlib"))
        .map(str::to_owned)
        .collect())
}

fn download(debs: &[&Deb], directory: &Path) -> Result<()> {
    let attempt = || {
        let mut command = Command::new("apt-get");
        command.current_dir(directory).args(["download", "--quiet"]);
        // apt drops its rights to a user who may not write here, and says so at length.
        command.args(["--option", "APT::Sandbox::User=root"]);
        run::output(command.args(debs.iter().map(|deb| format!("{}={}", deb.name, deb.version))))
    };
    eprintln!("+ apt-get download ({} packages)", debs.len());
    if attempt().is_ok() {
        return Ok(());
    }
    if setup::is_root()? {
        setup::update()?;
    }
    attempt().map(|_| ()).context(
        "apt offers other versions of Erlang or Elixir than are installed, or is not reachable \
         (`apt-get upgrade` brings them together)",
    )
}

/// Puts what `take` wants of an unpacked package into the tree: owned by root, its modes and times as they are.
fn add(tree: &mut Tree, root: &Path, origin: &Origin, take: &dyn Fn(&str) -> bool) -> Result<()> {
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs_err::read_dir(root.join(&directory))? {
            let entry = entry?;
            let relative = directory.join(entry.file_name());
            let name = relative.to_str().with_context(|| format!("the path {relative:?}"))?.to_owned();
            let found = fs_err::symlink_metadata(entry.path())?;
            if found.is_dir() {
                directories.push(relative);
                continue;
            }
            if !take(&name) {
                continue;
            }
            use std::os::unix::fs::MetadataExt;
            let mode = if found.is_symlink() { 0o777 } else { found.mode() & 0o7777 };
            let metadata = Metadata { mode, uid: 0, gid: 0, mtime: found.mtime() };
            let kind = if found.is_symlink() {
                NodeKind::Symlink(fs_err::read_link(entry.path())?.into_os_string().into_encoded_bytes())
            } else {
                NodeKind::File(Content::from_path(entry.path(), found.len()))
            };
            let path = TreePath::parse(name.as_bytes())?;
            tree.insert_with_parents(path, Node::new(kind, metadata, origin.clone()));
        }
    }
    // insert_with_parents gives a directory the time of what was first put into it, and that order is the disk's.
    let parents: Vec<TreePath> = tree
        .iter()
        .filter(|(_, node)| matches!(node.kind, NodeKind::Directory))
        .map(|(path, _)| path.clone())
        .collect();
    for path in parents {
        if let Some(node) = tree.get_mut(&path) {
            node.metadata.mtime = 0;
        }
    }
    Ok(())
}

/// Programs name their loader as `/lib64/…`; where Debian keeps that directory in `/usr`, a link leads there.
fn loader_directory(tree: &mut Tree, origin: &Origin) -> Result<()> {
    let moved = TreePath::parse(b"usr/lib64")?;
    if tree.below(&moved).next().is_some() {
        tree.insert(TreePath::parse(b"lib64")?, Node::symlink("usr/lib64", origin.clone()));
    }
    Ok(())
}

/// What the ELF files of a tree offer and need.
#[derive(Debug, Default)]
struct Objects {
    sonames: BTreeSet<String>,
    needed: BTreeSet<String>,
}

impl Objects {
    fn of(tree: &Tree) -> Result<Self> {
        let mut objects = Self::default();
        for (path, node) in tree.iter() {
            let NodeKind::File(content) = &node.kind else { continue };
            if content.read_head(4)? != ElfFile::MAGIC {
                continue;
            }
            let bytes = content.read(256 << 20)?;
            let elf = ElfFile::parse(&bytes).with_context(|| path.to_string())?;
            let in_library_directory = path.parent().is_some_and(|parent| {
                let parent = parent.to_string();
                parent.starts_with("/lib") || parent.starts_with("/usr/lib/") && !parent.contains("/erlang")
            });
            if in_library_directory {
                objects.sonames.extend(elf.soname);
            }
            objects.needed.extend(elf.needed);
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_versions_become_alpine_ones() {
        let table = [
            ("1:25.2.3+dfsg-1+deb12u4", "25.2.3-r11204"),
            ("2.36-9+deb12u14", "2.36-r91214"),
            ("1:1.2.13.dfsg-1", "1.2.13-r1"),
            ("3.0.19-1~deb12u2", "3.0.19-r11202"),
            ("12.2.0-14+deb12u1", "12.2.0-r141201"),
            ("1.14.0.dfsg-2", "1.14.0-r2"),
            ("6.4", "6.4-r0"),
        ];
        for (debian, alpine) in table {
            let version = alpine_version(debian).expect("a version");
            assert_eq!(version, alpine, "{debian}");
            assert!(version.parse::<leanfs::apk::Version>().is_ok(), "{version}");
        }
        assert!(alpine_version("x1").is_err());
    }
}
