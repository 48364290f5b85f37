//! The methods: a stream about everything, and one for each kind, in two forms.

use std::sync::Arc;

use http::StatusCode;
use portolan_grpc::{Ending, Head, MessageLimits, Messages, Refused, Status, is_grpc};
use portolan_listener::{
    Action, BoxFuture, Caller, Methods, Request, Resource, Response, Route, Router,
};
use tokio::time::sleep;

use crate::app::App;
use crate::error::{denied, unimplemented};
use crate::kind::Kind;
use crate::watch;
use crate::watch::ask::Form;

macro_rules! streams {
    ($($path:literal, $label:literal, $form:expr, $only:expr;)*) => {
        /// Every method that is served.
        pub(crate) static ROUTES: &[Route<App>] = &[
            $( Route::new(Methods::POST, $path, $label, |app, request, _| open(app, request, $form, $only)), )*
        ];
    };
}

streams! {
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", "ads", Form::World, None;
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", "ads-delta", Form::Delta, None;
    "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters", "cds", Form::World, Some(Kind::Clusters);
    "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters", "cds-delta", Form::Delta, Some(Kind::Clusters);
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints", "eds", Form::World, Some(Kind::Assignments);
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints", "eds-delta", Form::Delta, Some(Kind::Assignments);
    "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners", "lds", Form::World, Some(Kind::Listeners);
    "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners", "lds-delta", Form::Delta, Some(Kind::Listeners);
    "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes", "rds", Form::World, Some(Kind::Routes);
    "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes", "rds-delta", Form::Delta, Some(Kind::Routes);
}

/// Answers a request.
pub(crate) async fn answer(router: &Router<App>, app: Arc<App>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        return turned_away(
            &Caller::of(&request),
            &Refused {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                failure: Status::new(
                    portolan_grpc::Code::InvalidArgument,
                    "this port speaks gRPC: the content type has to be application/grpc",
                ),
            },
        );
    }
    match router.dispatch(app, request).await {
        Ok(response) => response,
        Err((request, _)) => turned_away(
            &Caller::of(&request),
            &unimplemented(request.uri().path()).into(),
        ),
    }
}

fn open(app: Arc<App>, request: Request, form: Form, only: Option<Kind>) -> BoxFuture<Response> {
    let caller = Caller::of(&request);
    let head = match Head::of(request.headers(), |_, _| Ok(())) {
        Ok(head) => head,
        Err(refused) => return Box::pin(std::future::ready(turned_away(&caller, &refused))),
    };
    let limits = MessageLimits {
        bytes: app.settings.request_bytes,
        patience: caller.context().limits().body_timeout,
    };
    let messages = Messages::new(request.into_body(), &head, limits);
    Box::pin(async move {
        let ending: Option<Ending> = head.patience.map(|patience| -> Ending {
            Box::pin(async move {
                sleep(patience).await;
                Status::new(
                    portolan_grpc::Code::DeadlineExceeded,
                    "context deadline exceeded",
                )
            })
        });
        let response = watch::open(app, caller, messages, form, only).await;
        head.wrap(response, ending)
    })
}

fn turned_away(caller: &Caller, refused: &Refused) -> Response {
    match caller.allow(Action::Read, Resource::Public) {
        Ok(()) => portolan_grpc::refused(refused.status, &refused.failure),
        Err(refused) => portolan_grpc::unary(Err(denied(&refused))),
    }
}
