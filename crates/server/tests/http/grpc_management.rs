//! Tokens, organizations, kinds, sessions and the audit log over gRPC: the same answers and refusals as over HTTP.

use operations::Access;
use proto::longrun::v1 as wire;
use proto::longrun::v1::audit_service_client::AuditServiceClient;
use proto::longrun::v1::kinds_service_client::KindsServiceClient;
use proto::longrun::v1::organizations_service_client::OrganizationsServiceClient;
use proto::longrun::v1::sessions_service_client::SessionsServiceClient;
use proto::longrun::v1::tokens_service_client::TokensServiceClient;
use serde_json::{Value, json};
use store::{Actor, ActorKind, AuditCall, Scope};
use tonic::{Response, Status};

use crate::grpc::{Authorized, all_pages, assert_same, connect, time};
use crate::harness::{Caller, Server};

/// Adds the fields that are set, as HTTP does.
fn with(mut shown: Value, optional: &[(&str, Option<Value>)]) -> Value {
    for (name, value) in optional {
        if let Some(value) = value {
            shown[name] = value.clone();
        }
    }
    shown
}

/// A token as HTTP shows it. When it was last used may change between two calls.
fn token(token: Option<wire::Token>) -> Value {
    let token = token.unwrap();
    let names = |list: Option<wire::NameList>| list.map(|list| json!(list.names));
    let shown = json!({
        "id": token.id, "name": token.name, "organization": token.organization, "instance": token.instance,
        "scopes": token.scopes, "state": token.state, "created_at": time(token.created_at),
    });
    let optional = [
        ("organizations", names(token.organizations)),
        ("projects", names(token.projects)),
        ("expires_at", time(token.expires_at).map(Value::from)),
        ("revoked_at", time(token.revoked_at).map(Value::from)),
    ];
    with(shown, &optional)
}

fn organization(organization: Option<wire::Organization>) -> Value {
    let organization = organization.unwrap();
    let limits = organization.limits.unwrap();
    let shown = json!({"max_input": limits.max_input, "max_output": limits.max_output, "weight": limits.weight});
    let optional = [
        ("max_pending", limits.max_pending.map(Value::from)),
        ("rate", limits.rate.map(Value::from)),
        ("burst", limits.burst.map(|burst| json!(burst as u64))),
    ];
    json!({"organization": {"name": organization.name, "paused": organization.paused,
        "paused_kinds": organization.paused_kinds, "limits": with(shown, &optional)}})
}

fn entry(entry: wire::AuditEntry) -> Value {
    let actor = entry.actor.unwrap();
    json!({"number": entry.number, "time": time(entry.time), "organization": entry.organization,
        "actor": {"kind": actor.kind, "id": actor.id, "name": actor.name}, "action": entry.action,
        "targets": entry.targets, "address": entry.address, "request_id": entry.request_id, "code": entry.code})
}

fn answered<M>(answer: Result<Response<M>, Status>, shown: impl FnOnce(M) -> Value) -> Result<Value, Status> {
    answer.map(|answer| shown(answer.into_inner()))
}

struct Clients {
    tokens: TokensServiceClient<Authorized>,
    organizations: OrganizationsServiceClient<Authorized>,
    kinds: KindsServiceClient<Authorized>,
    audit: AuditServiceClient<Authorized>,
    sessions: SessionsServiceClient<Authorized>,
}

impl Clients {
    async fn of(caller: &Caller) -> Clients {
        Clients {
            tokens: TokensServiceClient::new(connect(caller).await),
            organizations: OrganizationsServiceClient::new(connect(caller).await),
            kinds: KindsServiceClient::new(connect(caller).await),
            audit: AuditServiceClient::new(connect(caller).await),
            sessions: SessionsServiceClient::new(connect(caller).await),
        }
    }
}

