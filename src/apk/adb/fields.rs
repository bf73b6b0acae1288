//! The fields that packages and indexes have in common: the schemas `pkginfo` and `dependency`.

use super::value::{Adb, Builder, Slots, Value, adb_error};
use crate::apk::package_info::{package_name, package_version};
use crate::apk::{ApkError, Dependency, Operator, Quoted, Version};

/// The slots of `pkginfo`, of which this knows.
mod slot {
    pub(super) const NAME: usize = 0x01;
    pub(super) const VERSION: usize = 0x02;
    pub(super) const HASHES: usize = 0x03;
    pub(super) const DESCRIPTION: usize = 0x04;
    pub(super) const ARCH: usize = 0x05;
    pub(super) const LICENSE: usize = 0x06;
    pub(super) const ORIGIN: usize = 0x07;
    pub(super) const MAINTAINER: usize = 0x08;
    pub(super) const URL: usize = 0x09;
    pub(super) const REPO_COMMIT: usize = 0x0a;
    pub(super) const BUILD_TIME: usize = 0x0b;
    pub(super) const INSTALLED_SIZE: usize = 0x0c;
    pub(super) const FILE_SIZE: usize = 0x0d;
    pub(super) const PROVIDER_PRIORITY: usize = 0x0e;
    pub(super) const DEPENDS: usize = 0x0f;
    pub(super) const PROVIDES: usize = 0x10;
    pub(super) const REPLACES: usize = 0x11;
    pub(super) const INSTALL_IF: usize = 0x12;
}

/// `match` of a dependency, bit by bit.
mod relation {
    pub(super) const EQUAL: u64 = 1;
    pub(super) const LESS: u64 = 2;
    pub(super) const GREATER: u64 = 4;
    pub(super) const FUZZY: u64 = 8;
    pub(super) const CONFLICT: u64 = 16;
}

/// A `pkginfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) name: String,
    pub(super) version: String,
    /// In an index the identity; in a package `apk`'s own number for it, which nothing else uses.
    pub(super) hashes: Vec<u8>,
    pub(super) description: String,
    pub(super) arch: String,
    pub(super) license: String,
    pub(super) origin: String,
    pub(super) maintainer: String,
    pub(super) url: String,
    /// Hexadecimal digits.
    pub(super) commit: String,
    pub(super) build_time: Option<i64>,
    pub(super) installed_size: u64,
    pub(super) file_size: u64,
    pub(super) provider_priority: Option<u32>,
    pub(super) depends: Vec<Dependency>,
    pub(super) provides: Vec<Dependency>,
    pub(super) replaces: Vec<Dependency>,
    pub(super) install_if: Vec<Dependency>,
    /// Why `apk` would not install it.
    pub(super) unusable: Option<String>,
}

impl Fields {
    pub(super) fn read(adb: &Adb<'_>, object: Slots<'_>) -> Result<Self, ApkError> {
        let at = object.offset;
        let text = |slot| -> Result<String, ApkError> {
            let text = adb.text(object.get(slot))?;
            match text.contains(char::is_control) && slot != slot::DESCRIPTION {
                true => Err(adb_error(at, &format!("{} holds a control character", Quoted::new(text)))),
                false => Ok(text.to_owned()),
            }
        };
        let word = |slot, check: fn(&str) -> Result<&str, String>| {
            let text = adb.text(object.get(slot))?;
            check(text)
                .map(str::to_owned)
                .map_err(|reason| adb_error(at, &format!("{reason}: {}", Quoted::new(text))))
        };
        let number = |slot| adb.number(object.get(slot)).map(Option::unwrap_or_default);
        let mut unusable = None;
        let depends = dependencies(adb, object.get(slot::DEPENDS), Dependency::parse, &mut |error| {
            unusable.get_or_insert(error);
        })?;
        let mut ignore = |_: String| ();
        let provides =
            dependencies(adb, object.get(slot::PROVIDES), Dependency::parse_provided, &mut ignore)?;
        let replaces = dependencies(adb, object.get(slot::REPLACES), Dependency::parse, &mut ignore)?;
        let mut unclear = false;
        let mut install_if =
            dependencies(adb, object.get(slot::INSTALL_IF), Dependency::parse, &mut |_| unclear = true)?;
        if unclear {
            // With a part of its conditions it would come too often.
            install_if.clear();
        }
        Ok(Self {
            name: word(slot::NAME, package_name)?,
            version: word(slot::VERSION, package_version)?,
            hashes: adb.blob(object.get(slot::HASHES))?.unwrap_or_default().to_vec(),
            description: text(slot::DESCRIPTION)?,
            arch: text(slot::ARCH)?,
            license: text(slot::LICENSE)?,
            origin: text(slot::ORIGIN)?,
            maintainer: text(slot::MAINTAINER)?,
            url: text(slot::URL)?,
            commit: hex::encode(adb.blob(object.get(slot::REPO_COMMIT))?.unwrap_or_default()),
            build_time: adb
                .number(object.get(slot::BUILD_TIME))?
                .map(|time| i64::try_from(time).map_err(|_| adb_error(at, "its time is far from now")))
                .transpose()?,
            installed_size: number(slot::INSTALLED_SIZE)?,
            file_size: number(slot::FILE_SIZE)?,
            provider_priority: adb
                .number(object.get(slot::PROVIDER_PRIORITY))?
                .map(|priority| u32::try_from(priority).map_err(|_| adb_error(at, "no priority is so high")))
                .transpose()?,
            depends,
            provides,
            replaces,
            install_if,
            unusable,
        })
    }

