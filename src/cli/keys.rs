//! `leanfs keys`.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use leanfs::apk::adb::{self, AdbHead, AdbSignature};
use leanfs::apk::index::IndexArchive;
use leanfs::apk::{PackageHead, PublicKey, Signature};
use leanfs::fetch::{load_repository_keys, sha256_of_rest};
use leanfs::recipe::Repository;

use super::failure::{Because, Exit, Failure};
use super::recipe_flags::PackageFlags;
use super::terminal::{OutputMode, Terminal};

/// List the keys that may sign, with their fingerprints, and say who signed a file
///
/// Repositories and keys of a leanfs.toml in this directory are used. A fingerprint is the SHA-256 of the public key
/// itself (its SubjectPublicKeyInfo in DER), whatever its file is called.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    /// Say which of the keys signed these packages and indexes; exit code 3 if one is signed by none
    #[arg(long, value_name = "FILE", num_args = 1..)]
    check: Vec<PathBuf>,
    #[command(flatten)]
    packages: PackageFlags,
    /// Print a JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Keys, and for what they are trusted.
struct Trusted {
    /// Of the repositories that have no keys of their own.
    common: Vec<PublicKey>,
    own: Vec<(Repository, Vec<PublicKey>)>,
}

impl Trusted {
    fn all(&self) -> impl Iterator<Item = (Option<&Repository>, &PublicKey)> {
        let own = self.own.iter().flat_map(|(of, keys)| keys.iter().map(move |key| (Some(of), key)));
        self.common.iter().map(|key| (None, key)).chain(own)
    }
}

impl KeysArgs {
    pub(super) fn mode(&self) -> OutputMode {
        OutputMode { json: self.json, ..OutputMode::default() }
    }

    pub(super) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let sources = self.packages.sources(Path::new("."))?;
        let own = load_repository_keys(&sources.repositories, &sources.keys)?;
        let trusted = Trusted { common: sources.keys, own };
        if !self.check.is_empty() {
            return check(&self.check, &trusted, terminal);
        }
        let objects: Vec<_> = trusted
            .all()
            .map(|(of, key)| {
                serde_json::json!({
                    "name": key.name(),
                    "type": key.algorithm(),
                    "bits": key.bits(),
                    "fingerprint": fingerprint(key),
                    "repository": of.map(ToString::to_string),
                })
            })
            .collect();
        terminal.object(&serde_json::json!({"event": "result", "exit_code": 0, "keys": objects}))?;
        let has_own = |place: &Repository| trusted.own.iter().any(|(of, _)| of == place);
        let others: Vec<String> = sources
            .repositories
            .iter()
            .filter(|source| !has_own(&source.repository))
            .map(ToString::to_string)
            .collect();
        let mut text = String::new();
        if !others.is_empty() {
            text += &format!("May sign in {}:\n{}", others.join(" and "), lines(&trusted.common));
        }
        for (of, keys) in &trusted.own {
            text += &format!("May sign in {of}, and nowhere else:\n{}", lines(keys));
        }
        terminal.result(&text)
    }
}

fn lines(keys: &[PublicKey]) -> String {
    keys.iter()
        .map(|key| {
            format!("  {}  {} {}\n    {}\n", key.name(), key.algorithm(), key.bits(), fingerprint(key))
        })
        .collect()
}

fn fingerprint(key: &PublicKey) -> String {
    format!("sha256:{}", hex::encode(key.fingerprint()))
}