#[tokio::test]
async fn both_faces_manage_alike() {
    let server = Server::start().await;
    let (acme, ci) = server.caller_and_token(Access::projects("acme", ["p"]), &[Scope::OperationsRead]).await;
    drop(acme);
    let callers = [
        ("everything", server.acme().await),
        ("the instance", server.instance(&[], &[Scope::Admin]).await),
        ("a part of the instance", server.instance(&["other"], &[Scope::Admin]).await),
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("no scope", server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await),
    ];
    for (id, organization) in [("ses_1", "acme"), ("ses_2", "acme"), ("ses_3", "other")] {
        let now = server.store.now();
        let session = store::Session {
            id: id.to_owned(),
            organization: organization.to_owned(),
            subject: "ada".to_owned(),
            name: "Ada".to_owned(),
            begun_at: now,
            expires_at: now.after(std::time::Duration::from_secs(3_600)),
            revoked_at: None,
        };
        server.store.begin_session(session).await.unwrap();
    }
    for (who, caller) in &callers {
        let mut clients = Clients::of(caller).await;
        tokens(who, caller, &mut clients, &ci.id).await;
        organizations(who, caller, &mut clients).await;
        kinds(who, caller, &mut clients).await;
        sessions(who, caller, &mut clients).await;
        audit(who, caller, &mut clients).await;
    }
}

