//! Work that is carried out a bounded amount at a time, organization by organization.
//!
//! A caller waits for a permit (a [`Turn`]). Callers of one organization get theirs in the order in which they came;
//! organizations are served in round-robin order, and none has more than its share at a time. So an organization with a
//! thousand waiting callers delays another one by its work under way and not by its waiting callers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Grants permits. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Permits at a time.
    most: usize,
    /// Of one organization.
    each: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    organizations: HashMap<String, Organization>,
    /// Organizations with waiting callers, each once; the first is next.
    order: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Organization {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A permit, held until this is dropped.
#[derive(Debug)]
pub struct Turn {
    of: Turns,
    organization: String,
}

impl Turns {
    /// At most `most` permits at a time, at most `each` for one organization; at least one in either case.
    pub fn new(most: usize, each: usize) -> Turns {
        Turns(Arc::new(Inner { most: most.max(1), each: each.max(1), state: Mutex::default() }))
    }

    /// Waits for a permit. When it is dropped, it no longer waits.
    pub async fn take(&self, organization: &str) -> Turn {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.lock();
            let own = state.organizations.entry(organization.to_owned()).or_default();
            own.waiting.push_back(sender);
            if own.waiting.len() == 1 {
                state.order.push_back(organization.to_owned());
            }
        }
        self.grant();
        receiver.await.expect("a caller is forgotten only when it has gone")
    }

    /// Gives permits to the callers that are next, as long as there are any.
    fn grant(&self) {
        loop {
            let Some((waiting, organization)) = self.lock().next(self.0.most, self.0.each) else { return };
            // Outside of the lock: when the receiver is gone, the permit is dropped, which takes the lock.
            let _ = waiting.send(Turn { of: self.clone(), organization });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes out the next caller and counts its permit.
    fn next(&mut self, most: usize, each: usize) -> Option<(oneshot::Sender<Turn>, String)> {
        while self.running < most {
            let has_room = |name: &String| self.organizations.get(name).is_some_and(|own| own.running < each);
            let index = self.order.iter().position(has_room)?;
            let name = self.order.remove(index)?;
            let own = self.organizations.get_mut(&name)?;
            while own.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                own.waiting.pop_front();
            }
            let next = own.waiting.pop_front();
            if !own.waiting.is_empty() {
                self.order.push_back(name.clone());
            }
            if let Some(next) = next {
                own.running += 1;
                self.running += 1;
                return Some((next, name));
            }
            self.forget_idle(&name);
        }
        None
    }

    fn forget_idle(&mut self, name: &str) {
        if self.organizations.get(name).is_some_and(|own| own.running == 0 && own.waiting.is_empty()) {
            self.organizations.remove(name);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.of.lock();
            state.running -= 1;
            if let Some(own) = state.organizations.get_mut(&self.organization) {
                own.running -= 1;
            }
            state.forget_idle(&self.organization);
        }
        self.of.grant();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::Pin;

    use futures_util::FutureExt;

    use super::*;

    impl Turns {
        /// Permits in use, and organizations that are remembered.
        fn counted(&self) -> (usize, usize) {
            let state = self.lock();
            (state.running, state.organizations.len())
        }
    }

    type Waiting<'a> = Pin<Box<dyn Future<Output = Turn> + 'a>>;

    /// A waiting caller that has been polled once.
    fn wait<'a>(turns: &'a Turns, organization: &'a str) -> Result<Turn, Waiting<'a>> {
        let mut waiting: Waiting = Box::pin(turns.take(organization));
        waiting.as_mut().now_or_never().ok_or(waiting)
    }

    #[test]
    fn organizations_take_turns_and_none_takes_all() {
        let turns = Turns::new(2, 1);
        let first = wait(&turns, "a").ok().unwrap();
        let mut second = wait(&turns, "a").err().unwrap();
        let mut third = wait(&turns, "a").err().unwrap();
        let other = wait(&turns, "b").ok().expect("one of the two is for others");
        let mut next = wait(&turns, "c").err().unwrap();
        drop(first);
        // `a` came before `c`, and has one at a time.
        let second = second.as_mut().now_or_never().unwrap();
        assert!(third.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        drop(second);
        let next = next.as_mut().now_or_never().expect("`a` has had its permit");
        drop((other, next));
        drop(third.as_mut().now_or_never().unwrap());
        assert_eq!(turns.counted(), (0, 0));
    }

    #[test]
    fn who_goes_away_is_passed_over() {
        let turns = Turns::new(1, 1);
        let first = wait(&turns, "a").ok().unwrap();
        let gone: Vec<_> = (0..100).map(|_| wait(&turns, "a").err().unwrap()).collect();
        let mut last = wait(&turns, "a").err().unwrap();
        drop(gone);
        drop(first);
        drop(last.as_mut().now_or_never().expect("it is the only one"));
        // A permit that was given and not taken.
        let first = wait(&turns, "a").ok().unwrap();
        let given = wait(&turns, "b").err().unwrap();
        drop(first);
        drop(given);
        assert!(wait(&turns, "a").is_ok());
        assert_eq!(turns.counted(), (0, 0));
    }
}