fn check(files: &[PathBuf], trusted: &Trusted, terminal: &Terminal) -> Result<(), Failure> {
    let mut text = String::new();
    let mut objects = Vec::new();
    let mut unsigned = Vec::new();
    for file in files {
        let claims = claims(file)?;
        let mut signers = Vec::new();
        for claim in &claims {
            let fits = &claim.fits;
            for (of, key) in trusted.all().filter(|(_, key)| fits(key)) {
                let place = of.map_or_else(|| "any".to_owned(), ToString::to_string);
                text += &format!(
                    "{}: signed by {} ({}), which is trusted for {}\n",
                    file.display(),
                    key.name(),
                    fingerprint(key),
                    of.map_or("repositories without keys of their own".to_owned(), ToString::to_string)
                );
                signers.push(serde_json::json!({
                    "name": key.name(), "fingerprint": fingerprint(key), "repository": place,
                }));
            }
        }
        if signers.is_empty() {
            let names: Vec<String> = claims.into_iter().map(|claim| claim.signer).collect();
            let who = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
            text += &format!("{}: no known key signed it; it says that {who} did\n", file.display());
            unsigned.push(file.display().to_string());
        }
        objects.push(serde_json::json!({"file": file.display().to_string(), "signed_by": signers}));
    }
    if !unsigned.is_empty() {
        terminal.result(&text)?;
        return Err(Failure::new(Exit::Unverified, format!("no known key signed {}", unsigned.join(", "))));
    }
    terminal.object(&serde_json::json!({"event": "result", "exit_code": 0, "files": objects}))?;
    terminal.result(&text)
}

/// A signature of a file.
struct Claim {
    /// Who is said to have made it: a key's name, or of format v3 its id.
    signer: String,
    /// Whether a key made it.
    fits: Box<dyn Fn(&PublicKey) -> bool>,
}

impl Claim {
    fn v2(signature: Signature, signed: &Rc<Vec<u8>>) -> Self {
        let signed = Rc::clone(signed);
        Self {
            signer: signature.key_name.clone(),
            fits: Box::new(move |key| {
                key.name() == signature.key_name
                    && key.verify(signature.kind, &signed, &signature.bytes).is_ok()
            }),
        }
    }

    fn v3(signature: AdbSignature, head: &Rc<AdbHead>) -> Self {
        let head = Rc::clone(head);
        Self {
            signer: format!("the key with the id {}", hex::encode(signature.key_id)),
            fits: Box::new(move |key| signature.verify(key, head.schema, &head.adb).is_ok()),
        }
    }
}

/// The signatures of a package or an index. A package of format v2 must also hold what the signed part of it says; of
/// format v3 the signed part alone is looked at.
fn claims(path: &Path) -> Result<Vec<Claim>, Failure> {
    /// The largest index that leanfs takes.
    const MOST_BYTES: u64 = 64 << 20;
    let open = || fs_err::File::open(path).map(BufReader::new).map_err(Failure::unmet);
    let failed = |error| Because::new(format!("{} is neither a package nor an index", path.display()), error);
    let mut reader = open()?;
    let magic = reader.fill_buf().map_err(Failure::unmet)?.starts_with(&adb::MAGIC);
    if magic {
        let mut blocks = adb::open(reader, u64::MAX).map_err(|error| Failure::unmet(failed(error)))?;
        let schema = blocks.schema();
        let (head, _) = AdbHead::read(&mut blocks, schema, adb::MOST_INDEX_ADB_BYTES)
            .map_err(|error| Failure::unmet(failed(error)))?;
        let head = Rc::new(head);
        return Ok(head.signatures.iter().map(|signature| Claim::v3(signature.clone(), &head)).collect());
    }
    if let Ok(head) = PackageHead::read(&mut reader) {
        let found = sha256_of_rest(&mut reader).map_err(|error| {
            Failure::unmet(Because::new(format!("{} can't be read", path.display()), error))
        })?;
        if head.info.data_hash != Some(found) {
            let problem =
                format!("the files in {} are not those that its control member names", path.display());
            return Err(Failure::new(Exit::Unverified, problem));
        }
        let control = Rc::new(head.control);
        return Ok(head.signatures.into_iter().map(|signature| Claim::v2(signature, &control)).collect());
    }
    let mut bytes = Vec::new();
    open()?.take(MOST_BYTES).read_to_end(&mut bytes).map_err(Failure::unmet)?;
    let archive = IndexArchive::open(&bytes).map_err(|error| Failure::unmet(failed(error)))?;
    let signed = Rc::new(archive.signed.to_vec());
    Ok(archive.signatures.into_iter().map(|signature| Claim::v2(signature, &signed)).collect())
}
