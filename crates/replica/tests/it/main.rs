//! A whole replica on real and on treacherous disks.

mod crash;
mod full;
mod restart;
mod support;
