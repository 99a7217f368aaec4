//! Saved views over gRPC: the same answers and refusals as over HTTP.

use operations::{Access, NewOperation};
use proto::longrun::v1 as wire;
use proto::longrun::v1::views_service_client::ViewsServiceClient;
use serde_json::{Value, json};
use store::Scope;
use tonic::{Response, Status};

use crate::grpc::{assert_same, connect, time};
use crate::harness::Server;

/// A view as HTTP shows it.
fn view(view: Option<wire::View>) -> Value {
    let view = view.unwrap();
    let mut shown = json!({
        "id": view.id, "name": view.name, "filter": view.filter, "columns": view.columns, "visibility": view.visibility,
        "created_at": time(view.created_at), "updated_at": time(view.updated_at),
    });
    if let Some(count) = view.count {
        shown["count"] = json!(count);
        shown["count_is_exact"] = json!(view.count_is_exact);
    }
    shown
}

fn answered<M>(answer: Result<Response<M>, Status>, shown: impl FnOnce(M) -> Value) -> Result<Value, Status> {
    answer.map(|answer| shown(answer.into_inner()))
}

#[tokio::test]
async fn both_faces_keep_views_alike() {
    let server = Server::start().await;
    server.create(NewOperation::of_kind("scan")).await;
    let acme = server.acme().await;
    let shared =
        acme.post("/v1/views", r#"{"name":"Scans","filter":"kind = scan","visibility":"shared"}"#).await.json();
    let shared = shared["view"]["id"].as_str().unwrap().to_owned();
    let callers = [
        ("everything", acme),
        ("nobody", server.nobody()),
        ("another organization", server.caller(Access::organization("other"), &[Scope::Admin]).await),
        ("projects", server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await),
        ("reads only", server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await),
        ("no scope", server.caller(Access::organization("acme"), &[]).await),
    ];
    for (who, caller) in &callers {
        let mut client = ViewsServiceClient::new(connect(caller).await);
        let http = caller.get("/v1/views").await;
        let grpc = answered(
            client.list_views(wire::ListViewsRequest {}).await,
            |list| json!({"views": list.views.into_iter().map(|one| view(Some(one))).collect::<Vec<_>>()}),
        );
        assert_same(&format!("{who}: list"), &http, grpc);
        for id in [&*shared, "nothing"] {
            let http = caller.get(&format!("/v1/views/{id}")).await;
            let grpc = client.get_view(wire::GetViewRequest { view_id: id.to_owned() }).await;
            assert_same(&format!("{who}: {id}"), &http, answered(grpc, |got| json!({"view": view(got.view)})));
        }
        // Refusals are the same; of the views that are made each has an id of its own.
        for (name, filter, visibility) in
            [("", "kind = scan", ""), ("a", "kind == scan", ""), ("a", "", "open"), ("", "", "shared")]
        {
            let body = json!({"name": name, "filter": filter, "visibility": visibility}).to_string();
            let http = caller.post("/v1/views", body).await;
            let asked = wire::CreateViewRequest {
                name: name.to_owned(),
                filter: filter.to_owned(),
                columns: Vec::new(),
                visibility: visibility.to_owned(),
            };
            let grpc = client.create_view(asked).await;
            let case = format!("{who}: create {name} {filter} {visibility}");
            assert_same(&case, &http, answered(grpc, |made| json!({"view": view(made.view)})));
        }
        let nowhere = caller.delete("/v1/views/nothing").await;
        let grpc = client.delete_view(wire::DeleteViewRequest { view_id: "nothing".to_owned() }).await;
        assert_same(&format!("{who}: delete"), &nowhere, answered(grpc, |_| json!({})));
    }
    let mut client = ViewsServiceClient::new(connect(&callers[0].1).await);
    let asked = wire::UpdateViewRequest {
        view_id: shared.clone(),
        name: "Builds".to_owned(),
        filter: "kind = build".to_owned(),
        columns: vec!["id".to_owned()],
    };
    let updated = view(client.update_view(asked).await.unwrap().into_inner().view);
    assert_eq!((&updated["name"], &updated["columns"]), (&json!("Builds"), &json!(["id"])));
    let made = wire::CreateViewRequest { name: "Mine".to_owned(), ..wire::CreateViewRequest::default() };
    let made = client.create_view(made).await.unwrap().into_inner().view.unwrap();
    assert_eq!((made.visibility.as_str(), made.count), ("private", None));
    client.delete_view(wire::DeleteViewRequest { view_id: made.id }).await.unwrap();
    client.delete_view(wire::DeleteViewRequest { view_id: shared }).await.unwrap();
    let left = callers[0].1.get("/v1/views").await.json();
    assert_eq!(left, json!({"views": []}));
}
