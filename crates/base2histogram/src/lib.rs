//! Histograms that count nothing.
//!
//! openraft keeps histograms of its batches and gives them out with its feature `runtime-stats` only, which is off here. The library it
//! takes them from makes tables for sixteen precisions when the first one is made, 26 MiB, of which openraft uses one, 2 KiB. So this
//! crate stands in its place (`[patch]` in the root manifest): the same names, nothing kept. It has no way to show a chart, so that
//! openraft does not build with `runtime-stats` as long as this stands.
//!
//! Figures of this server are in `replica`'s `Stats`.

use std::fmt;
use std::marker::PhantomData;

/// Takes values and forgets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one. It stays empty.
    #[must_use]
    pub fn new() -> Histogram<T> {
        Histogram(PhantomData)
    }

    /// Forgets `value`.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Forgets `count` times `value`.
    pub fn record_n(&mut self, _value: u64, _count: u64) {}

    /// What is known of nothing.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

/// Values at some shares of all that were recorded; zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values there were.
    pub samples: u64,
    /// At a thousandth.
    pub p0_1: u64,
    /// At a hundredth.
    pub p1: u64,
    /// At a twentieth.
    pub p5: u64,
    /// At a tenth.
    pub p10: u64,
    /// In the middle.
    pub p50: u64,
    /// At nine tenths.
    pub p90: u64,
    /// At 99 hundredths.
    pub p99: u64,
    /// At 999 thousandths.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// Several histograms side by side, which nobody can look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsciiChart<T = ()>(PhantomData<T>);

impl<T> AsciiChart<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> AsciiChart<T> {
        AsciiChart(PhantomData)
    }

    /// Takes a histogram.
    #[must_use]
    pub fn add(self, _name: &str, _histogram: Histogram<T>) -> AsciiChart<T> {
        self
    }
}
