//! Bills of materials and provenance statements: what others' schemas and libraries say of them, and whether they say what
//! the manifest does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leanfs::report::manifest::Manifest;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::leanfs;
use super::end_to_end::bench::{self, missing, tools};
use super::repo::{TestRepo, key_file};
use super::tiny;

/// A project with a release, and a repository with packages of all kinds.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        let release = place.path("project/_build/prod/rel/tiny");
        tiny::release(&release);
        // What rebar3 and Hex leave of a dependency.
        let write = |name: &str, text: &str| {
            let path = release.join(name);
            fs_err::create_dir_all(path.parent().expect("below the release")).expect("made");
            fs_err::write(path, text).expect("written");
        };
        write(
            "lib/jsx-3.1.0/ebin/jsx.app",
            "{application,jsx,[{vsn,\"3.1.0\"},{description,\"json\"},{applications,[kernel,stdlib,nothing]},\
             {licenses,[\"MIT\"]}]}.\n",
        );
        write(
            "lib/named-2.0.0/ebin/named.app",
            "{application,named,[{vsn,\"2.0.0\"},{applications,[jsx]}]}.\n",
        );
        write(
            "lib/named-2.0.0/hex_metadata.config",
            "{<<\"name\">>,<<\"named_package\">>}.\n{<<\"version\">>,<<\"2.0.0\">>}.\n{<<\"licenses\">>,[<<\"Apache 2\">>]}.\n",
        );
        let hash = "5e".repeat(32);
        fs_err::write(
            place.path("project/mix.lock"),
            format!(
                "%{{\n  \"jsx\": {{:hex, :jsx_package, \"3.1.0\", \"{hash}\", [:rebar3], [], \"hexpm:acme\", \"{hash}\"}},\n}}\n"
            ),
        )
        .expect("written");
        TestRepo::new()
            .package("tool", "1.0-r0")
            .info(|info| {
                info.license =
                    "MIT AND (BSD-2-Clause OR GPL-2.0-or-later WITH Classpath-exception-2.0)".to_owned();
                info.url = "https://tool.example/?a=b".to_owned();
                info.maintainer = "A. (the) Packager <packager@example.org>".to_owned();
                info.commit = "0123456789abcdef".to_owned();
            })
            .depends("so:lib.so.1")
            .depends("documentation")
            .program("usr/bin/tool", tiny::static_elf())
            .package("lib++", "2_rc1~ab-r0")
            .provides("so:lib.so.1=1")
            .info(|info| {
                info.license = "custom ISC".to_owned();
                info.url = "not an address".to_owned();
                info.description = "\u{202e}odd \"text\"".to_owned();
                info.maintainer = "nobody".to_owned();
            })
            .file("usr/share/lib/data", "data")
            .package("documentation", "3-r0")
            .info(|info| info.license = String::new())
            .file("usr/share/man/man1/tool.1", "a manual")
            .package("nothing-in-it", "4-r0")
            .info(|info| info.license = "custom ISC".to_owned())
            .build(&place.path("repository"));
        fs_err::create_dir(place.path("overlay")).expect("made");
        fs_err::write(place.path("overlay/motd"), "hello\n").expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = leanfs(self.0.path(), arguments);
        command.env("SOURCE_DATE_EPOCH", "1700000000").output().expect("the binary was built with this test")
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Assembles into `leanfs/`.
    #[track_caller]
    fn assemble(&self, flags: &[&str]) -> Manifest {
        let key = key_file();
        let key = key.to_str().expect("UTF-8");
        let usual = ["assemble", "project", "--repository", "repository", "--key", key, "--kernel", "none"];
        let packages =
            ["--package", "tool", "--package", "nothing-in-it", "--arch", "x86_64", "--overlay", "overlay"];
        self.succeed(&[&usual[..], &packages, flags].concat());
        Manifest::read(&self.path("leanfs")).expect("it was written")
    }

    fn document(&self, arguments: &[&str]) -> Value {
        serde_json::from_slice(&self.succeed(arguments)).expect("JSON")
    }
}

/// What others find wrong with a document; a visible skip without them.
fn complaints(kind: &str, document: &[u8]) -> Option<Vec<String>> {
    tools(&["python3"])?;
    let Some(validators) = std::env::var_os("LEANFS_TEST_SBOM_VALIDATORS") else {
        return missing("LEANFS_TEST_SBOM_VALIDATORS (`cargo xtask validators` makes what it names)");
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("document.json");
    fs_err::write(&file, document).expect("written");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/validate_sbom.py");
    let output = Command::new("python3")
        .args(["-I", "-B"])
        .arg(program)
        .arg(kind)
        .arg(&file)
        .env("LEANFS_TEST_SBOM_VALIDATORS", validators)
        .output()
        .expect("python3 starts");
    let found = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)) && errors.is_empty(), "{errors}");
    assert_eq!(output.status.success(), found.is_empty());
    Some(found.lines().map(str::to_owned).collect())
}

