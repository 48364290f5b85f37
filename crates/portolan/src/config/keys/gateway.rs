//! How requests are passed on.

use super::super::bounds::{ANY, DAY, bounds};
use super::super::key::{Area, Key, one, switch};

pub(super) static AREA: Area = Area {
    heading: "Gateway",
    keys: &[
        Key {
            set: |config, text| {
                let domain = text.trim().trim_matches('.').to_ascii_lowercase();
                if domain.is_empty() {
                    return Err("give a domain, such as gateway.localhost".into());
                }
                config.gateway.domain = domain.into();
                Ok(())
            },
            show: |config| config.gateway.domain.to_string(),
            ..one!(
                "gateway-domain",
                "DOMAIN",
                "Domain in which the gateway knows every service by its name: web.gateway.localhost",
                datacenter
            )
        },
        switch!(
            "host-label",
            "The gateway takes the first label of any host for the name of a service",
            gateway.host_label
        ),
        Key {
            set: |config, text| {
                config.gateway.access_log = match text.trim() {
                    "off" => None,
                    path => Some(path.into()),
                };
                Ok(())
            },
            show: |config| {
                let path = config.gateway.access_log.as_ref();
                path.map_or_else(|| "off".to_owned(), |path| path.display().to_string())
            },
            ..one!(
                "gateway-access-log",
                "FILE",
                "File to which the gateway adds a line of JSON for each request, or off",
                data_dir
            )
        },
        one!(
            "gateway-workers",
            "N",
            "Threads of the gateway; 0 is one for each core",
            gateway.workers
        ),
        one!(
            "gateway-connect-timeout",
            "TIME",
            "Time for a connection from the gateway to an endpoint",
            gateway.connect_timeout
        ),
        one!(
            "gateway-timeout",
            "TIME",
            "Time until the head of an endpoint's answer, unless the service's metadata has a timeout",
            gateway.timeout
        ),
        one!(
            "gateway-upstream-idle",
            "TIME",
            "How long a connection to an endpoint waits for its next request; shorter than the endpoint's own patience",
            gateway.upstream_idle
        ),
        one!(
            "gateway-upstream-connections",
            "N",
            "Connections to one endpoint that wait for their next request, for each thread",
            gateway.upstream_idle_connections
        ),
        one!(
            "gateway-requests-per-service",
            "N",
            "Requests that one service has under way at most, for each thread of the gateway",
            gateway.requests_per_service
        ),
    ],
    bounds: bounds! {
        "gateway-workers" size gateway.workers, 0, 1024, Ones;
        "gateway-connect-timeout" ms gateway.connect_timeout, 10, DAY, Milliseconds;
        "gateway-timeout" ms gateway.timeout, 10, DAY, Milliseconds;
        "gateway-upstream-idle" ms gateway.upstream_idle, 1000, DAY, Milliseconds;
        "gateway-requests-per-service" size gateway.requests_per_service, 1, ANY, Ones;
    },
};
