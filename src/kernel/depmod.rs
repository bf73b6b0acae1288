//! What `depmod` makes of a kernel's modules: which need which others (`modules.dep`), which serve which devices and names
//! (`modules.alias`), which symbols are whose (`modules.symbols`), and so on; each as text and, for kmod, as an index.
//!
//! A module is an ELF file: `.modinfo` holds `key=value` texts with NUL between, `__ksymtab_strings` the names of the
//! symbols that it gives to others, and its symbol table those that it needs. Sources: depmod(8), modules.dep(5), the
//! kernel's `Documentation/kbuild`, and what depmod 34 writes.

mod complete;
mod index;

use std::collections::{BTreeMap, BTreeSet};

use object::{Object, ObjectSection, ObjectSymbol};

pub use self::complete::complete_lists;
use self::index::Index;
use super::modules::module_name;

/// What is known of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Its path below the directory of the modules: `kernel/fs/ext4/ext4.ko.gz`.
    pub path: String,
    /// `.modinfo`, in its order.
    pub info: Vec<(String, String)>,
    /// The symbols that it gives to others.
    pub gives: Vec<String>,
    /// The symbols that it needs, of the kernel itself or of others.
    pub needs: Vec<String>,
}

/// What stands beside the modules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lists<'a> {
    /// `modules.order`: in which order they are looked at.
    pub order: &'a str,
    /// `modules.builtin`: what is no module because it is in the kernel.
    pub builtin: &'a str,
    /// `modules.builtin.modinfo`: what those say of themselves.
    pub builtin_info: &'a [u8],
}

