//! The JSON of gRPC requests, by their field names. Everything may be absent or null; unknown fields are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::instance::{Instance, metadata};

/// Absent and null are the default.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A number that some clients send as text; anything else is 0.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(text) => text.trim().parse().unwrap_or_default(),
        _ => 0,
    })
}

macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $member:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field])* pub $member: $kind,)* }
    };
}

request!(
    /// `ConnectionSetupRequest`, the first message of a stream.
    ConnectionSetup {
        /// Such as `Nacos-Java-Client:v2.5.1`.
        #[serde(deserialize_with = "nullable")]
        client_version: String,
        /// The client's namespace.
        #[serde(deserialize_with = "nullable")]
        tenant: String,
        /// `module`, `source`, `AppName`.
        #[serde(deserialize_with = "metadata")]
        labels: BTreeMap<String, String>,
        /// What the client can do; present in clients that wait for the server's.
        ability_table: Option<BTreeMap<String, Value>>,
    }
);

request!(
    /// What every naming request has.
    Named {
        /// Namespace; null and empty are `public`.
        #[serde(deserialize_with = "nullable")]
        namespace: String,
        /// Without its group.
        #[serde(deserialize_with = "nullable")]
        service_name: String,
        /// Group.
        #[serde(deserialize_with = "nullable")]
        group_name: String,
    }
);

request!(
    /// `InstanceRequest` and `PersistentInstanceRequest`.
    InstanceRequest {
        /// The service.
        #[serde(flatten)]
        service: Named,
        /// `registerInstance` or `deregisterInstance`.
        #[serde(rename = "type", deserialize_with = "nullable")]
        kind: String,
        /// The instance.
        #[serde(deserialize_with = "nullable")]
        instance: Instance,
    }
);

request!(
    /// `BatchInstanceRequest`: all instances of the connection in one service.
    BatchInstanceRequest {
        /// The service.
        #[serde(flatten)]
        service: Named,
        /// `batchRegisterInstance`.
        #[serde(rename = "type", deserialize_with = "nullable")]
        kind: String,
        /// The instances.
        #[serde(deserialize_with = "nullable")]
        instances: Vec<Instance>,
    }
);

request!(
    /// `ServiceQueryRequest`.
    ServiceQuery {
        /// The service.
        #[serde(flatten)]
        service: Named,
        /// Clusters, comma separated.
        #[serde(deserialize_with = "nullable")]
        cluster: String,
        /// Only healthy ones.
        #[serde(deserialize_with = "nullable")]
        healthy_only: bool,
    }
);

request!(
    /// `SubscribeServiceRequest`.
    SubscribeService {
        /// The service.
        #[serde(flatten)]
        service: Named,
        /// Or unsubscribe.
        #[serde(deserialize_with = "nullable")]
        subscribe: bool,
        /// Clusters, comma separated.
        #[serde(deserialize_with = "nullable")]
        clusters: String,
    }
);

request!(
    /// `ServiceListRequest`.
    ServiceList {
        /// Namespace and group.
        #[serde(flatten)]
        service: Named,
        /// From 1.
        #[serde(deserialize_with = "number")]
        page_no: i64,
        /// Names on a page.
        #[serde(deserialize_with = "number")]
        page_size: i64,
    }
);

request!(
    /// `NamingFuzzyWatchRequest` and `ConfigFuzzyWatchRequest`.
    FuzzyWatch {
        /// `namespace>>group>>name`, with `*` for anything.
        #[serde(deserialize_with = "nullable")]
        group_key_pattern: String,
        /// What the client knows already.
        #[serde(deserialize_with = "nullable")]
        received_group_keys: Vec<String>,
        /// `WATCH` or `CANCEL_WATCH`.
        #[serde(deserialize_with = "nullable")]
        watch_type: String,
        /// The client knows nothing yet.
        #[serde(alias = "isInitializing", deserialize_with = "nullable")]
        initializing: bool,
    }
);

request!(
    /// `ConfigQueryRequest`, `ConfigPublishRequest`, `ConfigRemoveRequest`.
    ConfigRequest {
        /// Data id.
        #[serde(deserialize_with = "nullable")]
        data_id: String,
        /// Group.
        #[serde(deserialize_with = "nullable")]
        group: String,
        /// Namespace.
        #[serde(deserialize_with = "nullable")]
        tenant: String,
        /// A tag release.
        #[serde(deserialize_with = "nullable")]
        tag: String,
        /// What to publish.
        content: Option<String>,
        /// Publish only over content of this MD5.
        #[serde(deserialize_with = "nullable")]
        cas_md5: String,
        /// `type`, `appName`, `betaIps`, `tag`, `config_tags`, `encryptedDataKey`, ...
        #[serde(deserialize_with = "metadata")]
        addition_map: BTreeMap<String, String>,
    }
);

request!(
    /// `ConfigBatchListenRequest`.
    ConfigBatchListen {
        /// Or not any more.
        #[serde(deserialize_with = "nullable")]
        listen: bool,
        /// What.
        #[serde(deserialize_with = "nullable")]
        config_listen_contexts: Vec<ListenContext>,
    }
);

request!(
    /// One configuration that is listened to.
    ListenContext {
        /// Group.
        #[serde(deserialize_with = "nullable")]
        group: String,
        /// MD5 of what the client has.
        #[serde(deserialize_with = "nullable")]
        md5: String,
        /// Data id.
        #[serde(deserialize_with = "nullable")]
        data_id: String,
        /// Namespace.
        #[serde(deserialize_with = "nullable")]
        tenant: String,
    }
);

request!(
    /// What every message of a client has that answers a request of the server.
    Answered {
        /// The request's number.
        #[serde(deserialize_with = "nullable")]
        request_id: String,
        /// 200 when it was taken.
        #[serde(deserialize_with = "number")]
        result_code: i64,
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_the_sdks_of_three_languages_write_them() {
        let java: InstanceRequest = serde_json::from_str(
            r#"{"headers":{"app":"unknown"},"namespace":"public","serviceName":"s","groupName":"g","type":"registerInstance","instance":{"ip":"1.1.1.1","port":80,"weight":1.0,"healthy":true,"enabled":true,"ephemeral":true,"metadata":{},"instanceHeartBeatInterval":5000},"module":"naming"}"#,
        )
        .unwrap();
        assert_eq!(java.service.service_name, "s");
        assert_eq!(java.kind, "registerInstance");
        assert_eq!(java.instance.port, Some(80));
        let bare: InstanceRequest =
            serde_json::from_str(r#"{"headers":null,"namespace":null,"instance":null}"#).unwrap();
        assert_eq!(bare, InstanceRequest::default());
        let listen: ConfigBatchListen = serde_json::from_str(
            r#"{"listen":true,"configListenContexts":[{"group":"g","md5":"","dataId":"d","tenant":null}]}"#,
        )
        .unwrap();
        assert!(listen.listen && listen.config_listen_contexts[0].data_id == "d");
        let list: ServiceList =
            serde_json::from_str(r#"{"namespace":"","pageNo":"1","pageSize":10,"selector":""}"#)
                .unwrap();
        assert_eq!((list.page_no, list.page_size), (1, 10));
        let setup: ConnectionSetup =
            serde_json::from_str(r#"{"abilityTable":{},"labels":{"a":1}}"#).unwrap();
        assert!(setup.ability_table.is_some());
    }
}
