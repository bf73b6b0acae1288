//! SPDX 2.3: <https://spdx.github.io/spdx-spec/v2.3/>.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::inventory::{Inventory, Kind, Names, Part};
use super::license::License;
use super::purl::Purl;
use super::web_address;
use crate::recipe::rfc3339;
use crate::report::manifest::{Manifest, Output};

/// What nobody has said.
const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-Image";

pub(super) fn document(manifest: &Manifest, inventory: &Inventory, uuid: &str) -> Value {
    let release = &manifest.release;
    let tool = format!("Tool: leanfs-{}", manifest.leanfs);
    // Every year that SOURCE_DATE_EPOCH can sensibly name has four digits.
    let created = rfc3339(manifest.source_date_epoch).unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned());
    let mut writer = Writer {
        identifiers: Names::default(),
        by_id: BTreeMap::new(),
        licenses: BTreeMap::new(),
        relationships: vec![relationship(DOCUMENT, "DESCRIBES", ROOT)],
        tool,
        created,
    };
    // The document and the image have identifiers of no such kind.
    for part in &inventory.parts {
        let identifier = writer.identifier(part.kind_name(), &format!("{}-{}", part.name, part.version));
        writer.by_id.insert(part.id.clone(), identifier);
    }
    let mut packages = vec![writer.root(manifest)];
    packages.extend(manifest.outputs.iter().map(|output| writer.output(output)));
    packages.extend(inventory.parts.iter().map(|part| writer.part(part)));
    for id in &inventory.needs {
        writer.relate(ROOT, "DEPENDS_ON", id);
    }
    let mut document = json!({
        "SPDXID": DOCUMENT,
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "name": format!("{}-{}", release.name, release.version),
        "documentNamespace": format!("urn:uuid:{uuid}"),
        "creationInfo": {"created": writer.created, "creators": [writer.tool]},
        "packages": packages,
        "relationships": writer.relationships,
    });
    if !writer.licenses.is_empty() {
        document["hasExtractedLicensingInfos"] = writer
            .licenses
            .iter()
            .map(|(name, identifier)| {
                json!({
                    "licenseId": identifier,
                    "name": name,
                    "extractedText": name,
                    "comment": "What the package says of its licence; it is no SPDX expression.",
                })
            })
            .collect();
    }
    document
}

impl Part {
    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Package => "Package",
            Kind::Kernel => "Kernel",
            Kind::Application => "Application",
            Kind::File => "File",
        }
    }
}

/// What has been given out so far.
struct Writer {
    identifiers: Names,
    /// The identifier of each part.
    by_id: BTreeMap<String, String>,
    /// References to licences that are only names.
    licenses: BTreeMap<String, String>,
    relationships: Vec<Value>,
    tool: String,
    created: String,
}

impl Writer {
    /// An identifier that nothing has yet: letters, digits, dots and dashes.
    fn identifier(&mut self, kind: &str, name: &str) -> String {
        let good = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = name.chars().map(good).collect();
        let plain = format!("SPDXRef-{kind}-{}", name.trim_matches('-'));
        self.identifiers.unlike(&plain, "-")
    }

    fn relate(&mut self, from: &str, how: &str, id: &str) {
        if let Some(to) = self.by_id.get(id) {
            self.relationships.push(relationship(from, how, to));
        }
    }

    fn root(&mut self, manifest: &Manifest) -> Value {
        let release = &manifest.release;
        json!({
            "SPDXID": ROOT,
            "name": release.name,
            "versionInfo": release.version,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "copyrightText": UNKNOWN,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": UNKNOWN,
            "primaryPackagePurpose": "APPLICATION",
            "externalRefs": [purl_reference(&Purl::generic(&release.name, &release.version))],
            "comment": format!("An image for {}, pruned at level {}.", manifest.arch, manifest.prune),
        })
    }

    /// A file or directory that was written.
    fn output(&mut self, output: &Output) -> Value {
        let identifier = self.identifier("Output", &output.name);
        self.relationships.push(relationship(&identifier, "GENERATED_FROM", ROOT));
        let mut value = json!({
            "SPDXID": identifier,
            "name": output.name,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "copyrightText": UNKNOWN,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": UNKNOWN,
            "primaryPackagePurpose": "FILE",
            "comment": format!("{}, {} bytes", output.kind, output.size),
        });
        if let Some(sha256) = &output.sha256 {
            value["checksums"] = checksums(sha256);
        }
        value
    }

    fn part(&mut self, part: &Part) -> Value {
        let identifier = self.by_id.get(&part.id).cloned().unwrap_or_default();
        let purpose = match part.kind {
            Kind::Package | Kind::Application => "LIBRARY",
            Kind::Kernel => "OPERATING_SYSTEM",
            Kind::File => "FILE",
        };
        let mut value = json!({
            "SPDXID": identifier,
            "name": part.name,
            "downloadLocation": UNKNOWN,
            "filesAnalyzed": false,
            "copyrightText": UNKNOWN,
            "licenseConcluded": UNKNOWN,
            "licenseDeclared": self.license(part.license.as_ref()),
            "primaryPackagePurpose": purpose,
        });
        for (key, text) in [("versionInfo", &part.version), ("description", &part.description)] {
            if !text.is_empty() {
                value[key] = text.clone().into();
            }
        }
        if let Some(address) = web_address(&part.url) {
            value["homepage"] = address.into();
        }
        if let Some((name, address)) = &part.maintainer {
            let address = address.as_ref().map(|address| format!(" ({address})")).unwrap_or_default();
            // Brackets would be taken for the address.
            value["supplier"] = format!("Person: {}{address}", name.replace(['(', ')'], "")).into();
        }
        if let Some(purl) = &part.purl {
            value["externalRefs"] = json!([purl_reference(purl)]);
        }
        let mut facts: Vec<String> =
            part.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        if let Some((sha256, what)) = &part.sha256 {
            value["checksums"] = checksums(sha256);
            facts.push(format!("checksum of: {what}"));
        }
        if !facts.is_empty() {
            value["comment"] = facts.join("\n").into();
        }
        match &part.removed {
            Some(reason) => {
                value["annotations"] = json!([{
                    "annotationType": "OTHER",
                    "annotator": self.tool,
                    "annotationDate": self.created,
                    "comment": format!("removed: {reason}"),
                }]);
                let mut removed = relationship(ROOT, "OTHER", &identifier);
                removed["comment"] = format!("Nothing of it is in the image ({reason}).").into();
                self.relationships.push(removed);
            }
            None => {
                let whole =
                    part.inside.as_ref().and_then(|id| self.by_id.get(id)).map_or(ROOT, String::as_str);
                self.relationships.push(relationship(whole, "CONTAINS", &identifier));
            }
        }
        for id in &part.needs {
            self.relate(&identifier, "DEPENDS_ON", id);
        }
        value
    }

    fn license(&mut self, license: Option<&License>) -> String {
        match license {
            None => UNKNOWN.to_owned(),
            Some(License::Expression(text)) => text.clone(),
            Some(License::Named(name)) => {
                let next = format!("LicenseRef-leanfs-{}", self.licenses.len() + 1);
                self.licenses.entry(name.clone()).or_insert(next).clone()
            }
        }
    }
}

fn relationship(from: &str, how: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to})
}

fn purl_reference(purl: &Purl) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl.to_string(),
    })
}

fn checksums(sha256: &str) -> Value {
    json!([{"algorithm": "SHA256", "checksumValue": sha256}])
}
