//! The server itself: its name, its data, its ports and who may reach them.

use super::super::ClusterListen;
use super::super::bounds::bounds;
use super::super::cluster;
use super::super::key::{Area, Key, Shape, many, one, switch};
use super::super::node;

pub(super) static AREA: Area = Area {
    heading: "Server",
    keys: &[
        one!(
            "data-dir",
            "DIR",
            "Where the catalog is kept; made if it is not there",
            data_dir
        ),
        Key {
            name: "listen",
            shape: Shape::Named,
            hint: "NAME=ADDR|off",
            help: "Address of one protocol (consul, dns, etcd, zookeeper, eureka, nacos, kubernetes, xds, native) or of the gateway, which is closed until it is named, or off; port 0 takes any free port; Nacos' gRPC port (nacos-grpc) is 1000 above its own; NAME+tls is a port that speaks TLS beside it, dns+https one for DNS over HTTPS; all=IP puts every protocol and the cluster port on its customary port there",
            set: |config, text| {
                config.listen.set(text)?;
                if let Some(ip) = text.trim().strip_prefix("all=")
                    && let Ok(ip) = ip.trim().parse()
                {
                    config.cluster.listen = ClusterListen::Customary(ip);
                }
                Ok(())
            },
            clear: |_| {},
            show: |config| config.listen.print(),
        },
        Key {
            set: |config, text| {
                config.node_name = Some(node::name(text)?);
                Ok(())
            },
            ..one!(
                "node-name",
                "NAME",
                "Name of this server's node; by default the one the data directory belongs to, else the host's name",
                node_name
            )
        },
        Key {
            set: |config, text| {
                config.node_id = Some(node::id(text)?);
                Ok(())
            },
            ..one!(
                "node-id",
                "UUID",
                "Id of this server's node; by default one that is drawn at the first start and kept",
                node_id
            )
        },
        Key {
            name: "node-meta",
            shape: Shape::Named,
            hint: "KEY=VALUE",
            help: "A pair of metadata of this server's node",
            set: |config, text| node::add_metadata(&mut config.node_meta, text),
            clear: |_| {},
            show: |_| String::new(),
        },
        many!(
            "definitions-dir",
            "DIR",
            "A folder of service and check definitions (*.json, as Consul has them), read at the start, at SIGHUP and at PUT /v1/agent/reload",
            definitions_dirs
        ),
        Key {
            set: |config, text| {
                config.datacenter = cluster::datacenter(text)?;
                Ok(())
            },
            ..one!(
                "datacenter",
                "DC",
                "Name of the datacenter, as Consul and DNS say it",
                datacenter
            )
        },
        one!(
            "advertise",
            "IP",
            "Address of this server's node; by default the one Consul's port listens on, if that is not a wildcard, else 127.0.0.1",
            advertise
        ),
        switch!(
            "insecure-listen",
            "Allow ports that other machines can reach, although nobody has to say who they are",
            insecure_listen
        ),
        many!(
            "allowed-host",
            "NAME",
            "A further name under which browsers may reach this server",
            allowed_hosts
        ),
        one!(
            "worker-threads",
            "N",
            "Threads that serve requests, 0 for one per core and at least two",
            worker_threads
        ),
    ],
    bounds: bounds! {
        "worker-threads" size worker_threads, 0, 1024, Ones;
    },
};
