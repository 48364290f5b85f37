//! Aliases inside our own zones are followed in the same answer (RFC 1034 section 4.3.2).
//!
//! A client that is no resolver takes nothing from a bare alias, and a resolver would have to ask again. Targets in other people's zones
//! are left as they are; `recursion` goes on there, reply by reply, where there are recursors.

use crate::builder::chain;
use crate::dependency::Dependency;
use crate::found::{Found, Question, Reader};
use crate::names;
use crate::template::Template;
use crate::wire::{Folded, Labels, Rcode, push_name, rtype};

/// Aliases followed for one question. A longer chain, or one that returns to a name it had, ends there without an address.
const MOST: usize = 8;

/// One step: time to live and the name that it leads to, in wire form.
type Link = (u32, Vec<u8>);

/// Puts behind the aliases of an answer what their targets answer. `choose` draws a number below its argument.
///
/// Of several aliases one is chosen, as a reply gives one; such an answer is not kept, so that the next reply may choose another.
pub(crate) fn follow(
    reader: &Reader<'_>,
    question: Question<'_>,
    mut found: Found,
    mut choose: impl FnMut(u32) -> u32,
) -> Found {
    let mut links: Vec<Link> = Vec::new();
    let mut passed: Vec<Dependency> = Vec::new();
    let mut keep = found.keep;
    let mut seen = vec![question.name.to_owned()];
    // What the last name lies in, and how many bytes of it are the zone's.
    let mut zone = None;
    let mut open = false;
    if question.qtype == rtype::CNAME {
        return found;
    }
    loop {
        let aliases: Vec<Link> = found
            .template
            .aliases()
            .map(|(ttl, name)| (ttl, name.to_vec()))
            .collect();
        if aliases.is_empty() {
            break;
        }
        let ours = |link: &Link| locate(reader, &link.1, question.qtype, |_, _| ()).is_some();
        if links.is_empty() && !aliases.iter().any(ours) {
            // All of it is somebody else's: the prepared answer draws one for each reply.
            return found;
        }
        let index = match aliases.len() {
            1 => 0,
            several => {
                keep = false;
                choose(several as u32) as usize % several
            }
        };
        let Some(link) = aliases.into_iter().nth(index) else {
            break;
        };
        let next = locate(reader, &link.1, question.qtype, |question, asked| {
            let again = seen.iter().any(|name| name == question.name) || links.len() + 1 >= MOST;
            (!again).then(|| (question.name.to_owned(), reader.direct(question, asked)))
        });
        links.push(link);
        passed.push(found.dependency_for_another());
        match next {
            Some((within, Some((name, next)))) => {
                seen.push(name);
                zone = Some(within);
                found = next;
            }
            // Outside, in a circle, or too far.
            None | Some((_, None)) => {
                zone = None;
                open = true;
                break;
            }
        }
    }
    if links.is_empty() {
        return found;
    }
    let rest = if open {
        crate::builder::nothing(Rcode::NoError)
    } else {
        passed.push(found.dependency_for_another());
        found.template
    };
    let links = links.iter().map(|(ttl, name)| (*ttl, name.as_slice()));
    Found {
        template: chain(links, rest, zone),
        dependency: Dependency::All(passed.into()),
        keep,
    }
}

/// The addresses that a name of our zones has itself, of both families. `None`: it is not ours, or has none.
pub(crate) fn addresses_of(reader: &Reader<'_>, name: &str) -> Option<(Template, Dependency)> {
    let mut wire = Vec::new();
    if !push_name(&mut wire, name) {
        return None;
    }
    let (_, found) = locate(reader, &wire, rtype::ANY, |question, asked| {
        reader.direct(question, asked)
    })?;
    let dependency = found.dependency_for_another();
    Some((found.template, dependency))
}

/// Reads a name in wire form: its zone, with how many bytes of the name are the zone's, and what `then` says to it. `None`: it is in no
/// zone of ours.
fn locate<T>(
    reader: &Reader<'_>,
    wire: &[u8],
    qtype: u16,
    then: impl FnOnce(Question<'_>, &names::Asked<'_>) -> T,
) -> Option<((names::Zone, u16), T)> {
    let mut folded = Folded::default();
    folded.set(wire, qtype);
    let mut text = [0; 256];
    let labels = Labels::read(folded.name(), &mut text)?;
    let (zone, split, asked) = names::classify(&labels, qtype, &reader.settings.zones)?;
    let inside = labels.offset(split) - crate::wire::HEADER as u16;
    let question = Question {
        zone,
        name: labels.join(0, labels.len()),
        qtype,
        ports: false,
    };
    Some(((zone, wire.len() as u16 - inside), then(question, &asked)))
}
