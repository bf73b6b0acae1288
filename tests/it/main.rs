//! Integration tests: one module a capability.
mod apk_formats;
mod fetch;
mod kernel;
mod libraries;
mod otp;
mod pid1;
mod release;
mod resolve;
mod server;
mod vm;
