//! Repositories of packages for tests, made on the spot and signed with the key of `tests/keys`.
//!
//! ```ignore
//! let repository = TestRepo::new()
//!     .package("musl", "1.2.5-r0").provides("so:libc.musl-x86_64.so.1=1").file("lib/ld-musl.so", b"…")
//!     .package("app", "1.0-r0").depends("so:libc.musl-x86_64.so.1").symlink("bin/app", "busybox")
//!     .build(directory);
//! ```

use std::path::{Path, PathBuf};

use leanfs::apk::write::{PrivateKey, index_package, pack_in_memory, write_index};
use leanfs::apk::{Dependency, PackageInfo, PublicKey};
use leanfs::arch::Arch;
use leanfs::recipe::Repository;
use leanfs::tree::{Content, Metadata, Node, Origin, Tree, TreePath};

/// The file name of the public key.
pub(crate) const KEY_NAME: &str = "leanfs-test.rsa.pub";

/// The file of the public key that signs every [`TestRepo`].
pub(crate) fn key_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(KEY_NAME)
}

/// That key.
pub(crate) fn public_key() -> PublicKey {
    private_key(KEY_NAME).public().clone()
}

fn private_key(name: &str) -> PrivateKey {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/leanfs-test.rsa");
    PrivateKey::from_pem(name, &std::fs::read(file).expect("the key of the tests")).expect("a key")
}

/// A repository under construction; what is said of a package goes to the last one.
pub(crate) struct TestRepo {
    arch: Arch,
    signed_as: Option<String>,
    packages: Vec<TestPackage>,
}

struct TestPackage {
    info: PackageInfo,
    tree: Tree,
    scripts: Vec<(String, Vec<u8>)>,
    /// A tar to take as it is, in the place of the tree.
    raw_data: Option<Vec<u8>>,
    is_signed: bool,
}

impl TestRepo {
    /// Empty, signed, for x86_64.
    pub(crate) fn new() -> Self {
        Self { arch: Arch::X86_64, signed_as: Some(KEY_NAME.to_owned()), packages: Vec::new() }
    }

    /// For another architecture, packages that follow included.
    pub(crate) fn arch(mut self, arch: Arch) -> Self {
        self.arch = arch;
        self
    }

    /// With an index that nobody signed.
    pub(crate) fn unsigned(mut self) -> Self {
        self.signed_as = None;
        self
    }

    /// With an index that is signed by the same key under another name.
    pub(crate) fn signed_as(mut self, key_name: &str) -> Self {
        self.signed_as = Some(key_name.to_owned());
        self
    }

    /// One more package.
    pub(crate) fn package(mut self, name: &str, version: &str) -> Self {
        let info = PackageInfo {
            name: name.to_owned(),
            version: version.to_owned(),
            description: format!("{name} of the tests"),
            license: "MIT".to_owned(),
            origin: name.to_owned(),
            arch: self.arch.alpine().to_owned(),
            ..PackageInfo::default()
        };
        let (tree, scripts) = (Tree::new(), Vec::new());
        self.packages.push(TestPackage { info, tree, scripts, raw_data: None, is_signed: true });
        self
    }

    fn last(&mut self) -> &mut TestPackage {
        self.packages.last_mut().expect("a package was begun")
    }

    /// Changes what the package says of itself.
    pub(crate) fn info(mut self, change: impl FnOnce(&mut PackageInfo)) -> Self {
        change(&mut self.last().info);
        self
    }

    /// One more dependency, as in an index.
    pub(crate) fn depends(self, dependency: &str) -> Self {
        let dependency: Dependency = dependency.parse().expect("a dependency");
        self.info(|info| info.depends.push(dependency))
    }

    /// One more name that it provides, with or without a version.
    pub(crate) fn provides(self, provided: &str) -> Self {
        let provided: Dependency = provided.parse().expect("a name");
        self.info(|info| info.provides.push(provided))
    }

    /// One more package whose files it may overwrite.
    pub(crate) fn replaces(self, replaced: &str) -> Self {
        let replaced: Dependency = replaced.parse().expect("a name");
        self.info(|info| info.replaces.push(replaced))
    }

