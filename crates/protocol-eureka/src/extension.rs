//! What a Eureka registration says and the catalog has no field for, as the catalog's extension bytes.
//!
//! Canonical: equal registrations give equal bytes (fixed order, absent values left out), so that registering again is
//! no change. It never repeats what a typed field holds; a port, for example, is here only while it is switched off.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lease;
use crate::wire;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extension {
    /// The registration had no `instanceId`: it is stored under its host name and printed without one.
    #[serde(rename = "n", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) nameless: bool,
    /// `hostName`, when it is not the host itself.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_name: Option<String>,
    /// `ipAddr`, when the canonical host is spelled otherwise.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(crate) ip_addr: Option<String>,
    #[serde(rename = "sid", default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    /// The plain port's number while it is disabled.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) port_off: Option<u16>,
    /// The TLS port's number while it is disabled.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) secure_off: Option<u16>,
    /// The plain port is enabled and has no number.
    #[serde(rename = "z", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) port_zero: bool,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(crate) country: Option<i64>,
    /// The data centre's name, when it is not `MyOwn`.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) center: Option<String>,
    #[serde(rename = "dm", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) center_metadata: BTreeMap<String, String>,
    /// `renewalIntervalInSecs`, when it is not 30.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewal: Option<i64>,
    /// `durationInSecs`, when the lease lives longer than that.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(crate) duration: Option<i64>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(crate) app_group: Option<String>,
    #[serde(rename = "uh", default, skip_serializing_if = "Option::is_none")]
    pub(crate) home_page: Option<String>,
    #[serde(rename = "us", default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_page: Option<String>,
    #[serde(rename = "uc", default, skip_serializing_if = "Option::is_none")]
    pub(crate) health_check: Option<String>,
    #[serde(rename = "ut", default, skip_serializing_if = "Option::is_none")]
    pub(crate) secure_health_check: Option<String>,
    /// `vipAddress` as written, when the folded lookups do not give it back.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(crate) vip: Option<String>,
    /// The same for `secureVipAddress`.
    #[serde(rename = "sv", default, skip_serializing_if = "Option::is_none")]
    pub(crate) secure_vip: Option<String>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(crate) asg: Option<String>,
}

impl Extension {
    pub(crate) fn of(instance: &wire::Instance, canonical_host: &str) -> Extension {
        let center = instance.data_center.as_ref();
        let disabled = |port: wire::Port| (!port.enabled).then_some(port.number);
        Extension {
            nameless: instance
                .instance_id
                .as_deref()
                .unwrap_or_default()
                .is_empty(),
            host_name: other_than(&instance.host_name, canonical_host),
            ip_addr: other_than(&instance.ip_addr, canonical_host),
            sid: instance.sid.clone(),
            port_off: disabled(instance.port),
            secure_off: disabled(instance.secure_port),
            port_zero: instance.port.enabled && instance.port.number == 0,
            country: (instance.country_id != 1).then_some(instance.country_id),
            center: center
                .and_then(|c| c.name)
                .filter(|name| *name != wire::DataCenterName::MyOwn)
                .map(|name| name.as_str().to_owned()),
            center_metadata: center.map(|c| c.metadata.clone()).unwrap_or_default(),
            renewal: Some(instance.lease.renewal_interval_secs).filter(|secs| *secs != 30),
            duration: Some(instance.lease.duration_secs).filter(|secs| {
                let lives = lease::terms(&instance.lease).ttl_ms() / 1000;
                u64::try_from(*secs).is_ok_and(|secs| secs < lives)
            }),
            app_group: instance.app_group.clone(),
            home_page: instance.home_page_url.clone(),
            status_page: instance.status_page_url.clone(),
            health_check: instance.health_check_url.clone(),
            secure_health_check: instance.secure_health_check_url.clone(),
            vip: as_written(instance.vip_address.as_deref()),
            secure_vip: as_written(instance.secure_vip_address.as_deref()),
            asg: instance.asg_name.clone(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        // A struct of strings and numbers always serializes.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Bytes of another version that do not parse are as good as none: the typed fields still hold.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Extension {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    pub(crate) fn data_center(&self) -> wire::DataCenter {
        let name = self.center.as_deref().and_then(wire::DataCenterName::named);
        wire::DataCenter {
            name: Some(name.unwrap_or(wire::DataCenterName::MyOwn)),
            metadata: self.center_metadata.clone(),
        }
    }
}

fn other_than(text: &str, canonical: &str) -> Option<String> {
    (text != canonical).then(|| text.to_owned())
}

/// Lookups are folded and an absent name has none; whatever differs from that is kept as it was written.
fn as_written(vip: Option<&str>) -> Option<String> {
    vip.filter(|v| v.is_empty() || v.bytes().any(|b| b.is_ascii_uppercase()))
        .map(str::to_owned)
}
