//! What DNS says, through `dig`.

use super::{Shown, Site};
use crate::harness::{clients, same};

/// The status of an answer, and the fields of its records.
fn dig(site: &Site, name: &str, kind: &str) -> Result<(String, Vec<Vec<String>>), String> {
    let dns = site.server.address("dns");
    let port = dns.port().to_string();
    let server = format!("@{}", dns.ip());
    let said = clients::run(
        "dig",
        &[
            &server,
            "-p",
            &port,
            name,
            kind,
            "+tries=1",
            "+time=3",
            "+noquestion",
            "+noauthority",
            "+noadditional",
        ],
    )?;
    let status = said
        .split("status: ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap_or("none")
        .to_owned();
    let records = said
        .lines()
        .filter(|line| !line.starts_with(';') && !line.trim().is_empty())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    Ok((status, records))
}

/// The addresses of the service, as `dig` prints them.
pub(super) fn dig_a(site: &Site, shown: Shown) -> Result<(), String> {
    let (status, records) = dig(site, &format!("{}.service.consul", site.service), "A")?;
    if shown != Shown::Up {
        return same(&(status.as_str(), records.len()), &("NXDOMAIN", 0));
    }
    let addresses: Vec<&str> = records
        .iter()
        .filter_map(|record| record.get(4).map(String::as_str))
        .collect();
    same(
        &(status.as_str(), addresses.as_slice()),
        &("NOERROR", [site.host.as_str()].as_slice()),
    )
}

/// The service's place, and the address of what it names.
pub(super) fn dig_srv(site: &Site, shown: Shown) -> Result<(), String> {
    let (status, records) = dig(
        site,
        &format!("_{}._tcp.service.consul", site.service),
        "SRV",
    )?;
    if shown != Shown::Up {
        return same(&(status.as_str(), records.len()), &("NXDOMAIN", 0));
    }
    let [record] = records.as_slice() else {
        return Err(format!("expected one SRV record, found {records:?}"));
    };
    same(
        &record.get(6).map(String::as_str),
        &Some(site.port.to_string().as_str()),
    )?;
    // A client follows the target.
    let target = record.get(7).ok_or("an SRV record without a target")?;
    let (_, found) = dig(site, target, "A")?;
    same(
        &found.first().and_then(|record| record.get(4)),
        &Some(&site.host),
    )
}
