//! Spring Cloud Alibaba applications whose Nacos is a Portolan server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Server, clients, eventually, http, same, server::free_address, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(90);

/// An application. Ends with the test.
struct Application {
    child: Child,
    address: SocketAddr,
}

impl Application {
    fn start(name: &str, nacos: SocketAddr, folder: &Path) -> Result<Application, String> {
        let address = free_address();
        let command = clients::command("spring-nacos")?;
        let log = fs::File::create(folder.join(format!("{name}.log")))
            .map_err(|error| error.to_string())?;
        let child = Command::new(&command[0])
            .args(&command[1..])
            .args([
                format!("--spring.application.name={name}"),
                format!("--server.address={}", address.ip()),
                format!("--server.port={}", address.port()),
                format!("--spring.config.import=nacos:{name}.properties?refreshEnabled=true"),
                format!("--spring.cloud.nacos.server-addr={nacos}"),
                format!("--spring.cloud.nacos.discovery.ip={}", address.ip()),
            ])
            // Its client keeps files in the user's home.
            .env("HOME", folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("spring-nacos: {error}"))?;
        Ok(Application { child, address })
    }

    fn get(&self, path: &str) -> Result<String, String> {
        let reply = http::call(self.address, "GET", path, None)?;
        match reply.status {
            200 => Ok(reply.text()),
            status => Err(format!("{path}: {status} {}", reply.text())),
        }
    }

    fn until(&self, path: &str, expected: &str) {
        eventually(SOON, || same(self.get(path)?.as_str(), expected))
            .unwrap_or_else(|why| panic!("{path}: {why}"));
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.kill();
    }
}

fn publish(nacos: SocketAddr, name: &str, greeting: &str) {
    let path = format!(
        "/nacos/v1/cs/configs?dataId={name}.properties&group=DEFAULT_GROUP&type=properties&content=greeting%3D{greeting}"
    );
    let reply = http::call(nacos, "POST", &path, None).unwrap();
    assert_eq!(reply.text(), "true", "{}", reply.status);
}

#[test]
fn applications_are_configured_and_find_each_other() {
    need_binary!();
    if let Err(why) = clients::command("spring-nacos") {
        return tally::skip_test("soak: Spring Cloud Alibaba", &why, 1);
    }
    let mut server = Server::start();
    let nacos = server.address("nacos");
    publish(nacos, "shop", "hello");
    publish(nacos, "cart", "moin");
    let folder = tempfile::tempdir().unwrap();
    let shop = Application::start("shop", nacos, folder.path()).unwrap();
    let mut cart = Application::start("cart", nacos, folder.path()).unwrap();
    shop.until("/greeting", "hello");
    cart.until("/greeting", "moin");
    println!("configuration is read at the start");

    publish(nacos, "shop", "hola");
    shop.until("/greeting", "hola");
    println!("configuration is refreshed");

    let own = |application: &Application| format!("[\"{}\"]", application.address);
    shop.until("/instances/cart", &own(&cart));
    cart.until("/instances/shop", &own(&shop));
    cart.until("/calls/shop", "hola");
    shop.until("/calls/cart", "moin");
    println!("applications call each other by name");

    // What another protocol knows is found, and what Spring registers is known to it.
    let consul = server.address("consul");
    let found = http::get_json(consul, "/v1/health/service/shop?passing").unwrap();
    assert_eq!(
        found[0]["Service"]["Port"],
        json!(shop.address.port()),
        "{found}"
    );
    let body = json!({ "Name": "mail", "Address": "10.3.0.1", "Port": 25 }).to_string();
    let reply = http::call(consul, "PUT", "/v1/agent/service/register", Some(&body)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    shop.until("/instances/mail", "[\"10.3.0.1:25\"]");
    println!("other protocols see them, and are seen");

    server.start_again();
    publish(nacos, "shop", "salut");
    shop.until("/greeting", "salut");
    cart.until("/calls/shop", "salut");
    eventually(SOON, || {
        let rows = http::get_json(consul, "/v1/health/service/cart?passing")?;
        same(&rows.as_array().map_or(0, Vec::len), &1)
    })
    .unwrap();
    println!("the server died");

    cart.kill();
    shop.until("/instances/cart", "[]");
    println!("who is killed is gone");
}
