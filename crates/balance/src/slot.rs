//! What is known of one endpoint.

use std::time::Duration;

use crate::endpoint::{Endpoint, Moment, Outcome};
use crate::outlier::Record;
use crate::settings::{Settings, SlowStart};

/// One endpoint: what the catalog says and what was seen here.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) facts: Endpoint,
    /// Counts who had this place, so that a pick of an earlier one is not taken for one of this; odd while the place is in use.
    pub(crate) generation: u32,
    /// Whether the catalog still has it; one that went keeps its place until nothing is under way there.
    pub(crate) present: bool,
    pub(crate) in_flight: u32,
    /// Response time in nanoseconds, as of `measured`.
    ewma: f64,
    measured: Moment,
    /// When it began to work, for the slow start; none when it has its whole share.
    pub(crate) since: Option<Moment>,
    pub(crate) record: Record,
    /// One over its share as it is now: what loads are multiplied by to be compared.
    pub(crate) cost: f64,
}

impl Slot {
    pub(crate) fn new(facts: Endpoint, generation: u32, now: Moment, settings: &Settings) -> Slot {
        Slot {
            facts,
            generation,
            present: true,
            in_flight: 0,
            ewma: settings.presumed.as_nanos() as f64,
            measured: now,
            since: Some(now),
            record: Record::default(),
            cost: 1.0,
        }
    }

    /// Whether somebody has the place.
    pub(crate) fn in_use(&self) -> bool {
        self.generation % 2 == 1
    }

    /// One that is gone leaves its place when nothing is under way there any more.
    pub(crate) fn leave(&mut self) {
        if !self.present && self.in_flight == 0 {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Whether it works, as far as the catalog and what was seen here tell.
    pub(crate) fn works(&self) -> bool {
        self.facts.healthy && !self.record.is_ejected()
    }

    /// Its share in thousandths as it is now, and whether it is still growing.
    pub(crate) fn share(&mut self, slow: Option<SlowStart>, now: Moment) -> (u32, bool) {
        let weight = self.facts.weight;
        let (Some(slow), Some(since)) = (slow, self.since) else {
            return (weight, false);
        };
        let passed = now.saturating_sub(since);
        if passed >= slow.window {
            self.since = None;
            return (weight, false);
        }
        let part = passed.as_secs_f64() / slow.window.as_secs_f64();
        let factor = part.powf(1.0 / slow.aggression).max(slow.least);
        ((f64::from(weight) * factor).ceil() as u32, true)
    }

    /// Takes note of a response time: a longer one counts at once, a shorter one with time.
    pub(crate) fn observe(&mut self, took: Duration, now: Moment, decay: Duration) {
        let sample = took.as_nanos() as f64;
        let old = self.decayed(now, decay);
        self.ewma = if sample > self.ewma {
            sample
        } else {
            let passed = now.saturating_sub(self.measured).as_secs_f64();
            let kept = (-passed / decay.as_secs_f64()).exp();
            old.max(self.ewma * kept + sample * (1.0 - kept))
        };
        self.measured = now;
    }

    /// The response time as of now, in nanoseconds: it fades while nothing is measured, so that an endpoint that was slow is tried again.
    fn decayed(&self, now: Moment, decay: Duration) -> f64 {
        let passed = now.saturating_sub(self.measured).as_secs_f64();
        self.ewma * (-passed / decay.as_secs_f64()).exp()
    }

    /// What another request would cost here.
    pub(crate) fn peak_load(&self, now: Moment, decay: Duration) -> f64 {
        self.decayed(now, decay) * f64::from(self.in_flight + 1) * self.cost
    }

    /// Requests under way with another one, for its share.
    pub(crate) fn request_load(&self) -> f64 {
        f64::from(self.in_flight + 1) * self.cost
    }

    pub(crate) fn ended(&mut self, outcome: Outcome, now: Moment, settings: &Settings) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Answered(took) | Outcome::Failed(took) => {
                self.observe(took, now, settings.decay);
            }
            // What does not answer at all must not look fast.
            Outcome::Unreachable => self.observe(settings.presumed * 10, now, settings.decay),
            Outcome::Unknown => {}
        }
    }
}
