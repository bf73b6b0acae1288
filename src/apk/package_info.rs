//! `.PKGINFO`: what a package says about itself. Lines `key = value`, comments after `#` (`apk-package(5)`).

use super::{ApkError, Dependency, Quoted};

/// What a package says about itself. Sizes in bytes, times in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PackageInfo {
    /// `pkgname`
    pub name: String,
    /// `pkgver`
    pub version: String,
    /// `pkgdesc`
    pub description: String,
    /// `url`
    pub url: String,
    /// `builddate`
    pub build_time: Option<i64>,
    /// `packager`
    pub packager: String,
    /// `size`: of all files, installed.
    pub installed_size: u64,
    /// `arch`
    pub arch: String,
    /// `origin`: the source package that it was built from.
    pub origin: String,
    /// `commit`: of the source package's recipe.
    pub commit: String,
    /// `maintainer`
    pub maintainer: String,
    /// `license`, an SPDX expression as a rule.
    pub license: String,
    /// `depend`; conflicts are those with `!`.
    pub depends: Vec<Dependency>,
    /// `provides`
    pub provides: Vec<Dependency>,
    /// `provider_priority`
    pub provider_priority: Option<u32>,
    /// `install_if`
    pub install_if: Vec<Dependency>,
    /// `replaces`: packages whose files it may overwrite.
    pub replaces: Vec<Dependency>,
    /// `replaces_priority`
    pub replaces_priority: Option<u32>,
    /// `triggers`: patterns of directories whose change runs its trigger script.
    pub triggers: Vec<String>,
    /// `datahash`: SHA-256 of the compressed data member.
    pub data_hash: Option<[u8; 32]>,
}

/// The file's name, in messages.
const FILE: &str = ".PKGINFO";

impl PackageInfo {
    /// Reads a `.PKGINFO`. Keys that are not known are passed over, as `apk` does.
    ///
    /// # Errors
    /// When a line is wrong, or name, version or data hash are missing.
    pub fn parse(text: &[u8]) -> Result<Self, ApkError> {
        let mut info = Self::default();
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let refuse = |reason: &dyn std::fmt::Display| ApkError::Line {
                file: FILE,
                line: number + 1,
                reason: reason.to_string(),
                text: Quoted::new(line),
            };
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let line = std::str::from_utf8(line).map_err(|_| refuse(&"not UTF-8"))?;
            // apk wants the blanks around the equals sign, and so no value can be mistaken for one.
            let Some((key, value)) = line.split_once(" = ") else {
                // A value may be empty, and its blank may have been trimmed.
                if line.trim_end().ends_with(" =") {
                    continue;
                }
                return Err(refuse(&"no `key = value`"));
            };
            info.set(key, value.trim()).map_err(|reason| refuse(&reason))?;
        }
        info.check()?;
        Ok(info)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let list = || Dependency::parse_list(value).map_err(|error| error.to_string());
        let priority = || value.parse::<u32>().map(Some).map_err(|error| error.to_string());
        match key {
            "pkgname" => self.name = package_name(value)?.to_owned(),
            "pkgver" => self.version = package_version(value)?.to_owned(),
            "pkgdesc" => self.description = value.to_owned(),
            "url" => self.url = value.to_owned(),
            "builddate" => {
                self.build_time = Some(value.parse().map_err(|error| format!("no time ({error})"))?);
            }
            "packager" => self.packager = value.to_owned(),
            "size" => self.installed_size = value.parse().map_err(|error| format!("no size ({error})"))?,
            "arch" => self.arch = value.to_owned(),
            "origin" => self.origin = value.to_owned(),
            "commit" => self.commit = value.to_owned(),
            "maintainer" => self.maintainer = value.to_owned(),
            "license" => self.license = value.to_owned(),
            "depend" => self.depends.extend(list()?),
            "provides" => {
                for word in value.split_ascii_whitespace() {
                    self.provides.push(Dependency::parse_provided(word).map_err(|error| error.to_string())?);
                }
            }
            "provider_priority" => self.provider_priority = priority()?,
            "install_if" => self.install_if.extend(list()?),
            "replaces" => self.replaces.extend(list()?),
            "replaces_priority" => self.replaces_priority = priority()?,
            "triggers" => self.triggers.extend(value.split_ascii_whitespace().map(str::to_owned)),
            "datahash" => {
                let mut hash = [0; 32];
                hex::decode_to_slice(value, &mut hash).map_err(|error| format!("no SHA-256 ({error})"))?;
                self.data_hash = Some(hash);
            }
            _ => {}
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ApkError> {
        for (field, value) in [("pkgname", &self.name), ("pkgver", &self.version)] {
            if value.is_empty() {
                return Err(ApkError::Missing { file: FILE, record: "the package".to_owned(), field });
            }
        }
        Ok(())
    }

    /// Writes a `.PKGINFO` that [`PackageInfo::parse`] reads back to the same.
    ///
    /// # Errors
    /// [`ApkError::Unpackable`] when a value holds a line break or another control character.
    pub fn to_text(&self) -> Result<String, ApkError> {
        let mut lines = Lines(String::from("# Generated by leanfs\n"));
        lines.add("pkgname", &self.name)?;
        lines.add("pkgver", &self.version)?;
        lines.add("pkgdesc", &self.description)?;
        lines.add("url", &self.url)?;
        if let Some(time) = self.build_time {
            lines.add("builddate", &time.to_string())?;
        }
        lines.add("packager", &self.packager)?;
        lines.add("size", &self.installed_size.to_string())?;
        lines.add("arch", &self.arch)?;
        lines.add("origin", &self.origin)?;
        lines.add("commit", &self.commit)?;
        lines.add("maintainer", &self.maintainer)?;
        if let Some(priority) = self.replaces_priority {
            lines.add("replaces_priority", &priority.to_string())?;
        }
        if let Some(priority) = self.provider_priority {
            lines.add("provider_priority", &priority.to_string())?;
        }
        lines.add("license", &self.license)?;
        for (key, list) in
            [("depend", &self.depends), ("provides", &self.provides), ("replaces", &self.replaces)]
        {
            for dependency in list {
                lines.add(key, &dependency.to_string())?;
            }
        }
        for (key, list) in [
            ("install_if", self.install_if.iter().map(ToString::to_string).collect::<Vec<_>>()),
            ("triggers", self.triggers.clone()),
        ] {
            lines.add(key, &list.join(" "))?;
        }
        if let Some(hash) = self.data_hash {
            lines.add("datahash", &hex::encode(hash))?;
        }
        Ok(lines.0)
    }
}

/// The text of a `.PKGINFO` under construction.
struct Lines(String);

impl Lines {
    /// Adds a line, unless the value is empty.
    fn add(&mut self, key: &str, value: &str) -> Result<(), ApkError> {
        if value.contains(char::is_control) || value != value.trim() {
            return Err(ApkError::Unpackable {
                path: key.to_owned(),
                reason: format!("{} holds a control character, or blanks around it", Quoted::new(value)),
            });
        }
        if !value.is_empty() {
            self.0.push_str(&format!("{key} = {value}\n"));
        }
        Ok(())
    }
}

/// A package's name, which becomes part of a file's name: letters, digits and `+-._` only, and no dot or dash
/// first.
pub(crate) fn package_name(text: &str) -> Result<&str, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    let virtual_or_option = text.starts_with(['.', '-']);
    if text.is_empty() || text.len() > 128 || virtual_or_option || !text.bytes().all(good) {
        return Err("no package name: letters, digits and +-._ are expected, up to 128".to_owned());
    }
    Ok(text)
}

