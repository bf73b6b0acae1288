use std::collections::BTreeSet;

use super::*;
use crate::report::manifest::sample;

fn documents(manifest: &Manifest, distribution: Option<&str>) -> (Value, Value) {
    let document = |format| sbom(manifest, b"the manifest", format, distribution);
    (document(SbomFormat::CycloneDx), document(SbomFormat::Spdx))
}

fn texts<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array().expect("a list").iter().filter_map(|entry| entry[key].as_str()).collect()
}

#[track_caller]
fn entry<'a>(list: &'a Value, name: &str, version: Option<&str>) -> &'a Value {
    let is_it = |entry: &&Value| {
        let found = entry["version"].as_str().or_else(|| entry["versionInfo"].as_str());
        entry["name"] == name && found == version
    };
    let mut found = list.as_array().expect("a list").iter().filter(is_it);
    let entry = found.next().unwrap_or_else(|| panic!("{name}"));
    assert!(found.next().is_none(), "{name} is there twice");
    entry
}

#[test]
fn everything_is_there_once() {
    let manifest = sample::manifest();
    let (cyclonedx, spdx) = documents(&manifest, None);
    for (list, version) in [(&cyclonedx["components"], "version"), (&spdx["packages"], "versionInfo")] {
        let names: Vec<String> = (list.as_array().expect("a list").iter())
            .map(|entry| {
                format!("{} {}", entry["name"].as_str().unwrap_or(""), entry[version].as_str().unwrap_or(""))
            })
            .collect();
        let packages = manifest.packages.iter().map(|info| format!("{} {}", info.name, info.version));
        let applications = manifest.applications.iter().map(|info| format!("{} {}", info.name, info.version));
        let others = ["linux-virt 6.18.56-r0", "erts 15.2.7", "/init 0.1.0", "/etc/motd "].map(str::to_owned);
        for want in packages.chain(applications).chain(others) {
            let count = names.iter().filter(|name| **name == want).count();
            // The application of the release has its name and version.
            let expected = if want == "hello 0.1.0" && version == "versionInfo" { 2 } else { 1 };
            assert_eq!(count, expected, "{want} in {names:?}");
        }
    }
    let count = manifest.packages.len() + manifest.applications.len() + 4;
    assert_eq!(cyclonedx["components"].as_array().map(Vec::len), Some(count));
    assert_eq!(spdx["packages"].as_array().map(Vec::len), Some(count + 1 + manifest.outputs.len()));
}

#[test]
fn references_are_unlike_each_other_and_lead_somewhere() {
    let (cyclonedx, spdx) = documents(&sample::manifest(), Some("alpine"));
    let components = texts(&cyclonedx["components"], "bom-ref");
    let known: BTreeSet<&str> = components.iter().copied().chain(["image"]).collect();
    assert_eq!(known.len(), components.len() + 1);
    let dependencies = cyclonedx["dependencies"].as_array().expect("a list");
    assert_eq!(dependencies.len(), known.len());
    for dependency in dependencies {
        let needed = dependency["dependsOn"].as_array().cloned().unwrap_or_default();
        for reference in needed.iter().chain([&dependency["ref"]]) {
            assert!(known.contains(reference.as_str().expect("text")), "{reference}");
        }
    }
    let packages = texts(&spdx["packages"], "SPDXID");
    let known: BTreeSet<&str> = packages.iter().copied().chain(["SPDXRef-DOCUMENT"]).collect();
    assert_eq!(known.len(), packages.len() + 1);
    let relationships = &spdx["relationships"];
    for reference in
        texts(relationships, "spdxElementId").into_iter().chain(texts(relationships, "relatedSpdxElement"))
    {
        assert!(known.contains(reference), "{reference}");
    }
}

/// What leanfs never writes: everything twice.
#[test]
fn references_of_a_manifest_that_repeats_itself() {
    let mut manifest = sample::manifest();
    manifest.packages.extend(manifest.packages.clone());
    manifest.applications.extend(manifest.applications.clone());
    manifest.files.extend(manifest.files.clone());
    let (cyclonedx, spdx) = documents(&manifest, None);
    for (list, key) in [(&cyclonedx["components"], "bom-ref"), (&spdx["packages"], "SPDXID")] {
        let all = texts(list, key);
        let known: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(known.len(), all.len());
    }
}

#[test]
fn packages_of_format_v3_have_the_hash_of_their_metadata() {
    let mut manifest = sample::manifest();
    manifest.packages[3].data_sha256 = None;
    let musl = |manifest: &Manifest| {
        entry(&documents(manifest, None).0["components"], "musl", Some("1.2.5-r23"))["hashes"].clone()
    };
    assert_eq!(musl(&manifest), Value::Null, "20 bytes are no SHA-256");
    manifest.packages[3].checksum = "Q2+IAyLaUDdSEKuGMqHnlTE3Ek7ntnxXz5PiLyuw3KSYk=".to_owned();
    let want = "f880322da50375210ab8632a1e7953137124ee7b67c57cf93e22f2bb0dca4989";
    assert_eq!(musl(&manifest)[0]["content"], want);
}

