//! `xds`: the file that a client of xDS starts from.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Fault;

/// `xds`.
#[derive(Debug, Subcommand)]
pub(crate) enum Xds {
    /// Print a bootstrap file: for gRPC the content of the file that GRPC_XDS_BOOTSTRAP names, for Envoy that of --config-path
    Bootstrap(Bootstrap),
}

/// Which client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum For {
    /// Channels and servers of gRPC.
    #[default]
    Grpc,
    /// Envoy.
    Envoy,
}

/// `xds bootstrap`.
#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// Who starts from it
    #[arg(long = "for", value_enum, default_value_t, value_name = "CLIENT")]
    client: For,
    /// Address of a server's xDS port
    #[arg(long, default_value = "127.0.0.1:18000", value_name = "HOST:PORT")]
    server: String,
    /// Name of the client, which `portolan why` and logs show
    #[arg(long, default_value = "client", value_name = "NAME")]
    id: String,
    /// Region of the client: instances there come first
    #[arg(long, default_value = "", value_name = "REGION")]
    region: String,
    /// Zone of the client
    #[arg(long, default_value = "", value_name = "ZONE")]
    zone: String,
    /// Certificate authority of the server, if its port speaks TLS
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// Envoy: ask for differences instead of the state of the world
    #[arg(long)]
    delta: bool,
    /// Envoy: address of its own admin page
    #[arg(long, default_value = "127.0.0.1:9901", value_name = "ADDR")]
    admin: SocketAddr,
}

impl Xds {
    pub(super) fn run(self) -> Result<(), Fault> {
        let Xds::Bootstrap(bootstrap) = self;
        let token = std::env::var("PORTOLAN_TOKEN").ok();
        let token = token.filter(|token| !token.is_empty());
        let printed = match bootstrap.client {
            For::Grpc if token.is_some() => Err(Fault::Usage(
                "gRPC's channels cannot send a token to their xDS server; let them in with a client certificate, or give what anonymous callers may discover a policy".into(),
            ))?,
            For::Grpc => bootstrap.grpc(),
            For::Envoy => bootstrap.envoy(token.as_deref())?,
        };
        println!("{printed:#}");
        Ok(())
    }
}

impl Bootstrap {
    fn node(&self) -> Value {
        let mut node = json!({"id": self.id, "cluster": "portolan"});
        let mut locality = json!({});
        for (key, value) in [("region", &self.region), ("zone", &self.zone)] {
            if !value.is_empty() {
                locality[key] = value.as_str().into();
            }
        }
        if locality != json!({}) {
            node["locality"] = locality;
        }
        node
    }

    fn grpc(&self) -> Value {
        let credentials = match &self.ca {
            Some(file) => json!({"type": "tls", "config": {"ca_certificate_file": file}}),
            None => json!({"type": "insecure"}),
        };
        json!({
            "xds_servers": [{
                "server_uri": self.server,
                "channel_creds": [credentials],
                "server_features": ["xds_v3"],
            }],
            "node": self.node(),
            "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
        })
    }

    fn envoy(&self, token: Option<&str>) -> Result<Value, Fault> {
        let wrong = || {
            Fault::Usage(format!(
                "--server: {:?} is not HOST:PORT, such as 127.0.0.1:18000",
                self.server
            ))
        };
        let (host, port) = self.server.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = |host: &str, port: u16| json!({"socket_address": {"address": host, "port_value": port}});
        let mut service = json!({"envoy_grpc": {"cluster_name": "xds"}});
        if let Some(token) = token {
            service["initial_metadata"] =
                json!([{"key": "authorization", "value": format!("Bearer {token}")}]);
        }
        let source = json!({"ads": {}, "resource_api_version": "V3"});
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let mut xds = json!({
            "name": "xds",
            "type": if host.parse::<std::net::IpAddr>().is_ok() { "STATIC" } else { "STRICT_DNS" },
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http2_protocol_options": {
                    "connection_keepalive": {"interval": "30s", "timeout": "5s"},
                }},
            }},
            "load_assignment": {"cluster_name": "xds", "endpoints": [{
                "lb_endpoints": [{"endpoint": {"address": address(host, port)}}],
            }]},
        });
        if let Some(file) = &self.ca {
            xds["transport_socket"] = json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": host,
                    "common_tls_context": {
                        "alpn_protocols": ["h2"],
                        "validation_context": {"trusted_ca": {"filename": file}},
                    },
                },
            });
        }
        Ok(json!({
            "node": self.node(),
            "dynamic_resources": {
                "ads_config": {
                    "api_type": if self.delta { "DELTA_GRPC" } else { "GRPC" },
                    "transport_api_version": "V3",
                    "grpc_services": [service],
                },
                "lds_config": source,
                "cds_config": source,
            },
            "static_resources": {"clusters": [xds]},
            "admin": {"address": address(&self.admin.ip().to_string(), self.admin.port())},
        }))
    }
}
