//! Integration tests: one module a capability.
mod otp;
mod release;
mod resolve;
