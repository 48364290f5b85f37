//! Nacos' own clients, unmodified, doing what they do every day; over the death of the server as well.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Driver, Server, eventually, http, same, tally};
use crate::need_binary;

/// Clients that beat or poll take a few rounds; the slowest waits ten seconds between two.
const SOON: Duration = Duration::from_secs(60);

/// One client program and the server it talks to.
struct Client {
    driver: Driver,
    addr: String,
}

impl Client {
    fn call(&mut self, op: &str, mut arguments: Value) -> Result<Value, String> {
        arguments["addr"] = json!(self.addr);
        arguments["group"] = json!("DEFAULT_GROUP");
        self.driver.call(op, arguments)
    }

    fn list(&mut self, service: &str) -> Result<Value, String> {
        self.call("list", json!({ "service": service }))
    }

    fn seen(&mut self, service: &str) -> Result<Value, String> {
        self.call("seen", json!({ "service": service }))
    }

    /// What its listener heard last.
    fn heard(&mut self, data: &str) -> Result<Value, String> {
        let all = self.call("heard", json!({ "data": data }))?;
        Ok(all
            .as_array()
            .and_then(|all| all.last().cloned())
            .unwrap_or(Value::Null))
    }
}

/// The addresses that Consul shows of a service.
fn consul(server: &Server, service: &str) -> Result<Value, String> {
    let rows = http::get_json(
        server.address("consul"),
        &format!("/v1/health/service/{service}?passing"),
    )?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    let addresses = rows.iter().map(|row| {
        let service = &row["Service"];
        json!(format!(
            "{}:{}",
            service["Address"].as_str().unwrap_or_default(),
            service["Port"]
        ))
    });
    Ok(addresses.collect())
}

fn register_with_consul(server: &Server, name: &str, host: &str, port: u16) {
    let body = json!({ "Name": name, "ID": format!("{name}-{host}-{port}"), "Address": host, "Port": port });
    let reply = http::call(
        server.address("consul"),
        "PUT",
        "/v1/agent/service/register",
        Some(&body.to_string()),
    )
    .unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Registers, finds, is pushed to, publishes, listens, survives the server, leaves. `removes`: its listener is told of a removal.
fn everyday(name: &str) {
    need_binary!();
    let driver = match Driver::start(name) {
        Ok(driver) => driver,
        Err(why) => return tally::skip_test(&format!("nacos: {name}"), &why, 1),
    };
    let mut server = Server::start();
    let mut client = Client {
        driver,
        addr: server.address("nacos").to_string(),
    };
    let own = json!({ "service": "shop", "ip": "10.8.0.1", "port": 8080, "metadata": { "version": "1" } });
    client.call("register", own.clone()).unwrap();
    eventually(SOON, || {
        same(&client.list("shop")?, &json!(["10.8.0.1:8080"]))
    })
    .unwrap();
    eventually(SOON, || {
        same(&consul(&server, "shop")?, &json!(["10.8.0.1:8080"]))
    })
    .unwrap();

    // What another protocol registers comes by itself, and goes so.
    client
        .call("subscribe", json!({ "service": "cart" }))
        .unwrap();
    register_with_consul(&server, "cart", "10.8.0.2", 80);
    eventually(SOON, || {
        same(&client.seen("cart")?, &json!(["10.8.0.2:80"]))
    })
    .unwrap();
    register_with_consul(&server, "cart", "10.8.0.3", 80);
    eventually(SOON, || {
        same(
            &client.seen("cart")?,
            &json!(["10.8.0.2:80", "10.8.0.3:80"]),
        )
    })
    .unwrap();

    // Configuration, with what is not plain ASCII in it.
    let config = |content: &str| json!({ "data": "app.yaml", "content": content });
    client.call("publish", config("greeting: Grüße")).unwrap();
    eventually(SOON, || {
        same(&client.call("get", config(""))?, &json!("greeting: Grüße"))
    })
    .unwrap();
    client.call("listen", config("")).unwrap();
    let publish = |server: &Server, content: &str| {
        let reply = http::call(
            server.address("nacos"),
            "POST",
            &format!("/nacos/v1/cs/configs?dataId=app.yaml&group=DEFAULT_GROUP&content={content}"),
            None,
        )
        .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    publish(&server, "second");
    eventually(SOON, || same(&client.heard("app.yaml")?, &json!("second"))).unwrap();

    // The server dies and comes back: registrations, subscriptions and listeners are there again.
    server.start_again();
    eventually(SOON, || {
        same(&client.list("shop")?, &json!(["10.8.0.1:8080"]))
    })
    .unwrap();
    register_with_consul(&server, "cart", "10.8.0.4", 80);
    eventually(SOON, || {
        let all = json!(["10.8.0.2:80", "10.8.0.3:80", "10.8.0.4:80"]);
        same(&client.seen("cart")?, &all)
    })
    .unwrap();
    publish(&server, "third");
    eventually(SOON, || same(&client.heard("app.yaml")?, &json!("third"))).unwrap();

    client.call("deregister", own).unwrap();
    eventually(SOON, || same(&consul(&server, "shop")?, &json!([]))).unwrap();
    client.call("remove", config("")).unwrap();
    let gone = http::call(
        server.address("nacos"),
        "GET",
        "/nacos/v1/cs/configs?dataId=app.yaml&group=DEFAULT_GROUP",
        None,
    )
    .unwrap();
    assert_eq!(gone.status, 404);

    // An instance of a process that dies goes: with its connection at once, with its beats within half a minute.
    client
        .call(
            "register",
            json!({ "service": "brief", "ip": "10.8.0.9", "port": 80 }),
        )
        .unwrap();
    eventually(SOON, || {
        same(&consul(&server, "brief")?, &json!(["10.8.0.9:80"]))
    })
    .unwrap();
    drop(client);
    eventually(SOON, || same(&consul(&server, "brief")?, &json!([]))).unwrap();
}

#[test]
fn java_2() {
    everyday("nacos-java-2");
}

#[test]
fn java_3() {
    everyday("nacos-java-3");
}

#[test]
fn go() {
    everyday("nacos-go");
}

#[test]
fn python() {
    everyday("nacos-python");
}

#[test]
fn npm() {
    everyday("nacos-node");
}
