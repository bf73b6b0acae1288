//! Results by the SHA-256 of what they were made from, for one release.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{self, SHA256};

use super::{Derived, Pack, Place};
use crate::tree::Content;

/// The kinds of pack, the older one first.
const KINDS: [&str; 2] = ["memo", "memo-recent"];
/// The recent results are put together with the older ones when they are more than one of so many bytes of them.
const RECENT_SHARE: u64 = 4;

/// Results of earlier runs for the same release, and those of this run. What the last run that wrote them all down did not
/// use is forgotten.
#[derive(Debug)]
pub struct Memo {
    generations: [Generation; 2],
    run: Mutex<Run>,
    /// Where new results go, for errors.
    temporary: PathBuf,
}

type Key = [u8; 32];

#[derive(Debug, Default)]
struct Generation {
    pack: Option<Pack>,
    /// The numbers of the contents.
    entries: HashMap<Key, usize>,
}

/// What this run used and made.
#[derive(Debug)]
struct Run {
    /// By generation.
    used: [HashMap<Key, Content>; 2],
    made: HashMap<Key, Content>,
    file: Arc<File>,
    length: u64,
    /// The file is kept, and must not change any more.
    saved: bool,
}

impl Memo {
    /// What is known for `key`: a release, its architecture. `temporary` is where a nameless file can be made for new
    /// results.
    ///
    /// # Errors
    /// When that file can't be made.
    pub fn open(derived: Option<&Derived>, key: &str, temporary: &Path) -> io::Result<Self> {
        let generations = KINDS.map(|kind| {
            let Some(pack) = derived.and_then(|derived| derived.pack(kind, key)) else {
                return Generation::default();
            };
            let keys: Vec<Key> = postcard::from_bytes(pack.about()).unwrap_or_default();
            let entries = keys.into_iter().enumerate().map(|(number, key)| (key, number)).collect();
            Generation { entries, pack: Some(pack) }
        });
        let file = Arc::new(tempfile::tempfile_in(temporary)?);
        let run = Run { used: Default::default(), made: HashMap::new(), file, length: 0, saved: false };
        Ok(Self { generations, run: Mutex::new(run), temporary: temporary.to_owned() })
    }

    /// One that knows nothing.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self::open(None, "", &std::env::temp_dir()).expect("a file")
    }

    /// What was made by the rule `what` from something whose SHA-256 is `of`.
    #[must_use]
    pub fn recall(&self, what: &str, of: &[u8; 32]) -> Option<Content> {
        let key = key(what, of);
        for (number, Generation { pack, entries }) in self.generations.iter().enumerate() {
            if let (Some(pack), Some(&place)) = (pack, entries.get(&key)) {
                let content = pack.content(place)?;
                let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
                run.used[number].insert(key, content.clone());
                return Some(content);
            }
        }
        None
    }

    /// Like [`Memo::recall`], all bytes at once; what can't be read is not known.
    #[must_use]
    pub fn recall_bytes(&self, what: &str, of: &[u8; 32]) -> Option<Vec<u8>> {
        let content = self.recall(what, of)?;
        content.read(content.len()).ok()
    }

    /// Notes what was made. The content is that of the given bytes.
    ///
    /// # Errors
    /// When the disk doesn't take it.
    pub fn remember(&self, what: &str, of: &[u8; 32], bytes: &[u8]) -> io::Result<Content> {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if run.saved {
            return Ok(Content::from_bytes(bytes));
        }
        let offset = run.length;
        run.file.write_all_at(bytes, offset).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.temporary.display()))
        })?;
        run.length += bytes.len() as u64;
        let content = Content::from_hashed(Arc::clone(&run.file), offset, bytes.len() as u64, sha256);
        run.made.insert(key(what, of), content.clone());
        Ok(content)
    }

    /// Keeps what this run used and made for the next one.
    ///
    /// # Errors
    /// When the disk doesn't take it; then what was known before is still known.
    pub fn save(&self, derived: &Derived, name: &str) -> io::Result<()> {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if run.made.is_empty() || run.saved {
            return Ok(());
        }
        run.saved = true;
        let [older, recent] = std::mem::take(&mut run.used);
        let size = |contents: &HashMap<Key, Content>| contents.values().map(Content::len).sum::<u64>();
        let alone =
            !derived.is_forgetful() && (size(&run.made) + size(&recent)) * RECENT_SHARE < size(&older);
        let mut entries = Vec::new();
        let is_new = |key: &Key| !run.made.contains_key(key);
        let copied: Vec<(Key, Content)> = recent
            .into_iter()
            .chain(older.into_iter().filter(|_| !alone))
            .filter(|(key, _)| is_new(key))
            .collect();
        for (key, content) in copied {
            // What was found damaged has been made anew.
            let Ok(bytes) = content.read(content.len()) else { continue };
            let place = Place { offset: run.length, length: content.len(), sha256: content.sha256()? };
            run.file.write_all_at(&bytes, place.offset)?;
            run.length += place.length;
            entries.push((key, place));
        }
        let made = run.made.iter().filter_map(|(key, content)| Some((*key, Place::of(content, &run.file)?)));
        entries.extend(made);
        entries.sort_unstable_by_key(|(key, _)| *key);
        let (keys, places): (Vec<Key>, Vec<Place>) = entries.into_iter().unzip();
        let about = postcard::to_allocvec(&keys).map_err(io::Error::other)?;
        derived.keep(KINDS[usize::from(alone)], name, &run.file, &places, &about)?;
        if !alone {
            derived.forget(KINDS[1], name);
        }
        Ok(())
    }
}

