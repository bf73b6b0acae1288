//! What is made of a kernel's modules, beside the lists that its package carries: depmod 34 made those.

use std::collections::BTreeMap;

use leanfs::archive::{self, TarLimits, TarOptions};
use leanfs::kernel::depmod::{Lists, ModuleFacts, depmod};
use leanfs::tree::{NodeKind, Origin, SpoolWriter, Tree};

use super::end_to_end::bench::{Mirror, shared};

/// The package; from whichever mirror there is.
fn linux_virt() -> Option<Tree> {
    let mirror = match std::env::var_os("LEANFS_TEST_MIRROR") {
        Some(_) => Mirror::host()?.directory,
        None => shared()?.join("mirror"),
    };
    let file = fs_err::read_dir(mirror.join("v3.23/main/x86_64"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-virt-")))
        .expect("the mirror has it");
    let mut spool = SpoolWriter::new_in(&std::env::temp_dir()).expect("a spool");
    let mut options = TarOptions {
        limits: TarLimits::default(),
        keep: &|path| path.as_bytes().starts_with(b"lib/modules/"),
        sha1: false,
        xattrs: &|_| false,
        inspect: &mut |_| Ok(()),
    };
    let tar = archive::open(&file).expect("an .apk");
    let entries = archive::read_tar(tar, &mut spool, &mut options).expect("a package");
    Some(entries.into_tree(&spool.finish().expect("room"), &Origin::skeleton()))
}

/// Byte for byte, but for the order in a list that depmod's hash table makes.
#[test]
fn the_lists_are_those_of_depmod() {
    let Some(tree) = linux_virt() else { return };
    let mut modules = Vec::new();
    let mut lists: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let NodeKind::File(content) = &node.kind else { continue };
        let text = path.to_string();
        let Some((_, below)) = text.trim_start_matches("/lib/modules/").split_once('/') else { continue };
        if below.contains(".ko") {
            let mut reader =
                archive::decompress(std::io::BufReader::new(content.reader().expect("readable")))
                    .expect("compressed or not");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut bytes).expect("whole");
            modules.push(ModuleFacts::read(below, &bytes).expect("a module"));
        } else if below.starts_with("modules.") {
            lists.insert(below.to_owned(), content.read(64 << 20).expect("readable"));
        }
    }
    assert!(modules.len() > 500, "{}", modules.len());
    let text = |name: &str| String::from_utf8(lists[name].clone()).expect("text");
    let (order, builtin) = (text("modules.order"), text("modules.builtin"));
    let builtin_info = &lists["modules.builtin.modinfo"];
    let made = depmod(&modules, Lists { order: &order, builtin: &builtin, builtin_info });
    let mut same = Vec::new();
    for (name, bytes) in &made {
        let theirs = &lists[*name];
        let lines = |bytes: &[u8]| {
            let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        if *name == "modules.symbols" {
            assert!(lines(bytes) == lines(theirs), "{name}");
        } else if bytes != theirs {
            let (ours, theirs) = (lines(bytes), lines(theirs));
            let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
            panic!("{name}: {} and {} lines, {first:?}", ours.len(), theirs.len());
        }
        same.push(*name);
    }
    assert_eq!(same.len(), 11, "{same:?}");
}
