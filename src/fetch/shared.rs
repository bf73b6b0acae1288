//! A cache that several machines share, at an address or in a bucket of an S3-compatible store.
//!
//! ```text
//! objects/<64 hex>     a package or tarball, by the SHA-256 of its bytes
//! names/<64 hex>       which object a package is: the SHA-256 of what its index says of it, in a line the object's
//! derived/KIND-<64 hex>       what a run worked out, see [`crate::cache`]
//! derived/KIND-<64 hex>.mac   the HMAC-SHA-256 of its name and its SHA-256, with the key that the machines share
//! ```
//!
//! Trust: an object is verified by its hash when it arrives, and a package then by its index's, as one of any mirror;
//! whoever writes to the store can only make a machine fetch it elsewhere. For what was worked out there is no such
//! chain, so it is shared only among those who have a key, and what that key did not make is not used. Nothing that is
//! missing, wrong or out of reach makes a run fail: it is told once, and the run goes on without.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ring::{digest, hmac};

use super::address::Address;
use super::cache::{Sha256, Validators, hash_file};
use super::transport::Transport;
use super::{FetchError, Fetcher};
use crate::cache::Remote;
use crate::recipe::{S3Credentials, SharedCacheSettings};
use crate::report::Silent;

/// How long a signed address is good for.
#[cfg(feature = "s3")]
const SIGNED_FOR: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// The region of stores that have none.
#[cfg(feature = "s3")]
const USUAL_REGION: &str = "us-east-1";
/// Names and codes are a line.
const MOST_LINE_BYTES: u64 = 1024;

/// The store, and how it is reached.
pub(super) struct SharedCache {
    place: Place,
    write: bool,
    key: Option<hmac::Key>,
    transport: Transport,
    /// The store does not answer: it is not asked again.
    out_of_reach: AtomicBool,
    /// What the user should know.
    warnings: Mutex<Vec<String>>,
    limit: u64,
    shown: String,
}

impl std::fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCache").field("place", &self.shown).finish_non_exhaustive()
    }
}

enum Place {
    Server(String),
    #[cfg(feature = "s3")]
    Bucket {
        bucket: Box<rusty_s3::Bucket>,
        credentials: Option<rusty_s3::Credentials>,
        prefix: String,
    },
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Put,
}

