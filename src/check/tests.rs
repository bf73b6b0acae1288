use fs_err as fs;
use tempfile::TempDir;

use super::*;
use crate::apk::checksum::sha256;
use crate::report::manifest::{OutputFile, sample};
use crate::report::signature::SigningKey;

fn output(name: &str, bytes: &[u8]) -> Output {
    Output {
        name: name.to_owned(),
        kind: "initramfs".to_owned(),
        size: bytes.len() as u64,
        sha256: Some(hex::encode(sha256(bytes))),
        root_size: None,
        files: Vec::new(),
    }
}

/// A directory with two files, a directory of two files, and their manifest.
struct Place {
    directory: TempDir,
    manifest: Manifest,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut manifest = sample::manifest();
        let blob = hex::encode(sha256(b"blob"));
        let in_layout = [(format!("blobs/sha256/{blob}"), &b"blob"[..]), ("index.json".to_owned(), b"{}")];
        for (name, bytes) in [("a", &b"first"[..]), ("b", b"second")]
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .into_iter()
            .chain(in_layout.iter().map(|(name, bytes)| (format!("oci/{name}"), *bytes)))
        {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("made");
            fs::write(path, bytes).expect("written");
        }
        let files = in_layout
            .iter()
            .map(|(name, bytes)| OutputFile {
                name: name.clone(),
                size: bytes.len() as u64,
                sha256: hex::encode(sha256(bytes)),
            })
            .collect();
        let layout = Output { files, size: 6, sha256: Some(blob), ..output("oci", b"") };
        manifest.outputs = vec![output("a", b"first"), output("b", b"second"), layout];
        let place = Self { directory, manifest };
        place.write_manifest();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_manifest(&self) {
        let text = serde_json::to_vec(&self.manifest).expect("JSON");
        fs::write(self.path(Manifest::FILE_NAME), text).expect("written");
    }

    fn check(&self) -> CheckReport {
        check(self.directory.path(), &[], 3).expect("there is a manifest")
    }

    fn problems(&self) -> Vec<String> {
        let outputs = self.check().outputs.into_iter();
        outputs
            .flat_map(|output| output.problems)
            .map(|problem| format!("{}: {}", problem.file, problem.what))
            .collect()
    }
}

#[test]
fn what_is_as_it_was() {
    let place = Place::new();
    fs::write(place.path("other"), "nobody's business").expect("written");
    fs::write(place.path("oci/other"), "neither").expect("written");
    let report = place.check();
    assert_eq!(report.signature, SignatureState::None);
    assert_eq!(report.outputs.len(), 3);
    assert!(report.outputs.iter().all(|output| output.hashed && output.problems.is_empty()), "{report:?}");
}

