//! Provenance: which inputs an image was made from, and by what, as a statement about its outputs.
//!
//! Sources: [in-toto Statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md), whose predicate is
//! [SLSA provenance v1](https://slsa.dev/spec/v1.0/provenance).
//!
//! - Subjects are the outputs that have a hash; of an OCI layout it is the digest of its image manifest.
//! - Dependencies are the files and directories that went in (`dirHash` of a directory), the packages and the kernel's. A
//!   package has no hash of its file but those that Alpine signs: `apkDataSha256` is that of its data member,
//!   `apkChecksumQ1` and `apkChecksumQ2` the index's `C:` in hexadecimal. Libraries of a sysroot are listed as they are in
//!   the image, in a bill of materials, and not here.
//! - Who ran leanfs isn't known here, and no time is: nothing is said of either, unless a builder is named.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::manifest::{Input, Manifest, PackageInfo};
use super::sbom::Purl;
use crate::apk::checksum::sha256;

/// What kind of build it is: `buildDefinition.buildType`. Its external parameters are [`Manifest::parameters`] with `arch`,
/// `prune` and `sourceDateEpoch`, and `release`, the release's name and version.
pub const BUILD_TYPE: &str = "pkg:cargo/leanfs#assemble/v1";

/// The statement for the image of `manifest`; `bytes` is the manifest's file. `builder` is the URI of who or what ran
/// leanfs; if nobody says it, it is leanfs itself, as a package URL.
pub fn provenance(manifest: &Manifest, bytes: &[u8], builder: Option<&str>) -> Value {
    let subject: Vec<Value> = manifest
        .outputs
        .iter()
        .filter_map(|output| {
            let sha256 = output.sha256.as_ref()?;
            Some(json!({"name": output.name, "digest": {"sha256": sha256}}))
        })
        .collect();
    let kernel = manifest.kernel.iter().filter_map(|kernel| kernel.package.as_ref());
    let is_new =
        |info: &&PackageInfo| !manifest.packages.iter().any(|other| other.full_name() == info.full_name());
    let dependencies: Vec<Value> = (manifest.inputs.iter().filter_map(input))
        .chain(manifest.packages.iter().chain(kernel.filter(is_new)).map(package))
        .collect();
    let itself = format!("pkg:cargo/leanfs@{}", manifest.leanfs);
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters(manifest),
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {"id": builder.unwrap_or(&itself), "version": {"leanfs": manifest.leanfs}},
                "byproducts": [
                    {"name": Manifest::FILE_NAME, "digest": {"sha256": hex::encode(sha256(bytes))}},
                ],
            },
        },
    })
}

/// The names of the outputs that no statement can be about, because they have no hash.
pub fn without_hash(manifest: &Manifest) -> Vec<&str> {
    let outputs = manifest.outputs.iter();
    outputs.filter(|output| output.sha256.is_none()).map(|output| output.name.as_str()).collect()
}

fn parameters(manifest: &Manifest) -> Value {
    let release = &manifest.release;
    let mut parameters = json!(manifest.parameters);
    parameters["arch"] = manifest.arch.to_string().into();
    parameters["prune"] = manifest.prune.to_string().into();
    parameters["release"] = json!({"name": release.name, "version": release.version});
    parameters["sourceDateEpoch"] = manifest.source_date_epoch.into();
    parameters
}

/// A file or directory; none if nothing tells it apart from others.
fn input(input: &Input) -> Option<Value> {
    let mut digest = Map::new();
    for (name, hash) in [("sha256", &input.sha256), ("dirHash", &input.dir_hash)] {
        if let Some(hash) = hash {
            digest.insert(name.to_owned(), hash.clone().into());
        }
    }
    let name = if input.name.is_empty() { &input.role } else { &input.name };
    (!digest.is_empty()).then(|| json!({"name": name, "digest": digest, "annotations": {"role": input.role}}))
}

