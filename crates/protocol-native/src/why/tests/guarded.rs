//! What the mass-expiry guard keeps, as `why` tells it.

use portolan_catalog::guard;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_guard_is_named_before_anything_it_hides() {
    let stage = Stage::new();
    stage.registers(eureka("h1", at(1, 80), 600_000)).await;
    let put = Put::new(
        Keyspace::Settings,
        Key::from(guard::Removals::Silent.setting()),
        Bytes::from_static(b"silent=12 services=default/default/web"),
    );
    let write = Command::Write(Write::one(Op::Put(Box::new(put))));
    stage
        .registry
        .propose(Cause::own(portolan_catalog::Why::Guard), write)
        .await
        .unwrap()
        .outcome
        .unwrap();
    let why = stage.why("web", None);
    assert_eq!(why.causes[0].kind, "guard");
    assert_eq!(why.causes[0].detail["silent"], 12);
    assert_eq!(
        stage.why("web", Some("h1")).causes,
        [],
        "this one was heard"
    );
    let other = stage.why("other", None);
    assert_eq!(
        other.causes[0].kind, "never_registered",
        "it is not about every service"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_guard_keeps_listed_is_said_after_the_check_that_fails() {
    let stage = Stage::new();
    let mut register = checked("web-1", at(1, 80), Probe::None);
    let check = &mut register.checks[0].facts;
    Arc::make_mut(check).reap_after_ms = Some(60_000);
    stage.registers(register).await;
    stage
        .reports("service:web-1", Status::Critical, "no route")
        .await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let put = Put::new(
        Keyspace::Settings,
        Key::from(guard::Removals::Critical.setting()),
        Bytes::from_static(b"silent=30 services=*"),
    );
    let write = Command::Write(Write::one(Op::Put(Box::new(put))));
    stage.does(Protocol::Portolan, write).await;
    let why = stage.why("web", None);
    let kinds: Vec<&str> = why.causes.iter().map(|cause| &*cause.kind).collect();
    assert_eq!(kinds, ["check_failing", "guard"]);
    let text = &why.causes[1].text;
    assert!(
        text.contains("30 instances were critical at once"),
        "{text}"
    );
    assert!(
        text.contains("1 of this service, critical for up to"),
        "{text}"
    );
}
