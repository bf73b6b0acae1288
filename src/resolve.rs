//! Which packages satisfy what is wanted, as `apk` would choose them.
