//! Who gets which answer: every call of the OpenAPI document by callers that may not make it, or may not see its
//! subject. The table that this makes is `docs/authorization.md`.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use operations::{Access, NewOperation, Timestamp};
use prost::Message;
use serde_json::{Value, json};
use server::auth::Secret;
use store::{NewToken, Scope};
use tokio::task::JoinHandle;
use tonic_types::StatusExt;

use crate::harness::{Caller, Server};
use crate::identity::forged::{hmac_with, public_text, unsigned};
use crate::identity::provider::{caller, patient_server_of};
use crate::identity::signer::{Signer, claims};

/// The table as it was last agreed on.
const AGREED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authorization.md");
/// Nobody's token, though its checksum is right.
const UNKNOWN: &str = "an unknown token";

/// A token of `acme` that is no longer valid.
async fn stale(server: &Server, expires_at: Option<Timestamp>, is_revoked: bool) -> Caller {
    let secret = Secret::generate().unwrap();
    let token = NewToken {
        hash: secret.hash(),
        name: "stale".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::Admin].into(),
        expires_at,
        instance: None,
    };
    let token = server.store.create_token(token).await.unwrap();
    if is_revoked {
        assert!(server.store.revoke_token(&token.id).await.unwrap());
    }
    Caller { address: server.address, authorization: Some(format!("Bearer {}", secret.expose())) }
}

/// The status and the reason of an answer, without waiting for the end of one that has none.
async fn ask(caller: &Caller, method: &Method, path: &str, body: &str) -> (StatusCode, String) {
    let (connection, response) = begin(caller, method, path, "application/json", body).await;
    let status = response.status();
    let mut reason = String::new();
    if !status.is_success() {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        reason = body["details"][0]["reason"].as_str().unwrap().to_owned();
    }
    connection.abort();
    (status, reason)
}

/// The status and the reason of the answer to an empty message of gRPC: a refusal has both in its headers.
async fn ask_grpc(caller: &Caller, path: &str) -> (StatusCode, String) {
    let (connection, response) = begin(caller, &Method::POST, path, "application/grpc", "\0\0\0\0\0").await;
    connection.abort();
    let refusal = tonic::Status::from_header_map(response.headers());
    let refusal = refusal.filter(|refusal| refusal.code() != tonic::Code::Ok);
    let Some(refusal) = refusal else { return (response.status(), String::new()) };
    let is_denied = refusal.code() == tonic::Code::PermissionDenied;
    let status = if is_denied { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
    (status, refusal.get_error_details().error_info().unwrap().reason.clone())
}

/// Sends a request; the answer has begun.
async fn begin(
    caller: &Caller,
    method: &Method,
    path: &str,
    content_type: &str,
    body: &str,
) -> (JoinHandle<hyper::Result<()>>, Response<Incoming>) {
    let stream = tokio::net::TcpStream::connect(caller.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "test");
    request = request.header("content-type", content_type);
    if let Some(authorization) = &caller.authorization {
        request = request.header("authorization", authorization);
    }
    let body = Full::new(bytes::Bytes::copy_from_slice(body.as_bytes()));
    (connection, sender.send_request(request.body(body).unwrap()).await.unwrap())
}

/// Callers with a token that has this one scope: of `acme`, and of the instance, which has fewer scopes.
struct OfOneScope {
    acme: Vec<(Scope, Caller)>,
    instance: Vec<(Scope, Caller)>,
}

impl OfOneScope {
    async fn of(server: &Server) -> OfOneScope {
        let (mut acme, mut instance) = (Vec::new(), Vec::new());
        for scope in Scope::ALL {
            acme.push((scope, server.caller(Access::organization("acme"), &[scope]).await));
        }
        for scope in [Scope::OperationsWork, Scope::Admin] {
            instance.push((scope, server.instance(&[], &[scope]).await));
        }
        OfOneScope { acme, instance }
    }

    /// The scopes each of which suffices for a call; those of tokens of the instance when only these may make it.
    async fn sufficient(&self, call: impl AsyncFn(&Caller) -> (StatusCode, String)) -> String {
        for (callers, whose) in [(&self.acme, ""), (&self.instance, " of the instance")] {
            let mut sufficient = Vec::new();
            for (scope, caller) in callers {
                if call(caller).await.0 != StatusCode::FORBIDDEN {
                    sufficient.push(format!("`{scope}`"));
                }
            }
            if !sufficient.is_empty() {
                return sufficient.join(", ") + whose;
            }
        }
        "none".to_owned()
    }
}

/// The paths of all methods of gRPC that need a token.
fn methods() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
    let mut methods = Vec::new();
    for file in &files {
        for service in &file.service {
            let of = |method: &prost_types::MethodDescriptorProto| {
                format!("/{}.{}/{}", file.package(), service.name(), method.name())
            };
            methods.extend(service.method.iter().map(of));
        }
    }
    methods
}

