//! The state of the application: what all requests share.

use std::ops::Deref;
use std::sync::Arc;

use crate::audit::Refused;
use crate::auth::{TokenLookup, Usage};
use crate::hub::Hub;
use crate::memory::Memory;
use crate::reads::Reads;
use crate::services::Services;
use crate::shares::Shares;
use crate::turns::Turns;
use crate::waiters::Waiters;

/// The state, cheap to clone. It leads on to the [`Services`], whose fields are had from it as if they were its own.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

/// What there is beside the [`Services`].
pub(crate) struct State {
    services: Services,
    /// Notes uses of tokens.
    pub(crate) usage: Usage,
    /// Finds tokens in the store.
    pub(crate) tokens: TokenLookup,
    /// Reads that requests share.
    pub(crate) reads: Reads,
    /// Tells who waits for operations.
    pub(crate) hub: Hub,
    /// One place a client that watches.
    pub(crate) watchers: Shares,
    /// Workers that wait for work.
    pub(crate) waiters: Waiters,
    /// How much is recorded of what was refused.
    pub(crate) refused: Refused,
    /// The memory of bodies.
    pub(crate) memory: Memory,
    /// One a process that checks policies or looks into evidence.
    pub(crate) checks: Turns,
}

impl App {
    /// Starts what runs beside the requests. Must be called within a tokio runtime.
    pub(crate) fn new(services: Services) -> App {
        let settings = &services.settings;
        let state = State {
            usage: Usage::start(services.store.clone()),
            tokens: TokenLookup::new(services.store.clone()),
            reads: Reads::new(&services.store, settings.first_page),
            hub: Hub::start(services.store.clone()),
            watchers: Shares::new(settings.max_watchers as u64, 1),
            waiters: Waiters::new(&services),
            refused: Refused::default(),
            memory: Memory::new(settings),
            // The last place is left to others.
            checks: Turns::new(settings.max_checks, settings.max_checks.saturating_sub(1)),
            services,
        };
        App(Arc::new(state))
    }
}

impl Deref for App {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Deref for State {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}
