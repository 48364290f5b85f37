//! Access control of this server, if it is on.

use std::sync::Arc;

use portolan_access::{AccessControl, OwnTokens, Settings, store};
use portolan_catalog::Protocol;
use portolan_listener::ServerContext;
use portolan_registry::Registry;

use super::bootstrap::Own;
use crate::config::Config;

/// Puts access control in force on every port. None when it is off.
pub(super) fn start(
    config: &Config,
    context: &ServerContext,
    registry: &Registry,
    own: &Own,
) -> Option<AccessControl> {
    let access = &config.access;
    let begun = registry.read(|state| store::bootstrapped(state).is_some());
    if !access.on {
        if begun {
            tracing::warn!(
                "this cluster has tokens and policies, and this member does not ask for them: whoever reaches its ports may do everything (--access-control)"
            );
        }
        return None;
    }
    let secret = |given: &Option<String>| given.as_deref().map(Arc::from);
    let control = AccessControl::new(
        registry.clone(),
        Settings {
            default_allow: access.default_allow,
            datacenter: config.datacenter.as_str().into(),
            node: own.name.as_str().into(),
            tokens: OwnTokens {
                default: secret(&access.default_token),
                initial_management: secret(&access.initial_management),
            },
        },
    );
    if !begun && access.initial_management.is_none() {
        tracing::warn!(
            "access control is on and nobody has a management token yet: the first PUT to /v1/acl/bootstrap makes one"
        );
    }
    context.set_policy(Some(Arc::new(control.clone())));
    context.spawn(Protocol::Portolan, control.clone().run(context.clone()));
    Some(control)
}
