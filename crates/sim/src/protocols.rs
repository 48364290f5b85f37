//! The front ends of the product, called in memory: the same requests and answers as over a socket, without one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use portolan_catalog::Protocol;
use portolan_listener::{BoxFuture, Request, RequestBody, Response, ServerContext, Settings};
use portolan_protocol_consul::ServerInfo;
use portolan_protocol_etcd::wire::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse,
};
use portolan_registry::Registry;
use prost::Message;
use serde_json::{Value, json};

/// The service that is registered through all of them.
pub(crate) const SERVICE: &str = "web";
/// The service of instances that are registered at an agent.
const OWNED: &str = "edge";
/// Where a Kitex service writes its record.
const KITEX: &str = "kitex/registry-etcd/web/";

/// A protocol that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spoken {
    Consul,
    Eureka,
    Etcd,
}

impl Spoken {
    pub(crate) const ALL: [Spoken; 3] = [Spoken::Consul, Spoken::Eureka, Spoken::Etcd];

    fn protocol(self) -> Protocol {
        match self {
            Spoken::Consul => Protocol::Consul,
            Spoken::Eureka => Protocol::Eureka,
            Spoken::Etcd => Protocol::Etcd,
        }
    }
}

/// An instance's address and port.
pub(crate) type Place = (String, u64);

type Service = Box<dyn Fn(Request) -> BoxFuture<Response> + Send + Sync>;

/// The front ends of one server.
pub(crate) struct Protocols {
    context: ServerContext,
    consul: Service,
    eureka: Service,
    etcd: Service,
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocols")
    }
}

/// What one protocol is asked.
struct Call {
    spoken: Spoken,
    method: Method,
    path: String,
    body: Bytes,
}

impl Protocols {
    /// Must be called in the server's runtime.
    pub(crate) fn new(registry: &Registry, name: &str) -> Protocols {
        let context = ServerContext::new(Settings::default());
        let info = ServerInfo {
            node_name: name.into(),
            ..ServerInfo::default()
        };
        let settings = portolan_protocol_etcd::Settings::default();
        Protocols {
            consul: Box::new(portolan_protocol_consul::service(
                &context,
                registry.clone(),
                info,
            )),
            eureka: Box::new(portolan_protocol_eureka::service(
                &context,
                registry.clone(),
                "127.0.0.1".to_owned(),
            )),
            etcd: Box::new(portolan_protocol_etcd::service(
                &context,
                registry.clone(),
                settings,
            )),
            context,
        }
    }

    /// Status and body; for etcd the message without its frame. None where the protocol said no.
    async fn call(&self, call: Call) -> Option<(StatusCode, Bytes)> {
        let etcd = call.spoken == Spoken::Etcd;
        let mut body = call.body;
        if etcd {
            let length = u32::try_from(body.len()).ok()?;
            let frame = [&[0][..], &length.to_be_bytes(), &body].concat();
            body = frame.into();
        }
        let kind = if etcd {
            "application/grpc"
        } else {
            "application/json"
        };
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(call.path)
            .header("host", "localhost")
            .header("accept", "application/json")
            .header("content-type", kind)
            .header("te", "trailers")
            .body(RequestBody::full(body))
            .ok()?;
        if etcd {
            *request.version_mut() = Version::HTTP_2;
        }
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let caller = self.context.caller(call.spoken.protocol(), peer);
        request.extensions_mut().insert(caller);
        let service = match call.spoken {
            Spoken::Consul => &self.consul,
            Spoken::Eureka => &self.eureka,
            Spoken::Etcd => &self.etcd,
        };
        let response = service(Box::new(request)).await;
        let status = response.status();
        let bytes = response.into_body().bytes().await.ok()?;
        if etcd {
            // An error has no message.
            let message = bytes.get(5..)?;
            return Some((status, bytes.slice_ref(message)));
        }
        Some((status, bytes))
    }

    /// Registers an instance; whether the server said that it did.
    pub(crate) async fn register(&self, spoken: Spoken, place: &Place) -> bool {
        let (address, port) = place;
        let call = match spoken {
            Spoken::Consul => Call {
                spoken,
                method: Method::PUT,
                path: "/v1/catalog/register".to_owned(),
                body: json!({
                    "Node": format!("node-{address}"), "Address": address,
                    "Service": {"ID": format!("web-{port}"), "Service": SERVICE, "Address": address, "Port": port},
                })
                .to_string()
                .into(),
            },
            Spoken::Eureka => Call {
                spoken,
                method: Method::POST,
                path: "/eureka/apps/web".to_owned(),
                body: json!({"instance": {
                    "instanceId": format!("{address}:{port}"), "hostName": address, "app": SERVICE, "ipAddr": address,
                    "vipAddress": SERVICE, "status": "UP", "port": {"$": port, "@enabled": "true"},
                    "dataCenterInfo": {
                        "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn",
                    },
                }})
                .to_string()
                .into(),
            },
            Spoken::Etcd => Call {
                spoken,
                method: Method::POST,
                path: "/etcdserverpb.KV/Put".to_owned(),
                body: PutRequest {
                    key: format!("{KITEX}{address}:{port}").into(),
                    value: json!({
                        "network": "tcp", "address": format!("{address}:{port}"), "weight": 10, "tags": null,
                    })
                    .to_string()
                    .into(),
                    ..PutRequest::default()
                }
                .encode_to_vec()
                .into(),
            },
        };
        let answer = self.call(call).await;
        answer.is_some_and(|(status, _)| status.is_success())
    }

