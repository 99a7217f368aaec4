//! `longrun.v1.SessionsService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::sessions_service_server::SessionsService;
use store::Session;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::page::Paged;
use crate::calls::sessions::{self, SessionsOf};
use crate::strict::Read;

#[tonic::async_trait]
impl SessionsService for Face {
    async fn list_sessions(
        &self,
        request: Request<wire::ListSessionsRequest>,
    ) -> Result<Response<wire::ListSessionsResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let page = convert::page(asked.page_size, asked.page_token);
        let asked = Paged { page, asked: of(asked.organization) };
        let (sessions, next) = sessions::list(&self.0, &caller, asked).await?;
        let sessions = sessions.into_iter().map(|session| self.session(session)).collect();
        Ok(Response::new(wire::ListSessionsResponse { sessions, next_page_token: next.unwrap_or_default() }))
    }

    async fn revoke_session(
        &self,
        request: Request<wire::RevokeSessionRequest>,
    ) -> Result<Response<wire::RevokeSessionResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let ended = sessions::revoke(&self.0, &caller, &asked.session_id, of(asked.organization)).await?;
        Ok(Response::new(wire::RevokeSessionResponse { session: Some(self.session(ended)) }))
    }
}

fn of(organization: String) -> Read<SessionsOf> {
    Read { value: SessionsOf { organization }, violations: Vec::new() }
}

impl Face {
    fn session(&self, session: Session) -> wire::Session {
        let state = sessions::state(&session, self.0.store.now()).to_owned();
        let Session { id, organization, subject, name, begun_at, expires_at, revoked_at } = session;
        let revoked_at = revoked_at.map(convert::timestamp);
        let (begun_at, expires_at) = (Some(convert::timestamp(begun_at)), Some(convert::timestamp(expires_at)));
        wire::Session { id, organization, subject, name, state, begun_at, expires_at, revoked_at }
    }
}
