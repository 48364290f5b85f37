//! Outliers: endpoints that are taken out for a while because of what was seen of them, whatever the catalog says.

use std::time::Duration;

use crate::endpoint::Moment;
use crate::slot::Slot;

/// When an endpoint is taken out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierSettings {
    /// Failures in a row after which it is. Default 5, 0 for never.
    pub consecutive: u32,
    /// How often success rates are compared. Default 10 s.
    pub interval: Duration,
    /// For how long it is, times how often it was. Default 30 s.
    pub ejection: Duration,
    /// And at most. Default 300 s.
    pub longest: Duration,
    /// The share of endpoints that may be out at a time; one always may. Default 0.1.
    pub share: f64,
    /// A success rate so many standard deviations below the mean is an outlier's. Default 1.9, 0 for never.
    pub deviations: f64,
    /// Endpoints with enough requests, below which rates are not compared. Default 5.
    pub least_endpoints: usize,
    /// Requests in an interval, below which an endpoint's rate says nothing. Default 100.
    pub least_requests: u32,
}

impl Default for OutlierSettings {
    fn default() -> OutlierSettings {
        OutlierSettings {
            consecutive: 5,
            interval: Duration::from_secs(10),
            ejection: Duration::from_secs(30),
            longest: Duration::from_secs(300),
            share: 0.1,
            deviations: 1.9,
            least_endpoints: 5,
            least_requests: 100,
        }
    }
}

/// What was seen of one endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    in_a_row: u32,
    answered: u32,
    failed: u32,
    /// How often it was taken out, less one for each interval that it stayed in since.
    times: u32,
    until: Option<Moment>,
}

impl Record {
    pub(crate) fn is_ejected(&self) -> bool {
        self.until.is_some()
    }

    /// When it comes back, if it is out.
    pub(crate) fn until(&self) -> Option<Moment> {
        self.until
    }

    /// Takes note of an outcome; true when it has failed too often in a row.
    pub(crate) fn note(&mut self, failed: bool, settings: &OutlierSettings) -> bool {
        if !failed {
            self.in_a_row = 0;
            self.answered = self.answered.saturating_add(1);
            return false;
        }
        self.in_a_row += 1;
        self.failed = self.failed.saturating_add(1);
        settings.consecutive > 0 && self.in_a_row >= settings.consecutive
    }

    pub(crate) fn eject(&mut self, now: Moment, settings: &OutlierSettings) {
        self.times += 1;
        self.in_a_row = 0;
        let time = (settings.ejection * self.times).min(settings.longest);
        self.until = Some(now + time);
    }

    /// Lets it back in when its time is over.
    pub(crate) fn readmit(&mut self, now: Moment) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
            (self.answered, self.failed) = (0, 0);
        }
        over
    }

    fn rate(&self, least: u32) -> Option<f64> {
        let total = self.answered.saturating_add(self.failed);
        (total >= least.max(1)).then(|| f64::from(self.answered) / f64::from(total))
    }
}

/// Whether one more of `slots` may be taken out.
pub(crate) fn may_eject(slots: &[Slot], settings: &OutlierSettings) -> bool {
    let present = slots.iter().filter(|slot| slot.present);
    let (all, out) = present.fold((0_usize, 0_usize), |(all, out), slot| {
        (all + 1, out + usize::from(slot.record.is_ejected()))
    });
    out == 0 || ((out + 1) as f64) <= all as f64 * settings.share
}

/// Compares success rates at the end of an interval, takes out the outliers and begins the next interval. How many were taken out.
pub(crate) fn compare(slots: &mut [Slot], settings: &OutlierSettings, now: Moment) -> usize {
    let least = settings.least_requests;
    let rate = |slot: &Slot| {
        let counts = slot.present && !slot.record.is_ejected();
        counts.then(|| slot.record.rate(least)).flatten()
    };
    let (count, sum, squares) = slots.iter().filter_map(rate).fold(
        (0_usize, 0.0, 0.0),
        |(count, sum, squares): (usize, f64, f64), rate| {
            (count + 1, sum + rate, squares + rate * rate)
        },
    );
    let mut ejected = 0;
    if settings.deviations > 0.0 && count >= settings.least_endpoints.max(1) {
        let mean = sum / count as f64;
        let deviation = (squares / count as f64 - mean * mean).max(0.0).sqrt();
        let bound = mean - settings.deviations * deviation;
        for at in 0..slots.len() {
            if rate(&slots[at]).is_some_and(|rate| rate < bound) && may_eject(slots, settings) {
                slots[at].record.eject(now, settings);
                ejected += 1;
            }
        }
    }
    for slot in slots {
        let record = &mut slot.record;
        if !record.is_ejected() {
            record.times = record.times.saturating_sub(1);
        }
        (record.answered, record.failed) = (0, 0);
    }
    ejected
}
