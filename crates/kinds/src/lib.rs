//! What runs an operation: the built-in kinds.

pub mod evidence;
