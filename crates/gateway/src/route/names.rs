//! Routes without any: the name of a service in the host, or in the path.

use portolan_catalog::{DEFAULT, ServiceKey, State};

use super::table::Target;
use crate::settings::Settings;

/// The service that a host or a path names. The host is in small letters and without a port.
pub(crate) fn by_name(
    state: &State,
    settings: &Settings,
    host: &str,
    path: &str,
) -> Option<Target> {
    let whole = |service| Target { service, strip: 0 };
    if let Some(name) = host.strip_suffix(&*settings.domain)
        && let Some(name) = name.strip_suffix('.')
    {
        return named(state, name).map(whole);
    }
    if settings.host_label
        && let Some((label, _)) = host.split_once('.')
        && let Some(service) = named(state, label)
    {
        return Some(whole(service));
    }
    let segment = path.strip_prefix('/')?.split('/').next()?;
    let service = named(state, segment)?;
    Some(Target {
        service,
        strip: segment.len() + 1,
    })
}

/// The service of a name, or of the label that DNS has for it. The server's own is nobody's to call.
fn named(state: &State, name: &str) -> Option<ServiceKey> {
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    let key = ServiceKey::plain(name);
    let key = match state.service(&key) {
        Some(_) => key,
        None => state
            .service_by_label(DEFAULT, &name.to_ascii_lowercase())?
            .clone(),
    };
    (!state.is_own_service(&key)).then_some(key)
}