/// Name, version, licence and whether it is marked as removed, of every entry of a list.
fn entries(document: &Value) -> Vec<(String, String, Option<String>, bool)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match document["components"].as_array() {
        Some(components) => components
            .iter()
            .map(|entry| {
                let license = &entry["licenses"][0];
                let license = text(&license["expression"]).or_else(|| text(&license["license"]["name"]));
                let name = text(&entry["name"]).expect("a name");
                (name, text(&entry["version"]).unwrap_or_default(), license, entry["scope"] == "excluded")
            })
            .collect(),
        None => {
            let names: BTreeMap<&str, &str> = (document["hasExtractedLicensingInfos"]
                .as_array()
                .into_iter()
                .flatten())
            .map(|info| {
                (info["licenseId"].as_str().expect("text"), info["extractedText"].as_str().expect("text"))
            })
            .collect();
            let packages = document["packages"].as_array().expect("a list").iter();
            packages
                .filter(|entry| {
                    !["SPDXRef-Image", "SPDXRef-Output-"]
                        .iter()
                        .any(|start| entry["SPDXID"].as_str().is_some_and(|id| id.starts_with(start)))
                })
                .map(|entry| {
                    let license = text(&entry["licenseDeclared"]).filter(|license| license != "NOASSERTION");
                    let license = license
                        .map(|id| names.get(id.as_str()).map_or(id.clone(), |name| (*name).to_owned()));
                    let name = text(&entry["name"]).expect("a name");
                    (
                        name,
                        text(&entry["versionInfo"]).unwrap_or_default(),
                        license,
                        entry["annotations"].is_array(),
                    )
                })
                .collect()
        }
    }
}

/// Every package and application of the manifest is in the document exactly once, marked if none of its files is left,
/// with the licence that it names.
#[track_caller]
fn agrees(manifest: &Manifest, document: &Value) {
    let entries = entries(document);
    let mut wanted = BTreeMap::new();
    let mut rest: BTreeSet<&str> = BTreeSet::from(["erts", "/init"]);
    for info in
        manifest.packages.iter().chain(manifest.kernel.iter().filter_map(|kernel| kernel.package.as_ref()))
    {
        let of_it = |part: &str| part == format!("{}-{}", info.name, info.version);
        let had = manifest.removed.iter().any(|file| of_it(&file.part));
        let has = manifest.files.iter().any(|file| file.kind != "directory" && of_it(&file.part));
        let license = Some(info.license.clone()).filter(|text| !text.is_empty());
        wanted.insert((info.name.clone(), info.version.clone()), (license, had && !has));
    }
    for info in manifest.applications.iter().filter(|info| info.name != "erts") {
        let below = format!("{}/", info.path);
        let has = manifest.files.iter().any(|file| file.kind != "directory" && file.path.starts_with(&below));
        let license = Some(info.licenses.join(" AND ")).filter(|text| !text.is_empty());
        wanted.insert((info.name.clone(), info.version.clone()), (license, !has));
    }
    rest.extend(manifest.files.iter().filter(|file| file.part.is_empty()).map(|file| file.path.as_str()));
    for (name, version, license, removed) in &entries {
        match wanted.remove(&(name.clone(), version.clone())) {
            Some(want) => assert_eq!((license, *removed), (&want.0, want.1), "{name} {version}"),
            None => assert!(
                rest.contains(name.as_str()),
                "{name} {version} is of nothing in the manifest, or there twice"
            ),
        }
    }
    assert!(wanted.is_empty(), "missing: {wanted:?}");
}

#[test]
fn others_find_nothing_wrong_and_the_numbers_agree() {
    let place = Place::new();
    let manifest = place.assemble(&["--oci", "--initramfs", "--prune", "apps"]);
    assert_eq!(manifest.packages.len(), 4);
    for format in ["cyclonedx", "spdx"] {
        for distribution in [&[][..], &["--distribution", "alpine"]] {
            let arguments = [&["sbom", "--format", format][..], distribution].concat();
            let bytes = place.succeed(&arguments);
            agrees(&manifest, &serde_json::from_slice(&bytes).expect("JSON"));
            if let Some(complaints) = complaints(format, &bytes) {
                assert_eq!(complaints, [""; 0], "{format} {distribution:?}");
            }
        }
    }
    let bytes = place.succeed(&["provenance"]);
    if let Some(complaints) = complaints("provenance", &bytes) {
        assert_eq!(complaints, [""; 0]);
    }
}

