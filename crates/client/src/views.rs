//! Saved views.

use serde::{Deserialize, Serialize};

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::Deleted;

/// A view that is to be made, or what one is to be instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewView {
    /// For people; unique among those that are shared, and among those of a token.
    pub name: String,
    /// What it shows, as searches take it; empty: everything.
    pub filter: String,
    /// The names of the columns; empty: those that are shown as a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// `private` or `shared`; `None`: private. It is not changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
}

/// A saved view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct View {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it shows.
    pub filter: String,
    /// The names of the columns; empty: those that are shown as a rule.
    pub columns: Vec<String>,
    /// `private` or `shared`.
    pub visibility: String,
    /// When it was made; RFC 3339.
    pub created_at: String,
    /// When it was changed last; RFC 3339.
    pub updated_at: String,
    /// How many operations it shows; `None` after a change, and when counting took too long.
    pub count: Option<u64>,
    /// Whether the count is exact; else there are at least this many.
    pub count_is_exact: Option<bool>,
}

/// The answer that holds one view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ViewAnswer {
    /// The view.
    pub view: View,
}

/// The answer that holds all views.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ViewList {
    /// By name, shared ones first.
    pub views: Vec<View>,
}

impl Client {
    /// `GET /v1/views`: every view that the token has, with its count.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn views(&self) -> Result<Answer<ViewList>, Error> {
        let address = self.address("v1/views");
        self.call(|| self.http().get(address.clone())).await
    }

    /// `GET /v1/views/{id}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such view.
    pub async fn view(&self, id: &str) -> Result<Answer<ViewAnswer>, Error> {
        let address = self.address(&format!("v1/views/{}", segment(id)));
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/views`.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn create_view(&self, view: &NewView) -> Result<Answer<ViewAnswer>, Error> {
        let address = self.address("v1/views");
        self.call(|| self.http().post(address.clone()).json(view)).await
    }

    /// `POST /v1/views/{id}:update`: another name, filter and columns.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such view.
    pub async fn update_view(&self, id: &str, view: &NewView) -> Result<Answer<ViewAnswer>, Error> {
        let address = self.address(&format!("v1/views/{}:update", segment(id)));
        let view = NewView { visibility: None, ..view.clone() };
        self.call(|| self.http().post(address.clone()).json(&view)).await
    }

    /// `DELETE /v1/views/{id}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such view.
    pub async fn delete_view(&self, id: &str) -> Result<Answer<Deleted>, Error> {
        let address = self.address(&format!("v1/views/{}", segment(id)));
        self.call(|| self.http().delete(address.clone())).await
    }
}
