//! The database of installed packages, beside the one that the real `apk` writes, and under it.

mod image;
mod oracle;
mod replaces;
mod scripts;

use leanfs::apk::InstalledDatabase;
use leanfs::apk::checksum::sha1;
use leanfs::arch::Arch;
use leanfs::fetch::{FetchSettings, Fetcher, VerifiedApk, VerifiedIndex, load_keys};
use leanfs::layer::package_db::{self, Configuration};
use leanfs::layer::packages::{self, Package};
use leanfs::recipe::Repository;
use leanfs::report::Silent;
use leanfs::resolve::Repositories;
use leanfs::tree::{Content, NodeKind, Tree, TreePath};
use oracle::Oracle;

use super::end_to_end::bench::{Mirror, full};

/// What is installed: everything of the mirror's base system but the kernel, whose modules take their time.
fn names(index: &VerifiedIndex) -> Vec<String> {
    let entries = index.index().entries.iter().map(|entry| entry.name.clone());
    entries.filter(|name| full() || name != "linux-virt").collect()
}

/// Packages of a repository and what they depend on, in the order of installation.
fn fetch(repository: &Repository, keys: &std::path::Path, names: &[String]) -> Vec<VerifiedApk> {
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("leanfs-cache");
    let mut settings = FetchSettings::new(cache);
    settings.offline = true;
    settings.keys = load_keys(&[keys.to_owned()]).expect("keys");
    let fetcher = Fetcher::new(settings, &Silent).expect("a fetcher");
    let index = fetcher.index(repository, Arch::X86_64).expect("an index");
    let world: Vec<_> = names.iter().map(|name| name.parse().expect("a name")).collect();
    let solution = Repositories::new([index.index()]).for_arch("x86_64").resolve(&world).expect("satisfied");
    let wanted: Vec<_> = solution.packages.iter().map(|selected| (&index, &selected.entry)).collect();
    fetcher.packages(&wanted, &|_, _| true).expect("verified")
}

fn layers(packages: &[VerifiedApk]) -> Vec<Package<'_>> {
    packages
        .iter()
        .map(|apk| Package {
            entry: apk.entry(),
            info: apk.info(),
            scripts: apk.scripts(),
            tree: apk.tree(),
            tag: None,
        })
        .collect()
}

fn read(tree: &Tree, path: &str) -> Vec<u8> {
    let (_, content) = tree.file(&path.parse().expect("good")).unwrap_or_else(|| panic!("{path} is there"));
    content.read(64 << 20).expect("readable")
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes), &mut text).expect("gzip");
    text
}

/// Every byte but those of gzip: its compressor is not apk's.
#[test]
fn the_database_is_the_one_that_apk_writes() {
    let Some(oracle) = Oracle::new() else { return };
    let Some(mirror) = Mirror::host() else { return };
    let (repository, keys) = (mirror.directory.join("v3.23/main"), mirror.directory.join("keys"));
    let fetcher = |names: &[String]| fetch(&Repository::Directory(repository.clone()), &keys, names);
    let names = {
        let mut settings = FetchSettings::new(oracle.path("cache"));
        settings.keys = load_keys(std::slice::from_ref(&keys)).expect("keys");
        let fetcher = Fetcher::new(settings, &Silent).expect("a fetcher");
        names(&fetcher.index(&Repository::Directory(repository.clone()), Arch::X86_64).expect("an index"))
    };
    assert!(names.len() > 50);
    oracle.add(&[&repository], &keys, &names.iter().map(String::as_str).collect::<Vec<_>>());

    let fetched = fetcher(&names);
    let mut tree = Tree::new();
    packages::lay(&mut tree, &layers(&fetched)).expect("no two packages contradict each other");
    let database = package_db::database(&tree, &layers(&fetched)).expect("readable");
    let world: Vec<_> = names.iter().map(|name| name.parse().expect("a name")).collect();
    let configuration = Configuration { arch: Arch::X86_64, world: &world, repositories: &[], keys: &[] };
    package_db::lay(&mut tree, &database, &configuration, 0).expect("written");

    for path in ["lib/apk/db/installed", "lib/apk/db/triggers", "etc/apk/world", "etc/apk/arch"] {
        let (ours, theirs) = (read(&tree, path), oracle.read(path));
        oracle::assert_same_lines(path, &ours, &theirs);
    }
    let path = "lib/apk/db/scripts.tar.gz";
    assert!(gunzip(&read(&tree, path)) == gunzip(&oracle.read(path)), "the scripts differ");

    // What apk wrote is read back, and written the same.
    let mut again = InstalledDatabase::parse(&oracle.read("lib/apk/db/installed")).expect("readable");
    again.read_scripts(&oracle.read(path)).expect("readable");
    again.read_triggers(&oracle.read("lib/apk/db/triggers")).expect("readable");
    assert!(again.to_bytes().expect("written") == database.to_bytes().expect("written"));
    assert!(again.scripts_archive().expect("packed") == database.scripts_archive().expect("packed"));
    assert!(again.triggers() == database.triggers());

    // Whose the files are, and whose the directories' modes, shows on the disk too.
    oracle.assert_holds(&tree);
}

