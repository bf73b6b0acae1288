//! Users and groups: `/etc/passwd`, `/etc/group` and `/etc/shadow` (`passwd(5)`, `group(5)`, `shadow(5)`), and
//! what busybox's `addgroup -S` and `adduser -S` would do to them.

use crate::tree::{Tree, TreePath};

/// Identifiers that system users and groups are given, as busybox does.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;
/// busybox's group for system users without one of their own.
const NO_GROUP: u32 = 65533;

/// The texts of the account files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
    /// `/etc/shadow`, if there is one.
    pub shadow: Option<String>,
}

/// A group to add: `addgroup -S [-g ID] NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Its identifier; the lowest free one if there is none.
    pub id: Option<u32>,
}

/// A user to add: `adduser -S -D [-H] [-u ID] [-h HOME] [-s SHELL] [-G GROUP] [-g GECOS] NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewUser {
    /// Its name.
    pub name: String,
    /// Its identifier; the lowest free one if there is none.
    pub id: Option<u32>,
    /// Its group.
    pub group: Option<String>,
    /// Its home; `/home/NAME` if there is none.
    pub home: Option<String>,
    /// Its shell; `/sbin/nologin` if there is none.
    pub shell: Option<String>,
    /// Its full name.
    pub gecos: Option<String>,
    /// `-H`: no home is made.
    pub no_home: bool,
}

impl NewUser {
    /// Where its home is.
    pub fn home_path(&self) -> String {
        self.home.clone().unwrap_or_else(|| format!("/home/{}", self.name))
    }
}

impl Accounts {
    /// Adds a group, unless one of that name or that identifier is there.
    pub fn add_group(&mut self, new: &NewGroup) {
        if id_of(&self.group, &new.name).is_some() || new.id.is_some_and(|id| is_used(&self.group, id)) {
            return;
        }
        let id = new.id.unwrap_or_else(|| free_id(&[&self.group]));
        append(&mut self.group, &format!("{}:x:{id}:", new.name));
    }

    /// Adds a user without a password and makes it a member of its group, unless one of that name or identifier is there,
    /// or the group is not. Gives the identifiers of user and group, if it was added.
    pub fn add_user(&mut self, new: &NewUser) -> Option<(u32, u32)> {
        if id_of(&self.passwd, &new.name).is_some() || new.id.is_some_and(|id| is_used(&self.passwd, id)) {
            return None;
        }
        let id = new.id.unwrap_or_else(|| free_id(&[&self.passwd]));
        let group = match &new.group {
            Some(name) => id_of(&self.group, name)?,
            None => NO_GROUP,
        };
        let home = new.home_path();
        append(
            &mut self.passwd,
            &format!(
                "{}:x:{id}:{group}:{}:{home}:{}",
                new.name,
                new.gecos.as_deref().unwrap_or_default(),
                new.shell.as_deref().unwrap_or("/sbin/nologin")
            ),
        );
        if let Some(shadow) = &mut self.shadow {
            // "!" lets nobody in; the day of the last change is left out, for it would be today.
            append(shadow, &format!("{}:!::0:99999:7:::", new.name));
        }
        self.add_member(&new.name, new.group.as_deref().unwrap_or("nogroup"));
        Some((id, group))
    }

    /// Makes a user a member of a group, if the group is there.
    pub fn add_member(&mut self, user: &str, group: &str) {
        let mut text = String::with_capacity(self.group.len() + user.len() + 1);
        for line in self.group.lines() {
            text.push_str(line);
            if let [name, _, _, members] = line.splitn(4, ':').collect::<Vec<_>>()[..]
                && name == group
                && !members.split(',').any(|member| member == user)
            {
                if !members.is_empty() {
                    text.push(',');
                }
                text.push_str(user);
            }
            text.push('\n');
        }
        self.group = text;
    }

