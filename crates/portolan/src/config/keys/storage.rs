//! The files of the log, its snapshots, and the queue before it.

use super::super::bounds::{DAY, KIB, MIB, bounds};
use super::super::key::{Area, bytes, one};

pub(super) static AREA: Area = Area {
    heading: "Log and snapshots",
    keys: &[
        bytes!(
            "storage-segment-bytes",
            "Size of a file of the log; smaller on a small disk",
            storage.segment_bytes
        ),
        bytes!(
            "storage-reserve-bytes",
            "Space kept back for the moment the disk is full",
            storage.reserve_bytes
        ),
        bytes!(
            "storage-snapshot-bytes",
            "Growth of the log after which a snapshot is written",
            storage.snapshot_bytes
        ),
        one!(
            "storage-queue",
            "N",
            "Commands that wait to be written",
            storage.queue
        ),
        one!(
            "storage-queue-wait",
            "TIME",
            "Time that a command waits for a place among them before it is refused",
            storage.queue_wait
        ),
        one!(
            "storage-decision-timeout",
            "TIME",
            "Time after which a command that was not decided is answered as unknown",
            storage.decision_timeout
        ),
    ],
    bounds: bounds! {
        // So that the largest request fits.
        "storage-segment-bytes" whole storage.segment_bytes, 2 * MIB, 1024 * MIB, Bytes;
        // A snapshot for every few changes would be all that the disk does.
        "storage-snapshot-bytes" whole storage.snapshot_bytes, 64 * KIB, 64 * 1024 * MIB, Bytes;
        "storage-queue" size storage.queue, 1, 10_000_000, Ones;
        "storage-queue-wait" ms storage.queue_wait, 0, DAY, Milliseconds;
        "storage-decision-timeout" ms storage.decision_timeout, 100, DAY, Milliseconds;
    },
};
