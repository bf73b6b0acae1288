//! CycloneDX 1.6: <https://cyclonedx.org/docs/1.6/json/>.

use serde_json::{Map, Value, json};

use super::inventory::{Inventory, Kind, Part};
use super::license::License;
use super::purl::Purl;
use super::web_address;
use crate::recipe::rfc3339;
use crate::report::manifest::{Manifest, Output};

/// The reference of the image itself.
const ROOT: &str = "image";

pub(super) fn document(manifest: &Manifest, inventory: &Inventory, uuid: &str) -> Value {
    let release = &manifest.release;
    let mut metadata = json!({
        "tools": {"components": [{"type": "application", "name": "leanfs", "version": manifest.leanfs}]},
        "component": {
            "type": "application",
            "bom-ref": ROOT,
            "name": release.name,
            "version": release.version,
            "purl": Purl::generic(&release.name, &release.version).to_string(),
            "components": manifest.outputs.iter().map(output).collect::<Vec<_>>(),
            "properties": properties(&[
                ("arch", manifest.arch.to_string()),
                ("prune", manifest.prune.to_string()),
                ("otp-source", release.otp_source.clone()),
            ]),
        },
    });
    if manifest.source_date_epoch != 0
        && let Some(time) = rfc3339(manifest.source_date_epoch)
    {
        metadata["timestamp"] = time.into();
    }
    let dependencies: Vec<Value> = std::iter::once(json!({"ref": ROOT, "dependsOn": inventory.needs}))
        .chain(inventory.parts.iter().map(|part| {
            let mut entry = json!({"ref": part.id});
            if !part.needs.is_empty() {
                entry["dependsOn"] = json!(part.needs);
            }
            entry
        }))
        .collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{uuid}"),
        "version": 1,
        "metadata": metadata,
        "components": inventory.parts.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

/// A file or directory that was written.
fn output(output: &Output) -> Value {
    let mut value = json!({
        "type": "file",
        "bom-ref": format!("output:{}", output.name),
        "name": output.name,
        "properties": properties(&[("kind", output.kind.clone()), ("size", output.size.to_string())]),
    });
    if let Some(sha256) = &output.sha256 {
        value["hashes"] = hashes(sha256);
    }
    value
}

fn component(part: &Part) -> Value {
    let mut value = Map::new();
    let kind = match part.kind {
        Kind::Package | Kind::Application => "library",
        Kind::Kernel => "operating-system",
        Kind::File => "file",
    };
    value.insert("type".to_owned(), kind.into());
    value.insert("bom-ref".to_owned(), part.id.clone().into());
    value.insert("name".to_owned(), part.name.clone().into());
    let scope = if part.removed.is_some() { "excluded" } else { "required" };
    value.insert("scope".to_owned(), scope.into());
    for (key, text) in [("version", &part.version), ("description", &part.description)] {
        if !text.is_empty() {
            value.insert(key.to_owned(), text.clone().into());
        }
    }
    if let Some(purl) = &part.purl {
        value.insert("purl".to_owned(), purl.to_string().into());
    }
    if let Some((name, address)) = &part.maintainer {
        let mut contact = json!({"name": name});
        if let Some(address) = address {
            contact["email"] = address.clone().into();
        }
        value.insert("supplier".to_owned(), json!({"name": name, "contact": [contact]}));
    }
    match &part.license {
        Some(License::Expression(text)) => {
            value.insert("licenses".to_owned(), json!([{"expression": text}]));
        }
        Some(License::Named(name)) => {
            value.insert("licenses".to_owned(), json!([{"license": {"name": name}}]));
        }
        None => {}
    }
    let mut facts = part.facts.clone();
    if let Some((sha256, what)) = &part.sha256 {
        value.insert("hashes".to_owned(), hashes(sha256));
        facts.push(("hash-of", (*what).to_owned()));
    }
    if let Some(package) = &part.inside {
        facts.push(("inside", package.clone()));
    }
    if let Some(reason) = &part.removed {
        facts.push(("removed", reason.clone()));
    }
    if let Some(address) = web_address(&part.url) {
        let reference = json!([{"type": "website", "url": address}]);
        value.insert("externalReferences".to_owned(), reference);
    }
    if !facts.is_empty() {
        value.insert("properties".to_owned(), properties(&facts));
    }
    Value::Object(value)
}

fn hashes(sha256: &str) -> Value {
    json!([{"alg": "SHA-256", "content": sha256}])
}

fn properties(facts: &[(&str, String)]) -> Value {
    facts.iter().map(|(name, value)| json!({"name": format!("leanfs:{name}"), "value": value})).collect()
}