    pub(super) fn write(&self, builder: &mut Builder, hashes: Value) -> Result<Value, ApkError> {
        let mut slots = [Value::NULL; slot::INSTALL_IF];
        let mut set = |slot: usize, value: Value| slots[slot - 1] = value;
        set(slot::HASHES, hashes);
        for (slot, text) in [
            (slot::NAME, &self.name),
            (slot::VERSION, &self.version),
            (slot::DESCRIPTION, &self.description),
            (slot::ARCH, &self.arch),
            (slot::LICENSE, &self.license),
            (slot::ORIGIN, &self.origin),
            (slot::MAINTAINER, &self.maintainer),
            (slot::URL, &self.url),
        ] {
            if text.contains(char::is_control) {
                return Err(ApkError::Unpackable {
                    path: Quoted::new(&self.name).to_string(),
                    reason: format!("{} holds a control character", Quoted::new(text)),
                });
            }
            set(slot, builder.blob(text.as_bytes())?);
        }
        // What is no commit of git has no place there.
        if let Ok(commit) = hex::decode(&self.commit)
            && commit.len() == 20
        {
            set(slot::REPO_COMMIT, builder.blob(&commit)?);
        }
        let numbers = [
            (slot::BUILD_TIME, self.build_time.and_then(|time| u64::try_from(time).ok())),
            (slot::INSTALLED_SIZE, Some(self.installed_size)),
            (slot::FILE_SIZE, Some(self.file_size).filter(|&size| size != 0)),
            (slot::PROVIDER_PRIORITY, self.provider_priority.map(u64::from)),
        ];
        for (slot, number) in numbers {
            if let Some(number) = number {
                set(slot, builder.number(number)?);
            }
        }
        for (slot, list) in [
            (slot::DEPENDS, &self.depends),
            (slot::PROVIDES, &self.provides),
            (slot::REPLACES, &self.replaces),
            (slot::INSTALL_IF, &self.install_if),
        ] {
            set(slot, write_dependencies(builder, list)?);
        }
        builder.object(&slots)
    }
}

/// Reads a list of dependencies; those that can't be understood go to `refused` with the reason.
fn dependencies(
    adb: &Adb<'_>,
    list: Value,
    parse: fn(&str) -> Result<Dependency, ApkError>,
    refused: &mut dyn FnMut(String),
) -> Result<Vec<Dependency>, ApkError> {
    const NAME: usize = 1;
    const VERSION: usize = 2;
    const MATCH: usize = 3;
    let mut all = Vec::new();
    for item in adb.items(list)? {
        let Some(object) = adb.slots(item)? else { continue };
        let name = adb.text(object.get(NAME))?;
        let version = adb.text(object.get(VERSION))?;
        let relation = adb.number(object.get(MATCH))?;
        if name.contains(['!', '@', '<', '>', '=', '~']) {
            refused(format!("{} is the name of no dependency", Quoted::new(name)));
            continue;
        }
        let Some(text) = dependency_text(name, version, relation) else {
            refused(format!("the relation of {} to a version is not known", Quoted::new(name)));
            continue;
        };
        match parse(&text) {
            Ok(dependency) => all.push(dependency),
            Err(error) => refused(error.to_string()),
        }
    }
    Ok(all)
}

