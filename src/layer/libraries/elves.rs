//! The ELF files of a tree, each read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cache::Memo;
use crate::elf::{ElfError, ElfFile, ReadError};
use crate::tree::{NodeKind, Tree, TreePath};

use super::LibraryError;

/// What a regular file is.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// No ELF file.
    Other,
    /// One.
    Elf(Arc<ElfFile>),
    /// It begins as one, and then is wrong.
    Bad(ElfError),
}

/// What was read so far, by the path of the regular file.
#[derive(Debug, Default)]
pub(crate) struct Elves {
    entries: BTreeMap<TreePath, Entry>,
    memo: Option<Arc<Memo>>,
}

/// What the cache calls the facts of an ELF file; of another file there are none.
const FACTS: &str = "facts of an ELF file";

impl Elves {
    /// Nothing was read yet, but `memo` may know it.
    pub(crate) fn known_by(memo: Arc<Memo>) -> Self {
        Self { entries: BTreeMap::new(), memo: Some(memo) }
    }

    /// The file at exactly `path`; [`Entry::Other`] also when that is no regular file.
    pub(crate) fn get(&mut self, tree: &Tree, path: &TreePath) -> Result<Entry, LibraryError> {
        if let Some(entry) = self.entries.get(path) {
            return Ok(entry.clone());
        }
        let Some(NodeKind::File(content)) = tree.get(path).map(|node| &node.kind) else {
            return Ok(Entry::Other);
        };
        let failed = |source| LibraryError::Read { path: path.to_string(), source };
        let sum = match self.memo.clone() {
            Some(memo) => Some((memo, content.sha256().map_err(failed)?)),
            None => None,
        };
        if let Some((memo, sha256)) = &sum
            && let Some(known) = memo.recall_bytes(FACTS, sha256)
            && let Ok(facts) = postcard::from_bytes::<Option<ElfFile>>(&known)
        {
            let entry = facts.map_or(Entry::Other, |file| Entry::Elf(Arc::new(file)));
            self.entries.insert(path.clone(), entry.clone());
            return Ok(entry);
        }
        let head = content.read_head(ElfFile::MAGIC.len()).map_err(failed)?;
        let entry = if head == ElfFile::MAGIC {
            match ElfFile::read_from(content.reader().map_err(failed)?) {
                Ok(file) => Entry::Elf(Arc::new(file)),
                Err(ReadError::Elf(error)) => Entry::Bad(error),
                Err(ReadError::Io(error)) => return Err(failed(error)),
            }
        } else {
            Entry::Other
        };
        let facts = match &entry {
            Entry::Other => Some(None),
            Entry::Elf(file) => Some(Some(&**file)),
            Entry::Bad(_) => None,
        };
        if let Some((memo, sha256)) = sum
            && let Some(facts) = facts
            && let Ok(bytes) = postcard::to_allocvec(&facts)
        {
            memo.remember(FACTS, &sha256, &bytes).map_err(failed)?;
        }
        self.entries.insert(path.clone(), entry.clone());
        Ok(entry)
    }

    /// The regular file that `path` leads to through symbolic links and hardlinks, and what it is.
    pub(crate) fn open(
        &mut self,
        tree: &Tree,
        path: &TreePath,
    ) -> Result<Option<(TreePath, Entry)>, LibraryError> {
        let Some(mut real) = tree.resolve(path) else { return Ok(None) };
        if let Some(NodeKind::Hardlink(target)) = tree.get(&real).map(|node| &node.kind) {
            real = target.clone();
        }
        if !matches!(tree.get(&real).map(|node| &node.kind), Some(NodeKind::File(_))) {
            return Ok(None);
        }
        let entry = self.get(tree, &real)?;
        Ok(Some((real, entry)))
    }
}
