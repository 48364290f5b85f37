//! Listeners: the way of a gRPC channel or server to its routes, and the one port of a proxy.

use std::net::SocketAddr;

use crate::wire::Any;
use crate::wire::core::{Address, ConfigSource};
use crate::wire::listener::{
    ApiListener, Filter, FilterChain, HTTP_MANAGER, HttpConnectionManager, HttpFilter, Listener,
    ROUTER, Rds, RouteSpecifier, TrafficDirection,
};
use crate::wire::route::{Route, RouteConfiguration, RouteKind, RouteMatch, VirtualHost};

/// Of a channel: the routes are in it, which saves a question.
pub(crate) fn of_channel(name: &str, routes: RouteConfiguration) -> Listener {
    let manager = manager(name, RouteSpecifier::Inline(routes));
    Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(Any::pack(HTTP_MANAGER, &manager)),
        }),
        ..Listener::default()
    }
}

/// Of a gRPC server that listens on `address`: everything has arrived where it was going.
pub(crate) fn of_server(name: &str, address: SocketAddr) -> Listener {
    let here = Route {
        r#match: Some(RouteMatch::everything()),
        kind: Some(RouteKind::NonForwarding(())),
    };
    let routes = RouteConfiguration {
        name: "here".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "here".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![here],
        }],
        ..RouteConfiguration::default()
    };
    with_address(
        name,
        address,
        TrafficDirection::Inbound,
        RouteSpecifier::Inline(routes),
    )
}

/// Of a proxy: calls to any service, by its name.
pub(crate) fn of_proxy(name: &str, address: SocketAddr) -> Listener {
    let routes = RouteSpecifier::Rds(Rds {
        config_source: Some(ConfigSource::ads()),
        route_config_name: name.to_owned(),
    });
    with_address(name, address, TrafficDirection::Outbound, routes)
}

fn with_address(
    name: &str,
    address: SocketAddr,
    direction: TrafficDirection,
    routes: RouteSpecifier,
) -> Listener {
    let filter = Filter {
        name: "http".to_owned(),
        typed_config: Some(Any::pack(HTTP_MANAGER, &manager(name, routes))),
    };
    Listener {
        name: name.to_owned(),
        address: Some(Address::tcp(address.ip(), address.port())),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            name: "all".to_owned(),
        }],
        traffic_direction: direction.into(),
        ..Listener::default()
    }
}

fn manager(name: &str, routes: RouteSpecifier) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: if name.is_empty() { "none" } else { name }.to_owned(),
        routes: Some(routes),
        http_filters: vec![HttpFilter {
            name: "router".to_owned(),
            typed_config: Some(Any {
                type_url: ROUTER.to_owned(),
                ..Any::default()
            }),
        }],
    }
}