/// A body that the call would take.
fn body(operation_id: &str, digest: &str) -> String {
    let body = match operation_id {
        "AsyncOperationsService_CreateOperation" => json!({"kind": "scan", "project_id": "p"}),
        "AsyncOperationsService_BatchCreateOperations" => {
            json!({"operations": [{"kind": "scan", "project_id": "p"}]})
        }
        "AsyncOperationsService_BulkOperations" => {
            json!({"action": "retry", "filter": "kind = nothing", "dry_run": true})
        }
        "WorkerService_ClaimOperations" => json!({"kinds": ["scan"]}),
        "WorkerService_HeartbeatOperations" => {
            json!({"operations": [{"id": "01a20e1a-1194-75ec-b562-a042f01e7eac", "lease_token": "v1.1.1"}]})
        }
        "WorkerService_SettleOperations" => json!({"results": [
            {"id": "01a20e1a-1194-75ec-b562-a042f01e7eac", "lease_token": "v1.1.1", "output": ""}
        ]}),
        "AgentsService_EvaluateEvidence" => json!({"digest": digest, "project_id": "p"}),
        "TokensService_CreateToken" => json!({"name": "t", "scopes": ["operations:read"]}),
        "ViewsService_CreateView" | "ViewsService_UpdateView" => json!({"name": "failed", "filter": "status = FAILED"}),
        "SchedulesService_CreateSchedule" => {
            json!({"name": "hourly", "every": "3600s", "operation": {"kind": "scan", "project_id": "p"}})
        }
        "WaiversService_CreateWaiver" => json!({"policy": "vulnerabilities", "reason": "known"}),
        "EvidenceService_ReevaluateEvidence" => json!({"policy": "vulnerabilities"}),
        "SchedulesService_UpdateSchedule" => json!({"overlap": "skip"}),
        "OrganizationsService_CreateOrganization" => json!({"name": "initech"}),
        "OrganizationsService_SetOrganizationLimits" | "TokensService_RotateToken" => json!({}),
        _ => return String::new(),
    };
    body.to_string()
}

