//! The applications of an image, as their `.app` files describe them.

use std::collections::BTreeMap;

use super::Image;
use crate::beam::{AppFile, HexMetadata, LockedPackage};
use crate::report::manifest::{ApplicationInfo, HexPackage};
use crate::tree::{Content, Node, NodeKind, TreePath};

/// The largest `.app` file that is read; the largest real ones have some 100 kB.
const MOST_BYTES: u64 = 16 << 20;

/// Every application of which an `.app` file is in the image or was pruned, by the paths of their directories. `locked`
/// is what the project's lock file says of Hex packages.
pub(super) fn all(image: &Image, locked: &[LockedPackage]) -> Vec<ApplicationInfo> {
    let removed = image.removals.iter().map(|removal| (&removal.path, &removal.node));
    let mut applications: BTreeMap<TreePath, ApplicationInfo> = BTreeMap::new();
    let mut metadata: BTreeMap<TreePath, HexMetadata> = BTreeMap::new();
    for (path, node) in image.tree.iter().chain(removed) {
        let NodeKind::File(content) = &node.kind else { continue };
        if let Some(directory) = directory_of_app_file(path) {
            if let Some(application) = application(&directory, path, node, content) {
                applications.entry(directory).or_insert(application);
            }
        } else if path.file_name() == Some(b"hex_metadata.config")
            && let Some(directory) = path.parent()
            && let Ok(bytes) = content.read(MOST_BYTES)
            && let Ok(parsed) = HexMetadata::parse(&bytes)
        {
            metadata.entry(directory).or_insert(parsed);
        }
    }
    for (directory, application) in &mut applications {
        let metadata = metadata.remove(directory).filter(|metadata| metadata.version == application.version);
        if let Some(metadata) = &metadata
            && application.licenses.is_empty()
        {
            application.licenses.clone_from(&metadata.licenses);
        }
        let is_it = |locked: &&LockedPackage| {
            (&locked.app, &locked.version) == (&application.name, &application.version)
        };
        application.hex = match (locked.iter().find(is_it), metadata) {
            (Some(locked), _) => Some(HexPackage {
                name: locked.name.clone(),
                version: locked.version.clone(),
                repository: locked.repository.clone(),
                sha256: locked.sha256.map(hex::encode),
            }),
            (None, Some(HexMetadata { name, version, .. })) => {
                Some(HexPackage { name, version, repository: None, sha256: None })
            }
            (None, None) => None,
        };
    }
    applications.into_values().collect()
}

/// `app/lib/jason-1.4.4` of `app/lib/jason-1.4.4/ebin/jason.app`.
fn directory_of_app_file(path: &TreePath) -> Option<TreePath> {
    let name = path.file_name()?.strip_suffix(b".app")?;
    let ebin = path.parent()?;
    (!name.is_empty() && ebin.file_name() == Some(b"ebin")).then(|| ebin.parent()).flatten()
}

/// What the file says; where it says nothing, what the names of file and directory do.
fn application(
    directory: &TreePath,
    path: &TreePath,
    node: &Node,
    content: &Content,
) -> Option<ApplicationInfo> {
    let text =
        |bytes: Option<&[u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok().map(str::to_owned));
    let stem = text(path.file_name()?.strip_suffix(b".app"))?;
    let file =
        content.read(MOST_BYTES).ok().and_then(|bytes| AppFile::parse(&bytes).ok()).unwrap_or_default();
    let of_directory = text(directory.file_name())
        .and_then(|name| name.strip_prefix(&stem)?.strip_prefix('-').map(str::to_owned))
        .unwrap_or_default();
    let (name, needs) = (file.name.clone(), file.needs());
    Some(ApplicationInfo {
        name: if name.is_empty() { stem } else { name },
        version: if file.version.is_empty() { of_directory } else { file.version },
        path: directory.to_string(),
        layer: node.origin.layer,
        part: node.origin.part.to_string(),
        description: file.description,
        licenses: file.licenses,
        needs,
        hex: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{LayerKind, Metadata, Origin};

    fn path(text: &str) -> TreePath {
        text.parse().expect("a path")
    }

    #[test]
    fn where_app_files_stand() {
        for (file, directory) in [
            ("app/lib/jason-1.4.4/ebin/jason.app", Some("/app/lib/jason-1.4.4")),
            ("usr/lib/elixir/lib/mix/ebin/mix.app", Some("/usr/lib/elixir/lib/mix")),
            ("app/lib/a-1/priv/a.app", None),
            ("app/lib/a-1/ebin/.app", None),
            ("app/lib/a-1/ebin/a.appup", None),
            ("a.app", None),
        ] {
            let found = directory_of_app_file(&path(file)).map(|path| path.to_string());
            assert_eq!(found.as_deref(), directory, "{file}");
        }
    }

    #[test]
    fn what_the_file_says_or_else_its_name() {
        let check = |text: &str, want: (&str, &str)| {
            let content = Content::from_bytes(text.as_bytes());
            let node =
                Node::file(content.clone(), Metadata::FILE, Origin::new(LayerKind::Release, "jason-1.4.4"));
            let directory = path("app/lib/jason-1.4.4");
            let file = path("app/lib/jason-1.4.4/ebin/jason.app");
            let found = application(&directory, &file, &node, &content).expect("an application");
            assert_eq!((found.name.as_str(), found.version.as_str()), want, "{text}");
            assert_eq!((found.layer, found.part.as_str()), (LayerKind::Release, "jason-1.4.4"));
        };
        check("{application,jason,[{vsn,\"1.4.5\"}]}.", ("jason", "1.4.5"));
        check("{application,jason,[]}.", ("jason", "1.4.4"));
        check("what?", ("jason", "1.4.4"));
    }
}