    /// Anything at a path without a leading slash; parents come by themselves.
    pub(crate) fn node(mut self, path: &str, node: Node) -> Self {
        let path = TreePath::parse(path.as_bytes()).expect("a path");
        self.last().tree.insert_with_parents(path, node);
        self
    }

    /// A file, mode 0644.
    pub(crate) fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let content = Content::from_bytes(content.into());
        self.node(path, Node::file(content, Metadata::FILE, Origin::skeleton()))
    }

    /// A file, mode 0755.
    pub(crate) fn program(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let content = Content::from_bytes(content.into());
        self.node(path, Node::file(content, Metadata::PROGRAM, Origin::skeleton()))
    }

    /// A symbolic link.
    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.node(path, Node::symlink(target, Origin::skeleton()))
    }

    /// A script: `.post-install`, `.trigger` …
    pub(crate) fn script(mut self, name: &str, text: &str) -> Self {
        self.last().scripts.push((name.to_owned(), text.into()));
        self
    }

    /// The data member holds this tar, whatever it is, and the package itself is not signed.
    pub(crate) fn raw_data(mut self, tar: Vec<u8>) -> Self {
        self.last().raw_data = Some(tar);
        self
    }

    /// The package itself is not signed; the index is as it was said.
    pub(crate) fn unsigned_package(mut self) -> Self {
        self.last().is_signed = false;
        self
    }

    /// Writes the packages and the index to `directory/ARCH`.
    pub(crate) fn build(&self, directory: &Path) -> Repository {
        let below = directory.join(self.arch.alpine());
        std::fs::create_dir_all(&below).expect("a directory");
        let key = private_key(KEY_NAME);
        let mut entries = Vec::new();
        for package in &self.packages {
            let bytes = package.pack(&key);
            let entry = index_package(&mut &bytes[..]).expect("a good package");
            std::fs::write(below.join(entry.file_name()), bytes).expect("written");
            entries.push(entry);
        }
        let key = self.signed_as.as_deref().map(private_key);
        let mut index = Vec::new();
        write_index(&entries, "the tests' own", key.as_ref(), &mut index).expect("an index");
        std::fs::write(below.join("APKINDEX.tar.gz"), index).expect("written");
        Repository::Directory(directory.to_owned())
    }
}

/// A repository of packages that exist: copies of the files, and a signed index.
pub(crate) fn repository_of(packages: &[PathBuf], arch: Arch, directory: &Path) -> Repository {
    let below = directory.join(arch.alpine());
    std::fs::create_dir_all(&below).expect("a directory");
    let mut entries = Vec::new();
    for package in packages {
        let bytes = std::fs::read(package).expect("readable");
        let entry = index_package(&mut &bytes[..]).expect("a good package");
        std::fs::write(below.join(entry.file_name()), bytes).expect("written");
        entries.push(entry);
    }
    let mut index = Vec::new();
    write_index(&entries, "", Some(&private_key(KEY_NAME)), &mut index).expect("an index");
    std::fs::write(below.join("APKINDEX.tar.gz"), index).expect("written");
    Repository::Directory(directory.to_owned())
}

impl TestPackage {
    fn pack(&self, key: &PrivateKey) -> Vec<u8> {
        if let Some(tar) = &self.raw_data {
            let data = gzip(tar);
            let hash = leanfs::apk::checksum::sha256(&data);
            let info = PackageInfo { data_hash: Some(hash), ..self.info.clone() };
            return [gzip(&segment(".PKGINFO", info.to_text().expect("good").as_bytes())), data].concat();
        }
        let tree = self.tree.clone().validate().expect("a valid tree");
        let key = self.is_signed.then_some(key);
        pack_in_memory(&self.info, &tree, &self.scripts, key).expect("packed")
    }
}

/// A tar with one file and without an end.
fn segment(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).expect("a name");
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let padding = content.len().next_multiple_of(512) - content.len();
    [header.as_bytes(), content, &vec![0; padding]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("to memory");
    encoder.finish().expect("to memory")
}
