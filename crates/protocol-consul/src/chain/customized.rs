//! The mark of a chain that was asked for with other settings than its entries have: who keeps both does not take one for the other.

use super::Asked;

/// Which settings made a difference.
#[derive(Debug, Default)]
pub(super) struct Customized {
    pub(super) mesh_gateway: bool,
    pub(super) protocol: bool,
    pub(super) connect_timeout: bool,
}

/// The mark; none when nothing made a difference. It is the one that Consul gives: the hash of a structure by Go's `hashstructure`, over
/// FNV-1 of 64 bits.
pub(super) fn mark(customized: &Customized, asked: &Asked) -> Option<String> {
    let Customized {
        mesh_gateway,
        protocol,
        connect_timeout,
    } = customized;
    if !(*mesh_gateway || *protocol || *connect_timeout) {
        return None;
    }
    let text = |said: bool, text: &str| fnv(if said { text.as_bytes() } else { b"" });
    let gateway = fields(
        "MeshGatewayConfig",
        [("Mode", text(*mesh_gateway, &asked.mesh_gateway))],
    );
    let timeout = if *connect_timeout {
        asked.connect_timeout
    } else {
        0
    };
    let hash = fields(
        "",
        [
            ("OverrideMeshGateway", gateway),
            ("OverrideProtocol", text(*protocol, &asked.protocol)),
            ("OverrideConnectTimeout", fnv(&timeout.to_le_bytes())),
        ],
    );
    let mut mark = format!("{hash:x}");
    mark.truncate(8);
    Some(mark)
}

/// The hash of a structure: its name, and each field's name with its value, in any order.
fn fields<const N: usize>(name: &str, fields: [(&str, u64); N]) -> u64 {
    fields
        .iter()
        .fold(fnv(name.as_bytes()), |hash, (name, value)| {
            let name = fnv(name.as_bytes()).to_le_bytes();
            hash ^ fnv(&[name, value.to_le_bytes()].concat())
        })
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mark_that_consul_gives() {
        let all = Customized {
            mesh_gateway: true,
            protocol: true,
            connect_timeout: true,
        };
        let asked = Asked {
            mesh_gateway: "local".into(),
            protocol: "grpc".into(),
            connect_timeout: 22_000_000_000,
            ..Asked::default()
        };
        assert_eq!(mark(&all, &asked).as_deref(), Some("98809527"));
        assert_eq!(mark(&Customized::default(), &asked), None);
    }
}
