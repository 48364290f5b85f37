//! The fuzz targets' bodies; `cargo xtask fuzz` runs them.

pub mod targets;