/// The validators do find what is wrong.
#[test]
fn others_find_what_is_wrong() {
    let place = Place::new();
    place.assemble(&[]);
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, Change<'_>); 11] = [
        ("cyclonedx", &|document| document["bomFormat"] = "SPDX".into()),
        ("cyclonedx", &|document| document["components"][0]["scope"] = "removed".into()),
        ("cyclonedx", &|document| document["components"][0]["hashes"][0]["content"] = "00".into()),
        ("cyclonedx", &|document| document["serialNumber"] = "urn:uuid:1".into()),
        ("spdx", &|document| document["packages"][1]["primaryPackagePurpose"] = "IMAGE".into()),
        ("spdx", &|document| document["packages"][1]["licenseDeclared"] = "custom ISC".into()),
        ("spdx", &|document| document["relationships"][3]["relatedSpdxElement"] = "SPDXRef-none".into()),
        ("spdx", &|document| document["creationInfo"]["created"] = "today".into()),
        ("spdx", &|document| {
            drop(document.as_object_mut().map(|document| document.remove("documentNamespace")))
        }),
        ("provenance", &|document| document["subject"][0]["digest"] = serde_json::json!({})),
        ("provenance", &|document| document["predicate"]["runDetails"]["builder"]["name"] = "x".into()),
    ];
    for (number, (kind, change)) in cases.iter().enumerate() {
        let arguments: &[&str] = match *kind {
            "provenance" => &["provenance"],
            format => &["sbom", "--format", format],
        };
        let mut document = place.document(arguments);
        change(&mut document);
        let Some(complaints) = complaints(kind, document.to_string().as_bytes()) else { return };
        assert!(!complaints.is_empty(), "case {number}, {kind}");
    }
}

#[test]
fn facts_come_from_the_release_and_its_project() {
    let place = Place::new();
    place.assemble(&[]);
    let document = place.document(&["sbom", "--format", "cyclonedx", "--distribution", "wolfi"]);
    let component = |name: &str| {
        let components = document["components"].as_array().expect("a list");
        components.iter().find(|entry| entry["name"] == name).expect("it is there").clone()
    };
    for (name, purl) in [
        ("tool", "pkg:apk/wolfi/tool@1.0-r0?arch=x86_64"),
        ("lib++", "pkg:apk/wolfi/lib%2B%2B@2_rc1~ab-r0?arch=x86_64"),
        ("jsx", "pkg:hex/acme/jsx_package@3.1.0"),
        ("named", "pkg:hex/named_package@2.0.0"),
        ("tiny", "pkg:otp/tiny@1"),
        ("erts", "pkg:otp/erts@15.0"),
    ] {
        assert_eq!(component(name)["purl"], purl);
    }
    assert_eq!(component("jsx")["hashes"][0]["content"], "5e".repeat(32));
    assert_eq!(component("named")["licenses"][0]["license"]["name"], "Apache 2");
    assert_eq!(component("tool")["supplier"]["contact"][0]["email"], "packager@example.org");
    assert_eq!(component("lib++").get("externalReferences"), None, "that is no address");
    assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let dependencies = document["dependencies"].as_array().expect("a list");
    let needs = |reference: &str| {
        dependencies.iter().find(|entry| entry["ref"] == reference).expect("there")["dependsOn"].clone()
    };
    assert_eq!(
        needs("package:tool-1.0-r0"),
        serde_json::json!(["package:documentation-3-r0", "package:lib++-2_rc1~ab-r0"])
    );
    assert_eq!(
        needs("application:/app/lib/named-2.0.0"),
        serde_json::json!(["application:/app/lib/jsx-3.1.0"])
    );

    // leanfs.toml may say which of the project's releases it is.
    fs_err::write(place.path("project/leanfs.toml"), "[release]\npath = \"_build/prod/rel/tiny\"\n")
        .expect("written");
    assert!(
        place
            .assemble(&[])
            .applications
            .iter()
            .any(|info| info.hex.as_ref().is_some_and(|hex| hex.name == "jsx_package"))
    );

    // A release from elsewhere is not the project's: its lock file says nothing of it.
    let elsewhere = place.path("elsewhere");
    fs_err::rename(place.path("project/_build/prod/rel/tiny"), &elsewhere).expect("moved");
    place.assemble(&["--release", "elsewhere"]);
    let document = place.document(&["sbom", "--format", "spdx"]);
    let packages = document["packages"].as_array().expect("a list");
    let jsx = packages.iter().find(|entry| entry["name"] == "jsx").expect("it is there");
    assert_eq!(jsx["externalRefs"][0]["referenceLocator"], "pkg:otp/jsx@3.1.0");
    let tool = packages.iter().find(|entry| entry["name"] == "tool").expect("it is there");
    assert_eq!(tool.get("externalRefs"), None, "nobody says whose it is");
}

