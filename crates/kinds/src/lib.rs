//! What runs an operation: evidence evaluation ([`evidence`]) and local commands ([`command`]).

pub mod command;
pub mod evidence;