impl ModuleFacts {
    /// Looks into a module, which must not be compressed. None if it is no ELF file.
    pub fn read(path: &str, bytes: &[u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        let section =
            |name| file.section_by_name(name).and_then(|section| section.data().ok()).unwrap_or_default();
        let texts = |bytes: &[u8]| -> Vec<String> {
            let texts = bytes.split(|&byte| byte == 0).filter(|text| !text.is_empty());
            texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
        };
        let info = texts(section(".modinfo"))
            .iter()
            .filter_map(|text| text.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let names: Vec<(&str, bool)> =
            file.symbols().filter_map(|symbol| Some((symbol.name().ok()?, symbol.is_undefined()))).collect();
        let checked = names.iter().filter_map(|(name, _)| name.strip_prefix("__crc_"));
        let mut gives: Vec<String> = checked.map(str::to_owned).collect();
        if gives.is_empty() {
            gives = texts(section("__ksymtab_strings"));
        }
        let needs = names
            .iter()
            .filter(|(name, undefined)| *undefined && !name.is_empty())
            .map(|(name, _)| (*name).to_owned())
            .collect();
        Some(Self { path: path.to_owned(), info, gives, needs })
    }
}

/// Names and contents of the files, in alphabetical order.
pub fn depmod(modules: &[ModuleFacts], lists: Lists<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let modules = in_order(modules, lists.order);
    let modules = modules.as_slice();
    let names: Vec<String> = modules.iter().map(|module| module_name(&module.path)).collect();
    let (symbols, needs) = dependencies(modules);
    let mut files = BTreeMap::new();
    let mut put = |name: &'static str, bytes: Vec<u8>| drop(files.insert(name, bytes));
    let priority = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);

    let mut dep = (String::new(), Index::default());
    for (number, module) in modules.iter().enumerate() {
        let mut line = format!("{}:", module.path);
        for needed in &needs[number] {
            line += &format!(" {}", modules[*needed].path);
        }
        dep.1.insert(&names[number], &line, priority(number));
        dep.0 += &format!("{line}\n");
    }
    put("modules.dep", dep.0.into_bytes());

    let mut aliases = (String::from("# Aliases extracted from modules themselves.\n"), Index::default());
    let mut soft = String::from("# Soft dependencies extracted from modules themselves.\n");
    let mut weak = String::from("# Weak dependencies extracted from modules themselves.\n");
    let mut devices = String::from("# Device nodes to trigger on-demand module loading.\n");
    for (number, module) in modules.iter().enumerate() {
        let name = &names[number];
        for (key, value) in &module.info {
            match key.as_str() {
                "alias" => {
                    aliases.0 += &format!("alias {value} {name}\n");
                    aliases.1.insert(&normalised(value), name, priority(number));
                }
                "softdep" => soft += &format!("softdep {name} {value}\n"),
                "weakdep" => weak += &format!("weakdep {name} {value}\n"),
                _ => {}
            }
        }
        devices.extend(device(module).map(|device| format!("{name} {device}\n")));
    }
    put("modules.alias", aliases.0.into_bytes());
    put("modules.softdep", soft.into_bytes());
    put("modules.weakdep", weak.into_bytes());
    put("modules.devname", devices.into_bytes());

    let mut of_symbols =
        (String::from("# Aliases for symbols, used by symbol_request().\n"), Index::default());
    for (symbol, &owner) in &symbols {
        of_symbols.0 += &format!("alias symbol:{symbol} {}\n", names[owner]);
        of_symbols.1.insert(&format!("symbol:{symbol}"), &names[owner], priority(owner));
    }
    put("modules.symbols", of_symbols.0.into_bytes());

    let mut builtin = Index::default();
    for line in lists.builtin.lines().map(str::trim).filter(|line| !line.is_empty()) {
        builtin.insert(&module_name(line), "", 0);
    }
    let mut builtin_aliases = Index::default();
    for text in lists.builtin_info.split(|&byte| byte == 0) {
        let text = String::from_utf8_lossy(text);
        if let Some((name, rest)) = text.split_once('.')
            && let Some(alias) = rest.strip_prefix("alias=")
        {
            builtin_aliases.insert(&normalised(alias), &module_name(name), 0);
        }
    }
    for (name, index) in [
        ("modules.dep.bin", dep.1),
        ("modules.alias.bin", aliases.1),
        ("modules.symbols.bin", of_symbols.1),
        ("modules.builtin.bin", builtin),
        ("modules.builtin.alias.bin", builtin_aliases),
    ] {
        if let Some(bytes) = index.to_bytes() {
            put(name, bytes);
        }
    }
    files.into_iter().collect()
}

/// As `modules.order` has them, where compressed files stand without the compressor's suffix; then the others by path.
fn in_order(modules: &[ModuleFacts], order: &str) -> Vec<ModuleFacts> {
    let plain = |path: &str| path.find(".ko").map_or(path, |end| &path[..end]).to_owned();
    let places: BTreeMap<String, usize> =
        order.lines().enumerate().map(|(place, path)| (plain(path.trim()), place)).collect();
    let mut sorted = modules.to_vec();
    sorted.sort_by_cached_key(|module| {
        (places.get(&plain(&module.path)).copied().unwrap_or(usize::MAX), module.path.clone())
    });
    sorted
}

/// Whose each symbol is, and for each module all that it needs, those that need others first.
fn dependencies(modules: &[ModuleFacts]) -> (BTreeMap<&str, usize>, Vec<Vec<usize>>) {
    let mut symbols: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, module) in modules.iter().enumerate() {
        for symbol in &module.gives {
            symbols.entry(symbol).or_insert(number);
        }
    }
    let direct: Vec<Vec<usize>> = modules
        .iter()
        .enumerate()
        .map(|(number, module)| {
            let mut seen = BTreeSet::new();
            let owners = module.needs.iter().filter_map(|symbol| symbols.get(symbol.as_str()).copied());
            owners.filter(|owner| *owner != number && seen.insert(*owner)).collect()
        })
        .collect();
    // From those that nobody needs on: a module comes before all that it needs.
    let mut users = vec![0_usize; modules.len()];
    direct.iter().flatten().for_each(|needed| users[*needed] += 1);
    let mut open: Vec<usize> = (0..modules.len()).filter(|number| users[*number] == 0).collect();
    let mut place = vec![usize::MAX; modules.len()];
    let mut count = 0;
    while let Some(number) = open.pop() {
        place[number] = count;
        count += 1;
        for needed in &direct[number] {
            users[*needed] -= 1;
            if users[*needed] == 0 {
                open.push(*needed);
            }
        }
    }
    let all = (0..modules.len())
        .map(|number| {
            let mut found = BTreeSet::new();
            let mut open = direct[number].clone();
            while let Some(needed) = open.pop() {
                if needed != number && found.insert(needed) {
                    open.extend(&direct[needed]);
                }
            }
            let mut found: Vec<usize> = found.into_iter().collect();
            found.sort_by_key(|needed| (place[*needed], *needed));
            found
        })
        .collect();
    (symbols, all)
}

