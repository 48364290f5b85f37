use std::net::{TcpStream, UdpSocket};

use portolan_catalog::Protocol;
use portolan_listener::{
    BindError, Limits, ServerContext, Settings, bind_tcp, bind_udp, bind_udp_and_tcp,
};

use crate::support::{LOOPBACK, context};

#[test]
fn an_address_that_others_reach_is_refused_and_the_flag_is_named() {
    let context = context(Limits::default());
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address = address.parse().unwrap();
        let tcp = bind_tcp(&context, Protocol::Etcd, address).unwrap_err();
        let udp = bind_udp(&context, Protocol::Dns, address, 1).unwrap_err();
        let both = bind_udp_and_tcp(&context, Protocol::Dns, address, 1).unwrap_err();
        for error in [tcp, udp, both] {
            assert!(matches!(error, BindError::Exposed { .. }), "{error}");
            assert!(error.to_string().contains("--insecure-listen"), "{error}");
        }
    }
}

#[test]
fn the_flag_lets_it_pass_and_shows_in_the_metrics() {
    let context = ServerContext::new(Settings {
        insecure_listen: true,
        ..Settings::default()
    });
    // An address of the documentation range: no machine has it, so the system refuses where Portolan did not.
    let error = bind_tcp(&context, Protocol::Etcd, "192.0.2.1:0".parse().unwrap()).unwrap_err();
    assert!(matches!(error, BindError::Os { .. }), "{error}");
    let text = context.metrics().encode();
    assert!(text.contains("portolan_insecure_listen{protocol=\"etcd\",listen=\"192.0.2.1:0\"} 1"));
}

#[test]
fn a_taken_port_is_named() {
    let context = context(Limits::default());
    let first = bind_tcp(&context, Protocol::Consul, LOOPBACK.parse().unwrap()).unwrap();
    let error = bind_tcp(&context, Protocol::Etcd, first.address).unwrap_err();
    assert!(
        error.to_string().contains(&first.address.to_string()),
        "{error}"
    );
}

#[test]
fn one_number_serves_datagrams_on_several_sockets_and_streams() {
    let context = context(Limits::default());
    let (udp, tcp) =
        bind_udp_and_tcp(&context, Protocol::Dns, LOOPBACK.parse().unwrap(), 3).unwrap();
    assert_eq!(udp.address, tcp.address);
    assert_eq!(udp.sockets.len(), 3);
    let addresses = udp.sockets.iter().map(|s| s.local_addr().unwrap());
    assert!(addresses.into_iter().all(|address| address == udp.address));
    TcpStream::connect(tcp.address).unwrap();
    let client = UdpSocket::bind(LOOPBACK).unwrap();
    client.send_to(b"query", udp.address).unwrap();
}