fn key(what: &str, of: &[u8; 32]) -> Key {
    let mut context = digest::Context::new(&SHA256);
    context.update(what.as_bytes());
    context.update(&[0]);
    context.update(of);
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recalled(memo: &Memo, of: u8) -> Option<Vec<u8>> {
        memo.recall_bytes("rule", &[of; 32])
    }

    fn remember(memo: &Memo, of: u8, length: usize) {
        let content = memo.remember("rule", &[of; 32], &vec![of; length]).expect("kept");
        assert_eq!(content.read(length as u64).expect("readable"), vec![of; length]);
    }

    #[test]
    fn the_next_run_knows_what_this_one_used() {
        let cache = tempfile::tempdir().expect("a directory");
        let derived = Derived::open(cache.path());
        let open = || Memo::open(Some(&derived), "hello", cache.path()).expect("a memo");
        let files = || std::fs::read_dir(cache.path().join("derived")).expect("a directory").count();

        let memo = open();
        assert_eq!(recalled(&memo, 1), None);
        (1..=20).for_each(|of| remember(&memo, of, 100));
        memo.save(&derived, "hello").expect("saved");

        // A little more is kept beside.
        let memo = open();
        (1..=10).for_each(|of| assert_eq!(recalled(&memo, of), Some(vec![of; 100])));
        assert_eq!(memo.recall_bytes("another rule", &[1; 32]), None);
        remember(&memo, 21, 10);
        memo.save(&derived, "hello").expect("saved");
        assert_eq!(files(), 2);

        // Much more is kept with the rest, and what was not used is forgotten.
        let memo = open();
        (1..=10).chain([21]).for_each(|of| assert!(recalled(&memo, of).is_some()));
        remember(&memo, 22, 1000);
        memo.save(&derived, "hello").expect("saved");
        assert_eq!(files(), 1);
        let memo = open();
        (1..=10).chain([21, 22]).for_each(|of| assert!(recalled(&memo, of).is_some()));
        assert_eq!(recalled(&memo, 11), None);
        assert_eq!(recalled(&Memo::open(Some(&derived), "other", cache.path()).expect("a memo"), 1), None);
    }

    #[test]
    fn what_is_damaged_is_not_known() {
        let cache = tempfile::tempdir().expect("a directory");
        let derived = Derived::open(cache.path());
        let memo = Memo::open(Some(&derived), "hello", cache.path()).expect("a memo");
        remember(&memo, 1, 100);
        remember(&memo, 2, 1000);
        memo.save(&derived, "hello").expect("saved");
        let path = std::fs::read_dir(cache.path().join("derived")).expect("a directory").next();
        let path = path.expect("a file").expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("read");
        bytes[50] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let memo = Memo::open(Some(&derived), "hello", cache.path()).expect("a memo");
        assert_eq!(recalled(&memo, 1), None);
        assert_eq!(recalled(&memo, 2), Some(vec![2; 1000]));
        assert_eq!(derived.start_again(), std::slice::from_ref(&path), "it is dropped");
        assert!(!path.exists());
        remember(&memo, 1, 100);
        memo.save(&derived, "hello").expect("saved");
        assert!(derived.pack(KINDS[0], "hello").is_none(), "nothing is read any more");
        let memo = Memo::open(Some(&Derived::open(cache.path())), "hello", cache.path()).expect("a memo");
        assert_eq!(recalled(&memo, 1), Some(vec![1; 100]));
        assert_eq!(recalled(&memo, 2), Some(vec![2; 1000]));
    }
}
