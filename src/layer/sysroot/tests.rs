use std::os::unix::fs::symlink;

use super::*;
use crate::elf::sample::Sample;
use crate::layer::libraries::close;

const EPOCH: i64 = 1_700_000_000;
const BEAM: &str = "app/erts/bin/beam.smp";
const DEBIAN: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

fn put(tree: &mut Tree, at: &str, sample: &Sample) {
    let origin = Origin::new(LayerKind::Release, "app-1");
    let node = Node::file(Content::from_bytes(sample.bytes()), Metadata::PROGRAM, origin);
    tree.insert_with_parents(path(at), node);
}

fn write(root: &Path, at: &str, bytes: &[u8]) {
    let path = root.join(at);
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs_err::write(path, bytes).expect("write");
}

fn link(root: &Path, at: &str, target: &str) {
    let path = root.join(at);
    fs_err::create_dir_all(path.parent().expect("a parent")).expect("directories");
    symlink(target, path).expect("link");
}

fn glibc(versions: &[&str]) -> Sample {
    Sample::library("libc.so.6").needs(&["ld-linux-x86-64.so.2"]).defines(versions)
}

fn library(soname: &str) -> Sample {
    Sample::library(soname).needs(&["libc.so.6"]).needs_versions("libc.so.6", &["GLIBC_2.34"])
}

/// A root as Debian's: merged /usr, multiarch directories, links with versions.
fn debian(versions: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    link(root, "lib", "usr/lib");
    link(root, "lib64", "usr/lib64");
    link(root, "usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    write(root, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", &Sample::glibc_loader(&DEBIAN).bytes());
    write(root, "usr/lib/x86_64-linux-gnu/libc.so.6", &glibc(versions).bytes());
    write(root, "usr/lib/x86_64-linux-gnu/libz.so.1.2.13", &library("libz.so.1").bytes());
    link(root, "usr/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13");
    write(root, "etc/ld.so.conf", b"include ld.so.conf.d/*.conf\n");
    write(root, "etc/ld.so.conf.d/local.conf", b"/usr/local/lib\n");
    write(
        root,
        "etc/ld.so.conf.d/x86_64-linux-gnu.conf",
        b"/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n",
    );
    directory
}

fn beam(needed: &[&str]) -> Sample {
    Sample::program(Sample::GLIBC)
        .needs(needed)
        .needs(&["libc.so.6"])
        .needs_versions("libc.so.6", &["GLIBC_2.2.5", "GLIBC_2.34"])
}

fn release(sample: &Sample) -> Tree {
    let mut tree = Tree::new();
    put(&mut tree, BEAM, sample);
    tree
}

/// Adds all that is missing.
fn fill(tree: &mut Tree, root: &Path) -> Result<Vec<AddedLibrary>, LibraryError> {
    let missing = close(tree, Arch::X86_64).expect("everything can be read").missing;
    add(tree, root, &missing, Arch::X86_64, EPOCH)
}

fn lines(added: &[AddedLibrary], root: &Path) -> Vec<String> {
    let root = fs_err::canonicalize(root).expect("a root");
    let source = |one: &AddedLibrary| one.source.strip_prefix(&root).expect("inside").display().to_string();
    added.iter().map(|one| format!("{} {} {}", one.name, one.path, source(one))).collect()
}

#[test]
fn a_release_gets_its_libraries() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36"]);
    let mut tree = release(&beam(&["libz.so.1"]));
    let added = fill(&mut tree, root.path()).expect("it serves");
    assert_eq!(
        lines(&added, root.path()),
        [
            "/lib64/ld-linux-x86-64.so.2 /lib64/ld-linux-x86-64.so.2 usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "libc.so.6 /lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/libc.so.6",
            "libz.so.1 /lib/x86_64-linux-gnu/libz.so.1 usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
        ]
    );
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
    for one in &added {
        let node = tree.get(&one.path).expect("it is there");
        assert!(matches!(&node.kind, NodeKind::File(content) if content.len() == one.size));
        assert_eq!(node.metadata.mtime, EPOCH);
        assert_eq!(node.origin.layer, LayerKind::Sysroot);
    }
    let node = tree.get(&path("lib/x86_64-linux-gnu/libz.so.1")).expect("it is there");
    assert_eq!(&*node.origin.part, "usr/lib/x86_64-linux-gnu/libz.so.1.2.13");
    assert_eq!(glibc_of(root.path()), Some("2.36".to_owned()));
    // Asking again adds nothing.
    let before = tree.len();
    assert_eq!(fill(&mut tree, root.path()).expect("nothing to do"), []);
    assert_eq!(tree.len(), before);
}

