//! Raw xDS: what a stream says of the instances of a service.

use std::net::SocketAddr;
use std::time::Duration;

use portolan_protocol_xds::wire::core::HealthStatus;
use portolan_protocol_xds::wire::discovery::{DiscoveryRequest, DiscoveryResponse};
use portolan_protocol_xds::wire::endpoint::ClusterLoadAssignment;
use portolan_protocol_xds::wire::{ASSIGNMENT, CLUSTER};
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::etcd;

const ADS: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The instances in the assignment of a service, as `address:port` and status; none may be there without a cluster of that name.
pub fn assignment(
    address: SocketAddr,
    service: &str,
) -> Result<Vec<(String, HealthStatus)>, String> {
    etcd::runtime().block_on(async {
        let limit = Duration::from_secs(20);
        let asked = asked(address, service);
        let answer = tokio::time::timeout(limit, asked).await;
        answer.map_err(|_| "no response in time".to_owned())?
    })
}

async fn asked(address: SocketAddr, service: &str) -> Result<Vec<(String, HealthStatus)>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| words(&error))?
        .connect()
        .await
        .map_err(|error| words(&error))?;
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| words(&error))?;
    let requests = [CLUSTER, ASSIGNMENT].map(|kind| DiscoveryRequest {
        type_url: kind.to_owned(),
        resource_names: vec![service.to_owned()],
        ..DiscoveryRequest::default()
    });
    let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
    let stream = tonic::Request::new(tokio_stream::iter(requests));
    let answers = grpc
        .streaming(stream, ADS.parse().expect("a path"), codec)
        .await;
    let mut answers = answers.map_err(|error| words(&error))?.into_inner();
    let mut next = async || {
        let answer = answers.message().await.map_err(|error| words(&error))?;
        answer.ok_or_else(|| "the stream ended".to_owned())
    };
    let clusters = next().await?.resources.len();
    let assignments = next().await?;
    let one = assignments.resources.first().ok_or("no assignment")?;
    let one = ClusterLoadAssignment::decode(one.value.clone()).map_err(|error| words(&error))?;
    let mut found = Vec::new();
    for endpoint in one.endpoints.iter().flat_map(|place| &place.lb_endpoints) {
        let socket = endpoint
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.address.as_ref()?.socket_address.as_ref())
            .ok_or("an endpoint without an address")?;
        let address = format!("{}:{}", socket.address, socket.port_value);
        found.push((address, endpoint.health_status()));
    }
    match clusters {
        0 if !found.is_empty() => Err(format!("instances without a cluster: {found:?}")),
        _ => Ok(found),
    }
}
