//! What assembling tells while it works ([`Reporter`], [`Event`]) and what it leaves behind ([`manifest`]); what a
//! boot of it has shown ([`trace`]).

mod event;
pub mod manifest;
pub mod trace;

pub use event::{Event, Reporter, Silent, Stage};
