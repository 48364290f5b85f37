//! The gateway in a server's process: a table of behaviours over the wire, each with the bytes that went in and came out, then what needs more
//! than one request: retries, outliers, changes of the catalog, and the end of the server.

mod backend;
mod flow;
mod framing;
mod table;
mod wire;

use serde_json::{Value, json};

use crate::harness::server::Start;
use crate::harness::{Server, eventually, http};
use backend::Backend;

/// A server with its gateway open, and two instances of `web`.
struct Stage {
    server: Server,
    backends: Vec<Backend>,
}

impl Stage {
    fn new(arguments: &[&str]) -> Stage {
        let start = Start::default()
            .with("--listen")
            .with("gateway=127.0.0.1:0");
        let start = arguments.iter().fold(start, |start, one| start.with(*one));
        let mut stage = Stage {
            server: start.go(),
            backends: Vec::new(),
        };
        for _ in 0..2 {
            let backend = Backend::new();
            stage.register("web", &backend, json!({}));
            stage.backends.push(backend);
        }
        stage
    }

    fn gateway(&self) -> std::net::SocketAddr {
        self.server.address("gateway")
    }

    /// Registers an instance of a service, with whatever else is said of it.
    fn register(&self, service: &str, backend: &Backend, more: Value) {
        let mut body = json!({
            "Name": service,
            "ID": backend.id(service),
            "Address": backend.address.ip().to_string(),
            "Port": backend.address.port(),
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        self.consul("/v1/agent/service/register", &body);
    }

    /// Registers an address at which nobody listens: ports this low are given to nobody who does not ask for them.
    fn register_nobody(&self, service: &str, port: u16) {
        let id = format!("{service}-{port}");
        let body = json!({"Name": service, "ID": id, "Address": "127.0.0.1", "Port": port});
        self.consul("/v1/agent/service/register", &body);
    }

    fn deregister(&self, service: &str, backend: &Backend) {
        let path = format!("/v1/agent/service/deregister/{}", backend.id(service));
        self.consul(&path, &Value::Null);
    }

    fn consul(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let reply = http::call(self.server.address("consul"), "PUT", path, Some(&body)).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }

    fn route(&self, name: &str, body: &Value) -> u16 {
        let body = body.to_string();
        let path = format!("/v1/routes/{name}");
        let native = self.server.address("native");
        http::call(native, "PUT", &path, Some(&body))
            .unwrap()
            .status
    }

    /// Waits until a request is answered with this status: routes are in force a moment after they are written.
    fn until(&self, host: &str, path: &str, status: u16) -> wire::Answer {
        eventually(std::time::Duration::from_secs(20), || {
            let answer = wire::get(self.gateway(), host, path);
            match answer.status == status {
                true => Ok(answer),
                false => Err(format!(
                    "{} instead of {status}: {}",
                    answer.status, answer.head
                )),
            }
        })
        .unwrap()
    }

    /// A figure of `/metrics`, summed over its series whose labels hold `with`.
    fn figure(&self, name: &str, with: &str) -> f64 {
        let native = self.server.address("native");
        let text = http::call(native, "GET", "/metrics", None).unwrap().text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(with));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}
