//! The public keys of Alpine Linux, as its package `alpine-keys` has them.

use super::{ApkError, PublicKey};

/// A file of `keys/`, which the crate holds.
macro_rules! key {
    ($name:literal) => {
        ($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/keys/", $name)))
    };
}

/// File name and PEM text of each key.
pub const BUILT_IN: &[(&str, &[u8])] = &[
    key!("alpine-devel@lists.alpinelinux.org-4a6a0840.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-5243ef4b.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-524d27bb.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-5261cecb.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-58199dcc.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-58cbb476.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-58e4f17d.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-5e69ca50.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-60ac2099.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-6165ee59.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-61666e3f.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616a9724.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616abc23.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616ac3bc.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616adfeb.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616ae350.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-616db30d.rsa.pub"),
    key!("alpine-devel@lists.alpinelinux.org-66ba20fe.rsa.pub"),
];

/// The keys themselves.
///
/// # Errors
/// None as long as the files in `keys/` are whole, which a test proves.
pub fn built_in() -> Result<Vec<PublicKey>, ApkError> {
    BUILT_IN.iter().map(|(name, pem)| PublicKey::from_pem(name, pem)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpines_keys_are_whole() {
        let keys = built_in().expect("good keys");
        assert_eq!(keys.len(), BUILT_IN.len());
        assert!(keys.iter().all(|key| key.name().ends_with(".rsa.pub")));
    }
}
