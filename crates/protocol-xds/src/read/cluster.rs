//! A service as a cluster.

use crate::client::Flavor;
use crate::policy::{Balance, Breaker, Outlier, Policy, Spoken};
use crate::wire::Any;
use crate::wire::cluster::{
    AsAsked, CircuitBreakers, Cluster, DiscoveryType, EdsClusterConfig, Explicit, HTTP_OPTIONS,
    HTTP_OPTIONS_KEY, HttpProtocolOptions, LbPolicy, OutlierDetection, Thresholds, Upstream,
    Version,
};
use crate::wire::core::ConfigSource;

pub(crate) fn render(name: &str, policy: &Policy, flavor: Flavor) -> Cluster {
    let mut cluster = Cluster {
        name: name.to_owned(),
        r#type: DiscoveryType::Eds.into(),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource::ads()),
            service_name: service_name(name),
        }),
        connect_timeout: policy.connect_timeout,
        lb_policy: balance(policy.balance, flavor).into(),
        circuit_breakers: breakers(policy.breaker),
        outlier_detection: outliers(&policy.outlier),
        ..Cluster::default()
    };
    if flavor == Flavor::Envoy {
        let options = HttpProtocolOptions {
            upstream: Some(match policy.spoken {
                Spoken::AsAsked => Upstream::AsAsked(AsAsked {
                    http1: Some(()),
                    http2: Some(()),
                }),
                Spoken::Http1 => explicit(Version::Http1(())),
                Spoken::Http2 => explicit(Version::Http2(())),
            }),
        };
        let options = Any::pack(HTTP_OPTIONS, &options);
        cluster
            .typed_extension_protocol_options
            .insert(HTTP_OPTIONS_KEY.to_owned(), options);
    }
    cluster
}

/// Names of the newer kind have to say it; for others it is the cluster's name.
fn service_name(name: &str) -> String {
    match name.starts_with("xdstp:") {
        true => name.to_owned(),
        false => String::new(),
    }
}

fn explicit(version: Version) -> Upstream {
    Upstream::Explicit(Explicit {
        version: Some(version),
    })
}

/// gRPC refuses a cluster whose way of spreading calls it does not know.
fn balance(balance: Balance, flavor: Flavor) -> LbPolicy {
    match (balance, flavor) {
        (Balance::LeastRequest, _) => LbPolicy::LeastRequest,
        (Balance::RingHash, _) => LbPolicy::RingHash,
        (Balance::Random, Flavor::Envoy) => LbPolicy::Random,
        (Balance::Maglev, Flavor::Envoy) => LbPolicy::Maglev,
        _ => LbPolicy::RoundRobin,
    }
}

fn breakers(breaker: Breaker) -> Option<CircuitBreakers> {
    (breaker != Breaker::default()).then(|| CircuitBreakers {
        thresholds: vec![Thresholds {
            max_connections: breaker.connections,
            max_pending_requests: breaker.pending,
            max_requests: breaker.requests,
            max_retries: breaker.retries,
        }],
    })
}

fn outliers(outlier: &Outlier) -> Option<OutlierDetection> {
    (*outlier != Outlier::default()).then(|| OutlierDetection {
        consecutive_5xx: outlier.consecutive,
        interval: outlier.interval,
        base_ejection_time: outlier.ejection,
        max_ejection_percent: outlier.percent,
        // Whoever asks for one way of finding outliers does not ask for the other.
        enforcing_success_rate: Some(0),
        failure_percentage_threshold: outlier.failure_percent,
        enforcing_failure_percentage: outlier.failure_percent.map(|_| 100),
    })
}