impl SharedCache {
    /// `limit` is the most bytes that an object may have.
    ///
    /// # Errors
    /// When the address can't be one of a store.
    pub(super) fn new(
        settings: &SharedCacheSettings,
        transport: Transport,
        limit: u64,
    ) -> Result<Self, FetchError> {
        let bad = |problem: String| FetchError::BadAddress {
            url: super::error::shown(&super::without_credentials(&settings.address)),
            problem,
        };
        let place = match settings.address.strip_prefix("s3://") {
            Some(rest) => bucket(rest, settings.credentials.as_ref()).map_err(bad)?,
            None => {
                let address = settings.address.trim_end_matches('/').to_owned();
                Address::parse(&address)?;
                Place::Server(address)
            }
        };
        Ok(Self {
            place,
            write: settings.write,
            key: settings.key.as_ref().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)),
            transport,
            out_of_reach: AtomicBool::new(false),
            warnings: Mutex::default(),
            limit,
            shown: super::without_credentials(&settings.address),
        })
    }

    fn address(&self, method: Method, name: &str) -> Result<Address, FetchError> {
        match &self.place {
            Place::Server(base) => {
                let _ = method;
                Address::parse(&format!("{base}/{name}"))
            }
            #[cfg(feature = "s3")]
            Place::Bucket { bucket, credentials, prefix } => {
                use rusty_s3::S3Action;
                let name = format!("{prefix}{name}");
                let url = match method {
                    Method::Get => bucket.get_object(credentials.as_ref(), &name).sign(SIGNED_FOR),
                    Method::Put => bucket.put_object(credentials.as_ref(), &name).sign(SIGNED_FOR),
                };
                Address::parse(url.as_str())
            }
        }
    }

    fn warn(&self, text: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What should be told by now.
    pub(super) fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store is not asked any more.
    fn give_up(&self, problem: &str) {
        if !self.out_of_reach.swap(true, Ordering::AcqRel) {
            self.warn(format!("the shared cache {} is not used: {problem}", self.shown));
        }
    }

    fn read(&self, name: &str, limit: u64, to: &mut dyn Write) -> Option<()> {
        if self.out_of_reach.load(Ordering::Acquire) {
            return None;
        }
        let address =
            self.address(Method::Get, name).map_err(|error| self.give_up(&error.to_string())).ok()?;
        match self.transport.fetch_into(&address, limit, to, &Silent) {
            Ok(length) => length.map(drop),
            Err(problem) => {
                self.give_up(&problem);
                None
            }
        }
    }

    fn read_line(&self, name: &str) -> Option<String> {
        let mut line = Vec::new();
        self.read(name, MOST_LINE_BYTES, &mut line)?;
        Some(String::from_utf8(line).ok()?.trim().to_owned())
    }

    fn put(&self, name: &str, body: impl Read, length: u64) -> Option<()> {
        if !self.write || self.out_of_reach.load(Ordering::Acquire) {
            return None;
        }
        let address =
            self.address(Method::Put, name).map_err(|error| self.give_up(&error.to_string())).ok()?;
        self.transport
            .put(&address, body, length)
            .map_err(|problem| self.give_up(&format!("it does not take {name}: {problem}")))
            .ok()
    }

    /// Gets the object of that SHA-256 into `to`, whatever was in that. `None` if the store doesn't have it, or something
    /// else under its name.
    pub(super) fn object(&self, sha256: &Sha256, to: &mut File) -> Option<()> {
        let name = format!("objects/{}", hex::encode(sha256));
        to.set_len(0).and_then(|()| to.rewind()).ok()?;
        self.read(&name, self.limit, to)?;
        let found = hash_file(to).ok()?;
        if found != *sha256 {
            self.warn(format!(
                "{name} in the shared cache {} is something else, with the SHA-256 {}: it is not used, somebody has changed it",
                self.shown,
                hex::encode(found)
            ));
            return None;
        }
        Some(())
    }

    /// Which object something is.
    pub(super) fn named(&self, key: &str) -> Option<Sha256> {
        let line = self.read_line(&name_of(key))?;
        let mut sha256 = [0; 32];
        match hex::decode_to_slice(&line, &mut sha256) {
            Ok(()) => Some(sha256),
            Err(_) => {
                self.warn(format!(
                    "{} in the shared cache {} is no SHA-256: it is not used",
                    name_of(key),
                    self.shown
                ));
                None
            }
        }
    }

    /// Gives a verified object to the store, and the name under which it is looked for, if it has one.
    pub(super) fn share(&self, sha256: &Sha256, file: &File, key: Option<&str>) -> Option<()> {
        if !self.write {
            return None;
        }
        let length = file.metadata().ok()?.len();
        let sha256 = hex::encode(sha256);
        let mut file = file;
        file.rewind().ok()?;
        self.put(&format!("objects/{sha256}"), file, length)?;
        match key {
            Some(key) => self.put(&name_of(key), sha256.as_bytes(), sha256.len() as u64),
            None => Some(()),
        }
    }
}

impl Remote for SharedCache {
    fn get(&self, name: &str, to: &mut File) -> Option<()> {
        let key = self.key.as_ref()?;
        let place = format!("derived/{name}");
        let code = self.read_line(&format!("{place}.mac"))?;
        self.read(&place, self.limit, to)?;
        let message = message(name, &hash_file(to).ok()?);
        let code = hex::decode(&code).unwrap_or_default();
        if hmac::verify(key, &message, &code).is_err() {
            self.warn(format!(
                "{place} in the shared cache {} was not made by a machine with the same key: it is not used",
                self.shown
            ));
            return None;
        }
        Some(())
    }