    /// Those that a tree holds; of what it doesn't have, nothing.
    pub fn of(tree: &Tree) -> Self {
        /// Far more than any image has.
        const MOST: u64 = 16 << 20;
        let read = |path: &[u8]| {
            let (_, content) = tree.file(&TreePath::parse(path).ok()?)?;
            String::from_utf8(content.read(MOST).ok()?).ok()
        };
        Self {
            passwd: read(b"etc/passwd").unwrap_or_default(),
            group: read(b"etc/group").unwrap_or_default(),
            shadow: read(b"etc/shadow"),
        }
    }

    /// The identifier of a user.
    pub fn user_id(&self, name: &str) -> Option<u32> {
        id_of(&self.passwd, name)
    }

    /// The identifier of a group.
    pub fn group_id(&self, name: &str) -> Option<u32> {
        id_of(&self.group, name)
    }
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

fn entries(text: &str) -> impl Iterator<Item = (&str, Option<u32>)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1).and_then(|id| id.parse().ok())))
    })
}

fn id_of(text: &str, name: &str) -> Option<u32> {
    entries(text).find(|(entry, _)| *entry == name).and_then(|(_, id)| id)
}

fn is_used(text: &str, id: u32) -> bool {
    entries(text).any(|(_, used)| used == Some(id))
}

fn free_id(texts: &[&str]) -> u32 {
    SYSTEM_IDS.into_iter().find(|id| !texts.iter().any(|text| is_used(text, *id))).unwrap_or(NO_GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_accounts_as_busybox_makes_them() {
        let mut accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nother:x:100:100::/:/bin/false".to_owned(),
            group: "root:x:0:root\n".to_owned(),
            shadow: Some("root:*::0:::::\n".to_owned()),
        };
        accounts.add_group(&NewGroup { name: "klogd".to_owned(), id: None });
        accounts.add_group(&NewGroup { name: "shadow".to_owned(), id: Some(42) });
        for _ in 0..2 {
            accounts.add_user(&NewUser {
                name: "klogd".to_owned(),
                group: Some("klogd".to_owned()),
                home: Some("/dev/null".to_owned()),
                gecos: Some("klogd".to_owned()),
                ..NewUser::default()
            });
        }
        assert_eq!(accounts.group, "root:x:0:root\nklogd:x:100:klogd\nshadow:x:42:\n");
        assert!(
            accounts.passwd.ends_with(":/bin/false\nklogd:x:101:100:klogd:/dev/null:/sbin/nologin\n"),
            "{}",
            accounts.passwd
        );
        assert_eq!(accounts.shadow.as_deref(), Some("root:*::0:::::\nklogd:!::0:99999:7:::\n"));
        assert_eq!(accounts.group_id("shadow"), Some(42));
        // As busybox 1.37 does: with a number or a group that can't be, nothing.
        let before = accounts.clone();
        accounts.add_group(&NewGroup { name: "other".to_owned(), id: Some(42) });
        for (name, id, group) in
            [("a", Some(100), None), ("b", None, Some("absent")), ("c", None, Some("42"))]
        {
            let group = group.map(str::to_owned);
            let user = NewUser { name: name.to_owned(), id, group, ..NewUser::default() };
            assert_eq!(accounts.add_user(&user), None, "{name}");
        }
        assert_eq!(accounts, before);
        accounts.group += "nogroup:x:65533:\n";
        let plain = NewUser { name: "plain".to_owned(), ..NewUser::default() };
        assert_eq!(accounts.add_user(&plain), Some((102, 65533)));
        assert!(accounts.passwd.ends_with("\nplain:x:102:65533::/home/plain:/sbin/nologin\n"));
        assert!(accounts.group.ends_with("nogroup:x:65533:plain\n"));
        (accounts.group, accounts.shadow) = (before.group, before.shadow);
        for (user, group) in [("klogd", "root"), ("klogd", "shadow"), ("klogd", "root"), ("klogd", "absent")]
        {
            accounts.add_member(user, group);
        }
        assert_eq!(accounts.group, "root:x:0:root,klogd\nklogd:x:100:klogd\nshadow:x:42:klogd\n");
    }
}
