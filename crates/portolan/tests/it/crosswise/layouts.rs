//! The layouts of the etcd keyspace as their readers know them: a prefix, and where in a record the address is.

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Kitex,
    Kratos,
    Services,
    GoZero,
    GrpcNaming,
}

impl Layout {
    pub(crate) const ALL: [Layout; 5] = [
        Layout::Kitex,
        Layout::Kratos,
        Layout::Services,
        Layout::GoZero,
        Layout::GrpcNaming,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Layout::Kitex => "kitex",
            Layout::Kratos => "kratos",
            Layout::Services => "/services",
            Layout::GoZero => "go-zero",
            Layout::GrpcNaming => "gRPC naming",
        }
    }

    /// What the framework's own readers ask for.
    pub(crate) fn prefix(self, service: &str) -> String {
        match self {
            Layout::Kitex => format!("kitex/registry-etcd/{service}"),
            Layout::Kratos => format!("/microservices/{service}"),
            Layout::Services => format!("/services/{service}/"),
            Layout::GoZero | Layout::GrpcNaming => format!("{service}/"),
        }
    }

    /// The `host:port` that the framework reads out of a record.
    pub(crate) fn address(self, key: &str, value: &str) -> Option<String> {
        let json: Option<Value> = serde_json::from_str(value).ok();
        match self {
            Layout::Kitex => Some(json?["address"].as_str()?.to_owned()),
            Layout::Kratos => {
                let url = json?["endpoints"][0].as_str()?.to_owned();
                Some(url.split_once("://")?.1.split('?').next()?.to_owned())
            }
            Layout::Services => Some(key.rsplit('/').next()?.to_owned()),
            Layout::GoZero => Some(value.to_owned()),
            Layout::GrpcNaming => Some(json?["Addr"].as_str()?.to_owned()),
        }
    }
}

/// The arguments that switch on the layouts which need configuration. A go-zero key and a gRPC target may not be one, so a service is
/// shown in either form.
pub(crate) fn configured(service: &str, grpc_naming: bool) -> Vec<String> {
    let own = if grpc_naming {
        format!("grpc={service}")
    } else {
        format!("go-zero={service}")
    };
    vec!["--layout".into(), own]
}

/// Whether a layout is on in a test.
pub(crate) fn is_on(layout: Layout, grpc_naming: bool) -> bool {
    match layout {
        Layout::GoZero => !grpc_naming,
        Layout::GrpcNaming => grpc_naming,
        Layout::Kitex | Layout::Kratos | Layout::Services => true,
    }
}
