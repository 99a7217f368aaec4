//! `longrun.v1.ViewsService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::views_service_server::ViewsService;
use store::View;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::views::{self, CreateView, UpdateView, ViewCount};
use crate::strict::{List, Read};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ViewsService for Face {
    async fn create_view(&self, request: Request<wire::CreateViewRequest>) -> Answer<wire::CreateViewResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let wire::CreateViewRequest { name, filter, columns, visibility } = asked;
        let value = CreateView { name, filter, columns: List(columns), visibility };
        let made = views::create(&self.0, &caller, Read { value, violations: Vec::new() }).await?;
        Ok(Response::new(wire::CreateViewResponse { view: Some(view(made, None)) }))
    }

    async fn list_views(&self, request: Request<wire::ListViewsRequest>) -> Answer<wire::ListViewsResponse> {
        let views = views::list(&self.0, &call(&request).caller).await?;
        let views = views.into_iter().map(|(one, count)| view(one, count)).collect();
        Ok(Response::new(wire::ListViewsResponse { views }))
    }

    async fn get_view(&self, request: Request<wire::GetViewRequest>) -> Answer<wire::GetViewResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let (found, count) = views::get(&self.0, &caller, &asked.view_id).await?;
        Ok(Response::new(wire::GetViewResponse { view: Some(view(found, count)) }))
    }

    async fn update_view(&self, request: Request<wire::UpdateViewRequest>) -> Answer<wire::UpdateViewResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let wire::UpdateViewRequest { view_id, name, filter, columns } = asked;
        let value = UpdateView { name, filter, columns: List(columns) };
        let kept = views::update(&self.0, &caller, &view_id, Read { value, violations: Vec::new() }).await?;
        Ok(Response::new(wire::UpdateViewResponse { view: Some(view(kept, None)) }))
    }

    async fn delete_view(&self, request: Request<wire::DeleteViewRequest>) -> Answer<wire::DeleteViewResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        views::delete(&self.0, &caller, &asked.view_id).await?;
        Ok(Response::new(wire::DeleteViewResponse {}))
    }
}

fn view(view: View, count: Option<ViewCount>) -> wire::View {
    wire::View {
        visibility: views::visibility(&view).to_owned(),
        id: view.id,
        name: view.name,
        filter: view.filter,
        columns: view.columns,
        created_at: Some(convert::timestamp(view.created_at)),
        updated_at: Some(convert::timestamp(view.updated_at)),
        count: count.map(|count| count.total),
        count_is_exact: count.map(|count| count.is_exact),
    }
}
