//! Entry points for fuzzers into what this folder reads by hand: see [`crate::fuzzing`].

use super::call_class::CallClass;
use super::target::Target;

/// The path of a URL.
pub(crate) fn path(text: &str) {
    let target = Target::of(text);
    if target.verb() == Some(super::wait::VERB) {
        assert_eq!(CallClass::of(text), CallClass::Waiting, "what waits is not counted as work, however it is spelt");
    }
    let _ = (target.id(), target.id_before_verb());
}
