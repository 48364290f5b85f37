//! Certificates for services, and who may call whom, as Consul's clients ask for them.

use super::super::bounds::{DAY, bounds};
use super::super::key::{Area, Key, one, switch};

pub(super) static AREA: Area = Area {
    heading: "Connect",
    keys: &[
        switch!(
            "connect",
            "Give services certificates by which they prove to each other who they are, to clients of Consul's port",
            connect.enabled
        ),
        Key {
            set: |config, text| {
                let text = text.trim().to_ascii_lowercase();
                let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
                let lengths: Vec<usize> = text.split('-').map(str::len).collect();
                if lengths != [8, 4, 4, 4, 12] || !text.split('-').all(digits) {
                    return Err(format!("{text:?} is not a UUID"));
                }
                config.connect.cluster_id = Some(text);
                Ok(())
            },
            ..one!(
                "connect-cluster-id",
                "UUID",
                "The id in the trust domain of the first root certificate; a random one by default. A root that is there keeps its own",
                connect.cluster_id
            )
        },
        one!(
            "connect-leaf-ttl",
            "DURATION",
            "How long certificates of services are valid, until /v1/connect/ca/configuration says otherwise",
            connect.leaf_ttl
        ),
        Key {
            set: |config, text| {
                config.connect.intentions_allow = match text.trim() {
                    "allow" => Some(true),
                    "deny" => Some(false),
                    "access" => None,
                    text => return Err(format!("{text:?} is none of allow, deny and access")),
                };
                Ok(())
            },
            show: |config| {
                let word = match config.connect.intentions_allow {
                    Some(true) => "allow",
                    Some(false) => "deny",
                    None => "access",
                };
                word.to_owned()
            },
            ..one!(
                "connect-intentions",
                "POLICY",
                "Whether a call that no intention is about is allowed: allow, deny, or access, which is what access control says of what no rule speaks of",
                connect.cluster_id
            )
        },
    ],
    bounds: bounds! {
        "connect-leaf-ttl" ms connect.leaf_ttl, 3_600_000, 365 * DAY, Milliseconds;
    },
};