/// A key that only has the name of one of Alpine's doesn't make packages Alpine's.
#[test]
fn whose_packages_they_are_is_not_a_matter_of_names() {
    let place = Place::new();
    let name = "alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub";
    fs_err::copy(key_file(), place.path(name)).expect("copied");
    TestRepo::new()
        .signed_as(name)
        .package("tool", "1.0-r0")
        .file("usr/x", "x")
        .build(&place.path("repository"));
    let usual = ["assemble", "project", "--repository", "repository", "--key", name, "--kernel", "none"];
    place.succeed(&[&usual[..], &["--arch", "x86_64", "--package", "tool"]].concat());
    let manifest = Manifest::read(&place.path("leanfs")).expect("it was written");
    assert_eq!(manifest.packages[0].distribution, None);
}

#[test]
fn the_same_image_gives_the_same_documents_anywhere() {
    let documents = |zone: &str| {
        let place = Place::new();
        place.assemble(&[]);
        // Where the repository was is told, and differs.
        let manifest = place.path("leanfs/manifest.json");
        let text = fs_err::read_to_string(&manifest).expect("there");
        assert!(!text.contains("project"), "where the release was is nobody's business");
        fs_err::write(&manifest, text.replace(&place.0.path().display().to_string(), "")).expect("written");
        ["cyclonedx", "spdx", ""].map(|format| {
            let arguments: &[&str] = match format {
                "" => &["provenance"],
                format => &["sbom", "--format", format],
            };
            let output = leanfs(place.0.path(), arguments).env("TZ", zone).env("LANG", zone).output();
            output.expect("the binary was built with this test").stdout
        })
    };
    let (one, other) = (documents("UTC"), documents("Asia/Tokyo"));
    for (one, other) in one.iter().zip(&other) {
        assert!(!one.is_empty());
        assert_eq!(String::from_utf8_lossy(one), String::from_utf8_lossy(other));
    }
}

/// Hashes by other programs: of outputs, of a file that goes in, and of a directory as in-toto's specification has it.
#[test]
fn provenance_names_what_went_in_and_came_out() {
    let Some(()) = tools(&["sh", "find", "cut", "sort", "xargs", "sha256sum"]) else { return };
    let place = Place::new();
    fs_err::write(place.path("project/leanfs.toml"), "[run]\nhostname = \"a.b\"\n").expect("written");
    place.assemble(&["--initramfs", "--tar", "--oci"]);
    let statement = place.document(&["provenance", "--builder", "https://ci.example/1"]);
    let sha256sum = |path: &Path| {
        let output = Command::new("sha256sum").arg(path).output().expect("it starts");
        String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
    };
    let subjects: BTreeMap<&str, &str> = (statement["subject"].as_array().expect("a list").iter())
        .map(|subject| {
            (subject["name"].as_str().expect("text"), subject["digest"]["sha256"].as_str().expect("text"))
        })
        .collect();
    assert_eq!(subjects.len(), 3);
    for name in ["initramfs.cpio.xz", "rootfs.tar.gz"] {
        assert_eq!(subjects[name], sha256sum(&place.path("leanfs").join(name)), "{name}");
    }
    assert_eq!(subjects["oci"], sha256sum(&place.path("leanfs/oci/blobs/sha256").join(subjects["oci"])));

    let predicate = &statement["predicate"];
    let dependencies = predicate["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    let of_role = |role: &str| {
        dependencies.iter().find(|entry| entry["annotations"]["role"] == role).expect("it is there")
    };
    for (role, file) in [("recipe", "project/leanfs.toml"), ("dependencies", "project/mix.lock")] {
        assert_eq!(of_role(role)["digest"]["sha256"], sha256sum(&place.path(file)), "{role}");
    }
    for (role, directory) in [("release", "project/_build/prod/rel/tiny"), ("overlay", "overlay")] {
        let pipeline = "find . -type f | cut -c3- | LC_ALL=C sort | xargs -r sha256sum | sha256sum";
        let output = Command::new("sh").args(["-c", pipeline]).current_dir(place.path(directory)).output();
        let want = String::from_utf8(output.expect("it starts").stdout).expect("UTF-8")[..64].to_owned();
        assert_eq!(of_role(role)["digest"]["dirHash"], want, "{role}");
    }
    assert_eq!(dependencies.iter().filter(|entry| entry["annotations"]["role"] == "package").count(), 4);
    assert_eq!(predicate["runDetails"]["builder"]["id"], "https://ci.example/1");
    let manifest = sha256sum(&place.path("leanfs/manifest.json"));
    assert_eq!(predicate["runDetails"]["byproducts"][0]["digest"]["sha256"], manifest);
}

