//! Which organization is next: the engine's claims serve the organizations that have something waiting in round-robin
//! order, each by its weight.
//!
//! A claim rarely takes as much as a whole round, so the unfinished share of an organization continues with the next
//! claim.

use std::collections::HashMap;

use crate::ClaimRequest;

/// This many rotations are remembered; then all are forgotten, and begin anew.
const REMEMBERED: usize = 1_000;

/// The rotations: that of the engine, and one for each remote worker for several organizations and the kinds that it
/// asks for, so that none is advanced by the claims of others.
#[derive(Debug, Default)]
pub(crate) struct Rotations(HashMap<(String, Vec<String>), Rotation>);

impl Rotations {
    /// The rotation of the worker that claims.
    pub(crate) fn of(&mut self, request: &ClaimRequest) -> &mut Rotation {
        let key = match &request.among {
            Some(_) => (request.worker.clone(), request.kinds.clone()),
            None => Default::default(),
        };
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&key) {
            self.0.retain(|(worker, _), _| worker.is_empty());
        }
        self.0.entry(key).or_default()
    }
}

/// The state of a rotation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rotation {
    /// The organization that was served last; the round continues after it.
    pub(crate) last: String,
    /// What is left of its share.
    pub(crate) left: u32,
}

/// A part of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The place of its organization in the round.
    pub(crate) place: usize,
    /// How many operations it may start.
    pub(crate) starts: u32,
}

/// Distributes `limit` starts among organizations of these weights, in their order, round after round. Only the last
/// part may be less than its organization's weight.
pub(crate) fn deal(weights: &[u32], limit: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut left = limit;
    for (place, weight) in weights.iter().enumerate().cycle() {
        if left == 0 {
            break;
        }
        let starts = (*weight).clamp(1, left);
        parts.push(Part { place, starts });
        left -= starts;
    }
    parts
}

/// How many of the starts each organization gets, by place; those at the end may get none.
pub(crate) fn shares(parts: &[Part], places: usize) -> Vec<u32> {
    let mut shares = vec![0; places];
    for part in parts {
        shares[part.place] += part.starts;
    }
    shares
}

impl Rotation {
    /// Takes from each organization's queue what its parts of the round allow, as far as the queue goes. Answers
    /// everything in the order of the parts, and notes the state of the rotation after that.
    pub(crate) fn take<T>(
        &mut self,
        parts: &[Part],
        organizations: &[String],
        weights: &[u32],
        queues: Vec<Vec<T>>,
    ) -> Vec<T> {
        let mut queues: Vec<_> = queues.into_iter().map(Vec::into_iter).collect();
        let mut taken = Vec::new();
        for Part { place, starts } in parts {
            // There is no queue for this one.
            let Some(queue) = queues.get_mut(*place) else { continue };
            let before = taken.len();
            taken.extend(queue.by_ref().take(*starts as usize));
            let is_whole = taken.len() - before == *starts as usize;
            self.last.clone_from(&organizations[*place]);
            self.left = if is_whole { weights[*place].saturating_sub(*starts) } else { 0 };
        }
        taken
    }

    /// Notes that the unfinished share was continued, and gave `taken` of the operations that it was `asked` for.
    pub(crate) fn went_on(&mut self, asked: u32, taken: usize) {
        self.left = if taken == asked as usize { self.left.saturating_sub(asked) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(weights: &[u32], limit: u32) -> Vec<(usize, u32)> {
        deal(weights, limit).into_iter().map(|part| (part.place, part.starts)).collect()
    }

    #[test]
    fn starts_are_dealt_out_by_weight_round_after_round() {
        assert_eq!(starts(&[1, 1], 3), [(0, 1), (1, 1), (0, 1)]);
        assert_eq!(starts(&[3, 1], 6), [(0, 3), (1, 1), (0, 2)]);
        assert_eq!(starts(&[3, 1], 2), [(0, 2)]);
        assert_eq!(starts(&[], 5), []);
        assert_eq!(starts(&[1], 0), []);
        assert_eq!(shares(&deal(&[3, 1, 1], 7), 3), [5, 1, 1]);
    }

    #[test]
    fn a_turn_that_was_broken_off_goes_on_and_one_without_work_is_over() {
        let organizations = ["a", "b"].map(str::to_owned);
        let mut rotation = Rotation::default();
        let parts = deal(&[3, 1], 2);
        assert_eq!(rotation.take(&parts, &organizations, &[3, 1], vec![vec![1, 2], vec![]]), [1, 2]);
        assert_eq!((rotation.last.as_str(), rotation.left), ("a", 1));
        rotation.went_on(1, 1);
        assert_eq!(rotation.left, 0);
        let parts = deal(&[3, 1], 6);
        assert_eq!(rotation.take(&parts, &organizations, &[3, 1], vec![vec![1, 2], vec![7]]), [1, 2, 7]);
        assert_eq!((rotation.last.as_str(), rotation.left), ("a", 0), "a had no more");
    }
}
