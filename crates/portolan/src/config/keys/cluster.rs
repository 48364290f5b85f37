//! The other servers.

use super::super::bounds::{DAY, bounds};
use super::super::cluster;
use super::super::key::{Area, Key, Shape, many, one, switch};

pub(super) static AREA: Area = Area {
    heading: "Cluster",
    keys: &[
        Key {
            name: "cluster-listen",
            shape: Shape::One,
            hint: "ADDR|off",
            help: "Address for other servers and agents; where nothing is said, and another process has the port, a server that is alone takes any free one",
            set: |config, text| {
                config.cluster.listen = cluster::listen(text)?;
                Ok(())
            },
            clear: |_| {},
            show: |config| config.cluster.listen.print(),
        },
        Key {
            set: |config, text| {
                config.cluster.join.push(cluster::with_port(text)?);
                Ok(())
            },
            ..many!(
                "join",
                "ADDR",
                "A server to join, a name or an address, with port 8300 where none is given; asked until it answers",
                cluster.join
            )
        },
        Key {
            set: |config, text| {
                let pair = cluster::peer_datacenter(text)?;
                config.cluster.peer_datacenters.push(pair);
                Ok(())
            },
            ..many!(
                "peer-datacenter",
                "NAME=ADDR",
                "A server of another datacenter, whose catalog is followed into a copy that ?dc=, DNS names and failovers are answered from; several times for more servers or datacenters",
                cluster.peer_datacenters
            )
        },
        switch!(
            "agent",
            "Run an agent: no vote and no log of its own; it follows the servers named by --join, serves every protocol from its copy, and owns what is registered at it",
            cluster.agent
        ),
        Key {
            name: "follow",
            shape: Shape::One,
            hint: "all",
            help: "What an agent follows: all, everything that the servers have",
            set: |_, text| cluster::follow(text),
            clear: |_| {},
            show: |_| "all".to_owned(),
        },
        one!(
            "bootstrap-expect",
            "N",
            "Found a cluster when so many servers without one know of each other, this one among them; 0 to found none with others",
            cluster.expect
        ),
        switch!(
            "rejoin",
            "Come back to the cluster that this data directory has left; --join says the same",
            cluster.rejoin
        ),
        one!(
            "dead-server-after",
            "DURATION",
            "A server with a vote that was silent for so long is removed once another has taken its place",
            cluster.dead_after
        ),
        one!(
            "cluster-ca",
            "FILE",
            "Certificates of the authority that the servers of the cluster trust, PEM; `portolan tls create` makes one",
            cluster.authority
        ),
        one!(
            "cluster-cert",
            "FILE",
            "This server's certificate for the cluster port, PEM",
            cluster.certificate
        ),
        one!(
            "cluster-key",
            "FILE",
            "The key of that certificate, PEM",
            cluster.key
        ),
        switch!(
            "insecure-cluster",
            "Allow a cluster port that other machines can reach without certificates: whoever reaches it can read and write everything",
            cluster.insecure
        ),
        one!(
            "cluster-connections",
            "N",
            "Connections of other servers and agents to the cluster port",
            cluster.connections
        ),
    ],
    bounds: bounds! {
        "bootstrap-expect" size cluster.expect, 0, 7, Ones;
        "dead-server-after" ms cluster.dead_after, 1000, 7 * DAY, Milliseconds;
        "cluster-connections" size cluster.connections, 4, 1_000_000, Ones;
    },
};