fn glibc_of(root: &Path) -> Option<String> {
    super::glibc(root, Arch::X86_64).expect("readable")
}

#[test]
fn a_merged_usr_in_the_tree_is_respected() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let mut tree = release(&beam(&["libz.so.1"]));
    let directory = || Node::directory(Metadata::DIRECTORY, Origin::skeleton());
    tree.insert(path("usr"), directory());
    tree.insert(path("usr/lib"), directory());
    tree.insert(path("lib"), Node::symlink("usr/lib", Origin::skeleton()));
    tree.insert(path("lib64"), Node::symlink("lib", Origin::skeleton()));
    fill(&mut tree, root.path()).expect("it serves");
    assert!(tree.get(&path("usr/lib/ld-linux-x86-64.so.2")).is_some());
    assert!(tree.get(&path("usr/lib/x86_64-linux-gnu/libz.so.1")).is_some());
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
    tree.validate().expect("nothing stands below a link");
}

#[test]
fn too_old_is_told_with_both_versions() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36"]);
    let program = beam(&["libz.so.1"])
        .needs_versions("libc.so.6", &["GLIBC_2.38"])
        .needs_versions("libz.so.1", &["ZLIB_1.2.9"]);
    write(
        root.path(),
        "usr/lib/x86_64-linux-gnu/libz.so.1.2.13",
        &library("libz.so.1").defines(&["ZLIB_1.2.0"]).bytes(),
    );
    let mut tree = release(&program);
    let before = tree.len();
    let error = fill(&mut tree, root.path()).expect_err("too old");
    assert_eq!(tree.len(), before, "the tree is as it was");
    let root = root.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "the libraries of {root} (glibc 2.36) don't serve:\n  \
             /app/erts/bin/beam.smp needs libc.so.6 (for glibc); {root}/lib/x86_64-linux-gnu/libc.so.6 has versions \
             up to GLIBC_2.36, and /app/erts/bin/beam.smp needs GLIBC_2.38\n  \
             /app/erts/bin/beam.smp needs libz.so.1 (for glibc); {root}/lib/x86_64-linux-gnu/libz.so.1 has versions \
             up to ZLIB_1.2.0, and /app/erts/bin/beam.smp needs ZLIB_1.2.9"
        )
    );
    assert!(error.hint().expect("a hint").contains("--sysroot"));
}

#[test]
fn what_the_root_does_not_have() {
    let root = tempfile::tempdir().expect("a directory");
    let mut tree = release(&beam(&[]));
    let error = fill(&mut tree, root.path()).expect_err("nothing there").to_string();
    assert_eq!(
        error,
        format!(
            "the libraries of {} don't serve:\n  \
             /app/erts/bin/beam.smp needs the dynamic loader /lib64/ld-linux-x86-64.so.2 (for glibc), and there is \
             none\n  /app/erts/bin/beam.smp needs libc.so.6 (for glibc), and there is none",
            root.path().display()
        )
    );
    assert_eq!(glibc_of(root.path()), None);
    let none = root.path().join("none");
    assert!(matches!(add(&mut tree, &none, &[], Arch::X86_64, 0), Err(LibraryError::NoRoot { .. })));
}

#[test]
fn wrong_kinds_are_passed_over() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let arm = Sample { machine: object::elf::EM_AARCH64, ..library("libodd.so.1") };
    write(root.path(), "usr/local/lib/libodd.so.1", &arm.bytes());
    write(root.path(), "usr/lib/x86_64-linux-gnu/libodd.so.1", &library("libodd.so.1").bytes());
    let musl = Sample::library("libonly.so.1").needs(&["libc.musl-x86_64.so.1"]);
    write(root.path(), "usr/lib/libonly.so.1", &musl.bytes());
    let mut tree = release(&beam(&["libodd.so.1"]));
    fill(&mut tree, root.path()).expect("the second one serves");
    let mut tree = release(&beam(&["libonly.so.1"]));
    let error = fill(&mut tree, root.path()).expect_err("only for musl").to_string();
    assert!(
        error.contains("/usr/local/lib/libonly")
            || error.contains("/lib/libonly.so.1 is for musl, not glibc"),
        "{error}"
    );
}

