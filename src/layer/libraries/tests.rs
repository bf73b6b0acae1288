use object::elf;

use super::*;
use crate::elf::sample::Sample;
use crate::tree::{Content, LayerKind, Metadata, Node, NodeKind, Origin};

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

fn put(tree: &mut Tree, at: &str, sample: &Sample) {
    let origin = Origin::new(LayerKind::Release, "app-1");
    let node = Node::file(Content::from_bytes(sample.bytes()), Metadata::PROGRAM, origin);
    tree.insert_with_parents(path(at), node);
}

fn tree(files: &[(&str, Sample)]) -> Tree {
    let mut tree = Tree::new();
    for (at, sample) in files {
        put(&mut tree, at, sample);
    }
    tree
}

fn closed(files: &[(&str, Sample)]) -> Closure {
    close(&tree(files), Arch::X86_64).expect("everything can be read")
}

fn told(closure: &Closure) -> Vec<String> {
    let missing = closure.missing.iter().map(ToString::to_string);
    missing.chain(closure.problems.iter().map(ToString::to_string)).collect()
}

const BEAM: &str = "app/erts/bin/beam.smp";

fn musl_loader() -> (&'static str, Sample) {
    ("lib/ld-musl-x86_64.so.1", Sample::library("libc.musl-x86_64.so.1"))
}

fn glibc_loader() -> (&'static str, Sample) {
    let directories = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];
    ("lib64/ld-linux-x86-64.so.2", Sample::glibc_loader(&directories))
}

fn glibc(versions: &[&str]) -> Sample {
    Sample::library("libc.so.6").needs(&["ld-linux-x86-64.so.2"]).defines(versions)
}

fn musl_library(soname: &str) -> Sample {
    Sample::library(soname).needs(&["libc.musl-x86_64.so.1"])
}

fn glibc_library(soname: &str) -> Sample {
    Sample::library(soname).needs(&["libc.so.6"])
}