    fn put(&self, name: &str, file: &mut File) -> Option<()> {
        let key = self.key.as_ref().filter(|_| self.write)?;
        let sha256 = hash_file(file).ok()?;
        let length = file.metadata().ok()?.len();
        let place = format!("derived/{name}");
        self.put(&place, &*file, length)?;
        let code = hex::encode(hmac::sign(key, &message(name, &sha256)));
        self.put(&format!("{place}.mac"), code.as_bytes(), code.len() as u64)
    }
}

/// What the code of something that was worked out covers.
fn message(name: &str, sha256: &Sha256) -> Vec<u8> {
    [b"leanfs derived ", name.as_bytes(), b" ", sha256].concat()
}

fn name_of(key: &str) -> String {
    format!("names/{}", hex::encode(digest::digest(&digest::SHA256, key.as_bytes())))
}

#[cfg(not(feature = "s3"))]
fn bucket(_: &str, _: Option<&S3Credentials>) -> Result<Place, String> {
    Err("this leanfs was built without the feature `s3`".to_owned())
}

/// `BUCKET/PATH?region=…&endpoint=…`.
#[cfg(feature = "s3")]
fn bucket(text: &str, credentials: Option<&S3Credentials>) -> Result<Place, String> {
    use rusty_s3::{Bucket, Credentials, UrlStyle};
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    let (mut region, mut endpoint) = (USUAL_REGION.to_owned(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("region", value)) => region = value.to_owned(),
            Some(("endpoint", value)) => endpoint = Some(value.to_owned()),
            _ => return Err(format!("{pair:?} is neither region=NAME nor endpoint=ADDRESS")),
        }
    }
    // Others than Amazon rarely have a name for every bucket.
    let style = if endpoint.is_some() { UrlStyle::Path } else { UrlStyle::VirtualHost };
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    Address::parse(&endpoint).map_err(|error| format!("its endpoint can't be used: {error}"))?;
    let url = endpoint.parse().map_err(|error| format!("its endpoint is no address: {error}"))?;
    let bucket = Bucket::new(url, style, name.to_owned(), region)
        .map_err(|error| format!("it names no bucket: {error}"))?;
    let credentials = credentials.map(|S3Credentials { key_id, secret, token }| match token {
        Some(token) => Credentials::new_with_token(key_id, secret, token),
        None => Credentials::new(key_id, secret),
    });
    let prefix = prefix.trim_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(Place::Bucket { bucket: Box::new(bucket), credentials, prefix })
}

impl Fetcher<'_> {
    /// Brings an object of the shared cache into this machine's; whether it came.
    pub(super) fn bring_object(&self, sha256: &Sha256) -> bool {
        let Some(shared) = &self.shared else { return false };
        let brought = || -> Option<()> {
            let mut file = tempfile::NamedTempFile::with_prefix_in("new-", self.cache.temporary()).ok()?;
            shared.object(sha256, file.as_file_mut())?;
            self.cache.adopt(sha256, file).ok()
        };
        let came = brought().is_some();
        self.tell_of_shared();
        came
    }

    /// Brings what the shared cache knows by `key`; whether it came.
    pub(super) fn bring_shared(&self, key: &str) -> bool {
        let Some(shared) = &self.shared else { return false };
        let came = shared.named(key).is_some_and(|sha256| {
            self.bring_object(&sha256) && self.cache.refer(key, &sha256, &Validators::default()).is_ok()
        });
        self.tell_of_shared();
        came
    }

    /// Gives a verified object of this machine's cache to the shared one.
    pub(super) fn share(&self, sha256: &Sha256, key: Option<&str>) {
        let Some(shared) = &self.shared else { return };
        if let Ok(file) = File::open(self.cache.object_path(sha256)) {
            shared.share(sha256, &file, key);
        }
        self.tell_of_shared();
    }

    /// Tells what is wrong with the shared cache, each thing once.
    pub fn tell_of_shared(&self) {
        for text in self.shared.iter().flat_map(|shared| shared.warnings()) {
            self.warn(text);
        }
    }
}
