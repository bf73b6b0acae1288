//! `leanfs.lock`.

use std::path::Path;

use leanfs::lock::Lock;

/// A lock: what is written of it is read again as the same.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("leanfs.lock");
    let _ = Lock::parse(text, path);
    let lock = match Lock::parse_to_renew(text, path) {
        Ok(lock) => lock,
        Err(error) => {
            assert!(error.to_string().lines().count() == 1 && !error.hint().is_empty());
            return;
        }
    };
    let text = lock.to_text();
    let again = Lock::parse(&text, path).expect("it was written");
    assert_eq!(again.to_text(), text);
}
