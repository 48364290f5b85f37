//! Values that are too small or too large to be meant, each refused with what would do.

use std::time::Duration;

use super::settings::Config;
use super::value::{Setting, print_bytes};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Ones,
    Bytes,
    Milliseconds,
}

/// One key's bounds, both inclusive.
pub(crate) struct Bound {
    pub(super) key: &'static str,
    pub(super) of: fn(&Config) -> u64,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) unit: Unit,
}

pub(super) const ANY: u64 = u64::MAX;
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const DAY: u64 = 86_400_000;

pub(super) fn whole(value: impl Into<u64>) -> u64 {
    value.into()
}

pub(super) fn size(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(super) fn ms(value: Duration) -> u64 {
    u64::try_from(value.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! bounds {
    ($($key:literal $of:ident $($field:ident).+, $least:expr, $most:expr, $unit:ident;)*) => {
        &[$($crate::config::bounds::Bound {
            key: $key,
            of: |config| $crate::config::bounds::$of(config.$($field).+),
            least: $least,
            most: $most,
            unit: $crate::config::bounds::Unit::$unit,
        }),*]
    };
}

impl Bound {
    /// Checks the value that the key has now.
    pub(super) fn check(&self, config: &Config) -> Result<(), String> {
        let value = (self.of)(config);
        let print = |value: u64| match self.unit {
            Unit::Ones => value.to_string(),
            Unit::Bytes => print_bytes(value),
            Unit::Milliseconds => Duration::from_millis(value).print(),
        };
        if value < self.least {
            return Err(format!(
                "{} is too little; the least is {}",
                print(value),
                print(self.least)
            ));
        }
        if value > self.most {
            return Err(format!(
                "{} is too much; the most is {}",
                print(value),
                print(self.most)
            ));
        }
        Ok(())
    }
}

pub(super) use bounds;
