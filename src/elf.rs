//! ELF files, pure: what they need and what they offer.
