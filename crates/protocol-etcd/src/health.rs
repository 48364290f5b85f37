//! gRPC's own health protocol.

use std::sync::Arc;

use bytes::Bytes;
use portolan_listener::{Action, Caller, Request, Resource, Response};

use crate::{
    RECEIVE_BYTES,
    app::{App, allow},
    error::{Code, Failure},
    grpc::{self, Messages},
    wire::health::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus},
};

/// The server as a whole is the only thing there is to ask for.
pub(crate) async fn check(
    _: Arc<App>,
    caller: Caller,
    request: HealthCheckRequest,
) -> Result<Bytes, Failure> {
    allow(&caller, Action::Read, Resource::Public)?;
    if request.service.is_empty() {
        Ok(serving())
    } else {
        Err(Failure::new(Code::NotFound, "unknown service"))
    }
}

fn serving() -> Bytes {
    grpc::frame(&HealthCheckResponse {
        status: ServingStatus::Serving as i32,
    })
}

/// Says how it is, and again when the server goes.
pub(crate) async fn watch(_: Arc<App>, request: Request) -> Response {
    let caller = Caller::of(&request);
    let allowed = allow(&caller, Action::Read, Resource::Public);
    let mut messages = Messages::new(request.into_body(), RECEIVE_BYTES);
    let asked = match allowed {
        Ok(()) => messages.only::<HealthCheckRequest>().await,
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
                Ok(grpc::frame(&HealthCheckResponse {
                    status: status as i32,
                })),
                (None, caller),
            ));
        }
        caller.draining().await;
        None
    })
}