#[test]
fn libraries_of_a_sysroot_are_files() {
    let mut manifest = sample::manifest();
    let mut library = manifest.files.iter().find(|file| file.path == "/init").expect("there").clone();
    library.path = "/lib/x86_64-linux-gnu/libc.so.6".to_owned();
    library.layer = crate::tree::LayerKind::Sysroot;
    library.sha256 = Some("9".repeat(64));
    manifest.files.push(library);
    let (cyclonedx, spdx) = documents(&manifest, Some("alpine"));
    let component = entry(&cyclonedx["components"], "/lib/x86_64-linux-gnu/libc.so.6", None);
    assert_eq!(component["type"], "file");
    assert_eq!(component["hashes"][0]["content"], "9".repeat(64));
    assert_eq!(component.get("purl"), None);
    let package = entry(&spdx["packages"], "/lib/x86_64-linux-gnu/libc.so.6", None);
    assert_eq!(package["checksums"][0]["checksumValue"], "9".repeat(64));
    assert_eq!(package["primaryPackagePurpose"], "FILE");
}

#[test]
fn what_needs_what() {
    let (cyclonedx, spdx) = documents(&sample::manifest(), None);
    let needs = |reference: &str| {
        let all = cyclonedx["dependencies"].as_array().expect("a list");
        let entry = all.iter().find(|entry| entry["ref"] == reference).expect("it is there");
        entry["dependsOn"].clone()
    };
    assert_eq!(
        needs("package:erlang27-27.3.4.1-r0"),
        serde_json::json!(["package:libncursesw-6.5-r0", "package:musl-1.2.5-r23", "package:zlib-1.3.2-r0"])
    );
    let lib = "application:/usr/lib/erlang/lib";
    assert_eq!(
        needs("application:/app/lib/elixir-1.18.3"),
        serde_json::json!([format!("{lib}/kernel-10.2.7"), format!("{lib}/stdlib-6.2.2")]),
        "`compiler` isn't known"
    );
    let direct = needs("image");
    for (reference, is_direct) in [
        ("package:erlang27-27.3.4.1-r0", true),
        ("package:musl-1.2.5-r23", false),
        ("package:linux-virt-6.18.56-r0", true),
        ("application:/app/lib/hello-0.1.0", true),
        ("file:/etc/motd", true),
    ] {
        let found = direct.as_array().expect("a list").iter().any(|entry| entry == reference);
        assert_eq!(found, is_direct, "{reference}");
    }
    let has = |from: &str, how: &str, to: &str| {
        spdx["relationships"].as_array().expect("a list").iter().any(|relationship| {
            relationship["spdxElementId"] == from
                && relationship["relationshipType"] == how
                && relationship["relatedSpdxElement"] == to
        })
    };
    let erlang = "SPDXRef-Package-erlang27-27.3.4.1-r0";
    assert!(has("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"));
    assert!(has("SPDXRef-Image", "CONTAINS", erlang));
    assert!(has(erlang, "CONTAINS", "SPDXRef-Application-stdlib-6.2.2"));
    assert!(has(erlang, "DEPENDS_ON", "SPDXRef-Package-musl-1.2.5-r23"));
    assert!(has("SPDXRef-Output-kernel", "GENERATED_FROM", "SPDXRef-Image"));
    assert!(has("SPDXRef-Image", "OTHER", "SPDXRef-Application-wx-2.4.3"));
    assert!(!has(erlang, "CONTAINS", "SPDXRef-Application-wx-2.4.3"));
}

#[test]
fn what_pruning_left_nothing_of() {
    let mut manifest = sample::manifest();
    // A package whose last file went, and one that never had any.
    let place = manifest.files.iter().position(|file| file.path == "/etc/terminfo/d/dumb").expect("there");
    let gone = manifest.files.remove(place);
    manifest.removed.push(crate::report::manifest::RemovedFile {
        path: gone.path,
        size: gone.size,
        layer: gone.layer,
        part: gone.part,
        rule: "development".to_owned(),
        reason: "terminals".to_owned(),
    });
    manifest.packages[1].name = "empty".to_owned();
    let (cyclonedx, spdx) = documents(&manifest, None);
    let excluded: Vec<&str> = (cyclonedx["components"].as_array().expect("a list").iter())
        .filter(|entry| entry["scope"] == "excluded")
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    // Of these packages the sample has no files; only those are removed that had some.
    assert_eq!(excluded, ["ncurses-terminfo-base", "wx"]);
    let annotated: Vec<(&str, &str)> = (spdx["packages"].as_array().expect("a list").iter())
        .filter_map(|entry| Some((entry["name"].as_str()?, entry["annotations"][0]["comment"].as_str()?)))
        .collect();
    let want = [
        ("ncurses-terminfo-base", "removed: pruned: development"),
        ("wx", "removed: pruned: otp-application"),
    ];
    assert_eq!(annotated, want);
}

