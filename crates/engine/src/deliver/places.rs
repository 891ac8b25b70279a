//! How many sends are under way towards each host: its places.
//!
//! Places are counted by scheme, host and port. The coordinator takes one for each send whose host its endpoint
//! knows. A click's own callback goes where the click says: its task takes the place once it has read that. Both are
//! given back by the coordinator alone, so that who waits for a place there misses none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most sends under way towards one host and port.
const PER_HOST_MAX: usize = 128;

/// The places of all hosts; clones share them. The empty name stands for a host that is not known: it has no places
/// to count and is never full.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<String, usize>>>);

impl Places {
    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Every change below is a single step, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. `false` when there is none.
    #[must_use]
    pub(super) fn take(&self, host: &str) -> bool {
        if host.is_empty() {
            return true;
        }
        let mut taken = self.taken();
        match taken.get_mut(host) {
            Some(n) if *n >= PER_HOST_MAX => return false,
            Some(n) => *n += 1,
            None => drop(taken.insert(host.to_owned(), 1)),
        }
        true
    }

    /// Gives a place back.
    pub(super) fn give_back(&self, host: &str) {
        let mut taken = self.taken();
        if let Some(n) = taken.get_mut(host) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                taken.remove(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_so_many_places_whoever_takes_them() {
        let places = Places::default();
        let other = places.clone();
        for n in 0..PER_HOST_MAX {
            let one = if n % 2 == 0 { &places } else { &other };
            assert!(one.take("https://a.example"));
        }
        assert!(!places.take("https://a.example") && !other.take("https://a.example"));
        assert!(places.take("https://b.example"), "another host has its own");
        other.give_back("https://a.example");
        assert!(places.take("https://a.example"));
        for _ in 0..2 * PER_HOST_MAX {
            assert!(places.take(""), "what is not known is never full");
        }
        for _ in 0..PER_HOST_MAX {
            places.give_back("https://a.example");
        }
        places.give_back("https://b.example");
        assert!(places.taken().is_empty(), "nothing is kept of hosts without sends");
    }
}
