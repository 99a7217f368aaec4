//! Whether a call may be made now: the limits on calls of its token and organization, and a place while it is
//! processed.

use std::sync::{Arc, Mutex, PoisonError};

use store::Token;

use super::call_class::CallClass;
use super::caller::Learnt;
use crate::app::App;
use crate::error::ApiError;
use crate::metrics::Shed;
use crate::places::{NoPlace, Place, Places};

/// The share of the server's capacity that a call holds. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    class: CallClass,
    /// Held while the call is processed.
    place: Arc<Mutex<Option<Place>>>,
}

impl Admission {
    /// Admits a call to this path.
    ///
    /// # Errors
    /// [`ApiError::TooManyCalls`] and [`ApiError::Overloaded`].
    pub async fn new(app: &App, token: &Token, path: &str, learnt: Option<&Learnt>) -> Result<Admission, ApiError> {
        let admission = Admission { class: CallClass::of(path), place: Arc::default() };
        if let Some(learnt) = learnt {
            // Set only once: a second extraction in the same request does not change it.
            let _ = learnt.admission.set(admission.clone());
        }
        // Calls that extend or settle leases are bounded by the claims, and refusing one would mean that work is done
        // again.
        if admission.class != CallClass::Keeping
            && let Some((standing, taken)) = app.rates.take(token)
        {
            let _ = learnt.map(|learnt| learnt.standing.set(standing));
            taken.inspect_err(|_| app.metrics.shed(Shed::call_rate))?;
        }
        admission.enter(app, &token.access.organization).await?;
        Ok(admission)
    }

    /// Takes a place, if the call needs one.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`].
    async fn enter(&self, app: &App, organization: &str) -> Result<(), ApiError> {
        let Some(places) = self.places(app) else { return Ok(()) };
        self.have(app, places.take(organization).await)
    }

    /// Takes a place again for a call that has released its own; one that has not keeps it.
    ///
    /// # Errors
    /// [`ApiError::Overloaded`].
    pub async fn enter_again(&self, app: &App, organization: &str) -> Result<(), ApiError> {
        if self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let Some(places) = self.places(app) else { return Ok(()) };
        self.have(app, places.take_again(organization).await)
    }

    /// The places from which the call needs one.
    fn places<'a>(&self, app: &'a App) -> Option<&'a Places> {
        match self.class {
            CallClass::Ordinary => Some(&app.places),
            CallClass::Keeping => Some(&app.keeping),
            CallClass::Waiting => None,
        }
    }

    fn have(&self, app: &App, place: Result<Place, NoPlace>) -> Result<(), ApiError> {
        let Ok(place) = place else {
            app.metrics.shed(Shed::overloaded);
            return Err(ApiError::Overloaded);
        };
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
        Ok(())
    }

    /// Releases the place.
    pub fn leave(&self) {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
