//! Who registers: each client by the calls its users make.

use serde_json::json;

use super::Site;
use super::layouts::Layout;
use crate::harness::{Driver, clients, eureka, eventually, http};

/// One way to register an instance and to lead it through its life.
pub(crate) trait Registrant {
    fn name(&self) -> &str;
    /// Whether its client is installed; the error is the word for the skip.
    fn available(&self) -> Result<(), String>;
    /// The layout whose record it writes itself.
    fn native(&self) -> Option<Layout> {
        None
    }
    /// Whether it writes a znode itself.
    fn writes_znode(&self) -> bool {
        false
    }
    /// Whether its instance belongs to a connection.
    fn bound(&self) -> bool {
        false
    }
    fn register(&mut self, site: &mut Site) -> Result<(), String>;
    fn fail(&mut self, site: &mut Site) -> Result<(), String> {
        override_status(site, Some("DOWN"))
    }
    fn recover(&mut self, site: &mut Site) -> Result<(), String> {
        override_status(site, None)
    }
    fn maintain(&mut self, site: &mut Site) -> Result<(), String> {
        override_status(site, Some("OUT_OF_SERVICE"))
    }
    fn lift(&mut self, site: &mut Site) -> Result<(), String> {
        override_status(site, None)
    }
    fn leave(&mut self, site: &mut Site) -> Result<(), String>;
}

/// An operator sets or clears the status of the instance through Eureka. Clients whose protocol has no word for "unwell" or "out of
/// service" are led through these stages that way.
fn override_status(site: &mut Site, status: Option<&str>) -> Result<(), String> {
    let address = site.server.address("eureka");
    let service = site.service.clone();
    let seen = eureka::app(address, &service)?;
    let id = &seen
        .first()
        .ok_or_else(|| format!("Eureka shows no instance of {service}"))?
        .id;
    let id: String = id
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._:".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let (method, value) = match status {
        Some(status) => ("PUT", status),
        None => ("DELETE", "UP"),
    };
    let reply = http::call(
        address,
        method,
        &format!("/eureka/apps/{service}/{id}/status?value={value}"),
        None,
    )?;
    if reply.status == 200 {
        Ok(())
    } else {
        Err(format!(
            "{method} status: {} {}",
            reply.status,
            reply.text()
        ))
    }
}

/// A Consul client of some language, with a TTL check.
#[derive(Debug)]
pub(crate) struct ConsulClient {
    name: &'static str,
    language: &'static str,
}

impl ConsulClient {
    pub(crate) fn new(name: &'static str, language: &'static str) -> Self {
        ConsulClient { name, language }
    }

    fn call(
        &self,
        site: &mut Site,
        op: &str,
        mut arguments: serde_json::Value,
    ) -> Result<(), String> {
        arguments["addr"] = json!(site.at("consul"));
        site.driver(self.language)?.call(op, arguments).map(drop)
    }

    fn report(&self, site: &mut Site, status: &str) -> Result<(), String> {
        let check = format!("service:{}-1", site.service);
        self.call(
            site,
            "consul.ttl",
            json!({ "check": check, "status": status, "output": format!("{status} by hand") }),
        )
    }
}

impl Registrant for ConsulClient {
    fn name(&self) -> &str {
        self.name
    }

    fn available(&self) -> Result<(), String> {
        clients::program(self.language).map(drop)
    }

    fn register(&mut self, site: &mut Site) -> Result<(), String> {
        let arguments = json!({
            "name": site.service, "service": format!("{}-1", site.service), "address": site.host, "port": site.port,
            "tags": ["v1"], "ttl": "300s",
        });
        self.call(site, "consul.register", arguments)?;
        self.report(site, "pass")
    }

    fn fail(&mut self, site: &mut Site) -> Result<(), String> {
        self.report(site, "fail")
    }

    fn recover(&mut self, site: &mut Site) -> Result<(), String> {
        self.report(site, "pass")
    }

    fn maintain(&mut self, site: &mut Site) -> Result<(), String> {
        let service = format!("{}-1", site.service);
        self.call(
            site,
            "consul.maintenance",
            json!({ "service": service, "enable": true, "reason": "new disk" }),
        )
    }

    fn lift(&mut self, site: &mut Site) -> Result<(), String> {
        let service = format!("{}-1", site.service);
        self.call(
            site,
            "consul.maintenance",
            json!({ "service": service, "enable": false, "reason": "" }),
        )
    }

    fn leave(&mut self, site: &mut Site) -> Result<(), String> {
        let service = format!("{}-1", site.service);
        self.call(site, "consul.deregister", json!({ "service": service }))
    }
}