    /// Removes it; whether the server said that it did, or that it was not there.
    pub(crate) async fn deregister(&self, spoken: Spoken, place: &Place) -> bool {
        let (address, port) = place;
        let call = match spoken {
            Spoken::Consul => Call {
                spoken,
                method: Method::PUT,
                path: "/v1/catalog/deregister".to_owned(),
                body:
                    json!({"Node": format!("node-{address}"), "ServiceID": format!("web-{port}")})
                        .to_string()
                        .into(),
            },
            Spoken::Eureka => Call {
                spoken,
                method: Method::DELETE,
                path: format!("/eureka/apps/web/{address}:{port}"),
                body: Bytes::new(),
            },
            Spoken::Etcd => Call {
                spoken,
                method: Method::POST,
                path: "/etcdserverpb.KV/DeleteRange".to_owned(),
                body: DeleteRangeRequest {
                    key: format!("{KITEX}{address}:{port}").into(),
                    ..DeleteRangeRequest::default()
                }
                .encode_to_vec()
                .into(),
            },
        };
        let answer = self.call(call).await;
        answer.is_some_and(|(status, _)| status.is_success())
    }

    /// Registers an instance at this node, which owns it from then on, or removes it; whether the node said that it did.
    pub(crate) async fn own(&self, place: &Place, register: bool) -> bool {
        let (address, port) = place;
        let id = format!("edge-{address}-{port}");
        let (path, body) = match register {
            true => (
                "/v1/agent/service/register".to_owned(),
                json!({"ID": id, "Name": OWNED, "Address": address, "Port": port}),
            ),
            false => (format!("/v1/agent/service/deregister/{id}"), Value::Null),
        };
        let call = Call {
            spoken: Spoken::Consul,
            method: Method::PUT,
            path,
            body: match body {
                Value::Null => Bytes::new(),
                body => body.to_string().into(),
            },
        };
        let answer = self.call(call).await;
        answer.is_some_and(|(status, _)| status.is_success())
    }

    /// What is registered at nodes, by this node; none where it does not answer.
    pub(crate) async fn owned(&self) -> Option<BTreeSet<Place>> {
        let call = Call {
            spoken: Spoken::Consul,
            method: Method::GET,
            path: format!("/v1/catalog/service/{OWNED}"),
            body: Bytes::new(),
        };
        let (status, bytes) = self.call(call).await?;
        match status.is_success() {
            true => consul_places(&bytes),
            false => None,
        }
    }

    /// The instances that a protocol lists; none where its answer cannot be read.
    pub(crate) async fn list(&self, spoken: Spoken) -> Option<BTreeSet<Place>> {
        let (method, path, body) = match spoken {
            Spoken::Consul => (Method::GET, "/v1/catalog/service/web?stale", Bytes::new()),
            Spoken::Eureka => (Method::GET, "/eureka/apps/web", Bytes::new()),
            Spoken::Etcd => {
                let range = RangeRequest {
                    key: KITEX.into(),
                    range_end: "kitex/registry-etcd/web0".into(),
                    serializable: true,
                    ..RangeRequest::default()
                };
                let body = range.encode_to_vec().into();
                (Method::POST, "/etcdserverpb.KV/Range", body)
            }
        };
        let call = Call {
            spoken,
            method,
            path: path.to_owned(),
            body,
        };
        let (status, bytes) = self.call(call).await?;
        match spoken {
            Spoken::Consul if status.is_success() => consul_places(&bytes),
            Spoken::Eureka if status == StatusCode::NOT_FOUND => Some(BTreeSet::new()),
            Spoken::Eureka if status.is_success() => eureka_places(&bytes),
            Spoken::Etcd if status.is_success() => etcd_places(&bytes),
            _ => None,
        }
    }
}

fn consul_places(bytes: &[u8]) -> Option<BTreeSet<Place>> {
    let rows: Vec<Value> = serde_json::from_slice(bytes).ok()?;
    rows.iter()
        .map(|row| {
            let address = row["ServiceAddress"].as_str()?.to_owned();
            Some((address, row["ServicePort"].as_u64()?))
        })
        .collect()
}

fn eureka_places(bytes: &[u8]) -> Option<BTreeSet<Place>> {
    let answer: Value = serde_json::from_slice(bytes).ok()?;
    let instances = answer["application"]["instance"].as_array()?;
    instances
        .iter()
        .map(|one| {
            let address = one["ipAddr"].as_str()?.to_owned();
            Some((address, one["port"]["$"].as_u64()?))
        })
        .collect()
}

fn etcd_places(bytes: &[u8]) -> Option<BTreeSet<Place>> {
    let answer = RangeResponse::decode(bytes).ok()?;
    answer
        .kvs
        .iter()
        .map(|row| {
            let record: Value = serde_json::from_slice(&row.value).ok()?;
            let (address, port) = record["address"].as_str()?.rsplit_once(':')?;
            Some((address.to_owned(), port.parse().ok()?))
        })
        .collect()
}
