//! The crosswise table: registered through each client, seen through every other protocol, at every stage of a service's life.
//!
//! One test per registrant, one row per stage, one column per way to look. Each cell asserts what is shown; where the model says that
//! something cannot be shown (a key that a client wrote itself is never hidden, nothing of it enters Consul's own keys), the cell
//! asserts that. Cells are counted one by one.

mod dns;
mod layouts;
mod observers;
mod registrants;

use std::time::Duration;

use crate::harness::server::Start;
use crate::harness::tally::{self, Table};
use crate::harness::{Driver, Server, unique};
use crate::need_binary;

use layouts::Layout;
use observers::{COLUMNS, Observers};
use registrants::{
    ConsulClient, EtcdClient, EurekaClient, NacosClient, Registrant, ZooKeeperClient,
};

/// What is to be seen of the one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Up,
    Critical,
    Maintenance,
    Gone,
}

/// The server, the instance that is registered, and the client programs of one test.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) service: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The Go clients: they look, whoever registers.
    pub(crate) go: Driver,
    pub(crate) python: Result<Driver, String>,
    pub(crate) node: Result<Driver, String>,
    pub(crate) java: Result<Driver, String>,
    pub(crate) curator: Result<Driver, String>,
}

impl Site {
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn at(&self, protocol: &str) -> String {
        self.server.address(protocol).to_string()
    }

    pub(crate) fn eureka_url(&self) -> String {
        format!("http://{}/eureka/", self.server.address("eureka"))
    }

    /// The driver of a language.
    pub(crate) fn driver(&mut self, language: &str) -> Result<&mut Driver, String> {
        match language {
            "go" => Ok(&mut self.go),
            "python" => self.python.as_mut().map_err(|why| why.clone()),
            "node" => self.node.as_mut().map_err(|why| why.clone()),
            "curator" => self.curator.as_mut().map_err(|why| why.clone()),
            "java" => self.java.as_mut().map_err(|why| why.clone()),
            other => Err(format!("no driver for {other}")),
        }
    }
}

type Step = fn(&mut dyn Registrant, &mut Site) -> Result<(), String>;

/// The life of the instance: what is done, and what everybody must see then.
const LIFE: [(&str, Shown, Step); 7] = [
    ("registered", Shown::Up, |one, site| one.register(site)),
    ("critical", Shown::Critical, |one, site| one.fail(site)),
    ("recovered", Shown::Up, |one, site| one.recover(site)),
    ("maintenance", Shown::Maintenance, |one, site| {
        one.maintain(site)
    }),
    ("back in service", Shown::Up, |one, site| one.lift(site)),
    ("kill -9 and restart", Shown::Up, |_, site| {
        site.server.start_again();
        Ok(())
    }),
    ("deregistered", Shown::Gone, |one, site| one.leave(site)),
];

fn tell(mut registrant: impl Registrant) {
    need_binary!();
    let suite = format!("crosswise {}", registrant.name());
    let cells = LIFE.len() * (COLUMNS + 1);
    let go = match Driver::start("go") {
        Ok(go) => go,
        Err(why) => return tally::skip_test(&suite, &why, cells),
    };
    if let Err(why) = registrant.available() {
        return tally::skip_test(&suite, &why, cells);
    }
    let number = unique();
    let service = format!(
        "shop-{}",
        registrant
            .name()
            .replace([' ', '.', '/'], "-")
            .trim_matches('-')
            .to_ascii_lowercase()
    );
    let start = layouts::configured(&service, registrant.native() == Some(Layout::GrpcNaming))
        .into_iter()
        .fold(Start::default(), Start::with);
    let mut site = Site {
        server: start.go(),
        host: format!("10.77.{}.{}", number / 200, number % 200 + 1),
        port: 8080,
        go,
        python: Driver::start("python"),
        node: Driver::start("node"),
        java: Driver::start("java"),
        curator: Driver::start("curator"),
        service,
    };
    let mut table = Table::new(&suite);
    let mut observers =
        match Observers::open(&mut site, registrant.native(), registrant.writes_znode()) {
            Ok(observers) => observers,
            Err(why) => {
                table.cell("before", "watches open", Err(why));
                return table.finish();
            }
        };
    observers.bound = registrant.bound();
    for (stage, shown, step) in LIFE {
        let before = observers.before(&mut site);
        let done = step(&mut registrant, &mut site);
        let failed = done.is_err();
        table.cell(stage, "the client's own call", done);
        if failed {
            break;
        }
        observers.look(&mut site, stage, shown, before, &mut table);
    }
    table.finish();
}

/// How long a client that polls once a second may take to see a change.
pub(crate) const POLLED: Duration = Duration::from_secs(60);

#[test]
fn consul_go_api() {
    tell(ConsulClient::new("Consul Go api", "go"));
}

#[test]
fn consul_python() {
    tell(ConsulClient::new("python-consul", "python"));
}

#[test]
fn consul_npm() {
    tell(ConsulClient::new("npm consul", "node"));
}

#[test]
fn etcd_kitex() {
    tell(EtcdClient::kitex());
}

#[test]
fn etcd_services() {
    tell(EtcdClient::services());
}

#[test]
fn etcd_go_zero() {
    tell(EtcdClient::go_zero());
}

#[test]
fn etcd_grpc_naming() {
    tell(EtcdClient::grpc_naming());
}

#[test]
fn etcdctl() {
    tell(EtcdClient::etcdctl());
}

#[test]
fn eureka_java() {
    tell(EurekaClient::new("Netflix eureka-client", "java"));
}

#[test]
fn eureka_python() {
    tell(EurekaClient::new("py_eureka_client", "python"));
}

#[test]
fn eureka_npm() {
    tell(EurekaClient::new("eureka-js-client", "node"));
}

#[test]
fn zookeeper_kazoo() {
    tell(ZooKeeperClient);
}

#[test]
fn nacos_go() {
    tell(NacosClient::new("nacos-sdk-go", "nacos-go"));
}

#[test]
fn nacos_npm() {
    tell(NacosClient::new("npm nacos", "nacos-node"));
}
