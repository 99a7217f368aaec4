//! Saved views.

use serde::{Deserialize, Serialize};

use crate::calls::segment;
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::Deleted;

/// A view to be created, or the new content of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewView {
    /// The name for people; unique among shared views, and among the private views of a token.
    pub name: String,
    /// The filter of the view, as for searches; empty: everything.
    pub filter: String,
    /// The names of the columns; empty: the default columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// `private` or `shared`; `None`: private. It cannot be changed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
}

/// A saved view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct View {
    /// Its id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The filter of the view.
    pub filter: String,
    /// The names of the columns; empty: the default columns.
    pub columns: Vec<String>,
    /// `private` or `shared`.
    pub visibility: String,
    /// When it was created; RFC 3339.
    pub created_at: String,
    /// When it was last changed; RFC 3339.
    pub updated_at: String,
    /// How many operations match; `None` after a change, and if counting took too long.
    pub count: Option<u64>,
    /// Whether the count is exact; if not, at least this many match.
    pub count_is_exact: Option<bool>,
}

/// The answer with one view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ViewAnswer {
    /// The view.
    pub view: View,
}

/// The answer with all views.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ViewList {
    /// By name, shared ones first.
    pub views: Vec<View>,
}

impl Client {
    /// `GET /v1/views`: every view that the token can see, with its count.
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

    /// `POST /v1/views/{id}:update`: replaces name, filter and columns.
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
