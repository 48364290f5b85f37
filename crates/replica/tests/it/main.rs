//! A whole replica on real and on treacherous disks.

#![allow(clippy::unwrap_used)]

mod cluster;
mod crash;
mod doctor;
mod earlier;
mod earlier_version;
mod full_disk;
mod log_lines;
mod restart;
mod supervision;
mod support;
