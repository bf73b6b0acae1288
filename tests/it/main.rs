//! Integration tests: one module a capability.

mod apk_formats;
mod beam;
mod beam_rewrite;
mod cli;
mod embed;
mod end_to_end;
mod fetch;
mod fuzz_entries;
mod html;
mod kernel;
mod layers;
mod libraries;
mod otp;
mod own_repository;
mod pid1;
mod refusals;
mod release;
mod repo;
mod reports;
mod resolve;
mod served;
mod server;
mod start;
mod strip;
mod tiny;
mod vm;
