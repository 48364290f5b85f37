//! Declaring services and their settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use portolan_catalog::{Command, Protocol, Refusal, State};
use portolan_listener::Caller;

use crate::app::App;
use crate::clusters;
use crate::error::{Code, Problem};
use crate::names::ServiceName;

/// A service's settings as an operator gives them; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServiceChanges {
    /// In thousandths.
    pub(crate) protect_threshold: Option<u32>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    pub(crate) selector: Option<String>,
    pub(crate) ephemeral: Option<bool>,
}

/// Declares a service.
pub(crate) async fn create_service(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    changes: &ServiceChanges,
) -> Result<(), Problem> {
    let exists = || {
        Problem::coded(
            Code::ServiceExists,
            format!("specified service {} already exists!", service.grouped()),
        )
    };
    let known = |state: &State| state.service(&service.key).is_some();
    let state = app.registry.latest_unless(|state| !known(state)).await?;
    if known(&state) {
        return Err(exists());
    }
    match declare(app, caller, service, changes, true).await {
        Err(Problem::Refused(Refusal::Exists)) => Err(exists()),
        other => other,
    }
}

/// Changes a service that is there.
pub(crate) async fn update_service(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    changes: &ServiceChanges,
) -> Result<(), Problem> {
    let known = |state: &State| state.service(&service.key).is_some();
    if !known(&*app.registry.latest_unless(known).await?) {
        return Err(no_service(service));
    }
    declare(app, caller, service, changes, false).await
}

pub(crate) fn no_service(service: &ServiceName) -> Problem {
    Problem::coded(
        Code::ServiceNotExist,
        format!(
            "service not found, namespace: {}, serviceName: {}",
            service.namespace,
            service.grouped()
        ),
    )
}

async fn declare(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
    changes: &ServiceChanges,
    create_only: bool,
) -> Result<(), Problem> {
    let state = app.registry.snapshot();
    let before = state.service(&service.key);
    let mut settings = before
        .map(|row| (*row.settings).clone())
        .unwrap_or_default();
    if let Some(threshold) = changes.protect_threshold {
        settings.protect_threshold = threshold;
    }
    if let Some(metadata) = &changes.metadata {
        settings.meta = clusters::with_metadata(&settings.meta, metadata);
    }
    if let Some(selector) = &changes.selector {
        settings.selector = selector.as_str().into();
    }
    let command = Command::Declare {
        service: service.key.clone(),
        spelling: service.name.as_str().into(),
        protocol: Protocol::Nacos,
        settings: Some(Arc::new(settings)),
        ephemeral: changes.ephemeral.filter(|_| before.is_none()),
        create_only,
    };
    app.settle(caller, command).await?;
    Ok(())
}

/// Takes back a declaration; a service without instances goes.
pub(crate) async fn delete_service(
    app: &App,
    caller: &Caller,
    service: &ServiceName,
) -> Result<(), Problem> {
    let command = Command::Forget {
        service: service.key.clone(),
        protocol: Some(Protocol::Nacos),
    };
    match app.settle(caller, command).await {
        Ok(_) => Ok(()),
        Err(Problem::Refused(Refusal::NotEmpty)) => Err(Problem::coded(
            Code::ServiceNotEmpty,
            format!(
                "Service {} is not empty, can't be delete. Please unregister instance first",
                service.grouped()
            ),
        )),
        Err(Problem::Refused(Refusal::NoService)) => Err(no_service(service)),
        Err(other) => Err(other),
    }
}
