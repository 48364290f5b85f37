//! The top of a zone: its SOA record, and the servers that answer for it.

use portolan_catalog::{Node, ServiceKey, State};

use crate::builder::Builder;
use crate::names::Zone;
use crate::records::{address_data, node_name};
use crate::services::rows;
use crate::settings::Settings;
use crate::template::Template;
use crate::wire::{push_name, push_soa_data, rtype};

/// Works out the answer to a question about the top of `zone`.
pub(crate) fn resolve(state: &State, settings: &Settings, zone: Zone, qtype: u16) -> Template {
    let mut builder = Builder::default().at_most(3);
    if matches!(qtype, rtype::SOA | rtype::ANY) {
        let soa = settings.soa(zone, state.revision());
        let mut data = Vec::new();
        // The question is the zone's name, at offset 12.
        push_soa_data(&mut data, &[0xc0, 12], settings.primary(zone), &soa);
        builder.answer(rtype::SOA, soa.minimum, data.get(2..).unwrap_or_default());
    }
    if matches!(qtype, rtype::NS | rtype::ANY) {
        push_servers(state, settings, zone, &mut builder);
    }
    builder.finish()
}

/// NS records with the addresses of their targets. The Kubernetes zone has one name for all servers, the others have the names of nodes.
fn push_servers(state: &State, settings: &Settings, zone: Zone, builder: &mut Builder) {
    let mut push = |name: &str, ttl: u32, nodes: &mut dyn Iterator<Item = &Node>| {
        let mut data = Vec::new();
        if !push_name(&mut data, name) {
            return;
        }
        builder.answer_to(rtype::NS, ttl, &data, 0);
        for (kind, address) in nodes.filter_map(|node| node.address.ip()).map(address_data) {
            builder.extra(kind, ttl, &address);
        }
    };
    match zone {
        Zone::Cluster => {
            let name = format!("ns.dns.{}", settings.zones.cluster);
            push(&name, settings.cluster_ttl, &mut servers(state));
        }
        Zone::Domain | Zone::AltDomain | Zone::Reverse => {
            for node in servers(state) {
                let name = node_name(settings, zone, node.name.as_str());
                push(&name, 0, &mut std::iter::once(node));
            }
        }
    }
}

/// The nodes of the servers.
pub(crate) fn servers(state: &State) -> impl Iterator<Item = &Node> {
    rows(
        state
            .endpoints(&ServiceKey::plain("consul"))
            .map(|row| &**row),
    )
    .filter(|row| row.health.serves())
    .filter_map(|row| Some(&**state.node(&row.instance.node)?))
}