/// The calls about tokens, except those that answer a secret: each answers another one.
async fn tokens(who: &str, caller: &Caller, clients: &mut Clients, id: &str) {
    let list = |page_size, page_token: &str, organization: &str| wire::ListTokensRequest {
        page_size,
        page_token: page_token.to_owned(),
        organization: organization.to_owned(),
    };
    for (query, request) in [
        ("", list(0, "", "")),
        ("?page_size=1", list(1, "", "")),
        ("?page_size=-1&page_token=x", list(-1, "x", "")),
        ("?organization=other", list(0, "", "other")),
    ] {
        let mut http = caller.get(&format!("/v1/tokens{query}")).await;
        http.forget("last_used_at");
        let grpc = answered(clients.tokens.list_tokens(request).await, |page| {
            let tokens: Vec<Value> = page.tokens.into_iter().map(|one| token(Some(one))).collect();
            json!({"tokens": tokens, "next_page_token": page.next_page_token})
        });
        assert_same(&format!("{who}: tokens {query}"), &http, grpc);
    }
    for id in [id, "nobodys"] {
        let mut http = caller.get(&format!("/v1/tokens/{id}")).await;
        http.forget("last_used_at");
        let grpc = clients.tokens.get_token(wire::GetTokenRequest { token_id: id.to_owned() }).await;
        assert_same(&format!("{who}: token {id}"), &http, answered(grpc, |one| json!({"token": token(one.token)})));
    }
    let http = caller.post("/v1/tokens/nobodys:revoke", "").await;
    let grpc = clients.tokens.revoke_token(wire::RevokeTokenRequest { token_id: "nobodys".to_owned() }).await;
    assert_same(&format!("{who}: revoke"), &http, answered(grpc, |one| json!({"token": token(one.token)})));
    let http = caller.post(&format!("/v1/tokens/{id}:rotate"), r#"{"overlap":"9999999s"}"#).await;
    let overlap = Some(prost_types::Duration { seconds: 9_999_999, nanos: 0 });
    let request = wire::RotateTokenRequest { token_id: id.to_owned(), overlap, expires_in: None };
    let grpc = clients.tokens.rotate_token(request).await;
    assert_same(&format!("{who}: rotate"), &http, answered(grpc, |one| json!({"token": token(one.token)})));
    let refused = json!({"name": "", "scopes": ["everything"], "expires_in": "0s"});
    let http = caller.post("/v1/tokens", refused.to_string()).await;
    let request = wire::CreateTokenRequest {
        scopes: vec!["everything".to_owned()],
        expires_in: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    let grpc = clients.tokens.create_token(request).await;
    assert_same(&format!("{who}: create"), &http, answered(grpc, |one| json!({"token": token(one.token)})));
}

async fn organizations(who: &str, caller: &Caller, clients: &mut Clients) {
    for (query, page_size) in [("", 0), ("?page_size=1", 1), ("?page_size=-5", -5)] {
        let http = caller.get(&format!("/v1/organizations{query}")).await;
        let request = wire::ListOrganizationsRequest { page_size, page_token: String::new() };
        let grpc = answered(clients.organizations.list_organizations(request).await, |page| {
            let one = |one: wire::OrganizationSummary| {
                let shown = json!({"name": one.name, "created_at": time(one.created_at), "pending": one.pending,
                    "running": one.running, "being_deleted": one.being_deleted});
                with(shown, &[("paused_since", time(one.paused_since).map(Value::from))])
            };
            let organizations: Vec<Value> = page.organizations.into_iter().map(one).collect();
            json!({"organizations": organizations, "next_page_token": page.next_page_token})
        });
        assert_same(&format!("{who}: organizations {query}"), &http, grpc);
    }
    for name in ["acme", "other", "nope"] {
        let (what, client) = (format!("{who}: {name}"), &mut clients.organizations);
        let http = caller.get(&format!("/v1/organizations/{name}")).await;
        let grpc = client.get_organization(wire::GetOrganizationRequest { name: name.to_owned() }).await;
        assert_same(&what, &http, answered(grpc, |found| organization(found.organization)));
        let http = caller.post(&format!("/v1/organizations/{name}:pause"), "").await;
        let grpc = client.pause_organization(wire::PauseOrganizationRequest { name: name.to_owned() }).await;
        assert_same(&what, &http, answered(grpc, |found| organization(found.organization)));
        let http = caller.post(&format!("/v1/organizations/{name}:resume"), "").await;
        let grpc = client.resume_organization(wire::ResumeOrganizationRequest { name: name.to_owned() }).await;
        assert_same(&what, &http, answered(grpc, |found| organization(found.organization)));
        for (weight, rate, burst) in
            [(2, Some(0.5), Some(5)), (2, Some(-1.0), None), (2, None, None), (0, None, Some(5))]
        {
            let optional = [("rate", rate.map(Value::from)), ("burst", burst.map(Value::from))];
            let body = with(json!({"weight": weight}), &optional);
            let http = caller.post(&format!("/v1/organizations/{name}:setLimits"), body.to_string()).await;
            let limits = wire::WantedLimits { weight: Some(weight), precise_rate: rate, burst, ..Default::default() };
            let request = wire::SetOrganizationLimitsRequest { name: name.to_owned(), limits: Some(limits) };
            let grpc = client.set_organization_limits(request).await;
            assert_same(&what, &http, answered(grpc, |found| organization(found.organization)));
        }
    }
    let http = caller.post("/v1/organizations", r#"{"name":" ","limits":{"weight":0}}"#).await;
    let limits = Some(wire::WantedLimits { weight: Some(0), ..Default::default() });
    let grpc = clients.organizations.create_organization(wire::CreateOrganizationRequest { name: " ".into(), limits });
    assert_same(&format!("{who}: create"), &http, answered(grpc.await, |made| organization(made.organization)));
    let http = caller.delete("/v1/organizations/nope?force=true").await;
    let request = wire::DeleteOrganizationRequest { name: "nope".to_owned(), force: true };
    let grpc = clients.organizations.delete_organization(request).await;
    assert_same(&format!("{who}: delete"), &http, answered(grpc, |done| json!({"done": done.done})));
}

async fn kinds(who: &str, caller: &Caller, clients: &mut Clients) {
    let shown = |kind: &str, paused: bool| json!({"kind": {"name": kind, "paused": paused}});
    for kind in ["scan", "dance"] {
        let http = caller.post(&format!("/v1/kinds/{kind}:pause"), "").await;
        let grpc = clients.kinds.pause_kind(wire::PauseKindRequest { kind: kind.to_owned() }).await;
        assert_same(&format!("{who}: pause {kind}"), &http, answered(grpc, |done| shown(kind, done.paused)));
        let http = caller.post(&format!("/v1/kinds/{kind}:resume"), "").await;
        let grpc = clients.kinds.resume_kind(wire::ResumeKindRequest { kind: kind.to_owned() }).await;
        assert_same(&format!("{who}: resume {kind}"), &http, answered(grpc, |done| shown(kind, done.paused)));
    }
}

fn session(session: wire::Session) -> Value {
    let shown = json!({
        "id": session.id, "organization": session.organization, "subject": session.subject, "name": session.name,
        "state": session.state, "begun_at": time(session.begun_at), "expires_at": time(session.expires_at),
    });
    with(shown, &[("revoked_at", time(session.revoked_at).map(Value::from))])
}

async fn sessions(who: &str, caller: &Caller, clients: &mut Clients) {
    let list = |page_size, page_token: &str, organization: &str| wire::ListSessionsRequest {
        page_size,
        page_token: page_token.to_owned(),
        organization: organization.to_owned(),
    };
    for (query, request) in [
        ("", list(0, "", "")),
        ("?page_size=1", list(1, "", "")),
        ("?page_size=-1&page_token=x", list(-1, "x", "")),
        ("?organization=acme", list(0, "", "acme")),
    ] {
        let http = caller.get(&format!("/v1/sessions{query}")).await;
        let grpc = answered(clients.sessions.list_sessions(request).await, |page| {
            let sessions: Vec<Value> = page.sessions.into_iter().map(session).collect();
            json!({"sessions": sessions, "next_page_token": page.next_page_token})
        });
        assert_same(&format!("{who}: sessions {query}"), &http, grpc);
    }
    for (id, organization) in [("ses_1", ""), ("ses_1", "acme"), ("ses_3", "other"), ("nobodys", "acme")] {
        let http = caller.post(&format!("/v1/sessions/{id}:revoke?organization={organization}"), "").await;
        let request = wire::RevokeSessionRequest { session_id: id.to_owned(), organization: organization.to_owned() };
        let grpc = answered(
            clients.sessions.revoke_session(request).await,
            |done| json!({"session": session(done.session.unwrap())}),
        );
        assert_same(&format!("{who}: revoke session {id}"), &http, grpc);
    }
}

async fn audit(who: &str, caller: &Caller, clients: &mut Clients) {
    let early = Some(prost_types::Timestamp { seconds: 946_684_800, nanos: 0 });
    let list = wire::ListAuditRequest::default;
    for (query, request) in [
        ("", list()),
        ("?page_size=2", wire::ListAuditRequest { page_size: 2, ..list() }),
        ("?page_token=2", wire::ListAuditRequest { page_token: "2".to_owned(), ..list() }),
        ("?page_token=x&page_size=-1", wire::ListAuditRequest { page_token: "x".into(), page_size: -1, ..list() }),
        ("?action=kinds.", wire::ListAuditRequest { action: "kinds.".to_owned(), ..list() }),
        ("?actor=%00", wire::ListAuditRequest { actor: "\0".to_owned(), ..list() }),
        ("?since=2000-01-01T00:00:00Z", wire::ListAuditRequest { since: early, ..list() }),
        ("?until=2000-01-01T00:00:00Z", wire::ListAuditRequest { until: early, ..list() }),
        ("?organization=acme", wire::ListAuditRequest { organization: "acme".to_owned(), ..list() }),
    ] {
        let http = caller.get(&format!("/v1/audit{query}")).await;
        let grpc = answered(clients.audit.list_audit(request).await, |page| {
            let entries: Vec<Value> = page.entries.into_iter().map(entry).collect();
            json!({"entries": entries, "next_page_token": page.next_page_token})
        });
        assert_same(&format!("{who}: audit {query}"), &http, grpc);
    }
}

#[tokio::test]
async fn a_token_is_made_and_replaced_over_grpc_with_its_secret_shown_once() {
    let server = Server::start().await;
    let mut clients = Clients::of(&server.acme().await).await;
    let request = wire::CreateTokenRequest {
        name: "ci".to_owned(),
        scopes: vec!["operations:read".to_owned()],
        ..Default::default()
    };
    let made = clients.tokens.create_token(request).await.unwrap().into_inner();
    let id = made.token.unwrap().id;
    let holder = server.nobody().with_secret(&json!(made.secret));
    assert_eq!(holder.get("/v1/operations").await.status, http::StatusCode::OK);
    let request =
        wire::RotateTokenRequest { token_id: id.clone(), overlap: Some(Default::default()), expires_in: None };
    let replaced = clients.tokens.rotate_token(request).await.unwrap().into_inner();
    let successor = server.nobody().with_secret(&json!(replaced.secret));
    assert_eq!(successor.get("/v1/operations").await.status, http::StatusCode::OK);
    let shown = clients.tokens.get_token(wire::GetTokenRequest { token_id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(shown.token.unwrap().state, "expired", "without an overlap");
    let new = replaced.token.unwrap().id;
    let revoked = clients.tokens.revoke_token(wire::RevokeTokenRequest { token_id: new }).await.unwrap().into_inner();
    assert_eq!(revoked.token.unwrap().state, "revoked");
    let many = wire::CreateTokenRequest {
        name: "many".to_owned(),
        scopes: vec!["admin".to_owned(); 7],
        projects: vec!["p".to_owned(); 1_001],
        ..Default::default()
    };
    let refused = clients.tokens.create_token(many).await.unwrap_err();
    let fields = tonic_types::StatusExt::get_details_bad_request(&refused).unwrap().field_violations;
    let fields: Vec<&str> = fields.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["projects", "scopes"], "lists are bounded as over HTTP");
}

#[tokio::test]
async fn an_organization_is_made_and_deleted_over_grpc() {
    let server = Server::start().await;
    let mut clients = Clients::of(&server.instance(&[], &[Scope::Admin]).await).await;
    let limits = Some(wire::WantedLimits { max_pending: Some(7), ..Default::default() });
    let request = wire::CreateOrganizationRequest { name: "initech".to_owned(), limits };
    let made = clients.organizations.create_organization(request).await.unwrap().into_inner().organization.unwrap();
    assert_eq!(made.limits.unwrap().max_pending, Some(7));
    let request = wire::DeleteOrganizationRequest { name: "initech".to_owned(), force: false };
    assert!(clients.organizations.delete_organization(request).await.unwrap().into_inner().done);
}

#[tokio::test]
async fn pages_are_no_longer_than_clients_take() {
    const COUNT: usize = 6;
    let server = Server::start().await;
    let mut clients = Clients::of(&server.acme().await).await;
    for _ in 0..COUNT {
        // A batch has a target for each of its operations.
        let call = AuditCall {
            organization: "acme".to_owned(),
            actor: Actor { kind: ActorKind::Token, id: "tok_1".to_owned(), name: "test".to_owned() },
            action: "operations.batch_create".into(),
            targets: vec!["x".repeat(1_000); 1_000],
            address: String::new(),
            request_id: String::new(),
        };
        server.store.record(call, 0).await.unwrap();
        let projects = (0..1_000).map(|number| format!("{number:01000}"));
        server.caller(Access::projects("acme", projects), &[Scope::OperationsRead]).await;
    }
    let numbers = all_pages(async |page_token| {
        let request = wire::ListAuditRequest { page_token, ..Default::default() };
        let page = clients.audit.list_audit(request).await.expect("the client takes it").into_inner();
        (page.entries.into_iter().map(|entry| entry.number).collect(), page.next_page_token)
    })
    .await;
    let newest = numbers.first().copied().unwrap_or_default();
    assert_eq!(numbers, (0..COUNT as u64).map(|back| newest - back).collect::<Vec<_>>());
    let mut ids = all_pages(async |page_token| {
        let request = wire::ListTokensRequest { page_token, ..Default::default() };
        let page = clients.tokens.list_tokens(request).await.expect("the client takes it").into_inner();
        (page.tokens.into_iter().map(|token| token.id).collect(), page.next_page_token)
    })
    .await;
    let known = server.store.tokens(Some("acme")).await.unwrap();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), known.len());
}
