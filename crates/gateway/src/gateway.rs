//! What all threads of the gateway share.

use portolan_listener::Limits;
use portolan_registry::Registry;

use crate::figures::Figures;
use crate::log::AccessLog;
use crate::route::Followed;
use crate::settings::Settings;

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) registry: Registry,
    pub(crate) table: Followed,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) figures: Figures,
    pub(crate) log: Option<AccessLog>,
}
