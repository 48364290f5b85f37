//! A server, instances of several protocols to put into it, and replies as lines of text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, Record, RecordType};
use portolan_catalog::{
    Cause, CheckFacts, CheckKey, Command, Endpoint, Host, InstanceKey, Meta, NewCheck, NodeFacts,
    NodeName, Port, Protocol, Register, Registration, ServiceKey, Status, Transport,
};
use portolan_listener::{ServerContext, Settings};
use portolan_protocol_dns::{Encrypted, Options, serve};
use portolan_registry::{LocalOptions, Registry};
use tokio::net::UdpSocket;

/// A running server on a free loopback port.
pub(crate) struct Server {
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    pub(crate) context: ServerContext,
    pub(crate) https: Option<SocketAddr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.context.drain();
    }
}

/// Options for a free port and two UDP threads.
pub(crate) fn options() -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        workers: 2,
        ..Options::default()
    }
}

impl Server {
    pub(crate) fn start(options: &Options) -> Server {
        Server::start_with(options, |_| Encrypted::default())
    }

    /// A server with further ports.
    pub(crate) fn start_with(
        options: &Options,
        further: impl FnOnce(&ServerContext) -> Encrypted,
    ) -> Server {
        let registry = Registry::local(&LocalOptions::default());
        let context = ServerContext::new(Settings::default());
        let further = further(&context);
        let https = further.https.as_ref().map(|port| port.address);
        let address = serve(&context, &registry, &Default::default(), options, further);
        let address = address.expect("a free port");
        Server {
            registry,
            address,
            context,
            https,
        }
    }

    /// A server with what most tests ask for; see the names in the functions below.
    pub(crate) async fn filled(options: &Options) -> Server {
        let server = Server::start(options);
        server.fill().await;
        server
    }

    /// Puts in what most tests ask for.
    pub(crate) async fn fill(&self) {
        let server = self;
        let mut node = NodeFacts::new("Alpha.rack", Host::new("10.0.0.7"));
        node.meta = Meta::from_iter([("rack", "r1"), ("rfc1035-note", "as is"), ("a=b", "c")]);
        server.put_node(node).await;
        server
            .put_node(NodeFacts::new("six", Host::new("2001:db8::6")))
            .await;
        server
            .put_node(NodeFacts::new("named", Host::new("host.example.com")))
            .await;
        // `web`: one instance on its node's address, one with an address of its own, both tagged.
        let mut own = consul("alpha.rack", "web-1", "web", "10.0.0.7", 80);
        own.inherits_host = true;
        own.tags = Arc::from(["v1".into(), "Blue.Green".into()]);
        server.register(own).await;
        let mut apart = consul("alpha.rack", "web-2", "web", "10.0.0.8", 81);
        apart.tags = Arc::from(["v2".into()]);
        apart.weight = portolan_catalog::Weight(3000);
        server.register(apart).await;
        // `api` is registered through Eureka, `six` has an IPv6 address, `far` a host name.
        server
            .register(foreign(Protocol::Eureka, "API/a1", "api", "10.0.1.1", 8080))
            .await;
        server
            .register(consul("six", "six-1", "six", "2001:db8::66", 443))
            .await;
        server
            .register(consul("alpha.rack", "far-1", "far", "far.example.com", 443))
            .await;
    }

    pub(crate) async fn propose(&self, command: Command) {
        let cause = Arc::new(Cause::call(Protocol::Native, None));
        let settled = self
            .registry
            .propose(cause, command)
            .await
            .expect("an answer");
        settled.outcome.expect("no refusal");
    }

    pub(crate) async fn put_node(&self, node: NodeFacts) {
        let command = Command::PutNode {
            node: Arc::new(node),
            terms: None,
            expect: None,
        };
        self.propose(command).await;
    }

    pub(crate) async fn register(&self, facts: Registration) {
        self.propose(Command::Register(Box::new(Register::new(facts))))
            .await;
    }

    /// Gives an instance a check with that status.
    pub(crate) async fn check(&self, instance: &InstanceKey, node: &str, status: Status) {
        let mut facts = CheckFacts::new(
            CheckKey::new(&NodeName::new(node), &format!("check:{instance}")),
            "a check",
        );
        facts.instance = Some(instance.clone());
        let check = NewCheck {
            facts: Arc::new(facts),
            status,
            output: "".into(),
            reported: true,
        };
        let put = portolan_catalog::PutCheck {
            check,
            expect: None,
        };
        self.propose(Command::PutCheck(Box::new(put))).await;
    }

