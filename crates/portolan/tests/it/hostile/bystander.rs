//! The normal client: goes round the protocols all the time and counts what fails.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::etcd::{self, Etcd};
use crate::harness::{Server, http, same};

#[derive(Debug)]
pub(crate) struct Bystander {
    over: Arc<AtomicBool>,
    going: Option<JoinHandle<Result<u64, String>>>,
}

impl Bystander {
    pub(crate) fn start(server: &Server) -> Bystander {
        let over = Arc::new(AtomicBool::new(false));
        let ports = ["consul", "etcd", "eureka", "dns"].map(|protocol| server.address(protocol));
        let registration = r#"{"Name":"calm","ID":"calm","Address":"10.9.9.9","Port":9}"#;
        let reply = http::call(
            ports[0],
            "PUT",
            "/v1/agent/service/register",
            Some(registration),
        )
        .expect("a registration");
        assert_eq!(reply.status, 200, "{}", reply.text());
        let stop = Arc::clone(&over);
        let going = std::thread::spawn(move || {
            let mut rounds = 0;
            // Also after the shortest siege it has gone round a few times.
            while !stop.load(Ordering::Relaxed) || rounds < 3 {
                round(ports, rounds).map_err(|why| format!("in round {rounds}: {why}"))?;
                rounds += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(rounds)
        });
        Bystander {
            over,
            going: Some(going),
        }
    }

    /// How many rounds went well, or the first thing that did not.
    pub(crate) fn stop(&mut self) -> Result<u64, String> {
        self.over.store(true, Ordering::Relaxed);
        self.going
            .take()
            .expect("stopped once")
            .join()
            .map_err(|_| "it panicked".to_owned())?
    }
}

fn round([consul, etcd, eureka, dns]: [SocketAddr; 4], number: u64) -> Result<(), String> {
    let rows = http::get_json(consul, "/v1/health/service/calm?passing")?;
    same(&rows.as_array().map(Vec::len), &Some(1)).map_err(|why| format!("Consul: {why}"))?;
    let app = http::get_json(eureka, "/eureka/apps/CALM")?;
    same(
        &app["application"]["instance"][0]["port"]["$"].as_u64(),
        &Some(9),
    )
    .map_err(|why| format!("Eureka: {why}"))?;
    etcd::runtime().block_on(async {
        let client = Etcd::connect(etcd).await?;
        let value = number.to_string();
        client
            .put("calm", value.as_bytes())
            .await
            .map_err(|status| format!("etcd put: {status:?}"))?;
        let found = client
            .get("calm")
            .await
            .map_err(|status| format!("etcd get: {status:?}"))?;
        same(
            &found.map(|kv| kv.value.to_vec()),
            &Some(value.into_bytes()),
        )
        .map_err(|why| format!("etcd: {why}"))
    })?;
    let answer = ask(dns, &query("calm.service.consul", 1)).ok_or("DNS: no answer")?;
    same(&(answer[3] & 15, answer[7]), &(0, 1))
        .map_err(|why| format!("DNS code and answers: {why}"))
}

/// A plain query for one name.
pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// Asks over UDP, once more if the first packet got lost.
pub(crate) fn ask(dns: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    for _ in 0..2 {
        socket.send_to(query, dns).ok()?;
        let mut answer = vec![0; 4096];
        if let Ok(length) = socket.recv(&mut answer) {
            answer.truncate(length);
            return Some(answer);
        }
    }
    None
}
