//! Dubbo's providers and consumers, each with a registry of its own, which are ports of one server.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Driver, Server, clients, eventually, same, server::free_address, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(90);

/// A registry's URL.
fn registry(server: &Server, kind: &str) -> String {
    format!("{kind}://{}", server.address(kind))
}

/// Whether a consumer of one registry reaches the provider of another, and misses it when it is gone.
fn meet(server: &Server, from: &str, to: &str, mode: &str) {
    let (mut provider, mut consumer) = (
        Driver::start("dubbo").unwrap(),
        Driver::start("dubbo").unwrap(),
    );
    let name = format!("shop-{to}-{mode}");
    let (provided, asked) = (registry(server, to), registry(server, from));
    let provide =
        json!({ "name": name, "registry": provided, "mode": mode, "port": free_address().port() });
    provider.call("dubbo.provide", provide).unwrap();
    let refer = json!({ "name": format!("visitor-{from}-{mode}"), "registry": asked, "mode": mode, "provided_by": name });
    consumer.call("dubbo.refer", refer).unwrap();
    let expected = json!(format!("{name} greets Ann"));
    let mut greet = || consumer.call("dubbo.call", json!({ "who": "Ann" }));
    eventually(SOON, || same(&greet()?, &expected))
        .unwrap_or_else(|why| panic!("{from} to {to} by {mode}: {why}"));
    // A process that dies is missed.
    drop(provider);
    eventually(SOON, || match greet() {
        Err(why) if why.contains("No provider") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap_or_else(|why| panic!("{from} to {to} by {mode}, dead: {why}"));
    println!("a consumer on {from} called a provider on {to}, by {mode}");
}

#[test]
fn providers_and_consumers_meet() {
    need_binary!();
    if let Err(why) = clients::command("dubbo") {
        return tally::skip_test("soak: Dubbo", &why, 1);
    }
    for mode in ["instance", "interface"] {
        for (from, to) in [
            ("zookeeper", "zookeeper"),
            ("nacos", "nacos"),
            ("zookeeper", "nacos"),
            ("nacos", "zookeeper"),
        ] {
            meet(&Server::start(), from, to, mode);
        }
    }
}
