//! Integration tests: one module a capability.
mod kernel;
mod otp;
mod pid1;
mod release;
mod resolve;
mod fetch;
mod server;
