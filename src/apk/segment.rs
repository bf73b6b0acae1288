//! Tar segments of signature, control and index members: small, in memory, and without the blocks that end an
//! archive, so that the segments of one file make one tar together.

use super::{ApkError, Quoted};

/// More files than any such segment has.
const MOST_ENTRIES: usize = 1024;

/// The regular files of a segment, in order: name and content. Other kinds of entry are left out. `offset` is
/// where the member begins in its file, for messages.
pub(super) fn files<'a>(
    segment: &'a [u8],
    member: &'static str,
    offset: u64,
) -> Result<Vec<(String, &'a [u8])>, ApkError> {
    at_most(MOST_ENTRIES, segment, member, offset)
}

/// As [`files`], however many there are: the segment is in memory already.
pub(super) fn all_files<'a>(
    segment: &'a [u8],
    member: &'static str,
    offset: u64,
) -> Result<Vec<(String, &'a [u8])>, ApkError> {
    at_most(usize::MAX, segment, member, offset)
}

fn at_most<'a>(
    most: usize,
    segment: &'a [u8],
    member: &'static str,
    offset: u64,
) -> Result<Vec<(String, &'a [u8])>, ApkError> {
    let damaged = |source| ApkError::Damaged { member, offset, source };
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(segment);
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if files.len() == most {
            return Err(ApkError::Structure {
                offset,
                expected: "a few files",
                found: format!("more than {most}"),
            });
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name =
            String::from_utf8(entry.path_bytes().into_owned()).map_err(|error| ApkError::Structure {
                offset,
                expected: "a file name in UTF-8",
                found: Quoted::new(error.as_bytes()).to_string(),
            })?;
        let content = usize::try_from(entry.raw_file_position())
            .ok()
            .zip(usize::try_from(entry.size()).ok())
            .and_then(|(start, length)| segment.get(start..start.checked_add(length)?))
            .ok_or_else(|| damaged(std::io::ErrorKind::UnexpectedEof.into()))?;
        files.push((name, content));
    }
    Ok(files)
}
