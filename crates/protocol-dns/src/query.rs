//! Prepared queries by name.
use crate::read::Found;
use crate::settings::Settings;
use crate::template::nothing;
use crate::wire::Rcode;
use portolan_catalog::State;
pub(crate) fn resolve(_state: &State, _settings: &Settings, _name: &str, _qtype: u16) -> Found {
    Found::passing(nothing(Rcode::NxDomain))
}