/// The hash that the manifest has of each file is that of what tar takes out of the image, whatever the cache knew.
#[test]
fn hashes_of_files_are_those_of_the_image() {
    let Some(()) = tools(&["tar"]) else { return };
    let place = Place::new();
    for run in ["nothing cached", "all cached"] {
        let manifest = place.assemble(&["--tar", "--compress", "none"]);
        let extracted = place.path(run);
        fs_err::create_dir(&extracted).expect("made");
        let mut tar = Command::new("tar");
        tar.arg("-xf")
            .arg(place.path("leanfs/rootfs.tar"))
            .arg("-C")
            .arg(&extracted)
            .args(["--exclude", "dev/*"]);
        assert!(tar.status().expect("tar starts").success());
        let mut count = 0;
        for file in manifest.files.iter().filter(|file| file.kind == "file") {
            let bytes =
                fs_err::read(extracted.join(file.path.trim_start_matches('/'))).expect("it was extracted");
            let want = hex::encode(leanfs::apk::checksum::sha256(&bytes));
            assert_eq!(file.sha256.as_deref(), Some(want.as_str()), "{} with {run}", file.path);
            count += 1;
        }
        assert!(count > 10, "{count}");
    }
}

#[test]
fn what_can_not_be_done_is_told() {
    let place = Place::new();
    for (arguments, code, text) in [
        (&["sbom", "--format", "cyclonedx"][..], 1, "cannot be read"),
        (&["sbom", "project", "--format", "spdx"], 1, "no manifest.json"),
        (&["sbom", "--format", "swid"], 2, "swid"),
        (&["sbom"], 2, "--format"),
        (&["sbom", "--format", "spdx", "--distribution", "a/b"], 2, "small letters"),
        (&["provenance", "--builder", "me"], 2, "a URI"),
    ] {
        let output = place.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
    }
    place.assemble(&[]);
    place.succeed(&["sbom", "--format", "spdx", "-o", "sbom.spdx.json"]);
    let written = fs_err::read(place.path("sbom.spdx.json")).expect("it was written");
    assert_eq!(written, place.succeed(&["sbom", "--format", "spdx"]));
    assert!(!String::from_utf8_lossy(&written).contains('\u{202e}'), "what steers a terminal is escaped");
}

/// A real image with a kernel, packages as Alpine has them, and the applications of Erlang/OTP and Elixir.
#[test]
fn of_a_real_release() {
    let Some(shared) = bench::shared() else { return };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (release, mirror) = (shared.join("releases/hello-otp27-noerts.tar.gz"), shared.join("mirror"));
    let mut command =
        leanfs(directory.path(), &["assemble", "--arch", "x86_64", "--compress", "zstd:1", "--release"]);
    command.arg(&release).arg("--key").arg(mirror.join("keys/test-mirror.rsa.pub"));
    for repository in ["main", "community"] {
        command.arg("--repository").arg(mirror.join("v3.23").join(repository));
    }
    let output = command.output().expect("the binary was built with this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest = Manifest::read(&directory.path().join("leanfs")).expect("it was written");
    for format in ["cyclonedx", "spdx"] {
        let arguments = ["sbom", "--format", format, "--distribution", "alpine"];
        let bytes = leanfs(directory.path(), &arguments).output().expect("it starts").stdout;
        let document = serde_json::from_slice(&bytes).expect("JSON");
        agrees(&manifest, &document);
        let entries = entries(&document);
        let is =
            |name: &str, removed: bool| entries.iter().any(|entry| entry.0 == name && entry.3 == removed);
        assert!(is("musl", false) && is("linux-virt", false) && is("elixir", false) && is("stdlib", false));
        assert!(is("ssl", true) && is("mnesia", true), "what pruning took is marked");
        if let Some(complaints) = complaints(format, &bytes) {
            assert_eq!(complaints, [""; 0], "{format}");
        }
    }
}