/// A program that writes its own record into etcd, under a lease that it keeps alive.
#[derive(Debug)]
pub(crate) struct EtcdClient {
    name: &'static str,
    layout: Layout,
    by_command: bool,
    key: String,
}

impl EtcdClient {
    fn new(name: &'static str, layout: Layout) -> Self {
        EtcdClient {
            name,
            layout,
            by_command: false,
            key: String::new(),
        }
    }

    /// Kitex' record, by its published form.
    pub(crate) fn kitex() -> Self {
        Self::new("clientv3 kitex", Layout::Kitex)
    }

    /// A plain `/services/{service}/{address}` key, as tutorials write it; no flag switches its layout on.
    pub(crate) fn services() -> Self {
        Self::new("clientv3 services", Layout::Services)
    }

    /// go-zero's own publisher.
    pub(crate) fn go_zero() -> Self {
        Self::new("go-zero discov", Layout::GoZero)
    }

    /// gRPC-Go's naming manager.
    pub(crate) fn grpc_naming() -> Self {
        Self::new("clientv3 naming", Layout::GrpcNaming)
    }

    /// etcdctl, writing Kitex' record.
    pub(crate) fn etcdctl() -> Self {
        EtcdClient {
            by_command: true,
            ..Self::new("etcdctl", Layout::Kitex)
        }
    }

    fn kitex_value(address: &str) -> String {
        json!({ "network": "tcp", "address": address, "weight": 10, "tags": null }).to_string()
    }
}

impl Registrant for EtcdClient {
    fn name(&self) -> &str {
        self.name
    }

    fn available(&self) -> Result<(), String> {
        if self.by_command {
            clients::program("etcdctl").map(drop)
        } else {
            Ok(())
        }
    }

    fn native(&self) -> Option<Layout> {
        Some(self.layout)
    }

    fn register(&mut self, site: &mut Site) -> Result<(), String> {
        let (at, address, service) = (site.at("etcd"), site.address(), site.service.clone());
        self.key = format!(
            "{}/{address}",
            self.layout.prefix(&service).trim_end_matches('/')
        );
        if self.by_command {
            let endpoint = format!("--endpoints={at}");
            let granted = clients::run("etcdctl", &[&endpoint, "lease", "grant", "600"])?;
            // `lease 694d9f0 granted with TTL(600s)`
            let lease = granted
                .split_whitespace()
                .nth(1)
                .ok_or_else(|| format!("etcdctl lease grant said {granted:?}"))?;
            return clients::run(
                "etcdctl",
                &[
                    &endpoint,
                    "put",
                    &self.key,
                    &Self::kitex_value(&address),
                    &format!("--lease={lease}"),
                ],
            )
            .map(drop);
        }
        match self.layout {
            Layout::Kitex => site.go.call("kitex.register", json!({ "addr": at, "service": service, "address": address, "weight": 10, "ttl": 60 })),
            Layout::GoZero => site.go.call("gozero.publish", json!({ "addr": at, "key": service, "value": address })),
            Layout::GrpcNaming => {
                site.go.call("naming.add", json!({ "addr": at, "target": service, "key": address, "address": address }))
            }
            Layout::Services | Layout::Kratos => site.go.call("etcd.put", json!({ "addr": at, "key": self.key, "value": "{}", "ttl": 60 })),
        }
        .map(drop)
    }

    fn leave(&mut self, site: &mut Site) -> Result<(), String> {
        let (at, address) = (site.at("etcd"), site.address());
        if self.by_command {
            let said = clients::run("etcdctl", &[&format!("--endpoints={at}"), "del", &self.key])?;
            return if said.trim() == "1" {
                Ok(())
            } else {
                Err(format!("etcdctl del said {said:?}"))
            };
        }
        if self.layout == Layout::GoZero {
            return site
                .go
                .call(
                    "gozero.stop",
                    json!({ "addr": at, "key": site.service, "value": address }),
                )
                .map(drop);
        }
        let done = site
            .go
            .call("etcd.delete", json!({ "addr": at, "key": self.key }))?;
        if done["deleted"] == 1 {
            Ok(())
        } else {
            Err(format!("delete of {:?} answered {done}", self.key))
        }
    }
}

/// A Eureka client of some language, with its heartbeat.
#[derive(Debug)]
pub(crate) struct EurekaClient {
    name: &'static str,
    language: &'static str,
}

impl EurekaClient {
    pub(crate) fn new(name: &'static str, language: &'static str) -> Self {
        EurekaClient { name, language }
    }