/// The minirootfs of Alpine 3.20.3, which another version of apk made.
#[test]
fn a_real_database_is_read_and_written_the_same() {
    let Some(shared) = super::end_to_end::bench::shared() else { return };
    let archive =
        fs_err::read(shared.join("real/rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz")).expect("there");
    let spool = leanfs::tree::SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let origin = leanfs::tree::Origin::skeleton();
    let tree = leanfs::archive::read_whole_tar(&gunzip(&archive)[..], spool, &origin).expect("a tar");
    let installed = read(&tree, "lib/apk/db/installed");
    let mut database = InstalledDatabase::parse(&installed).expect("readable");
    database.read_scripts(&gzip(&read(&tree, "lib/apk/db/scripts.tar"))).expect("readable");
    database.read_triggers(&read(&tree, "lib/apk/db/triggers")).expect("readable");
    assert_eq!(database.packages.len(), 14);
    assert!(database.packages.iter().any(|package| !package.scripts.is_empty()));
    oracle::assert_same_lines("installed", &database.to_bytes().expect("written"), &installed);
    oracle::assert_same_lines("triggers", &database.triggers(), &read(&tree, "lib/apk/db/triggers"));
    // Every file that it lists is there, with that hash.
    let mut checked = 0;
    for package in &database.packages {
        for directory in &package.directories {
            for file in &directory.files {
                let path = [&*directory.path, b"/", &*file.name].concat();
                let path = TreePath::parse(&path).expect("a path");
                let node = tree.get(&path).unwrap_or_else(|| panic!("{path} is there"));
                let found = match &node.kind {
                    NodeKind::File(content) => sha1(&content.read(64 << 20).expect("readable")),
                    NodeKind::Symlink(target) => sha1(target),
                    other => panic!("{path} is {}", other.name()),
                };
                // Scripts add accounts.
                let is_changed =
                    ["etc/passwd", "etc/group", "etc/shadow"].map(str::as_bytes).contains(&path.as_bytes());
                assert!(file.hash == Some(found) || is_changed, "{path}");
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

/// What happened to files after they were laid is told: who looks with `apk audit` finds nothing.
#[test]
fn the_database_follows_the_tree() {
    let Some(mirror) = Mirror::host() else { return };
    let keys = mirror.directory.join("keys");
    let repository = Repository::Directory(mirror.directory.join("v3.23/main"));
    let fetched = fetch(&repository, &keys, &["busybox", "alpine-baselayout", "zlib"].map(str::to_owned));
    let layers = layers(&fetched);
    let mut tree = Tree::new();
    packages::lay(&mut tree, &layers).expect("laid");
    let path = |text: &str| -> TreePath { text.parse().expect("good") };
    let change = |tree: &mut Tree, name: &str| {
        tree.get_mut(&path(name)).expect("there").kind = NodeKind::File(Content::from_bytes(*b"changed"));
    };
    let before = package_db::database(&tree, &layers).expect("readable");
    change(&mut tree, "bin/busybox");
    change(&mut tree, "etc/motd");
    let gone: Vec<TreePath> = tree
        .iter()
        .filter(|(path, _)| path.to_string().contains("libz.so"))
        .map(|(path, _)| path.clone())
        .collect();
    assert!(!gone.is_empty());
    for path in gone {
        tree.remove(&path);
    }
    let after = package_db::database(&tree, &layers).expect("readable");
    let hash = |database: &InstalledDatabase, path: &str| {
        let (directory, name) = path.rsplit_once('/').expect("a path");
        let directories = database.packages.iter().flat_map(|package| &package.directories);
        let files =
            directories.filter(|there| there.path == directory.as_bytes()).flat_map(|there| &there.files);
        files.filter(|file| file.name == name.as_bytes()).map(|file| file.hash.expect("a hash")).next()
    };
    assert_eq!(hash(&after, "bin/busybox"), Some(sha1(b"changed")));
    assert_ne!(hash(&before, "bin/busybox"), hash(&after, "bin/busybox"));
    // An administrator's file: apk has to see that it was changed.
    assert_eq!(hash(&after, "etc/motd"), hash(&before, "etc/motd"));
    let zlib = |database: &InstalledDatabase| {
        let package = database.packages.iter().find(|package| package.entry.name == "zlib").expect("there");
        package.directories.iter().map(|directory| directory.files.len()).sum::<usize>()
    };
    assert!(zlib(&before) == 2 && zlib(&after) == 0, "the record stays, without files");
    assert_eq!(before.packages.len(), after.packages.len());
}
