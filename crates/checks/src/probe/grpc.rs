//! gRPC's own health protocol, `grpc.health.v1.Health/Check`.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::time;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Finding;
use super::dial::dial;

pub(super) async fn probe(target: &str, timeout: Duration) -> Finding {
    let (address, service) = target.split_once('/').unwrap_or((target, ""));
    match time::timeout(timeout, ask(address, service)).await {
        Ok(Ok(())) => Finding::passing(format!("gRPC check {target}: success")),
        Ok(Err(why)) => Finding::critical(why),
        Err(_) => {
            Finding::critical("rpc error: code = DeadlineExceeded desc = context deadline exceeded")
        }
    }
}

async fn ask(address: &str, service: &str) -> Result<(), String> {
    let unavailable = |why: String| {
        format!("rpc error: code = Unavailable desc = connection error: desc = \"{why}\"")
    };
    let stream = dial(address)
        .await
        .map_err(|e| unavailable(format!("transport: Error while dialing: {e}")))?;
    // The connection is made here, once and to an address that was looked at; the channel must not make its own.
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take();
        async move {
            stream
                .map(TokioIo::new)
                .ok_or_else(|| std::io::Error::other("connection lost"))
        }
    });
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .and_then(|endpoint| endpoint.user_agent(super::http::USER_AGENT))
        .map_err(|e| unavailable(e.to_string()))?
        .connect_with_connector(connector)
        .await
        .map_err(|e| unavailable(e.to_string()))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(_) => Err("gRPC application didn't report service healthy".to_owned()),
        Err(status) => Err(format!(
            "rpc error: code = {:?} desc = {}",
            status.code(),
            status.message()
        )),
    }
}
