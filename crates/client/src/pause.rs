//! The calls about the token's own organization: its limits, and pausing.

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{KindAnswer, OrganizationAnswer};

impl Client {
    /// `GET /v1/organizations/{name}`: the limits of the token's organization, and which of its kinds are paused.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 for every other organization, 7 when the token lacks the scope `admin`.
    pub async fn organization(&self, name: &str) -> Result<Answer<OrganizationAnswer>, Error> {
        let address = self.address(&format!("v1/organizations/{}", segment(name)));
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/organizations/{name}:pause`: no more operations of the organization are started; running ones
    /// continue.
    ///
    /// # Errors
    /// As those of [`Client::organization`].
    pub async fn pause_organization(&self, name: &str) -> Result<Answer<OrganizationAnswer>, Error> {
        let address = self.address(&format!("v1/organizations/{}:pause", segment(name)));
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/organizations/{name}:resume`.
    ///
    /// # Errors
    /// As those of [`Client::organization`].
    pub async fn resume_organization(&self, name: &str) -> Result<Answer<OrganizationAnswer>, Error> {
        let address = self.address(&format!("v1/organizations/{}:resume", segment(name)));
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/kinds/{name}:pause`: no more operations of the kind are started in the token's organization.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such kind, 7 when the token lacks the scope `admin`.
    pub async fn pause_kind(&self, name: &str) -> Result<Answer<KindAnswer>, Error> {
        let address = self.address(&format!("v1/kinds/{}:pause", segment(name)));
        self.call(|| self.http().post(address.clone())).await
    }

    /// `POST /v1/kinds/{name}:resume`. A kind that the service's operators paused for everybody stays paused.
    ///
    /// # Errors
    /// As those of [`Client::pause_kind`].
    pub async fn resume_kind(&self, name: &str) -> Result<Answer<KindAnswer>, Error> {
        let address = self.address(&format!("v1/kinds/{}:resume", segment(name)));
        self.call(|| self.http().post(address.clone())).await
    }
}
