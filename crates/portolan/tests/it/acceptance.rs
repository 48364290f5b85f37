//! What has to be shown with more than this process may always do: `cargo xtask acceptance NAME` runs one of these, `cargo xtask test`
//! none. Without the right to make network namespaces they fail and say so.

mod compose;
mod consul_api;
mod kubernetes;
mod machine;
mod partitions;