/// A dependency as text has it.
fn dependency_text(name: &str, version: &str, relation: Option<u64>) -> Option<String> {
    use relation::{CONFLICT, EQUAL, FUZZY, GREATER, LESS};
    let relation = relation.unwrap_or(EQUAL);
    if relation & !(EQUAL | LESS | GREATER | FUZZY | CONFLICT) != 0 {
        return None;
    }
    let conflict = if relation & CONFLICT == 0 { "" } else { "!" };
    if version.is_empty() {
        return Some(format!("{conflict}{name}"));
    }
    let has = |bit| relation & bit != 0;
    let operator: String = [
        ("<", has(LESS)),
        (">", has(GREATER)),
        ("~", has(FUZZY)),
        ("=", has(EQUAL) && !has(FUZZY) || relation & !CONFLICT == 0),
    ]
    .iter()
    .filter_map(|(text, there)| there.then_some(*text))
    .collect();
    Some(format!("{conflict}{name}{operator}{version}"))
}

/// Writes a list of dependencies in `apk`'s order, each once.
fn write_dependencies(builder: &mut Builder, list: &[Dependency]) -> Result<Value, ApkError> {
    let mut sorted: Vec<&Dependency> = list.iter().collect();
    sorted.sort_by(|a, b| {
        let version = |dependency: &Dependency| {
            dependency.constraint.as_ref().and_then(|bound| bound.version.parse::<Version>().ok())
        };
        a.name.cmp(&b.name).then_with(|| version(a).cmp(&version(b))).then_with(|| a.cmp(b))
    });
    sorted.dedup();
    let mut items = Vec::new();
    for dependency in sorted {
        if let Some(tag) = &dependency.tag {
            return Err(ApkError::Unpackable {
                path: dependency.name.clone(),
                reason: format!("a package can't ask for the repository @{}", Quoted::new(tag)),
            });
        }
        let mut relation = if dependency.conflict { relation::CONFLICT } else { 0 };
        let mut version = Value::NULL;
        if let Some(constraint) = &dependency.constraint {
            version = builder.blob(constraint.version.as_bytes())?;
            relation |= bits(constraint.operator);
        } else if dependency.conflict {
            relation |= relation::EQUAL | relation::LESS | relation::GREATER;
        }
        let name = builder.blob(dependency.name.as_bytes())?;
        // Equality goes without saying.
        let relation = match relation {
            0 | relation::EQUAL => Value::NULL,
            other => builder.number(other)?,
        };
        items.push(builder.object(&[name, version, relation])?);
    }
    builder.array(&items)
}

fn bits(operator: Operator) -> u64 {
    use relation::{EQUAL, FUZZY, GREATER, LESS};
    match operator {
        Operator::Less => LESS,
        Operator::LessOrEqual => LESS | EQUAL,
        Operator::LessOrFuzzy => LESS | EQUAL | FUZZY,
        Operator::Equal => EQUAL,
        Operator::Fuzzy => EQUAL | FUZZY,
        Operator::GreaterOrFuzzy => GREATER | EQUAL | FUZZY,
        Operator::GreaterOrEqual => GREATER | EQUAL,
        Operator::Greater => GREATER,
        Operator::Identity => LESS | GREATER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_back() {
        let texts = [
            "a",
            "!a",
            "a<1",
            "a<=1",
            "a<~1",
            "a=1",
            "a~1",
            "a>~1",
            "a>=1",
            "a>1",
            "!a=1",
            "!a<1",
            "b",
            "so:libz.so.1=1.2",
            "a=2",
        ];
        let list: Vec<Dependency> = texts.iter().map(|text| text.parse().expect("good")).collect();
        let mut builder = Builder::new();
        let value = write_dependencies(&mut builder, &list).expect("small");
        let bytes = builder.finish(value);
        let adb = Adb::parse(&bytes).expect("good");
        let root = Value(u32::from_le_bytes(bytes[4..8].try_into().expect("four")));
        let mut back =
            dependencies(&adb, root, Dependency::parse, &mut |error| panic!("{error}")).expect("good");
        let mut list = list;
        list.sort();
        back.sort();
        assert_eq!(back, list);
        assert_eq!(dependency_text("a", "1", Some(64)), None);
        assert_eq!(dependency_text("a", "1", None).as_deref(), Some("a=1"));
        assert_eq!(dependency_text("a", "1", Some(7)).as_deref(), Some("a<>=1"));
    }
}
