//! etcd's own RPCs through the generated clients, without a client library's retries in between.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use portolan_protocol_etcd::wire::etcdserverpb as pb;
use portolan_protocol_etcd::wire::mvccpb;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// One connection.
#[derive(Debug, Clone)]
pub struct Etcd {
    pub channel: Channel,
}

impl Etcd {
    /// Connects; every call has twenty seconds.
    pub async fn connect(address: SocketAddr) -> Result<Etcd, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(20));
        Ok(Etcd {
            channel: endpoint
                .connect()
                .await
                .map_err(|error| format!("cannot connect to {address}: {error}"))?,
        })
    }

    /// As [`Etcd::connect`] without a deadline on calls: streams live as long as they do.
    pub async fn for_streams(address: SocketAddr) -> Result<Etcd, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(Duration::from_secs(10));
        Ok(Etcd {
            channel: endpoint
                .connect()
                .await
                .map_err(|error| format!("cannot connect to {address}: {error}"))?,
        })
    }

    /// The KV service.
    pub fn kv(&self) -> pb::kv_client::KvClient<Channel> {
        pb::kv_client::KvClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// The lease service.
    pub fn lease(&self) -> pb::lease_client::LeaseClient<Channel> {
        pb::lease_client::LeaseClient::new(self.channel.clone())
    }

    /// The watch service.
    pub fn watch(&self) -> pb::watch_client::WatchClient<Channel> {
        pb::watch_client::WatchClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// Puts a value; the revision of the put.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<i64, Status> {
        let request = pb::PutRequest {
            key: key.to_owned().into(),
            value: Bytes::copy_from_slice(value),
            ..Default::default()
        };
        Ok(self
            .kv()
            .put(request)
            .await?
            .into_inner()
            .header
            .map_or(0, |header| header.revision))
    }

    /// Reads one key.
    pub async fn get(&self, key: &str) -> Result<Option<mvccpb::KeyValue>, Status> {
        let request = pb::RangeRequest {
            key: key.to_owned().into(),
            ..Default::default()
        };
        Ok(self
            .kv()
            .range(request)
            .await?
            .into_inner()
            .kvs
            .into_iter()
            .next())
    }

    /// Reads every key that begins with `prefix`; the header's revision with them.
    pub async fn prefix(&self, prefix: &str) -> Result<(i64, Vec<mvccpb::KeyValue>), Status> {
        let request = pb::RangeRequest {
            key: prefix.to_owned().into(),
            range_end: end_of(prefix),
            ..Default::default()
        };
        let answer = self.kv().range(request).await?.into_inner();
        Ok((
            answer.header.map_or(0, |header| header.revision),
            answer.kvs,
        ))
    }
}

/// The end of the interval of all keys that begin with `prefix`.
pub fn end_of(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("a prefix") += 1;
    end.into()
}

/// Whether a refused call may nevertheless have been done: its outcome is unknown, not no.
pub fn is_unknown(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

/// A runtime for one test.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
