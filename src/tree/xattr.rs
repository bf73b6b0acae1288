//! Which extended attributes belong to files, and which to the machine that had them.

/// Whether an extended attribute (by full name, `xattr(7)`) is part of a file that goes elsewhere: capabilities
/// (`security.capability`), signatures of contents (`security.ima`, `security.evm`), access control lists
/// (`system.posix_acl_access`, `system.posix_acl_default`), `user.*` and `trusted.*`. Labels of a security module
/// (`security.selinux`, `security.SMACK64…`, `security.apparmor`) say what a policy of the machine that made the
/// package thought of its own copy, and what else stands below `system.` is its file system's.
pub fn xattr_belongs_to_file(name: &[u8]) -> bool {
    const SECURITY: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];
    const ACL: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
    let named = |prefix: &[u8]| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    // Linux: XATTR_NAME_MAX, and names are C strings.
    name.len() <= 255
        && !name.contains(&0)
        && (SECURITY.contains(&name) || ACL.contains(&name) || named(b"user.") || named(b"trusted."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_behind() {
        for (name, taken) in [
            ("security.capability", true),
            ("security.ima", true),
            ("security.selinux", false),
            ("security.SMACK64", false),
            ("security.apparmor", false),
            ("system.posix_acl_access", true),
            ("system.nfs4_acl", false),
            ("user.x", true),
            ("user.", false),
            ("trusted.overlay.opaque", true),
            ("other", false),
        ] {
            assert_eq!(xattr_belongs_to_file(name.as_bytes()), taken, "{name}");
        }
        assert!(!xattr_belongs_to_file(&[b"user.", &[b'x'; 251][..]].concat()));
        assert!(!xattr_belongs_to_file(b"user.a\0b"));
    }
}
