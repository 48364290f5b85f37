//! The numbers beside the choice, with the defaults that people know from Envoy and linkerd.

use std::time::Duration;

use crate::outlier::OutlierSettings;

/// How a new endpoint gets its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// Time until it has its whole share. Default 30 s.
    pub window: Duration,
    /// The share it begins with. Default 0.1.
    pub least: f64,
    /// Above 1 the share grows fast at first, below 1 slowly. Default 1: in a straight line.
    pub aggression: f64,
}

impl Default for SlowStart {
    fn default() -> SlowStart {
        SlowStart {
            window: Duration::from_secs(30),
            least: 0.1,
            aggression: 1.0,
        }
    }
}

/// The numbers beside the choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Below this share of working endpoints health is ignored: those that are left would fall under the load. Default 0.5, 0 for never.
    pub panic: f64,
    /// How much more than their part the working endpoints of a place take before requests spill over to the next one. Default 1.4.
    pub overprovisioning: f64,
    /// How a new endpoint gets its share; none: all of it at once, the default. Hash policies have no slow start.
    pub slow_start: Option<SlowStart>,
    /// When an endpoint is taken out for what was seen of it; none: never.
    pub outlier: Option<OutlierSettings>,
    /// Hash policies: by how much an endpoint may have more requests under way than the mean, before its next ones go elsewhere. None by
    /// default; 0.25 is customary.
    pub bounded_load: Option<f64>,
    /// Peak EWMA: the time in which what was measured loses its weight. Default 10 s.
    pub decay: Duration,
    /// Peak EWMA: what is taken for the response time of a new endpoint. Default 30 ms.
    pub presumed: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            panic: 0.5,
            overprovisioning: 1.4,
            slow_start: None,
            outlier: Some(OutlierSettings::default()),
            bounded_load: None,
            decay: Duration::from_secs(10),
            presumed: Duration::from_millis(30),
        }
    }
}
