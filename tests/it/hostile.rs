//! Attacks: by who owns a mirror, the network, or the account of a package's author.

mod keys;