fn package(info: &PackageInfo) -> Value {
    let mut digest = Map::new();
    if let Some(hash) = &info.data_sha256 {
        digest.insert("apkDataSha256".to_owned(), hash.clone().into());
    }
    for (prefix, name) in [("Q1", "apkChecksumQ1"), ("Q2", "apkChecksumQ2")] {
        if let Some(text) = info.checksum.strip_prefix(prefix)
            && let Ok(hash) = STANDARD.decode(text)
        {
            digest.insert(name.to_owned(), hex::encode(hash).into());
        }
    }
    let mut value = json!({
        "name": format!("{}.apk", info.full_name()),
        "digest": digest,
        "annotations": {"role": "package", "repository": info.repository},
    });
    if let Some(distribution) = &info.distribution {
        let purl = Purl::apk(distribution, &info.name, &info.version).with("arch", &info.arch);
        value["uri"] = purl.to_string().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::manifest::sample;
    use super::*;

    #[test]
    fn every_input_and_every_output() {
        let mut manifest = sample::manifest();
        manifest.inputs.push(Input {
            role: "overlay".to_owned(),
            name: String::new(),
            sha256: None,
            dir_hash: Some("f".repeat(64)),
        });
        // A name with a line break somewhere in it: no hash.
        manifest.inputs.push(Input {
            role: "release".to_owned(),
            name: String::new(),
            sha256: None,
            dir_hash: None,
        });
        let statement = provenance(&manifest, b"the manifest", None);
        assert_eq!(
            statement["subject"],
            json!([
                {"name": "initramfs.cpio.xz", "digest": {"sha256": "a".repeat(64)}},
                {"name": "kernel", "digest": {"sha256": "b".repeat(64)}},
            ])
        );
        let definition = &statement["predicate"]["buildDefinition"];
        let dependencies = definition["resolvedDependencies"].as_array().expect("a list");
        // The release, the overlay, the packages and the kernel's.
        assert_eq!(dependencies.len(), 2 + manifest.packages.len() + 1);
        assert_eq!(
            dependencies[0],
            json!({
                "name": "hello-0.1.0.tar.gz",
                "digest": {"sha256": "e".repeat(64)},
                "annotations": {"role": "release"},
            })
        );
        assert_eq!(
            dependencies[1],
            json!({"name": "overlay", "digest": {"dirHash": "f".repeat(64)}, "annotations": {"role": "overlay"}})
        );
        assert_eq!(
            dependencies[2],
            json!({
                "name": "erlang27-27.3.4.1-r0.apk",
                "uri": "pkg:apk/alpine/erlang27@27.3.4.1-r0?arch=x86_64",
                "digest": {
                    "apkDataSha256": "c".repeat(64),
                    "apkChecksumQ1": "1f24405a8320a21eb6e2f6f1a43efe74f571b461",
                },
                "annotations": {"role": "package", "repository": "repo"},
            })
        );
        assert_eq!(dependencies[3]["uri"], Value::Null, "nobody says whose it is");
        assert_eq!(definition["externalParameters"]["kernel"], "package:linux-virt");
        assert_eq!(definition["externalParameters"]["release"]["name"], "hello");
        let details = &statement["predicate"]["runDetails"];
        assert_eq!(details["builder"]["id"], "pkg:cargo/leanfs@0.1.0");
        assert_eq!(details["metadata"], Value::Null, "no clock");
        assert_eq!(details["byproducts"][0]["digest"]["sha256"], hex::encode(sha256(b"the manifest")));
        let named = provenance(&manifest, b"the manifest", Some("https://ci.example/run"));
        assert_eq!(named["predicate"]["runDetails"]["builder"]["id"], "https://ci.example/run");
    }

    #[test]
    fn an_output_without_a_hash_is_no_subject() {
        let mut manifest = sample::manifest();
        assert!(without_hash(&manifest).is_empty());
        manifest.outputs[1].sha256 = None;
        assert_eq!(without_hash(&manifest), ["kernel"]);
        let statement = provenance(&manifest, b"", None);
        assert_eq!(statement["subject"].as_array().map(Vec::len), Some(1));
    }
}
