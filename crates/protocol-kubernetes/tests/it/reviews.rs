//! Questions about the caller, where nobody is kept from anything.

use serde_json::json;

use crate::client::Server;

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[tokio::test]
async fn who_may_do_everything_is_told_so() {
    let server = Server::start().await;
    let asked = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "pods", "namespace": "x"}}});
    let told = server.post(ACCESS, asked.clone()).await.ok(201);
    assert_eq!(told["status"], json!({"allowed": true}));
    assert_eq!(told["spec"], asked["spec"]);
    assert_eq!(told["apiVersion"], "authorization.k8s.io/v1");
    let neither = server.post(ACCESS, json!({"spec": {}})).await;
    assert_eq!(neither.refused(), (422, "Invalid".into()));
    assert_eq!(
        server.get(ACCESS).await.refused(),
        (405, "MethodNotAllowed".into())
    );
    let one = format!("{ACCESS}/x");
    assert_eq!(
        server.delete(&one).await.refused(),
        (405, "MethodNotAllowed".into())
    );
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let told = server
        .post(rules, json!({"spec": {"namespace": "default"}}))
        .await
        .ok(201);
    assert_eq!(
        told["status"]["resourceRules"],
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])
    );
    let own = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let told = server.post(own, json!({})).await.ok(201);
    assert_eq!(told["status"]["userInfo"]["username"], "system:anonymous");
    let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = server
        .post(tokens, json!({"spec": {"token": "nobody's"}}))
        .await
        .ok(201);
    assert_eq!(
        told["status"],
        json!({"user": {}, "error": "invalid bearer token"})
    );
    // Nothing of it is kept, and nothing was made for it.
    assert_eq!(server.registry.snapshot().revision().0, 1);
}
