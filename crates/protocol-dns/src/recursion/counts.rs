//! What happened to questions about names outside our zones.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Counts of one server.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Answered from what was kept.
    pub(crate) kept: AtomicU64,
    /// Answered by a recursor.
    pub(crate) asked: AtomicU64,
    /// No recursor answered.
    pub(crate) failed: AtomicU64,
    /// Not asked for, since too many questions were in flight.
    pub(crate) full: AtomicU64,
    /// Asked again over TCP.
    pub(crate) over_tcp: AtomicU64,
    /// Asked again without EDNS.
    pub(crate) without_edns: AtomicU64,
    /// Datagrams that were no answer to what was asked.
    pub(crate) foreign: AtomicU64,
}

/// How full everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) questions: usize,
    pub(crate) most_questions: usize,
    pub(crate) answers: usize,
    pub(crate) bytes: u64,
    pub(crate) most_bytes: u64,
}

impl Counts {
    /// Writes the series.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>, fill: Fill) -> fmt::Result {
        let mut results = encoder.encode_descriptor(
            "dns_recursion",
            "questions about names outside the zones, by what became of them",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [
            ("kept", &self.kept),
            ("asked", &self.asked),
            ("failed", &self.failed),
            ("full", &self.full),
        ] {
            results
                .encode_family(&[("result", result)])?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
        }
        for (name, help, count) in [
            (
                "dns_recursor_tcp",
                "questions asked of a recursor again over TCP",
                &self.over_tcp,
            ),
            (
                "dns_recursor_without_edns",
                "questions asked of a recursor again without EDNS",
                &self.without_edns,
            ),
            (
                "dns_recursor_foreign",
                "datagrams at a recursor's socket that were no answer to what was asked",
                &self.foreign,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
        }
        for (name, help, value) in [
            (
                "dns_recursor_questions",
                "questions in flight to recursors",
                fill.questions as u64,
            ),
            (
                "dns_recursor_questions_limit",
                "questions in flight to recursors at most (dns-recursor-questions)",
                fill.most_questions as u64,
            ),
            (
                "dns_recursor_kept",
                "answers of recursors kept",
                fill.answers as u64,
            ),
            (
                "dns_recursor_kept_bytes",
                "bytes of answers of recursors kept",
                fill.bytes,
            ),
            (
                "dns_recursor_kept_limit_bytes",
                "bytes of answers of recursors kept at most (dns-recursor-cache-bytes)",
                fill.most_bytes,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&(value as i64))?;
        }
        Ok(())
    }
}