#[test]
fn a_library_that_the_image_would_not_find_is_put_where_it_does() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    write(root.path(), "usr/local/lib/libmine.so.1", &library("libmine.so.1").bytes());
    let mut tree = release(&beam(&["libmine.so.1"]));
    let added = fill(&mut tree, root.path()).expect("it serves");
    assert_eq!(
        lines(&added, root.path())[2],
        "libmine.so.1 /lib/x86_64-linux-gnu/libmine.so.1 usr/local/lib/libmine.so.1"
    );
}

#[test]
fn directories_that_files_name_are_kept() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    write(
        root.path(),
        "opt/ssl/lib/libcrypto.so.3",
        &library("libcrypto.so.3").needs(&["libhelp.so"]).runpath("$ORIGIN/help").bytes(),
    );
    write(root.path(), "opt/ssl/lib/help/libhelp.so", &library("libhelp.so").bytes());
    let mut tree = release(&beam(&[]));
    let nif = library("").needs(&["libcrypto.so.3"]).runpath("$ORIGIN:/opt/ssl/lib");
    put(&mut tree, "app/lib/crypto/priv/lib/crypto.so", &nif);
    let added = fill(&mut tree, root.path()).expect("it serves");
    let lines = lines(&added, root.path());
    assert!(
        lines.contains(&"libcrypto.so.3 /opt/ssl/lib/libcrypto.so.3 opt/ssl/lib/libcrypto.so.3".to_owned())
    );
    let help = added.iter().find(|one| one.name == "libhelp.so").expect("it came along");
    assert_eq!(help.path, path("opt/ssl/lib/help/libhelp.so"));
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
}

#[test]
fn a_library_for_musl_of_the_same_name_is_no_obstacle() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let mut tree = release(&beam(&["libz.so.1"]));
    let musl = Sample::library("libz.so.1").needs(&["libc.musl-x86_64.so.1"]);
    put(&mut tree, "lib/libz.so.1", &musl);
    put(&mut tree, "lib/ld-musl-x86_64.so.1", &Sample::library("libc.musl-x86_64.so.1"));
    fill(&mut tree, root.path()).expect("it serves");
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");

    // Unless the loader of the image looks there first.
    write(
        root.path(),
        "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        &Sample::glibc_loader(&["/lib", "/usr/lib"]).bytes(),
    );
    let mut tree = release(&beam(&["libz.so.1"]));
    put(&mut tree, "lib/libz.so.1", &musl);
    let error = fill(&mut tree, root.path()).expect_err("occupied").to_string();
    let occupied =
        "would have to stand at /lib/libz.so.1 in the image, where release app-1 has put another file";
    assert!(error.contains(occupied), "{error}");
}

#[test]
fn old_glibcs_bring_their_name_services() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.31"]);
    let at = |name: &str| format!("usr/lib/x86_64-linux-gnu/{name}");
    let service = Sample::library("").needs(&["libresolv.so.2"]);
    write(root.path(), &at("libnss_files.so.2"), &service.bytes());
    write(root.path(), &at("libnss_dns.so.2"), &service.bytes());
    write(root.path(), &at("libresolv.so.2"), &Sample::library("libresolv.so.2").bytes());
    let mut tree = release(&Sample::program(Sample::GLIBC).needs(&["libc.so.6"]));
    let added = fill(&mut tree, root.path()).expect("it serves");
    let names: Vec<&str> = added.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "/lib64/ld-linux-x86-64.so.2",
            "libc.so.6",
            "libnss_files.so.2",
            "libnss_dns.so.2",
            "libresolv.so.2"
        ]
    );
    assert_eq!(added[2].needed_by, path("lib/x86_64-linux-gnu/libc.so.6"));
}

