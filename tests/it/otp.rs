//! OTP installations, and whether releases fit them.

use std::path::{Path, PathBuf};

use leanfs::layer::otp::{Difference, Otp, OtpError, check, extra_packages, needed};
use leanfs::layer::release::Release;
use leanfs::tree::{Content, Metadata, Node, Origin, Tree, TreePath};

fn shared(path: &str) -> Option<PathBuf> {
    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    if !shared.exists() {
        println!("SKIP: ../shared is absent");
        return None;
    }
    Some(shared.join(path))
}

fn release(name: &str) -> Option<Release> {
    let path = shared(&format!("releases/{name}.tar.gz"))?;
    Some(Release::open(&path, &std::env::temp_dir(), 0).expect("a release"))
}

fn path(text: &str) -> TreePath {
    text.parse().expect("a good path")
}

/// An installation at `/usr/lib/erlang` that holds nothing but its names.
fn installation(erts: &str, applications: &[&str]) -> Tree {
    let mut tree = Tree::new();
    let mut add = |name: String| {
        let node = Node::file(Content::from_bytes(vec![]), Metadata::FILE, Origin::skeleton());
        tree.insert_with_parents(path(&format!("usr/lib/erlang/{name}")), node);
    };
    add(format!("erts-{erts}/bin/beam.smp"));
    for application in applications {
        add(format!("lib/{application}/ebin/x.app"));
    }
    tree
}

#[test]
fn a_tarball_that_fits() {
    let (Some(tarball), Some(release)) =
        (shared("otp/otp-27.3.4.1-x86_64-linux-musl.tar.xz"), release("hello-otp27-noerts"))
    else {
        return;
    };
    let otp = Otp::open_tarball(&tarball, &std::env::temp_dir(), 5).expect("an OTP");
    assert_eq!((otp.erts_version.as_str(), otp.release()), ("15.2.7", Some(27)));
    assert_eq!(otp.applications["kernel"], ["10.2.7.1"]);
    assert_eq!(otp.bin_directory().to_string(), "/usr/lib/erlang/erts-15.2.7/bin");
    let tree = otp.tree.as_ref().expect("a tarball's files");
    let beam = tree.get(&path("erts-15.2.7/bin/beam.smp")).expect("there");
    assert_eq!((beam.metadata.mode, beam.metadata.mtime), (0o755, 5));
    assert_eq!(beam.origin.to_string(), "otp erts-15.2.7");
    check(&release, &otp).expect("it fits");
    let needed = needed(&release, &otp);
    let names: Vec<&str> = needed.applications.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["compiler", "kernel", "sasl", "stdlib"]);
    let paths: Vec<String> = needed.paths.iter().map(ToString::to_string).collect();
    assert_eq!(paths[0], "/usr/lib/erlang/erts-15.2.7");
    assert_eq!(paths[2], "/usr/lib/erlang/lib/kernel-10.2.7.1");
}

#[test]
fn every_application_that_differs_is_named() {
    let Some(release) = release("hello-otp27-noerts") else { return };
    let tree = installation("13.1.5", &["kernel-8.5.3", "stdlib-6.2.2.1", "sasl-4.2"]);
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    let error = check(&release, &otp).expect_err("another OTP");
    assert_eq!(
        error.to_string(),
        "the release hello 0.1.0 doesn't fit the Erlang/OTP from /usr/lib/erlang: erts 15.2.7 wanted, 13.1.5 \
         there; compiler 8.6.1 wanted, none there; kernel 10.2.7.1 wanted, 8.5.3 there; sasl 4.2.2 wanted, 4.2 \
         there"
    );
    assert_eq!(
        error.hint().expect("a hint"),
        "Build the release with the OTP that goes into the image (OTP 25); or let it bring its own \
         (`include_erts: true` in mix.exs, `{include_erts, true}` in rebar.config); or pass --otp with an installation of \
         the OTP 27 that it was built with."
    );
    let OtpError::Differs { differences, .. } = error else { panic!("{error}") };
    assert_eq!(
        differences[1],
        Difference { application: "compiler".into(), wanted: "8.6.1".into(), there: vec![] }
    );
}

#[test]
fn a_release_with_erts_fits_itself() {
    let Some(release) = release("hello-otp27-musl-erts") else { return };
    let otp = Otp::of_release(&release).expect("its own");
    assert_eq!(otp.bin_directory().to_string(), "/app/erts-15.2.7/bin");
    check(&release, &otp).expect("it fits");
    assert_eq!(needed(&release, &otp).applications, []);
    assert!(extra_packages(&release, "erlang27").is_empty());
}

#[test]
fn unknown_and_no_otp() {
    let Some(release) = release("hello-otp27-noerts") else { return };
    let tree = installation("17.0", &["kernel-11.0"]);
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    assert!(matches!(check(&release, &otp), Err(OtpError::Unsupported { .. })));
    assert!(matches!(Otp::in_tree(&tree, &path("usr/lib")), Err(OtpError::NotOtp { .. })));
    assert!(matches!(Otp::of_release(&release), Err(OtpError::NotOtp { .. })));
    let Some(tarball) = shared("releases/hello-otp27-noerts.tar.gz") else { return };
    let error = Otp::open_tarball(&tarball, &std::env::temp_dir(), 0).expect_err("a release is none");
    assert!(matches!(&error, OtpError::NotOtp { .. }), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn of_several_emulators_the_newest() {
    let mut tree = installation("15.2.7", &["kernel-10.2", "kernel-9.2"]);
    let node = Node::file(Content::from_bytes(vec![]), Metadata::FILE, Origin::skeleton());
    tree.insert_with_parents(path("usr/lib/erlang/erts-15.2.10/bin/beam.smp"), node);
    let otp = Otp::in_tree(&tree, &path("usr/lib/erlang")).expect("an OTP");
    assert_eq!(otp.erts_version, "15.2.10");
    assert_eq!(otp.applications["kernel"], ["9.2", "10.2"]);
}
