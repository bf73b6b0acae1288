//! What assembling tells while it works ([`Reporter`], [`Event`]), what it leaves behind ([`manifest`]), and what
//! can be told from that: where the bytes go ([`mod@analyze`], and as a page [`html`]), why something is there
//! ([`mod@why`]), what differs ([`mod@diff`]) and whether it is small enough ([`limit`]). What a boot
//! has shown is a [`trace`].
//!
//! Invariant: reports are made from manifests alone. A manifest is read by [`manifest::Manifest::read`]; everything
//! else here takes values and gives values.

pub mod analyze;
pub mod bytes;
pub mod component;
pub mod diff;
mod event;
pub mod html;
pub mod limit;
pub mod manifest;
pub mod progress;
pub mod provenance;
pub mod sbom;
pub mod signature;
pub mod trace;
pub mod why;

pub use event::{Event, Reporter, Silent, Stage};
