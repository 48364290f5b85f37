//! Putting instances into a server, over the protocol whose clients would.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use crate::client::{Connection, request};

/// Connections that register.
const CONNECTIONS: usize = 16;

/// The registration of instance `index` of service `s-SERVICE` over Consul's HTTP API; `version` goes into its metadata.
pub fn consul(service: usize, index: usize, version: Option<usize>) -> Vec<u8> {
    let meta = version.map_or_else(String::new, |version| {
        format!(r#","Meta":{{"version":"{version}"}}"#)
    });
    let body = format!(
        r#"{{"Name":"s-{service}","ID":"s-{service}-{index}","Address":"10.{}.{}.{}","Port":8080,"Tags":["v1"]{meta}}}"#,
        service >> 8,
        service & 255,
        index & 255,
    );
    request(
        "PUT",
        "/v1/agent/service/register",
        "Content-Type: application/json\r\n",
        &body,
    )
}

/// The registration of instance `index` of application `app` over Eureka, with a lease that outlives the measurement.
pub fn eureka(app: usize, index: usize) -> Vec<u8> {
    let host = format!("host-{index}.app-{app}.example");
    let body = format!(
        r#"{{"instance":{{"instanceId":"{host}:8080","hostName":"{host}","app":"APP-{app}","ipAddr":"10.{}.{}.{}","vipAddress":"app-{app}","secureVipAddress":"app-{app}","status":"UP","port":{{"$":8080,"@enabled":"true"}},"securePort":{{"$":443,"@enabled":"false"}},"homePageUrl":"http://{host}:8080/","statusPageUrl":"http://{host}:8080/info","healthCheckUrl":"http://{host}:8080/health","dataCenterInfo":{{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}},"leaseInfo":{{"renewalIntervalInSecs":30,"durationInSecs":3600}},"metadata":{{"zone":"a","version":"1.0.{index}"}}}}}}"#,
        app >> 8,
        app & 255,
        index & 255,
    );
    request(
        "POST",
        &format!("/eureka/apps/APP-{app}"),
        "Content-Type: application/json\r\n",
        &body,
    )
}

/// Sends `count` requests, one at a time on each of 16 connections; every answer must be a success.
pub async fn send(
    address: SocketAddr,
    count: usize,
    make: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> Result<()> {
    let make = Arc::new(make);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (make, next) = (Arc::clone(&make), Arc::clone(&next));
        workers.push(tokio::spawn(async move {
            let mut connection = Connection::open(address).await?;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(());
                }
                let reply = connection.ask(&make(index)).await?;
                if !(200..300).contains(&reply.status) {
                    let text = String::from_utf8_lossy(reply.body);
                    bail!("registering was answered {}: {text}", reply.status);
                }
            }
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(())
}
