//! gRPC's own health protocol.

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Resource, Response};

use crate::{
    app::{App, allow},
    asker::Asker,
    error::{Code, Failure},
    grpc::{self, Messages},
    wire::health::{
        HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
        health_check_response::ServingStatus,
    },
};

const SERVING: HealthCheckResponse = HealthCheckResponse {
    status: ServingStatus::Serving as i32,
};

/// The server as a whole is the only thing there is to ask for.
pub(crate) async fn check(
    _: Arc<App>,
    caller: Asker,
    request: HealthCheckRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Public)?;
    if request.service.is_empty() {
        Ok(grpc::frame(&SERVING))
    } else {
        Err(Failure::new(Code::NotFound, "unknown service"))
    }
}

/// All there is: the server as a whole.
pub(crate) async fn list(
    _: Arc<App>,
    caller: Asker,
    _: HealthListRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Public)?;
    let whole = (String::new(), SERVING);
    Ok(grpc::frame(&HealthListResponse {
        statuses: [whole].into(),
    }))
}

/// Says how it is, and ends when the server goes.
pub(crate) async fn watch(_: Arc<App>, caller: Asker, mut messages: Messages) -> Response {
    let allowed = allow(&caller, Action::Read, Resource::Public);
    let asked = match allowed {
        Ok(()) => messages
            .only::<HealthCheckRequest>()
            .await
            .map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    let status = match asked {
        Ok(request) if request.service.is_empty() => ServingStatus::Serving,
        Ok(_) => ServingStatus::ServiceUnknown,
        Err(failure) => return grpc::unary(Err(failure)),
    };
    grpc::streaming((Some(status), caller), |(status, caller)| async move {
        if let Some(status) = status {
            return Some((
                Ok::<_, Failure>(grpc::frame(&HealthCheckResponse {
                    status: status as i32,
                })),
                (None, caller),
            ));
        }
        caller.draining().await;
        None
    })
}
