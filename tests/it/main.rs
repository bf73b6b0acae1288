//! Integration tests: one module a capability.
mod release;
mod resolve;
