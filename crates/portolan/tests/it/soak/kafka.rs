//! A Kafka broker in its ZooKeeper mode, whose ZooKeeper is a Portolan server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Driver, Server, clients, eventually, same, server::free_address, tally};
use crate::need_binary;

const SOON: Duration = Duration::from_secs(90);

/// A broker. Ends with the test.
struct Broker {
    child: Child,
    address: SocketAddr,
}

impl Broker {
    fn start(zookeeper: SocketAddr, address: SocketAddr, folder: &Path) -> Result<Broker, String> {
        let settings = format!(
            "broker.id=1\nlisteners=PLAINTEXT://{address}\nlog.dirs={}\nzookeeper.connect={zookeeper}\n\
             zookeeper.session.timeout.ms=6000\nzookeeper.connection.timeout.ms=20000\nnum.partitions=1\n\
             offsets.topic.num.partitions=4\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
            folder.join("log").display(),
        );
        let file = folder.join("server.properties");
        fs::write(&file, settings).map_err(|error| error.to_string())?;
        let command = clients::command("kafka")?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("broker.log"))
            .map_err(|error| error.to_string())?;
        let child = Command::new(&command[0])
            .args(&command[1..])
            .arg(&file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("kafka: {error}"))?;
        Ok(Broker { child, address })
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kafka's clients and the broker they talk to.
struct Client {
    driver: Driver,
    addr: String,
}

impl Client {
    fn call(&mut self, op: &str, mut arguments: Value) -> Result<Value, String> {
        arguments["addr"] = json!(self.addr);
        self.driver.call(op, arguments)
    }

    /// Until it is there: Kafka answers before what was asked has come about, and its clients give up after 20 s.
    fn until(&mut self, op: &str, arguments: &Value, expected: &Value) {
        eventually(SOON, || same(&self.call(op, arguments.clone())?, expected))
            .unwrap_or_else(|why| panic!("{op} {arguments}: {why}"));
    }

    fn produce(&mut self, topic: &str, from: usize, count: usize) {
        let arguments = json!({ "topic": topic, "from": from, "count": count });
        self.until("kafka.produce", &arguments, &json!(true));
    }

    /// Whether a group that never read before sees so many different records.
    fn count(&mut self, topic: &str, group: &str, count: usize) {
        let arguments = json!({ "topic": topic, "group": group, "count": count });
        let seen = self.call("kafka.consume", arguments).unwrap();
        let seen = seen.as_array().map_or(0, Vec::len);
        assert_eq!(seen, count, "{topic} {group}");
    }
}

/// The nodes below a path, by another client of ZooKeeper.
fn nodes(python: &mut Driver, addr: &str, path: &str) -> Result<Vec<String>, String> {
    let found = python.call("kazoo.children", json!({ "addr": addr, "path": path }))?;
    let mut names: Vec<String> =
        serde_json::from_value(found).map_err(|error| error.to_string())?;
    names.sort();
    Ok(names)
}

#[test]
fn a_broker_lives_on_this_server() {
    need_binary!();
    let started = Driver::start("kafka-driver")
        .and_then(|kafka| Ok((kafka, Driver::start("python")?)))
        .and_then(|both| clients::command("kafka").map(|_| both));
    let (driver, mut python) = match started {
        Ok(both) => both,
        Err(why) => return tally::skip_test("soak: Kafka", &why, 1),
    };
    let mut server = Server::start();
    let zookeeper = server.address("zookeeper");
    let zk = zookeeper.to_string();
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut broker = Broker::start(zookeeper, address, folder.path()).unwrap();
    let mut client = Client {
        driver,
        addr: broker.address.to_string(),
    };
    client.until("kafka.brokers", &json!({}), &json!(1));
    eventually(SOON, || {
        same(
            &nodes(&mut python, &zk, "/brokers/ids")?,
            &vec!["1".to_owned()],
        )
    })
    .unwrap();
    println!("the broker is up");

    let orders = json!({ "topic": "orders", "partitions": 3 });
    client.call("kafka.create", orders.clone()).unwrap();
    client.until("kafka.partitions", &orders, &json!(3));
    client.produce("orders", 0, 50);
    client.count("orders", "first", 50);
    // Settings and partitions that are added reach the broker by watches alone.
    let setting = json!({ "topic": "orders", "key": "retention.ms", "value": "7200000" });
    client.call("kafka.set", setting.clone()).unwrap();
    client.until("kafka.setting", &setting, &json!("7200000"));
    let more = json!({ "topic": "orders", "partitions": 5 });
    client.call("kafka.grow", more.clone()).unwrap();
    client.until("kafka.partitions", &more, &json!(5));
    println!("a topic is created, written, read, changed");

    // The server dies and comes back: the broker keeps its session, and everything goes on.
    for round in 0..2 {
        server.kill();
        // Records need no ZooKeeper.
        client.produce("orders", 100 * (round + 1), 10);
        server.start_again();
        let topic = format!("after-{round}");
        let topic = json!({ "topic": topic, "partitions": 2 });
        // Without a controller Kafka refuses; a create whose answer was lost finds the topic there.
        eventually(SOON, || match client.call("kafka.create", topic.clone()) {
            Err(why) if why.contains("TopicExists") => Ok(()),
            other => other.map(drop),
        })
        .unwrap();
        client.until("kafka.partitions", &topic, &json!(2));
        client.produce(topic["topic"].as_str().unwrap(), 0, 10);
        client.count(topic["topic"].as_str().unwrap(), "first", 10);
    }
    client.count("orders", "second", 70);
    println!("the server died twice");

    // The broker dies: its ephemeral goes with its session, and it comes back with everything.
    broker.kill();
    eventually(SOON, || {
        same(&nodes(&mut python, &zk, "/brokers/ids")?, &Vec::new())
    })
    .unwrap();
    let broker = Broker::start(zookeeper, address, folder.path()).unwrap();
    client.until("kafka.brokers", &json!({}), &json!(1));
    client.until("kafka.partitions", &more, &json!(5));
    client.count("orders", "third", 70);
    client.call("kafka.delete", orders).unwrap();
    eventually(SOON, || {
        let topics = nodes(&mut python, &zk, "/brokers/topics")?;
        match topics.iter().any(|topic| topic == "orders") {
            false => Ok(()),
            true => Err(format!("{topics:?}")),
        }
    })
    .unwrap();
    drop(broker);
    println!("the broker died, and a topic was deleted");
}