/// Which scopes suffice for each call of the document, by its `operationId`; asserts that they are those of the method
/// of gRPC. The subjects of the calls do not exist, as far as a caller may not learn this before its scope is checked.
async fn scopes() -> BTreeMap<String, String> {
    let server = Server::start().await;
    server.pending("scan").await;
    let callers = OfOneScope::of(&server).await;
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let mut scopes = BTreeMap::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let name = call["operationId"].as_str().unwrap();
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = template.replace("/organizations/{name}", "/organizations/acme");
            let path = path.split('/').map(|part| match part.split_once('}') {
                Some((_, verb)) => format!("nope{verb}"),
                None => part.to_owned(),
            });
            let (path, body) = (path.collect::<Vec<_>>().join("/"), body(name, "nope"));
            let sufficient = callers.sufficient(async |caller| ask(caller, &method, &path, &body).await).await;
            assert!(sufficient.contains("`admin`"), "{method} {path}: {sufficient}");
            scopes.insert(name.to_owned(), sufficient);
        }
    }
    let (methods, mut different) = (methods(), Vec::new());
    assert!(methods.len() > scopes.len(), "{} methods of gRPC, {} calls of HTTP", methods.len(), scopes.len());
    for path in methods {
        let sufficient = callers.sufficient(async |caller| ask_grpc(caller, &path).await).await;
        let wanted = match &*path {
            "/google.longrunning.Operations/CancelOperation" | "/google.longrunning.Operations/DeleteOperation" => {
                "`operations:write`, `admin`"
            }
            path if path.starts_with("/google.longrunning.Operations/") => "`operations:read`, `admin`",
            path => &scopes[&path.strip_prefix("/longrun.v1.").unwrap().replace('/', "_")],
        };
        if sufficient != wanted {
            different.push(format!("{path}: {sufficient}, and over HTTP {wanted}"));
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    scopes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_refuses_those_who_may_not_make_it() {
    let (rsa, stranger) = (Signer::rsa("r"), Signer::ec("e"));
    let server = patient_server_of(&[&rsa, &Signer::ec("e")]).await;
    let acme = server.acme().await;
    let operation = server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let stored = acme.send(Method::POST, "/v1/evidence", &[], "evidence").await.json();
    let digest = stored["digest"].as_str().unwrap();
    let view = acme.post("/v1/views", r#"{"name":"all","visibility":"shared"}"#).await.json();
    let view = view["view"]["id"].as_str().unwrap().to_owned();
    let nightly = r#"{"name":"nightly","cron":"0 3 * * *","operation":{"kind":"scan","project_id":"p"}}"#;
    assert_eq!(acme.post("/v1/schedules", nightly).await.status, StatusCode::OK);
    let (before, schedules) = (acme.get("/v1/operations").await.body, acme.get("/v1/schedules").await.body);

    let unknown = Secret::generate().unwrap();
    let callers = [
        ("no token", server.nobody()),
        (UNKNOWN, caller(&server, unknown.expose())),
        ("an expired token", stale(&server, Some(Timestamp::from_millis(1)), false).await),
        ("a revoked token", stale(&server, None, true).await),
        ("a JWT of a stranger's key", caller(&server, &stranger.sign(&claims()))),
        ("a JWT with `alg: none`", caller(&server, &unsigned(json!({"alg": "none", "kid": "r"}), ""))),
        (
            "a JWT signed by HMAC with the public key",
            caller(&server, &hmac_with(json!({"alg": "HS256", "kid": "r"}), &public_text(&rsa))),
        ),
        ("a token without any scope", server.caller(Access::organization("acme"), &[]).await),
        ("another organization", server.caller(Access::organization("globex"), &[Scope::Admin]).await),
        ("another project", server.caller(Access::projects("acme", ["q"]), &[Scope::Admin]).await),
    ];
    let document = serde_json::to_value(server::http::openapi()).unwrap();
    let mut table = String::from(
        "# Who gets which answer\n\n\
         A test (`crates/server/tests/http/matrix.rs`) generates this table from every call of the OpenAPI\n\
         document. It shows the answers to callers that may not make the call, or may not see its subject. The\n\
         operation, the schedule, the evidence and the organization in a path belong to `acme`; the operation and\n\
         the schedule belong to the project `p`. Every 401 has the same body.\n\n\
         - **not valid**: no token; a token that is unknown, expired or revoked; a JWT that is signed with a\n\
           foreign key, by HMAC with the public key of the provider, or not at all.\n\
         - **no scope**: a token of `acme` without any scope.\n\
         - **other organization**, **other project**: a token with the scope `admin` there.\n\
         - **scopes**: each of these suffices, found by asking with tokens that have one scope; a call that needs\n\
           several at once has only `admin` here. The method of gRPC with the same name needs the same.\n\n\
         | call | scopes | not valid | no scope | other organization | other project |\n|---|---|---|---|---|---|\n",
    );
    let scopes = scopes().await;
    for (template, methods) in document["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let name = call["operationId"].as_str().unwrap();
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = template
                .replace("{operation_id}", &operation.id.to_string())
                .replace("{digest}", digest)
                .replace("{view_id}", &view)
                .replace("{waiver_id}", "01a20e1a-1194-75ec-b562-a042f01e7eac")
                .replace("/kinds/{name}", "/kinds/scan")
                .replace("{name}", "acme")
                .replace("{schedule}", "nightly")
                .replace("{session_id}", "ses_0")
                .replace("{token_id}", "01a20e1a-1194-75ec-b562-a042f01e7eac");
            let mut answers = Vec::new();
            for (who, caller) in &callers {
                let (status, reason) = ask(caller, &method, &path, &body(name, digest)).await;
                let is_valid = caller.authorization.is_some()
                    && ["a token without", "another"].iter().any(|valid| who.starts_with(valid));
                if !is_valid {
                    assert_eq!(
                        (status, &*reason),
                        (StatusCode::UNAUTHORIZED, "TOKEN_INVALID"),
                        "{method} {path}: {who}"
                    );
                } else if who.starts_with("a token without") {
                    // A call only for tokens of the instance is refused to tokens of organizations, whatever
                    // their scopes.
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {who}: {reason}");
                }
                let shown = if reason.is_empty() {
                    status.as_u16().to_string()
                } else {
                    format!("{} {reason}", status.as_u16())
                };
                if is_valid || *who == UNKNOWN {
                    answers.push(shown);
                }
            }
            let [invalid, scope, organization, project] = &answers[..] else { panic!("{answers:?}") };
            let scopes = &scopes[name];
            writeln!(table, "| `{method} {template}` | {scopes} | {invalid} | {scope} | {organization} | {project} |")
                .unwrap();
        }
    }
    assert_eq!(acme.get("/v1/operations").await.body, before, "nobody has changed anything, or made anything, in acme");
    assert_eq!(acme.get("/v1/schedules").await.body, schedules, "nor its schedules");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(AGREED, &table).unwrap();
    }
    let agreed = std::fs::read_to_string(AGREED).unwrap();
    assert!(agreed == table, "the table has changed: look at it with UPDATE_OPENAPI=1 and git diff\n{table}");
}
