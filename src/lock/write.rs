//! The text of a `leanfs.lock`.

use std::fmt::Write as _;

use super::{ArchLock, FORMAT, Lock, LockedRecipe, Sha256};

const HEAD: &str = "# What leanfs takes from outside, by hashes. `leanfs lock` makes this file; it belongs into version control.\n\
     # `leanfs assemble --locked` uses exactly this; `leanfs lock --update` renews it.\n";

impl Lock {
    /// The text, the same for the same lock; [`Lock::parse`] reads it back.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEAD}format = {FORMAT}\n");
        for (arch, section) in &self.archs {
            section.write(arch.alpine(), &mut text);
        }
        text
    }
}

impl ArchLock {
    fn write(&self, arch: &str, text: &mut String) {
        let mut section = Section(text);
        section.line(format_args!("\n[arch.{arch}]"));
        section.line(format_args!("recipe = {}", hash(&self.recipe.sha256())));
        section.line(format_args!("{}", self.recipe.lines().trim_end()));
        section.line(format_args!("absent = {}", list(self.absent.iter().map(|name| quoted(name)))));
        for (name, values) in [("world", &self.world), ("order", &self.order)] {
            section.line(format_args!("{name} = {}", list(values.iter().map(|value| quoted(value)))));
        }
        for key in &self.keys {
            section.line(format_args!("\n[[arch.{arch}.key]]"));
            section.line(format_args!("fingerprint = {}", hash(&key.fingerprint)));
            section.line(format_args!("name = {}", quoted(&key.name)));
        }
        for place in &self.repositories {
            section.line(format_args!("\n[[arch.{arch}.repository]]"));
            section.line(format_args!("name = {}", quoted(&place.name)));
            if let Some(tag) = &place.tag {
                section.line(format_args!("tag = {}", quoted(tag)));
            }
            if let Some(newest) = place.newest {
                section.line(format_args!("newest = {newest}"));
            }
            if let Some(key) = &place.signed_by {
                section.line(format_args!("signed_by = {}", hash(key)));
            }
        }
        for package in &self.packages {
            section.line(format_args!("\n[[arch.{arch}.package]]"));
            section.line(format_args!("name = {}", quoted(&package.name)));
            section.line(format_args!("version = {}", quoted(&package.version)));
            section.line(format_args!("arch = {}", quoted(&package.arch)));
            section.line(format_args!("repository = {}", quoted(&package.repository)));
            section.line(format_args!("role = {}", quoted(package.role.name())));
            section.line(format_args!("size = {}", package.size));
            section.line(format_args!("identity = {}", quoted(&package.identity.to_string())));
            let control = if package.is_v3() { "adb" } else { "control" };
            section.line(format_args!("{control} = {}", hash(&package.hashes.control)));
            if let Some(data) = &package.hashes.data {
                section.line(format_args!("data = {}", hash(data)));
            }
            section.line(format_args!("file = {}", hash(&package.hashes.file)));
            section.line(format_args!("signed_by = {}", list(package.signed_by.iter().map(hash))));
        }
        for file in &self.files {
            section.line(format_args!("\n[[arch.{arch}.file]]"));
            section.line(format_args!("role = {}", quoted(file.role.name())));
            section.line(format_args!("name = {}", quoted(&file.name)));
            section.line(format_args!("size = {}", file.size));
            section.line(format_args!("file = {}", hash(&file.sha256)));
        }
        for library in &self.libraries {
            section.line(format_args!("\n[[arch.{arch}.library]]"));
            section.line(format_args!("path = {}", quoted(&library.path)));
            section.line(format_args!("origin = {}", quoted(&library.origin)));
            section.line(format_args!("executable = {}", library.executable));
            if let Some(link) = &library.link {
                section.line(format_args!("link = {}", quoted(link)));
            }
            section.line(format_args!("size = {}", library.size));
            section.line(format_args!("file = {}", hash(&library.sha256)));
        }
    }
}

impl LockedRecipe {
    /// The settings as lines of the file.
    pub(super) fn lines(&self) -> String {
        format!(
            "packages = {}\notp = {}\nkernel = {}\nshell = {}\n",
            list(self.packages.iter().map(|name| quoted(name))),
            quoted(&self.otp),
            quoted(&self.kernel),
            self.shell
        )
    }
}

struct Section<'a>(&'a mut String);

impl Section<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// `sha256:` and its digits, in quotes.
fn hash(sha256: &Sha256) -> String {
    format!("\"sha256:{}\"", hex::encode(sha256))
}

/// One on a line of its own each, so that two branches can add something.
fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items.map(|item| format!("    {item},\n")).collect();
    if items.is_empty() { "[]".to_owned() } else { format!("[\n{items}]") }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if crate::text::is_hidden(c) => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