#[test]
fn what_a_release_alone_lacks() {
    let files = [
        (BEAM, Sample::program(Sample::MUSL).needs(&["libz.so.1", "libpthread.so", "libc.so"])),
        ("app/lib/crypto/priv/lib/crypto.so", musl_library("").needs(&["libcrypto.so.3", "libz.so.1"])),
    ];
    let closure = closed(&files);
    let provides: Vec<String> = closure.missing.iter().map(MissingLibrary::provide).collect();
    assert_eq!(provides, ["so:libc.musl-x86_64.so.1", "so:libcrypto.so.3", "so:libz.so.1"]);
    assert_eq!(
        told(&closure),
        [
            "/app/erts/bin/beam.smp needs the dynamic loader /lib/ld-musl-x86_64.so.1 (for musl), and there is none",
            "/app/lib/crypto/priv/lib/crypto.so needs libcrypto.so.3 (for musl), and there is none",
            "/app/erts/bin/beam.smp needs libz.so.1 (for musl), and so does another file, and there is none",
        ]
    );
    assert_eq!(closure.missing[0].path, Some(path("lib/ld-musl-x86_64.so.1")));
    assert!(closure.missing.iter().all(|missing| missing.libc == Libc::Musl && missing.hint().is_some()));
    assert!(closure.check().is_err());

    let mut whole = tree(&files);
    put(&mut whole, musl_loader().0, &musl_loader().1);
    put(&mut whole, "usr/lib/libz.so.1", &musl_library("libz.so.1"));
    put(&mut whole, "usr/lib/libcrypto.so.3.0", &musl_library("libcrypto.so.3"));
    whole.insert(path("lib/libcrypto.so.3"), Node::symlink("/usr/lib/libcrypto.so.3.0", Origin::skeleton()));
    let closure = close(&whole, Arch::X86_64).expect("everything can be read");
    assert_eq!(told(&closure), [""; 0]);
    closure.check().expect("it is complete");
    let needs = |file: &str| closure.needs(&path(file)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(needs(BEAM), ["/lib/ld-musl-x86_64.so.1", "/usr/lib/libz.so.1"]);
    assert_eq!(
        needs("app/lib/crypto/priv/lib/crypto.so"),
        ["/lib/ld-musl-x86_64.so.1", "/usr/lib/libcrypto.so.3.0", "/usr/lib/libz.so.1"]
    );
}

#[test]
fn a_release_without_erts_tells_what_its_nifs_need() {
    let closure = closed(&[("app/lib/x/priv/x.so", musl_library("").needs(&["libz.so.1"]))]);
    let provides: Vec<String> = closure.missing.iter().map(MissingLibrary::provide).collect();
    assert_eq!(provides, ["so:libc.musl-x86_64.so.1", "so:libz.so.1"]);
    let closure = closed(&[("app/lib/x/priv/x.so", glibc_library(""))]);
    let provides: Vec<String> = closure.missing.iter().map(MissingLibrary::provide).collect();
    assert_eq!(provides, ["so:libc.so.6"]);
    assert_eq!(closure.missing[0].libc, Libc::Glibc);
    assert!(closed(&[("app/lib/x/priv/x.so", Sample::library(""))]).check().is_ok());
}

#[test]
fn programs_of_two_libcs_stand_side_by_side() {
    let mut files = vec![
        musl_loader(),
        glibc_loader(),
        ("bin/busybox", Sample::program(Sample::MUSL).needs(&["libz.so.1", "libc.musl-x86_64.so.1"])),
        (BEAM, Sample::program(Sample::GLIBC).needs(&["libz.so.1", "libc.so.6"])),
        ("usr/lib/libz.so.1", musl_library("libz.so.1")),
        ("lib/x86_64-linux-gnu/libc.so.6", glibc(&["GLIBC_2.36"])),
    ];
    let closure = closed(&files);
    assert_eq!(
        told(&closure),
        [
            "/app/erts/bin/beam.smp needs libz.so.1 (for glibc); /usr/lib/libz.so.1 is for musl, not glibc",
            "/app/erts/bin/beam.smp (for glibc) needs libz.so.1, and its loader finds /usr/lib/libz.so.1, which \
             is for musl, not glibc",
        ]
    );
    let error = closure.check().expect_err("not complete");
    assert_eq!(
        error.to_string(),
        "the shared libraries of the image don't fit:\n  /app/erts/bin/beam.smp (for glibc) needs libz.so.1, and \
         its loader finds /usr/lib/libz.so.1, which is for musl, not glibc"
    );
    assert!(error.hint().expect("a hint").contains("--sysroot"));
    files.push(("usr/lib/x86_64-linux-gnu/libz.so.1", glibc_library("libz.so.1")));
    let closure = closed(&files);
    assert_eq!(told(&closure), [""; 0]);
    let found = |program: &str| closure.resolved[&path(program)]["libz.so.1"].to_string();
    assert_eq!(found(BEAM), "/usr/lib/x86_64-linux-gnu/libz.so.1");
    assert_eq!(found("bin/busybox"), "/usr/lib/libz.so.1");
    assert_eq!(closure.libcs(), [Libc::Musl, Libc::Glibc].into());
}

#[test]
fn a_library_that_is_too_old_is_told() {
    let closure = closed(&[
        glibc_loader(),
        (
            BEAM,
            Sample::program(Sample::GLIBC)
                .needs(&["libc.so.6", "libfoo.so.1"])
                .needs_versions("libc.so.6", &["GLIBC_2.4", "GLIBC_2.38", "GLIBC_2.37", "GLIBC_2.99?"])
                .needs_versions("libfoo.so.1", &["FOO_1"]),
        ),
        ("lib/x86_64-linux-gnu/libc.so.6", glibc(&["GLIBC_2.4", "GLIBC_2.36", "GLIBC_PRIVATE"])),
        // A library without definitions is taken with a warning by glibc.
        ("lib/x86_64-linux-gnu/libfoo.so.1", glibc_library("libfoo.so.1")),
    ]);
    assert_eq!(
        told(&closure),
        [
            "/app/erts/bin/beam.smp needs version GLIBC_2.38 of libc.so.6, and /lib/x86_64-linux-gnu/libc.so.6 has \
          versions up to GLIBC_2.36"
        ]
    );
}

#[test]
fn what_is_for_another_machine() {
    let arm = |sample: Sample| Sample { machine: elf::EM_AARCH64, ..sample };
    let narrow =
        Sample { machine: elf::EM_386, class: crate::elf::Class::Elf32, ..Sample::program("/lib/x") };
    let mut damaged = tree(&[
        ("app/priv/arm.so", arm(Sample::library(""))),
        ("app/priv/x86", narrow),
        ("app/priv/bsd", Sample { os_abi: 9, ..Sample::program("/libexec/ld-elf.so.1") }),
        ("app/priv/obj.o", arm(Sample::object())),
        ("lib/modules/6/virtio.ko", Sample::object()),
        ("app/priv/core", arm(Sample { kind: elf::ET_CORE, ..Sample::object() })),
    ]);
    let origin = Origin::new(LayerKind::Release, "app-1");
    let broken = Sample::library("x").bytes()[..70].to_vec();
    let node = Node::file(Content::from_bytes(broken), Metadata::FILE, origin);
    damaged.insert(path("app/priv/broken.so"), node);
    assert_eq!(
        told(&close(&damaged, Arch::X86_64).expect("everything can be read")),
        [
            "/app/priv/arm.so (release app-1) is for aarch64, and the image is for x86_64",
            "/app/priv/broken.so (release app-1) is a damaged ELF file: the program headers should stand at offset \
             64 with 112 bytes, but the file ends before that",
            "/app/priv/bsd (release app-1) is for x86_64 (FreeBSD), and the image is for x86_64",
            "/app/priv/x86 (release app-1) is for x86 (32-bit), and the image is for x86_64",
        ]
    );
}

#[test]
fn loaders_that_see_another_machine() {
    let arm = Sample { machine: elf::EM_AARCH64, ..Sample::library("libz.so.1") };
    // glibc passes over it.
    let closure = closed(&[
        glibc_loader(),
        (BEAM, Sample::program(Sample::GLIBC).needs(&["libz.so.1"])),
        ("lib/x86_64-linux-gnu/libz.so.1", arm.clone()),
        ("usr/lib/libz.so.1", Sample::library("libz.so.1")),
    ]);
    assert!(closure.missing.is_empty());
    // musl takes it.
    let closure = closed(&[
        musl_loader(),
        (BEAM, Sample::program(Sample::MUSL).needs(&["libz.so.1"])),
        ("lib/libz.so.1", arm),
        ("usr/lib/libz.so.1", musl_library("libz.so.1")),
    ]);
    assert_eq!(
        closure.missing[0].to_string(),
        "/app/erts/bin/beam.smp needs libz.so.1 (for musl); /lib/libz.so.1 is for aarch64, not x86_64"
    );
}

#[test]
fn interpreters_that_do_not_serve() {
    let closure = closed(&[
        musl_loader(),
        (BEAM, Sample::program(Sample::GLIBC)),
        ("lib64/ld-linux-x86-64.so.2", Sample::library("libgcompat.so.0").needs(&["libc.musl-x86_64.so.1"])),
        ("bin/android", Sample::program("/system/bin/linker64")),
        ("bin/relative", Sample::program("lib/ld-musl-x86_64.so.1")),
    ]);
    assert_eq!(
        told(&closure),
        [
            "/app/erts/bin/beam.smp needs the dynamic loader /lib64/ld-linux-x86-64.so.2 (for glibc); \
             /lib64/ld-linux-x86-64.so.2 is for musl, not glibc",
            "/app/erts/bin/beam.smp (for glibc) needs /lib64/ld-linux-x86-64.so.2, and its loader finds \
             /lib64/ld-linux-x86-64.so.2, which is for musl, not glibc",
            "/bin/android wants the interpreter /system/bin/linker64, which is the loader of neither musl nor glibc",
            "/bin/relative wants the interpreter lib/ld-musl-x86_64.so.1, which is the loader of neither musl nor \
             glibc",
        ]
    );
}

#[test]
fn a_nif_of_the_wrong_libc() {
    let closure = closed(&[
        musl_loader(),
        (BEAM, Sample::program(Sample::MUSL).needs(&["libc.so"])),
        ("app/lib/x/priv/x.so", glibc_library("")),
        ("usr/lib/libelsewhere.so", glibc_library("")),
    ]);
    assert_eq!(
        closure.problems[0].to_string(),
        "/app/lib/x/priv/x.so is for glibc, but /app/erts/bin/beam.smp, which would load it, is for musl"
    );
    assert_eq!(closure.problems.len(), 1);
    // A library outside of any priv directory may belong to a program of its own libc.
    assert_eq!(closure.missing.len(), 1);
    assert_eq!(closure.missing[0].needed_by, path("usr/lib/libelsewhere.so"));
}

#[test]
fn directories_that_files_name() {
    let found = |program: Sample, library: Sample| {
        let loader =
            if program.interpreter.as_deref() == Some(Sample::MUSL) { musl_loader() } else { glibc_loader() };
        closed(&[
            loader,
            ("opt/bin/p", program.needs(&["liba.so"])),
            ("opt/lib/liba.so", library.needs(&["libb.so"])),
            ("opt/lib/libb.so", Sample::library("libb.so")),
            ("opt/other/x", Sample::object()),
        ])
        .missing
        .is_empty()
    };
    let library = || Sample::library("liba.so");
    for (interpreter, program, library, expected, why) in [
        (Sample::GLIBC, Some((elf::DT_RPATH, "/opt/lib")), library(), true, "RPATH is inherited"),
        (Sample::GLIBC, Some((elf::DT_RUNPATH, "/opt/lib")), library(), false, "RUNPATH is not"),
        (Sample::MUSL, Some((elf::DT_RUNPATH, "/opt/lib")), library(), true, "musl inherits it"),
        (Sample::GLIBC, Some((elf::DT_RPATH, "$ORIGIN/../lib")), library(), true, "the program's origin"),
        (
            Sample::GLIBC,
            Some((elf::DT_RPATH, "/opt/bin/../$LIB")),
            library(),
            false,
            "/opt/lib/x86_64-linux-gnu",
        ),
        (Sample::GLIBC, Some((elf::DT_RUNPATH, "/opt/lib")), library().runpath("${ORIGIN}"), true, "its own"),
        (
            Sample::GLIBC,
            Some((elf::DT_RPATH, "/opt/lib")),
            library().runpath("/opt/other"),
            false,
            "a RUNPATH keeps the inherited RPATH out",
        ),
        (Sample::GLIBC, None, library(), false, "nothing says where"),
        (Sample::MUSL, None, library(), false, "nothing says where"),
    ] {
        let program = match program {
            Some((tag, list)) => Sample::program(interpreter).string(tag, list),
            None => Sample::program(interpreter),
        };
        assert_eq!(found(program, library), expected, "{interpreter}: {why}");
    }
}

#[test]
fn a_library_where_nobody_looks_is_explained() {
    let mut files = vec![
        glibc_loader(),
        (BEAM, Sample::program(Sample::GLIBC).needs(&["libodd.so.1"])),
        ("usr/local/lib/libodd.so.1", Sample::library("libodd.so.1")),
    ];
    assert_eq!(
        told(&closed(&files)),
        [
            "/app/erts/bin/beam.smp needs libodd.so.1 (for glibc); /usr/local/lib/libodd.so.1 stands where the loader \
          doesn't look"
        ]
    );
    // The loader itself says where it looks.
    files[0].1 = Sample::glibc_loader(&["/usr/local/lib"]);
    assert_eq!(told(&closed(&files)), [""; 0]);
    // A file that shuts the defaults out.
    files[1].1.flags_1 = elf::DF_1_NODEFLIB;
    assert_eq!(closed(&files).missing.len(), 1);
}

#[test]
fn plugins_share_what_the_emulator_has_loaded() {
    let files = vec![
        glibc_loader(),
        (BEAM, Sample::program(Sample::GLIBC).needs(&["libz.so.1"]).runpath("/opt/lib")),
        ("opt/lib/libz.so.1", Sample::library("libz.so.1")),
        ("app/lib/x/priv/x.so", glibc_library("").needs(&["libz.so.1"])),
        ("lib/x86_64-linux-gnu/libc.so.6", glibc(&[])),
        // Sorted before the plug-in that loads it, and found only from there.
        ("app/lib/y/priv/liba.so", Sample::library("liba.so").needs(&["libb.so"])),
        ("app/lib/y/priv/libb.so", Sample::library("libb.so")),
        ("app/lib/y/priv/z.so", Sample::library("").needs(&["liba.so"]).rpath("$ORIGIN")),
    ];
    assert_eq!(told(&closed(&files)), [""; 0]);
}

#[test]
fn links_of_both_kinds_are_followed() {
    let mut all = tree(&[
        musl_loader(),
        ("usr/lib/erlang/bin/beam.smp", Sample::program(Sample::MUSL).needs(&["libz.so.1"]).rpath("$ORIGIN")),
        ("opt/libz.so.1", musl_library("libz.so.1")),
    ]);
    let link = |target: &str| Node::new(NodeKind::Hardlink(path(target)), Metadata::FILE, Origin::skeleton());
    all.insert(path("usr/lib/erlang/bin/libz.so.1"), link("opt/libz.so.1"));
    let closure = close(&all, Arch::X86_64).expect("everything can be read");
    assert_eq!(told(&closure), [""; 0]);
    assert_eq!(closure.resolved[&path("usr/lib/erlang/bin/beam.smp")]["libz.so.1"], path("opt/libz.so.1"));
}

#[test]
fn needed_names_that_are_paths() {
    let closure = closed(&[
        musl_loader(),
        (
            BEAM,
            Sample::program(Sample::MUSL).needs(&["/opt/libz.so.1", "./relative.so", "/opt/../opt/none.so"]),
        ),
        ("opt/libz.so.1", musl_library("libz.so.1")),
    ]);
    let names: Vec<&str> = closure.missing.iter().map(|missing| missing.name.as_str()).collect();
    assert_eq!(names, ["./relative.so", "/opt/../opt/none.so"]);
}