    /// Sends bytes by UDP and takes the reply; `None` when there is none within half a second.
    pub(crate) async fn send(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.send_within(packet, Duration::from_millis(500)).await
    }

    /// Sends bytes by UDP and takes the reply; `None` when there is none within `wait`.
    async fn send_within(&self, packet: &[u8], wait: Duration) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.send_to(packet, self.address).await.expect("sent");
        let mut reply = vec![0; 65_535];
        let received = tokio::time::timeout(wait, socket.recv_from(&mut reply))
            .await
            .ok()?;
        let (length, from) = received.expect("received");
        assert_eq!(from, self.address, "a reply from another address");
        reply.truncate(length);
        Some(reply)
    }

    /// Asks by UDP.
    pub(crate) async fn ask(&self, query: &Message) -> Message {
        let reply = self
            .send_within(&query.to_vec().expect("encoded"), Duration::from_secs(10))
            .await
            .expect("a reply");
        let reply = Message::from_vec(&reply).expect("a readable reply");
        assert_eq!(reply.metadata.id, query.metadata.id);
        assert_eq!(reply.queries, query.queries);
        reply
    }

    /// Asks for a name with EDNS and room for everything; the reply as lines.
    pub(crate) async fn lines(&self, name: &str, kind: RecordType) -> Vec<String> {
        let mut query = query(name, kind);
        query.set_edns(edns(1232));
        lines(&self.ask(&query).await)
    }

    /// Asserts the lines of the reply to one question.
    pub(crate) async fn check_lines(&self, name: &str, kind: RecordType, expected: &[&str]) {
        assert_eq!(self.lines(name, kind).await, expected, "{name} {kind}");
    }
}

/// A server whose service `many` has `count` addresses.
pub(crate) async fn many(options: &Options, count: u32) -> Server {
    let server = Server::start(options);
    for index in 0..count {
        let [_, _, high, low] = index.to_be_bytes();
        let host = format!("10.7.{high}.{low}");
        let id = format!("m{index}");
        server
            .register(foreign(Protocol::Native, &id, "many", &host, 80))
            .await;
    }
    server
}

/// A question about a name.
pub(crate) fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

/// EDNS for replies of that many bytes.
pub(crate) fn edns(size: u16) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    edns
}

/// The code and flags of a reply, then its records, sorted, each with its section's first letter. Serials are masked.
pub(crate) fn lines(reply: &Message) -> Vec<String> {
    let mut head = format!("{:?}", reply.metadata.response_code);
    if reply.metadata.authoritative {
        head.push_str(" aa");
    }
    if reply.metadata.truncation {
        head.push_str(" tc");
    }
    let section = |letter: char, records: &[Record]| {
        let mut lines: Vec<String> = records
            .iter()
            .map(|record| format!("{letter} {}", record.to_string().replace(". ", " ")))
            .collect();
        for line in &mut lines {
            if line.contains(" SOA ") {
                let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
                words[7] = "SERIAL".to_owned();
                *line = words.join(" ");
            }
        }
        lines.sort();
        lines
    };
    let mut all = vec![head];
    all.extend(section('-', &reply.answers));
    all.extend(section('=', &reply.authorities));
    all.extend(section('+', &reply.additionals));
    all
}

/// An instance registered through Consul's agent on a node.
pub(crate) fn consul(node: &str, id: &str, service: &str, host: &str, port: u16) -> Registration {
    let node = NodeName::new(node);
    let mut facts = Registration::new(
        InstanceKey::consul(&node, id),
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), port),
    );
    facts.node = node;
    facts
}

/// An instance of another protocol, on a virtual node.
pub(crate) fn foreign(
    origin: Protocol,
    id: &str,
    service: &str,
    host: &str,
    port: u16,
) -> Registration {
    Registration::new(
        InstanceKey::new(origin, id),
        ServiceKey::plain(service),
        Endpoint::new(Host::new(host), port),
    )
}

/// Ports by name.
pub(crate) fn ports(named: &[(&str, u16)]) -> Arc<[Port]> {
    let port = |(name, number): &(&str, u16)| Port {
        name: (*name).into(),
        number: *number,
        secure: false,
        transport: Transport::Tcp,
    };
    named.iter().map(port).collect()
}
