//! Placeholder.
#![allow(dead_code, unused_imports)]
mod error;
mod filter;
mod wire;