/// A package's version, which becomes part of a file's name. Alpine has packages whose versions are none by the
/// grammar (`0.99f7-r0`), so it is only letters, digits and `+-._~`, a letter or digit first.
pub(crate) fn package_version(text: &str) -> Result<&str, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._~".contains(&byte);
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if text.len() > 128 || !begins_well || !text.bytes().all(good) {
        return Err("no package version: letters, digits and +-._~ are expected, up to 128".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"# Generated by abuild 3.9.0-r0\n# Sun Sep 11 20:08:26 UTC 2022\npkgname = busybox\n\
        pkgver = 1.37.0-r30\npkgdesc = Size = optimized\nsize = 813480\nbuilddate = 1765894768\narch = x86_64\n\
        depend = so:libc.musl-x86_64.so.1\ndepend = !uclibc\n# automatically detected:\n\
        provides = cmd:busybox=1.37.0-r30\ninstall_if = a b=1\ntriggers = /bin /usr/bin\nprovider_priority = 100\n\
        replaces_priority = 2\nunknown = 1\nurl =\n\
        datahash = 22e5ef01807eea452fc0cc9b62b9b695e598cba58240a20c221e467850bfba6b\n";

    #[test]
    fn what_abuild_writes_is_read() {
        let info = PackageInfo::parse(TEXT).expect("good");
        assert_eq!(info.name, "busybox");
        assert_eq!(info.description, "Size = optimized");
        assert_eq!(info.depends.len(), 2);
        assert_eq!(info.install_if.len(), 2);
        assert_eq!(info.triggers, ["/bin", "/usr/bin"]);
        assert_eq!(info.provider_priority, Some(100));
        assert_eq!(info.data_hash.expect("there")[0], 0x22);
        let written = info.to_text().expect("writable");
        assert_eq!(PackageInfo::parse(written.as_bytes()).expect("good"), info);
    }

    #[test]
    fn wrong_lines_are_refused_with_their_number() {
        for (bad, line) in [
            ("pkgname = ../x", 1),
            ("pkgname = a\npkgver = /x", 2),
            ("pkgname = a\npkgver = 1\nsize = -1", 3),
            ("pkgname = a\nhello", 2),
            ("datahash = 12", 1),
            ("depend = a@tag", 1),
        ] {
            match PackageInfo::parse(bad.as_bytes()) {
                Err(ApkError::Line { line: found, .. }) => assert_eq!(found, line, "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(matches!(PackageInfo::parse(b"pkgver = 1"), Err(ApkError::Missing { field: "pkgname", .. })));
    }
}
