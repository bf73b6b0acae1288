//! What assembling tells while it works ([`Reporter`], [`Event`]) and what it leaves behind ([`manifest`]).

mod event;
pub mod manifest;

pub use event::{Event, Reporter, Silent, Stage};
