//! `longrun.v1.TokensService`.

use operations::Timestamp;
use proto::longrun::v1 as wire;
use proto::longrun::v1::tokens_service_server::TokensService;
use store::Token;
use tonic::{Request, Response, Status};

use super::{Call, Face, budget, call, convert};
use crate::calls::page::Paged;
use crate::calls::tokens::{self, CreateToken, ListTokens, RotateToken};
use crate::strict::{List, Read};

#[tonic::async_trait]
impl TokensService for Face {
    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = CreateToken {
            name: asked.name,
            scopes: List(asked.scopes),
            projects: List(asked.projects),
            expires_in: convert::given_duration("expires_in", asked.expires_in, &mut violations),
            organization: asked.organization,
            instance: Some(asked.instance),
            organizations: List(asked.organizations),
        };
        let issued = tokens::create(&self.0, &caller, Read { value, violations }).await?;
        let token = Some(self.token(&issued.token));
        Ok(Response::new(wire::CreateTokenResponse { token, secret: issued.secret.expose().to_owned() }))
    }

    async fn list_tokens(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let page = convert::page(asked.page_size, asked.page_token);
        let value = ListTokens { organization: asked.organization };
        let asked = Paged { page, asked: Read { value, violations: Vec::new() } };
        let (found, next) = tokens::list(&self.0, &caller, asked).await?;
        let mut tokens: Vec<wire::Token> = found.iter().map(|token| self.token(token)).collect();
        let is_cut = budget::shorten(&mut tokens);
        let next = if is_cut { found.get(tokens.len() - 1).map(tokens::after_token) } else { next };
        Ok(Response::new(wire::ListTokensResponse { tokens, next_page_token: next.unwrap_or_default() }))
    }

    async fn get_token(
        &self,
        request: Request<wire::GetTokenRequest>,
    ) -> Result<Response<wire::GetTokenResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let token = tokens::get(&self.0, &caller, &asked.token_id).await?;
        Ok(Response::new(wire::GetTokenResponse { token: Some(self.token(&token)) }))
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::RevokeTokenResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let token = tokens::revoke(&self.0, &caller, &asked.token_id).await?;
        Ok(Response::new(wire::RevokeTokenResponse { token: Some(self.token(&token)) }))
    }

    async fn rotate_token(
        &self,
        request: Request<wire::RotateTokenRequest>,
    ) -> Result<Response<wire::RotateTokenResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = RotateToken {
            overlap: convert::given_duration("overlap", asked.overlap, &mut violations),
            expires_in: convert::given_duration("expires_in", asked.expires_in, &mut violations),
        };
        let issued = tokens::rotate(&self.0, &caller, &asked.token_id, Read { value, violations }).await?;
        let token = Some(self.token(&issued.token));
        Ok(Response::new(wire::RotateTokenResponse { token, secret: issued.secret.expose().to_owned() }))
    }
}

impl Face {
    fn token(&self, token: &Token) -> wire::Token {
        let time = |time: Option<Timestamp>| time.map(convert::timestamp);
        let organizations = token.instance.as_ref().and_then(|reach| reach.names());
        wire::Token {
            id: token.id.clone(),
            name: token.name.clone(),
            organization: token.access.organization.clone(),
            instance: token.instance.is_some(),
            organizations: organizations.map(|names| wire::NameList { names: names.iter().cloned().collect() }),
            scopes: token.scopes.iter().map(|scope| scope.name().to_owned()).collect(),
            projects: token.projects().map(|names| wire::NameList { names: names.iter().cloned().collect() }),
            state: token.state(self.0.store.now()).to_owned(),
            created_at: Some(convert::timestamp(token.created_at)),
            expires_at: time(token.expires_at),
            last_used_at: time(token.last_used_at),
            revoked_at: time(token.revoked_at),
        }
    }
}
