//! Integration tests: one module a capability.
mod kernel;
mod otp;
mod pid1;
mod apk_formats;
mod release;
mod resolve;
mod fetch;
mod server;