/// `NAME cMAJOR:MINOR` of a module that makes a device node when that is opened.
fn device(module: &ModuleFacts) -> Option<String> {
    let aliases = || module.info.iter().filter(|(key, _)| key == "alias").map(|(_, value)| value.as_str());
    let name = aliases().find_map(|alias| alias.strip_prefix("devname:"))?;
    aliases().find_map(|alias| {
        let (kind, numbers) = match alias.strip_prefix("char-major-") {
            Some(numbers) => ('c', numbers),
            None => ('b', alias.strip_prefix("block-major-")?),
        };
        let (major, minor) = numbers.split_once('-')?;
        Some(format!("{name} {kind}{}:{}", major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    })
}

/// As kmod looks aliases up: `_` for `-`, but not in sets (`[0-9]`).
fn normalised(alias: &str) -> String {
    let mut in_set = false;
    alias
        .chars()
        .map(|character| {
            match character {
                '[' => in_set = true,
                ']' => in_set = false,
                '-' if !in_set => return '_',
                _ => {}
            }
            character
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, gives: &[&str], needs: &[&str], aliases: &[&str]) -> ModuleFacts {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        ModuleFacts {
            path: path.to_owned(),
            info: aliases.iter().map(|alias| ("alias".to_owned(), (*alias).to_owned())).collect(),
            gives: texts(gives),
            needs: texts(needs),
        }
    }

    #[test]
    fn modules_are_listed_with_all_that_they_need() {
        let modules = [
            module(
                "extra/z.ko",
                &[],
                &["b", "printk"],
                &["devname:z-node", "char-major-10-5", "pci:v*[0-9]-x"],
            ),
            module("kernel/a-b.ko.gz", &["a"], &[], &[]),
            module("kernel/b.ko.gz", &["b"], &["a"], &[]),
            // Two that need each other: no kernel has them, and nothing goes wrong.
            module("kernel/c.ko", &["c"], &["d"], &[]),
            module("kernel/d.ko", &["d"], &["c"], &[]),
        ];
        let lists = Lists { order: "kernel/b.ko\nkernel/a-b.ko\n", ..Lists::default() };
        let files: BTreeMap<_, _> = depmod(&modules, lists).into_iter().collect();
        let text = |name: &str| String::from_utf8(files[name].clone()).expect("text");
        assert_eq!(
            text("modules.dep"),
            "kernel/b.ko.gz: kernel/a-b.ko.gz\nkernel/a-b.ko.gz:\nextra/z.ko: kernel/b.ko.gz kernel/a-b.ko.gz\n\
             kernel/c.ko: kernel/d.ko\nkernel/d.ko: kernel/c.ko\n"
        );
        assert!(text("modules.devname").ends_with("\nz z-node c10:5\n"));
        assert!(
            text("modules.symbols")
                .ends_with("\nalias symbol:a a_b\nalias symbol:b b\nalias symbol:c c\nalias symbol:d d\n")
        );
        assert_eq!(normalised("a-b[0-9]-c"), "a_b[0-9]_c");
        assert_eq!(files["modules.dep.bin"][..8], [0xb0, 0x07, 0xf4, 0x57, 0, 2, 0, 1]);
        assert_eq!(files.len(), 11);
    }

    #[test]
    fn what_is_no_module_is_none() {
        assert_eq!(ModuleFacts::read("x.ko", b"\x7fELF"), None);
        assert_eq!(ModuleFacts::read("x.ko", b""), None);
    }
}