#[test]
fn everything_that_can_be_wrong_with_a_file() {
    let blob = hex::encode(sha256(b"blob"));
    let in_layout = format!("oci/blobs/sha256/{blob}");
    let link = |place: &Place, target: &str, name: &str| {
        let _ = fs::remove_file(place.path(name));
        std::os::unix::fs::symlink(target, place.path(name)).expect("linked");
    };
    type Change<'a> = &'a dyn Fn(&Place);
    let cases: [(Change<'_>, &str); 9] = [
        (&|place| fs::remove_file(place.path("a")).expect("gone"), "a: missing"),
        (&|place| fs::write(place.path("b"), "secon").expect("written"), "b: 5 bytes, and not 6"),
        (
            &|place| fs::write(place.path("oci/index.json"), "[]").expect("written"),
            "oci/index.json: SHA-256 4f53cda1",
        ),
        (&|place| fs::remove_file(place.path(&in_layout)).expect("gone"), &format!("{in_layout}: missing")),
        (&|place| fs::remove_dir_all(place.path("oci")).expect("gone"), &format!("{in_layout}: missing")),
        // The same bytes by way of a link are not what was written.
        (&|place| link(place, "b", "a"), "a: a symbolic link in place of a regular file"),
        (
            &|place| {
                fs::rename(place.path("oci"), place.path("elsewhere")).expect("moved");
                link(place, "elsewhere", "oci");
            },
            &format!("{in_layout}: something else in place of a directory"),
        ),
        (
            &|place| {
                fs::remove_file(place.path("a")).expect("gone");
                fs::create_dir(place.path("a")).expect("made");
            },
            "a: a directory in place of a regular file",
        ),
        (
            &|place| {
                fs::remove_file(place.path("a")).expect("gone");
                let mode = rustix::fs::Mode::RUSR;
                rustix::fs::mknodat(rustix::fs::CWD, place.path("a"), rustix::fs::FileType::Fifo, mode, 0)
                    .expect("made");
            },
            "a: a pipe or a device in place of a regular file",
        ),
    ];
    for (change, want) in cases {
        let place = Place::new();
        change(&place);
        let problems = place.problems();
        assert!(problems.first().is_some_and(|problem| problem.starts_with(want)), "{want}: {problems:?}");
    }
}

#[test]
fn a_manifest_that_leads_elsewhere_or_contradicts_itself() {
    type Change<'a> = &'a dyn Fn(&mut Manifest);
    let cases: [(Change<'_>, &str); 8] = [
        (
            &|manifest| manifest.outputs[0].name = "../x".to_owned(),
            "../x: no name of a file in this directory",
        ),
        (&|manifest| manifest.outputs[0].name = "/etc/passwd".to_owned(), "/etc/passwd: no name"),
        (&|manifest| manifest.outputs[0].name = "..".to_owned(), "..: no name"),
        (&|manifest| manifest.outputs[0].name = String::new(), ": no name"),
        (&|manifest| manifest.outputs[0].name = "oci/index.json".to_owned(), "oci/index.json: no name"),
        (&|manifest| manifest.outputs[2].files[1].name = "../a".to_owned(), "oci/../a: no name"),
        (&|manifest| manifest.outputs[2].size += 1, "oci: the manifest contradicts itself: the sizes"),
        (
            &|manifest| manifest.outputs[2].sha256 = Some("0".repeat(64)),
            "oci: the manifest contradicts itself: its image manifest",
        ),
    ];
    for (change, want) in cases {
        let mut place = Place::new();
        change(&mut place.manifest);
        place.write_manifest();
        let problems = place.problems();
        assert!(problems.first().is_some_and(|problem| problem.starts_with(want)), "{want}: {problems:?}");
    }
}

#[test]
fn what_has_no_hash_is_told() {
    let mut place = Place::new();
    place.manifest.outputs[0].sha256 = None;
    place.write_manifest();
    fs::write(place.path("a"), "FIRST").expect("written");
    let report = place.check();
    assert!(!report.outputs[0].hashed && report.outputs[0].problems.is_empty());
    fs::write(place.path("a"), "FIRS").expect("written");
    assert_eq!(place.problems(), ["a: 4 bytes, and not 5"]);
}

#[test]
fn signatures() {
    let place = Place::new();
    let key = |seed: u8| {
        let head: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        use base64::Engine;
        let body = base64::engine::general_purpose::STANDARD.encode([&head[..], &[seed; 32]].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        SigningKey::from_pem(pem.as_bytes()).expect("a key")
    };
    let (ours, other) = (key(1), key(2));
    let state = |keys: &[&SigningKey]| {
        let keys: Vec<VerifyingKey> = keys.iter().map(|key| key.public()).collect();
        let report = check(place.directory.path(), &keys, 1).expect("there is a manifest");
        assert_eq!(report.outputs.is_empty(), report.signature.is_wrong());
        report.signature
    };
    assert_eq!(state(&[&ours]), SignatureState::Missing);
    let manifest = fs::read(place.path(Manifest::FILE_NAME)).expect("there");
    fs::write(place.path(signature::FILE_NAME), ours.sign(&manifest)).expect("written");
    assert_eq!(state(&[]), SignatureState::Unchecked);
    let valid = SignatureState::Valid { key: hex::encode(ours.public().fingerprint()) };
    assert_eq!(state(&[&other, &ours]), valid);
    assert_eq!(state(&[&other]), SignatureState::Wrong);
    for place_of_bit in 0..manifest.len() {
        if place_of_bit % 97 == 0 {
            let mut changed = manifest.clone();
            changed[place_of_bit] ^= 1;
            fs::write(place.path(Manifest::FILE_NAME), changed).expect("written");
            assert_eq!(state(&[&ours]), SignatureState::Wrong, "byte {place_of_bit}");
        }
    }
    fs::write(place.path(Manifest::FILE_NAME), &manifest).expect("written");
    fs::write(place.path(signature::FILE_NAME), [ours.sign(&manifest).as_slice(), b"\n"].concat())
        .expect("written");
    assert_eq!(state(&[&ours]), SignatureState::Wrong, "a byte too many");
}

#[test]
fn without_a_manifest() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = check(directory.path(), &[], 1).expect_err("nothing there");
    assert!(matches!(error, CheckError::Manifest(ManifestError::Missing { .. })), "{error}");
    fs::write(directory.path().join(Manifest::FILE_NAME), "{\"format\":1}").expect("written");
    let error = check(directory.path(), &[], 1).expect_err("another format");
    assert!(matches!(error, CheckError::Manifest(ManifestError::Format { .. })), "{error}");
}
