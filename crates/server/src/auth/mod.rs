//! Tokens: their secrets, how they are found in the store, who may try them, when they were used.

mod lookup;
mod refusals;
mod secret;
mod usage;

pub(crate) use lookup::TokenLookup;
pub(crate) use secret::PREFIX;
pub use secret::Secret;
pub(crate) use usage::Usage;
