//! Bounds on what one row may hold. A protocol's own stricter limit is checked in its front end, on input only.

/// Bytes of a service name or group.
pub const NAME: usize = 255;
/// Bytes of a namespace.
pub const NAMESPACE: usize = 128;
/// Bytes of an instance id.
pub const INSTANCE_ID: usize = 512;
/// Bytes of a host name.
pub const HOST: usize = 253;
/// Ports of an instance.
pub const PORTS: usize = 64;
/// Tags of an instance.
pub const TAGS: usize = 64;
/// Bytes of a tag.
pub const TAG: usize = 255;
/// Metadata pairs of an instance.
pub const META_PAIRS: usize = 128;
/// Bytes of a metadata key.
pub const META_KEY: usize = 128;
/// Bytes of a metadata value.
pub const META_VALUE: usize = 4096;
/// Bytes of all metadata of an instance.
pub const META_TOTAL: usize = 64 << 10;
/// Bytes of an extension.
pub const EXTENSION: usize = 64 << 10;
/// Bytes of a record's key.
pub const RECORD_KEY: usize = 4096;
/// Operations in one write.
pub const OPS: usize = 128;
/// Operations on the tree of znodes in one command: more than fit into a frame of ZooKeeper's.
pub const TREE_OPS: usize = 1 << 16;
/// Instances of a service.
pub const INSTANCES: u32 = 50_000;
/// Leases.
pub const LEASES: usize = 1_000_000;
/// Milliseconds for which a lock that was lost can be kept back, whatever its session says.
pub const LOCK_DELAY_MS: u64 = 60_000;
/// Bytes of a check's output.
pub const OUTPUT: usize = 4096;
/// Bytes of one command as the log keeps it. No front end takes a body of that size; a frame and a snapshot's record hold four times as
/// much.
pub const COMMAND: usize = 256 << 20;
/// Bytes of all parts of a state that is being restored.
pub const RESTORED: usize = 4 << 30;
/// The name under which a state that is longer is refused.
pub const RESTORED_NAME: &str = "bytes of a restored state";
/// The name under which a command that is nested too deep is refused.
pub const NESTING: &str = "levels of nesting";
/// The name under which a command is refused that not every member would understand.
pub const LEVEL: &str = "the feature level that all servers of the cluster know";
/// The name under which a command longer than [`COMMAND`] is refused.
pub const LENGTH: &str = "bytes of one command";
