//! Every answer was allowed.

use super::harness::World;

#[tokio::test]
async fn every_route_asks_whether_it_may() {
    let world = World::new().await;
    for (methods, pattern) in portolan_protocol_consul::routes() {
        for method in methods.iter() {
            let path = pattern
                .replace("{*", "{")
                .split('{')
                .enumerate()
                .map(|(at, part)| {
                    if at == 0 {
                        part.to_owned()
                    } else {
                        format!("x{}", part.split_once('}').map_or("", |(_, rest)| rest))
                    }
                })
                .collect::<String>();
            world.send(method.as_str(), &path, &[], b"{}").await;
        }
    }
    for (method, path) in [
        ("GET", "/nope"),
        ("PUT", "/v1/status/leader"),
        ("GET", "/v1/kv/"),
        ("GET", "/v1/status/leader?dc=x"),
    ] {
        world.send(method, path, &[], b"").await;
    }
    assert_eq!(
        world
            .context
            .metrics()
            .answers_without_decision(portolan_catalog::Protocol::Consul),
        0
    );
    assert_eq!(
        world
            .context
            .metrics()
            .panics(portolan_catalog::Protocol::Consul),
        0
    );
}

/// Nobody may do anything.
#[derive(Debug)]
struct Nothing;

impl portolan_listener::Policy for Nothing {
    fn decide(
        &self,
        _: &portolan_listener::Principal,
        _: portolan_listener::Action,
        _: portolan_listener::Resource<'_>,
    ) -> portolan_listener::Decision {
        portolan_listener::Decision::Deny
    }
}

#[tokio::test]
async fn a_policy_that_denies_is_asked_before_anything_is_said_or_done() {
    let world = World::new().await;
    world.put("/v1/kv/a", "1").await.is(200, "true");
    let before = world.revision();
    world.context.set_policy(Some(std::sync::Arc::new(Nothing)));
    for answer in [
        world.put("/v1/kv/a", "2").await,
        world.get("/v1/kv/a").await,
        world.get("/v1/kv/none").await,
        world
            .put("/v1/agent/service/register", r#"{"Name":"web"}"#)
            .await,
        world.get("/v1/nothing/here").await,
    ] {
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    world.context.set_policy(None);
    assert_eq!(world.revision(), before, "nothing was done");
}