    fn call(
        &self,
        site: &mut Site,
        op: &str,
        mut arguments: serde_json::Value,
    ) -> Result<(), String> {
        arguments["addr"] = json!(site.eureka_url());
        arguments["app"] = json!(site.service);
        arguments["instance"] = json!(format!("h1:{}:{}", site.service, site.port));
        site.driver(self.language)?.call(op, arguments).map(drop)
    }
}

impl Registrant for EurekaClient {
    fn name(&self) -> &str {
        self.name
    }

    fn available(&self) -> Result<(), String> {
        clients::program(self.language).map(drop)
    }

    fn register(&mut self, site: &mut Site) -> Result<(), String> {
        let arguments = json!({ "host": "h1.example", "ip": site.host, "port": site.port });
        self.call(site, "eureka.register", arguments)
    }

    fn fail(&mut self, site: &mut Site) -> Result<(), String> {
        match self.language {
            "node" => override_status(site, Some("DOWN")),
            _ => self.call(site, "eureka.status", json!({ "status": "DOWN" })),
        }
    }

    fn recover(&mut self, site: &mut Site) -> Result<(), String> {
        match self.language {
            "node" => override_status(site, None),
            _ => self.call(site, "eureka.status", json!({ "status": "UP" })),
        }
    }

    fn maintain(&mut self, site: &mut Site) -> Result<(), String> {
        match self.language {
            "python" => self.call(
                site,
                "eureka.override",
                json!({ "status": "OUT_OF_SERVICE" }),
            ),
            _ => override_status(site, Some("OUT_OF_SERVICE")),
        }
    }

    fn lift(&mut self, site: &mut Site) -> Result<(), String> {
        if self.language != "python" {
            return override_status(site, None);
        }
        // The library clears without a value: the next renewal is answered 404 and the library registers again.
        self.call(site, "eureka.clear", json!({}))?;
        let (address, service) = (site.server.address("eureka"), site.service.clone());
        eventually(super::POLLED, || {
            match eureka::app(address, &service)?.first() {
                Some(one) if one.status == "UP" => Ok(()),
                other => Err(format!(
                    "not registered again after the override was cleared: {other:?}"
                )),
            }
        })
    }

    fn leave(&mut self, site: &mut Site) -> Result<(), String> {
        self.call(site, "eureka.cancel", json!({}))
    }
}

/// kazoo, writing an ephemeral node as Curator's discovery does. Curator itself deletes and creates its node again when it comes back to a
/// server, so that every reader sees it go and come: it looks, and registers in a test of its own.
#[derive(Debug)]
pub(crate) struct ZooKeeperClient;

impl ZooKeeperClient {
    fn call(&self, site: &mut Site, operation: &str) -> Result<(), String> {
        let arguments = json!({
            "addr": site.at("zookeeper"), "service": site.service, "instance": format!("{}-1", site.service), "host": site.host,
            "port": site.port,
        });
        site.driver("python")?.call(operation, arguments).map(drop)
    }
}

impl Registrant for ZooKeeperClient {
    fn name(&self) -> &str {
        "kazoo"
    }

    fn available(&self) -> Result<(), String> {
        clients::command("python").map(drop)
    }

    fn writes_znode(&self) -> bool {
        true
    }

    fn register(&mut self, site: &mut Site) -> Result<(), String> {
        self.call(site, "kazoo.register")
    }

    fn leave(&mut self, site: &mut Site) -> Result<(), String> {
        self.call(site, "kazoo.unregister")
    }
}

/// A Nacos client of some language: over HTTP with beats, or over a gRPC connection.
#[derive(Debug)]
pub(crate) struct NacosClient {
    name: &'static str,
    program: &'static str,
    driver: Option<Driver>,
}

impl NacosClient {
    pub(crate) fn new(name: &'static str, program: &'static str) -> Self {
        NacosClient {
            name,
            program,
            driver: None,
        }
    }

    fn call(&mut self, site: &Site, op: &str) -> Result<(), String> {
        let arguments = json!({
            "addr": site.at("nacos"), "service": site.service, "group": "DEFAULT_GROUP",
            "ip": site.host, "port": site.port,
        });
        let driver = self.driver.as_mut().ok_or("not registered yet")?;
        driver.call(op, arguments).map(drop)
    }
}

impl Registrant for NacosClient {
    fn name(&self) -> &str {
        self.name
    }

    fn available(&self) -> Result<(), String> {
        clients::program(self.program).map(drop)
    }

    fn bound(&self) -> bool {
        self.program == "nacos-go"
    }

    fn register(&mut self, site: &mut Site) -> Result<(), String> {
        self.driver = Some(Driver::start(self.program)?);
        self.call(site, "register")
    }

    fn leave(&mut self, site: &mut Site) -> Result<(), String> {
        self.call(site, "deregister")
    }
}
