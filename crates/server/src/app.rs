//! The state of the application: what all requests share.

use std::ops::Deref;
use std::sync::Arc;

use store::Turns;

use crate::audit::Refused;
use crate::auth::Authenticator;
use crate::hub::Hub;
use crate::memory::Memory;
use crate::places::Places;
use crate::rates::Rates;
use crate::reads::Reads;
use crate::services::Services;
use crate::shares::Shares;
use crate::waiters::Waiters;

/// The state, cheap to clone. It dereferences to the [`Services`], whose fields can be used as if they were its own.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

/// The state in addition to the [`Services`].
pub(crate) struct State {
    services: Services,
    /// Finds callers.
    pub(crate) auth: Arc<Authenticator>,
    /// Reads that requests share.
    pub(crate) reads: Reads,
    /// Notifies calls that wait for operations.
    pub(crate) hub: Hub,
    /// One share for each client that watches.
    pub(crate) watchers: Shares,
    /// Workers that wait for work.
    pub(crate) waiters: Waiters,
    /// How many refused calls are recorded.
    pub(crate) refused: Refused,
    /// The memory of bodies.
    pub(crate) memory: Memory,
    /// One slot for each process that checks policies or examines evidence.
    pub(crate) checks: Turns,
    /// One slot for each call in progress.
    pub(crate) places: Places,
    /// The same for heartbeats and settlements, in addition to the others.
    pub(crate) keeping: Places,
    /// How many calls tokens and organizations may make.
    pub(crate) rates: Rates,
}

impl App {
    /// Starts the background tasks. Must be called within a tokio runtime.
    pub(crate) fn new(services: Services) -> App {
        let settings = &services.settings;
        let places = |patience| Places::new(settings.max_in_flight, settings.max_in_flight_per_organization, patience);
        let state = State {
            auth: Arc::new(Authenticator::start(services.store.clone(), services.identity.clone())),
            reads: Reads::new(&services.store),
            hub: Hub::start(services.store.clone()),
            watchers: Shares::new(settings.max_watchers as u64, 1),
            waiters: Waiters::new(&services),
            refused: Refused::default(),
            memory: Memory::new(settings),
            // The last slot is left to other organizations.
            checks: Turns::new(settings.max_checks, settings.max_checks.saturating_sub(1)),
            places: places(settings.overload_patience),
            // They wait as long as any call may, because refusing one loses work.
            keeping: places(settings.request_timeout),
            rates: Rates::new(&services.call_limits),
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
