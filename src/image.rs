//! Image formats: each written from a [`crate::tree::ValidTree`].