#[test]
fn facts_and_names() {
    let manifest = sample::manifest();
    for distribution in [None, Some("wolfi")] {
        let (cyclonedx, spdx) = documents(&manifest, distribution);
        let of_spdx = |name: &str, version: &str| {
            entry(&spdx["packages"], name, Some(version))["externalRefs"][0]["referenceLocator"].clone()
        };
        for (name, version, purl) in [
            ("musl", "1.2.5-r23", Some("pkg:apk/alpine/musl@1.2.5-r23?arch=x86_64")),
            // Nobody says whose it is.
            ("hello-tools", "1.0-r0", distribution.map(|_| "pkg:apk/wolfi/hello-tools@1.0-r0?arch=x86_64")),
            ("linux-virt", "6.18.56-r0", Some("pkg:apk/alpine/linux-virt@6.18.56-r0?arch=x86_64")),
            ("jason", "1.4.4", Some("pkg:hex/jason@1.4.4")),
            ("stdlib", "6.2.2", Some("pkg:otp/stdlib@6.2.2")),
            ("erts", "15.2.7", Some("pkg:otp/erts@15.2.7")),
            ("/init", "0.1.0", None),
        ] {
            let found = entry(&cyclonedx["components"], name, Some(version));
            assert_eq!(found["purl"].as_str(), purl, "{name}");
            assert_eq!(of_spdx(name, version).as_str(), purl, "{name}");
        }
    }
    let (cyclonedx, spdx) = documents(&manifest, None);
    let component = |name: &str, version| entry(&cyclonedx["components"], name, Some(version));
    let package = |name: &str, version| entry(&spdx["packages"], name, Some(version));
    assert_eq!(component("musl", "1.2.5-r23")["licenses"], serde_json::json!([{"expression": "MIT"}]));
    assert_eq!(
        component("hello-tools", "1.0-r0")["licenses"],
        serde_json::json!([{"license": {"name": "custom"}}])
    );
    assert_eq!(component("stdlib", "6.2.2")["licenses"], Value::Null);
    assert_eq!(component("jason", "1.4.4")["hashes"][0]["content"], "d".repeat(64));
    assert_eq!(package("musl", "1.2.5-r23")["licenseDeclared"], "MIT");
    assert_eq!(package("hello-tools", "1.0-r0")["licenseDeclared"], "LicenseRef-leanfs-1");
    assert_eq!(package("stdlib", "6.2.2")["licenseDeclared"], "NOASSERTION");
    assert_eq!(package("musl", "1.2.5-r23")["supplier"], "Person: A. Packager (packager@example.org)");
    assert_eq!(spdx["hasExtractedLicensingInfos"][0]["name"], "custom");
    assert_eq!(spdx["creationInfo"]["created"], "1970-01-01T00:00:00Z");
    assert_eq!(cyclonedx["metadata"]["timestamp"], Value::Null);
}

#[test]
fn the_same_manifest_gives_the_same_and_another_another() {
    let mut manifest = sample::manifest();
    manifest.source_date_epoch = 1_700_000_000;
    for format in [SbomFormat::CycloneDx, SbomFormat::Spdx] {
        let document = |bytes: &[u8]| sbom(&manifest, bytes, format, None);
        assert_eq!(document(b"1"), document(b"1"));
        assert_ne!(document(b"1"), document(b"2"));
    }
    let (cyclonedx, spdx) = documents(&manifest, None);
    assert_eq!(cyclonedx["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(spdx["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let serial = cyclonedx["serialNumber"].as_str().expect("text");
    assert_ne!(Some(serial), spdx["documentNamespace"].as_str(), "they are two documents");
    assert_eq!(serial.as_bytes()["urn:uuid:xxxxxxxx-xxxx-".len()], b'8', "{serial}");
}

#[test]
fn addresses_and_people() {
    for (text, good) in [
        ("https://musl.libc.org/", true),
        ("http://x?a=b&c#d", true),
        ("https://", false),
        ("ftp://x", false),
        ("https://a b", false),
        ("javascript:alert(1)", false),
        ("https://x/\u{202e}", false),
    ] {
        assert_eq!(web_address(text).is_some(), good, "{text}");
    }
}
