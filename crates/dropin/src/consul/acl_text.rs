//! Tokens, policies and roles as Consul's program prints them.

use serde_json::Value;

use super::text_of;

fn links(row: &Value, field: &str, title: &str, text: &mut String) {
    let linked: Vec<&Value> = row[field].as_array().into_iter().flatten().collect();
    if !linked.is_empty() {
        text.push_str(&format!("{title}:\n"));
    }
    for link in linked {
        text.push_str(&format!(
            "   {} - {}\n",
            text_of(link, "ID"),
            text_of(link, "Name")
        ));
    }
}

fn identities(row: &Value, text: &mut String) {
    let all = |field: &str| row[field].as_array().cloned().unwrap_or_default();
    let services = all("ServiceIdentities");
    if !services.is_empty() {
        text.push_str("Service Identities:\n");
    }
    for service in services {
        let places: Vec<&str> = service["Datacenters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let places = match places.is_empty() {
            true => "all".to_owned(),
            false => places.join(", "),
        };
        let name = text_of(&service, "ServiceName");
        text.push_str(&format!("   {name} (Datacenters: {places})\n"));
    }
    let nodes = all("NodeIdentities");
    if !nodes.is_empty() {
        text.push_str("Node Identities:\n");
    }
    for node in nodes {
        let (name, place) = (text_of(&node, "NodeName"), text_of(&node, "Datacenter"));
        text.push_str(&format!("   {name} (Datacenter: {place})\n"));
    }
}

fn indexes(row: &Value, width: usize, text: &mut String) {
    for (title, field) in [
        ("Create Index:", "CreateIndex"),
        ("Modify Index:", "ModifyIndex"),
    ] {
        text.push_str(&format!("{title:<width$}{}\n", row[field]));
    }
    text.push_str(&format!("{:<width$}{}\n", "Hash:", text_of(row, "Hash")));
}

pub(super) fn token_text(row: &Value, meta: bool) -> String {
    let mut text = String::new();
    for (title, field) in [
        ("AccessorID:", "AccessorID"),
        ("SecretID:", "SecretID"),
        ("Description:", "Description"),
    ] {
        text.push_str(&format!("{title:<18}{}\n", text_of(row, field)));
    }
    text.push_str(&format!(
        "{:<18}{}\n",
        "Local:",
        row["Local"].as_bool().unwrap_or(false)
    ));
    text.push_str(&format!(
        "{:<18}{}\n",
        "Create Time:",
        text_of(row, "CreateTime")
    ));
    if row["ExpirationTime"].is_string() {
        let until = text_of(row, "ExpirationTime");
        text.push_str(&format!("{:<18}{until}\n", "Expiration Time:"));
    }
    if meta {
        indexes(row, 18, &mut text);
    }
    links(row, "Policies", "Policies", &mut text);
    links(row, "Roles", "Roles", &mut text);
    identities(row, &mut text);
    text
}

pub(super) fn policy_text(row: &Value, meta: bool) -> String {
    let mut text = String::new();
    for field in ["ID", "Name", "Description"] {
        text.push_str(&format!(
            "{:<14}{}\n",
            format!("{field}:"),
            text_of(row, field)
        ));
    }
    let places = row["Datacenters"].as_array().into_iter().flatten();
    let places: Vec<&str> = places.filter_map(Value::as_str).collect();
    text.push_str(&format!("{:<14}{}\n", "Datacenters:", places.join(", ")));
    if meta {
        indexes(row, 14, &mut text);
    }
    if row["Rules"].is_string() {
        text.push_str(&format!("Rules:\n{}\n", text_of(row, "Rules")));
    }
    text
}

pub(super) fn role_text(row: &Value, meta: bool) -> String {
    let mut text = String::new();
    for field in ["ID", "Name", "Description"] {
        text.push_str(&format!(
            "{:<14}{}\n",
            format!("{field}:"),
            text_of(row, field)
        ));
    }
    if meta {
        indexes(row, 14, &mut text);
    }
    links(row, "Policies", "Policies", &mut text);
    identities(row, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_and_policies_are_printed_as_consul_prints_them() {
        let token = json!({
            "AccessorID": "a", "SecretID": "s", "Description": "d", "Local": false, "CreateTime": "2026-01-01T00:00:00Z",
            "Policies": [{ "ID": "1", "Name": "p" }], "ServiceIdentities": [{ "ServiceName": "web" }],
            "NodeIdentities": [{ "NodeName": "n", "Datacenter": "dc1" }],
        });
        let text = "AccessorID:       a\nSecretID:         s\nDescription:      d\nLocal:            false\n\
            Create Time:      2026-01-01T00:00:00Z\nPolicies:\n   1 - p\nService Identities:\n   web (Datacenters: all)\n\
            Node Identities:\n   n (Datacenter: dc1)\n";
        assert_eq!(token_text(&token, false), text);
        let policy = json!({ "ID": "1", "Name": "p", "Description": "", "Datacenters": null, "Rules": "acl = \"read\"" });
        let text = "ID:           1\nName:         p\nDescription:  \nDatacenters:  \nRules:\nacl = \"read\"\n";
        assert_eq!(policy_text(&policy, false), text);
    }
}
