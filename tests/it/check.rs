//! `leanfs check` and signed manifests: whatever changes in what was assembled is found, and OpenSSL agrees on signatures.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leanfs::check::{Difference, SignatureState, check};
use leanfs::report::manifest::Manifest;
use leanfs::report::signature::VerifyingKey;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::leanfs;
use super::end_to_end::bench::{self, tools};
use super::tiny;

/// A directory with a release and two pairs of keys.
struct Place(TempDir);

impl Place {
    /// Nothing without OpenSSL.
    fn new() -> Option<Self> {
        tools(&["openssl"])?;
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        tiny::release(&place.path("release"));
        fs_err::create_dir(place.path("keys")).expect("made");
        for name in ["ours", "theirs"] {
            let public = format!("keys/{name}.pub");
            place.openssl(&["genpkey", "-algorithm", "ed25519", "-out", &format!("{name}.pem")]);
            place.openssl(&["pkey", "-in", &format!("{name}.pem"), "-pubout", "-out", &public]);
        }
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn openssl(&self, arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output();
        let output = output.expect("openssl starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        leanfs(self.0.path(), arguments).output().expect("the binary was built with this test")
    }

    /// Assembles into `leanfs/`.
    #[track_caller]
    fn assemble(&self, flags: &[&str]) -> Manifest {
        let usual = ["assemble", "--release", "release", "--arch", "x86_64", "--offline", "--kernel", "none"];
        let output = self.run(&[&usual[..], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Manifest::read(&self.path("leanfs")).expect("it was written")
    }

    fn key(&self, name: &str) -> VerifyingKey {
        let pem = fs_err::read(self.path(&format!("keys/{name}.pub"))).expect("there");
        VerifyingKey::from_pem(&pem).expect("OpenSSL's key")
    }

    #[track_caller]
    fn check(&self, arguments: &[&str], code: i32, texts: &[&str]) {
        let output = self.run(&[&["check"], arguments].concat());
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert_eq!(output.status.code(), Some(code), "{all}");
        for text in texts {
            assert!(all.contains(text), "{text:?} in:\n{all}");
        }
    }
}

/// Every file of the outputs: the output's place in the manifest, its name below the directory, its size.
fn files(manifest: &Manifest) -> Vec<(usize, String, u64)> {
    let of = |(number, output): (usize, &leanfs::report::manifest::Output)| match output.files.as_slice() {
        [] => vec![(number, output.name.clone(), output.size)],
        files => {
            files.iter().map(|file| (number, format!("{}/{}", output.name, file.name), file.size)).collect()
        }
    };
    manifest.outputs.iter().enumerate().flat_map(of).collect()
}

/// What is wrong, as output and file; nothing else may be.
fn found(directory: &Path) -> Vec<(usize, String, Difference)> {
    let report = check(directory, &[], 4).expect("there is a manifest");
    let outputs = report.outputs.into_iter().enumerate();
    outputs
        .flat_map(|(number, output)| {
            output.problems.into_iter().map(move |problem| (number, problem.file, problem.what))
        })
        .collect()
}

#[test]
fn every_changed_byte_of_every_output_is_found() {
    let Some(place) = Place::new() else { return };
    let formats = ["--initramfs", "--ext4", "--squashfs", "--erofs", "--tar", "--oci", "--oci-archive"];
    let manifest = place.assemble(&[&formats[..], &["--data-size", "16MiB"]].concat());
    let directory = place.path("leanfs");
    assert_eq!(found(&directory), []);
    let files = files(&manifest);
    // Seven images, the layout's index, its mark, and three blobs at least; the file system for data.
    assert!(files.len() >= 12, "{files:?}");
    let samples = if bench::full() { 400 } else { 6 };
    for (number, name, size) in &files {
        let path = directory.join(name);
        let original = fs_err::read(&path).expect("readable");
        assert_eq!(original.len() as u64, *size, "{name}");
        let last = original.len() - 1;
        // Both ends, and places without a pattern between them.
        let places = (0..samples).map(|sample| sample * 7919 * 31 % original.len());
        for (turn, at) in [0, last].into_iter().chain(places).enumerate() {
            let mut changed = original.clone();
            changed[at] ^= 1 << (turn % 8);
            fs_err::write(&path, &changed).expect("written");
            let found = found(&directory);
            assert!(
                matches!(&found[..], [(output, file, Difference::Hash { .. })] if output == number && file == name),
                "byte {at} of {name}: {found:?}"
            );
        }
        for length in [0, last, original.len() + 1] {
            let mut changed = original.clone();
            changed.resize(length, 0);
            fs_err::write(&path, &changed).expect("written");
            let found = found(&directory);
            let want = Difference::Size { expected: *size, found: length as u64 };
            assert_eq!(found, [(*number, name.clone(), want)], "{length} bytes of {name}");
        }
        fs_err::remove_file(&path).expect("removed");
        assert_eq!(found(&directory), [(*number, name.clone(), Difference::Missing)]);
        fs_err::write(&path, &original).expect("written");
    }
    assert_eq!(found(&directory), []);
}

#[test]
fn what_people_and_programs_are_told() {
    let Some(place) = Place::new() else { return };
    place.assemble(&["--initramfs", "--tar", "--compress", "gzip"]);
    fs_err::write(place.path("leanfs/other"), "nobody's business").expect("written");
    place.check(&[], 0, &["initramfs.cpio.gz", "as manifest.json says", "manifest.json is not signed"]);
    place.check(&["-q"], 0, &[]);
    place.check(&["leanfs/manifest.json"], 0, &["as manifest.json says"]);
    let changed = place.path("leanfs/rootfs.tar.gz");
    let mut bytes = fs_err::read(&changed).expect("there");
    bytes[100] ^= 1;
    fs_err::write(&changed, bytes).expect("written");
    let hint = "Hint: assemble again, or fetch the files again";
    place.check(
        &[],
        3,
        &["leanfs: 1 of 2 outputs is not what manifest.json says", "rootfs.tar.gz: SHA-256 ", hint],
    );
    fs_err::remove_file(place.path("leanfs/initramfs.cpio.gz")).expect("removed");
    place.check(&["leanfs"], 3, &["2 of 2 outputs are not", "initramfs.cpio.gz: missing"]);

    let output = place.run(&["check", "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&object["event"], &object["exit_code"]), (&"error".into(), &3.into()));
    let outputs = &object["details"]["outputs"];
    assert_eq!(
        outputs[0]["problems"],
        serde_json::json!([{"file": "initramfs.cpio.gz", "problem": "missing"}])
    );
    assert_eq!(outputs[1]["problems"][0]["problem"], "hash");
    assert_eq!(fs_err::read(place.path("leanfs/other")).expect("still there"), b"nobody's business");

    place.check(&["release"], 1, &["no manifest.json"]);
    place.check(&["none"], 1, &["no manifest.json"]);
    place.check(&["--key", "none"], 2, &["none can't be read"]);
    place.check(&["--key", "ours.pem"], 2, &["ours.pem is no key to check with", "-pubout"]);
    place.check(&["--key", "release"], 2, &["release holds no key"]);
    place.assemble(&["--initramfs"]);
    let object: Value = serde_json::from_slice(&place.run(&["check", "--json"]).stdout).expect("one object");
    assert_eq!((&object["event"], &object["exit_code"]), (&"result".into(), &0.into()));
    assert_eq!(object["signature"]["state"], "none");
    assert_eq!(object["outputs"][0]["hashed"], true);
}

#[test]
fn openssl_and_leanfs_agree_on_signatures() {
    let Some(place) = Place::new() else { return };
    place.assemble(&["--initramfs", "--sign-manifest", "ours.pem"]);
    let verify =
        ["pkeyutl", "-verify", "-pubin", "-inkey", "keys/ours.pub", "-rawin", "-in", "leanfs/manifest.json"];
    let said = place.openssl(&[&verify[..], &["-sigfile", "leanfs/manifest.json.sig"]].concat());
    assert!(said.contains("Signature Verified Successfully"), "{said}");
    let sign = [
        "pkeyutl",
        "-sign",
        "-inkey",
        "ours.pem",
        "-rawin",
        "-in",
        "leanfs/manifest.json",
        "-out",
        "by-openssl",
    ];
    place.openssl(&sign);
    let read = |name: &str| fs_err::read(place.path(name)).expect("there");
    assert_eq!(read("by-openssl"), read("leanfs/manifest.json.sig"), "Ed25519 leaves nothing to chance");

    let der = place.openssl(&["pkey", "-pubin", "-in", "keys/ours.pub", "-outform", "PEM"]);
    assert!(der.contains("BEGIN PUBLIC KEY"));
    place.openssl(&["pkey", "-pubin", "-in", "keys/ours.pub", "-outform", "DER", "-out", "ours.der"]);
    let fingerprint = hex::encode(leanfs::apk::checksum::sha256(&read("ours.der")));
    let signed_by = format!("manifest.json is signed by the key sha256:{fingerprint}");
    place.check(&["--key", "keys/ours.pub"], 0, &[&signed_by]);
    place.check(&["--key", "keys"], 0, &[&signed_by]);
    place.check(&["--key", "keys/theirs.pub", "--key", "keys/ours.pub"], 0, &[&signed_by]);
    place.check(&[], 0, &["manifest.json is signed; --key checks by whom"]);
    let wrong = "manifest.json is not what was signed, or another key signed it";
    place.check(&["--key", "keys/theirs.pub"], 3, &[wrong]);

    // Who changes an output and the manifest with it, but has no key.
    let image = place.path("leanfs/initramfs.cpio.xz");
    let before = hex::encode(leanfs::apk::checksum::sha256(&fs_err::read(&image).expect("there")));
    fs_err::write(&image, "another").expect("written");
    let after = hex::encode(leanfs::apk::checksum::sha256(b"another"));
    let manifest = fs_err::read_to_string(place.path("leanfs/manifest.json")).expect("there");
    let size = Manifest::read(&place.path("leanfs")).expect("there").outputs[0].size;
    let forged = manifest.replace(&before, &after).replace(&format!("\"size\": {size},"), "\"size\": 7,");
    fs_err::write(place.path("leanfs/manifest.json"), forged).expect("written");
    place.check(&[], 0, &["--key checks by whom"]);
    place.check(&["--key", "keys"], 3, &[wrong, "nothing that manifest.json says was looked at"]);
    // No manifest at all any more, and still it's the signature that is told.
    fs_err::write(place.path("leanfs/manifest.json"), "{").expect("written");
    place.check(&["--key", "keys"], 3, &[wrong]);

    // What isn't signed has no signature of something else beside it.
    place.assemble(&["--initramfs"]);
    assert!(!place.path("leanfs/manifest.json.sig").exists());
    place.check(&["--key", "keys"], 3, &["manifest.json is not signed"]);
}

#[test]
fn a_key_that_can_not_sign_is_known_before_the_work() {
    let Some(place) = Place::new() else { return };
    let rsa = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/leanfs-test.rsa");
    place.openssl(&["genpkey", "-algorithm", "x25519", "-out", "x25519.pem"]);
    for (key, text) in [
        (rsa, "can't sign the manifest"),
        ("x25519.pem", "it is no Ed25519 key"),
        ("keys/ours.pub", "it is a public key"),
    ] {
        let output = place.run(&["assemble", "--release", "none", "--sign-manifest", key]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(text) && stderr.contains("genpkey"), "{stderr}");
        assert!(!place.path("leanfs").exists());
    }
    // leanfs.toml names it relative to itself.
    fs_err::create_dir(place.path("project")).expect("made");
    fs_err::write(place.path("project/leanfs.toml"), "[sign]\nmanifest = \"../ours.pem\"\n")
        .expect("written");
    place.assemble(&["project", "--initramfs"]);
    let report = check(&place.path("leanfs"), &[place.key("ours")], 1).expect("there is a manifest");
    assert!(matches!(report.signature, SignatureState::Valid { .. }), "{report:?}");
}

/// A manifest that names what is not its own: nothing outside is read, though it would fit.
#[test]
fn a_manifest_that_leads_out() {
    let Some(place) = Place::new() else { return };
    let manifest = place.assemble(&["--initramfs", "--oci"]);
    let image = "initramfs.cpio.xz";
    fs_err::rename(place.path("leanfs").join(image), place.path("x")).expect("moved");
    std::os::unix::fs::symlink("../x", place.path("leanfs").join(image)).expect("linked");
    place.check(&[], 3, &["initramfs.cpio.xz: a symbolic link in place of a regular file"]);
    let absolute = place.path("x").display().to_string();
    for name in ["../x", &absolute, "..", ".", "", "a/../../x"] {
        let mut manifest = manifest.clone();
        manifest.outputs[0].name = name.to_owned();
        let text = serde_json::to_string(&manifest).expect("JSON");
        fs_err::write(place.path("leanfs/manifest.json"), text).expect("written");
        place.check(&[], 3, &[&format!("{name}: no name of a file in this directory")]);
    }
    let mut inside = manifest.clone();
    let place_of_layout = inside.outputs.iter().position(|output| output.kind == "oci").expect("there");
    inside.outputs[place_of_layout].files[0].name = "../../x".to_owned();
    let text = serde_json::to_string(&inside).expect("JSON");
    fs_err::write(place.path("leanfs/manifest.json"), text).expect("written");
    place.check(&[], 3, &["oci/../../x: no name of a file in this directory"]);
}
