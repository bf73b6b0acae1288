//! What is made from a manifest.

use std::collections::BTreeSet;

use leanfs::report::manifest::Manifest;
use leanfs::report::provenance::provenance;
use leanfs::report::sbom::{SbomFormat, sbom as document};
use serde_json::Value;

/// A manifest: every entry of its bills of materials has a reference of its own, and every reference leads to one.
pub fn sbom(bytes: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return };
    let _ = provenance(&manifest, bytes, None);
    let cyclonedx = document(&manifest, bytes, SbomFormat::CycloneDx, Some("alpine"));
    let (known, all) = references(&cyclonedx["components"], "bom-ref");
    let named = all.len() == known.len();
    for entry in cyclonedx["dependencies"].as_array().into_iter().flatten() {
        for needed in entry["dependsOn"].as_array().into_iter().flatten() {
            assert!(needed.as_str().is_some_and(|needed| known.contains(needed)), "{needed}");
        }
    }
    let spdx = document(&manifest, bytes, SbomFormat::Spdx, None);
    let (known, all) = references(&spdx["packages"], "SPDXID");
    assert!(named && all.len() == known.len(), "an identifier is there twice");
    for relationship in spdx["relationships"].as_array().into_iter().flatten() {
        let to = relationship["relatedSpdxElement"].as_str();
        assert!(to.is_some_and(|to| known.contains(to)), "{relationship}");
    }
}

fn references<'a>(list: &'a Value, key: &str) -> (BTreeSet<&'a str>, Vec<&'a str>) {
    let all: Vec<&str> =
        list.as_array().into_iter().flatten().filter_map(|entry| entry[key].as_str()).collect();
    (all.iter().copied().collect(), all)
}