#[test]
fn erlangs_crypto_brings_the_provider_of_old_ciphers() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let libcrypto = Sample {
        rest: b"x\0MODULESDIR: \"/usr/lib/x86_64-linux-gnu/ossl-modules\"\0".to_vec(),
        ..library("libcrypto.so.3")
    };
    write(root.path(), "usr/lib/x86_64-linux-gnu/libcrypto.so.3", &libcrypto.bytes());
    let provider = library("").needs(&["libcrypto.so.3"]);
    write(root.path(), "usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so", &provider.bytes());
    for (nif, expected) in [("app/lib/crypto-5/priv/lib/crypto.so", true), ("app/lib/x/priv/x.so", false)] {
        let mut tree = release(&beam(&[]));
        put(&mut tree, nif, &provider);
        let added = fill(&mut tree, root.path()).expect("it serves");
        let legacy = path("usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so");
        assert_eq!(added.iter().any(|one| one.path == legacy), expected, "{nif}");
        close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
    }
    for bad in [&b""[..], b"\0MODULESDIR: \"", b"\0MODULESDIR: \"x\"", b"\0MODULESDIR: \"/\x1b\""] {
        assert_eq!(provider_directory(bad), None);
    }
}

#[test]
fn loader_and_libc_are_of_one_build() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let mut tree = release(&beam(&[]));
    let other =
        Sample { rest: b"\0/lib/x86_64-linux-gnu/\0/usr/lib/\0".to_vec(), ..Sample::glibc_loader(&[]) };
    put(&mut tree, "lib64/ld-linux-x86-64.so.2", &other);
    let error = fill(&mut tree, root.path()).expect_err("two builds").to_string();
    assert!(
        error.contains(
            "/lib/x86_64-linux-gnu/libc.so.6 from the sysroot belongs to another build of glibc than \
             /lib64/ld-linux-x86-64.so.2 (release app-1)"
        ),
        "{error}"
    );
    let mut tree = release(&beam(&[]));
    put(&mut tree, "lib64/ld-linux-x86-64.so.2", &Sample::glibc_loader(&DEBIAN));
    fill(&mut tree, root.path()).expect("the same build");
}

#[test]
fn two_names_of_one_file_are_one_file() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    link(root.path(), "usr/lib/x86_64-linux-gnu/libzz.so.1", "libz.so.1");
    let mut tree = release(&beam(&["libz.so.1", "libzz.so.1"]));
    fill(&mut tree, root.path()).expect("it serves");
    let node = tree.get(&path("lib/x86_64-linux-gnu/libzz.so.1")).expect("it is there");
    assert!(matches!(&node.kind, NodeKind::Hardlink(to) if *to == path("lib/x86_64-linux-gnu/libz.so.1")));
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
}

#[test]
fn a_root_of_musl() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    write(root, "opt/musl/libc.so", &Sample::library("libc.so").bytes());
    link(root, "lib/ld-musl-x86_64.so.1", "/opt/musl/libc.so");
    write(root, "etc/ld-musl-x86_64.path", b"/opt/musl\n/usr/lib\n");
    write(root, "opt/musl/libz.so.1", &Sample::library("libz.so.1").needs(&["libc.so"]).bytes());
    let mut tree = release(&Sample::program(Sample::MUSL).needs(&["libz.so.1", "libc.so"]));
    let added = fill(&mut tree, root).expect("it serves");
    assert_eq!(
        lines(&added, root),
        [
            "/lib/ld-musl-x86_64.so.1 /lib/ld-musl-x86_64.so.1 opt/musl/libc.so",
            "libz.so.1 /lib/libz.so.1 opt/musl/libz.so.1"
        ]
    );
    close(&tree, Arch::X86_64).expect("readable").check().expect("complete");
}

#[test]
fn only_what_was_asked_for_is_taken() {
    let root = debian(&["GLIBC_2.2.5", "GLIBC_2.34"]);
    let mut tree = release(&beam(&["libz.so.1"]));
    let mut missing = close(&tree, Arch::X86_64).expect("readable").missing;
    missing.retain(|one| one.name == "libz.so.1");
    let added = add(&mut tree, root.path(), &missing, Arch::X86_64, EPOCH).expect("it serves");
    // libz needs libc, and so it comes along; the interpreter was not asked for.
    let names: Vec<&str> = added.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["libz.so.1", "libc.so.6"]);
}
