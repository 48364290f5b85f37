//! A whole replica on real and on treacherous disks.

mod crash;
mod doctor;
mod earlier;
mod full_disk;
mod restart;
mod support;
