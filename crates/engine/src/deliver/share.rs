//! Whose turn it is: fair shares between workspaces, and between the endpoints of each.
//!
//! Pure. Everybody is charged the time for which it occupied a place, and whoever has used least goes next: first
//! among the workspaces with something to send, then among that one's endpoints. So one that answers in ten seconds
//! gets a turn for a hundred of one that answers in a tenth. This is deficit round robin with the visits to those in
//! debt left out: the order is kept in a tree, so that finding the next costs the same however deep the others'
//! debts are. Who rested gets no credit for it: it comes back level with who is served now.

use std::collections::{BTreeMap, BTreeSet};

use roundtrip_domain::id::WorkspaceNo;

use super::endpoint::Key;

/// Place-milliseconds used.
type Used = u64;

/// Where an endpoint stands in its workspace's order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    used: Used,
    /// Its place among those that used as much; `None` while it has no turn coming.
    queued: Option<u64>,
}

#[derive(Debug, Default)]
struct Workspace {
    used: Used,
    /// What the endpoint that was served last had used.
    level: Used,
    ready: BTreeSet<(Used, u64, Key)>,
    in_flight: usize,
}

/// The order of turns.
#[derive(Debug, Default)]
pub(super) struct Share {
    workspaces: BTreeMap<WorkspaceNo, Workspace>,
    /// Workspaces with an endpoint that has a turn coming.
    order: BTreeSet<(Used, WorkspaceNo)>,
    level: Used,
    arrivals: u64,
}

impl Standing {
    /// Whether it has a turn coming.
    pub(super) const fn is_queued(&self) -> bool {
        self.queued.is_some()
    }
}

impl Share {
    /// An endpoint may have something to send.
    pub(super) fn enter(&mut self, key: Key, standing: &mut Standing) {
        if standing.is_queued() {
            return;
        }
        let workspace = self.workspaces.entry(key.workspace).or_default();
        if workspace.ready.is_empty() {
            workspace.used = workspace.used.max(self.level);
            self.order.insert((workspace.used, key.workspace));
        }
        standing.used = standing.used.max(workspace.level);
        self.arrivals += 1;
        standing.queued = Some(self.arrivals);
        workspace.ready.insert((standing.used, self.arrivals, key));
    }

    /// Whose turn it is. The caller clears its standing with [`Self::left`].
    pub(super) fn next(&mut self) -> Option<Key> {
        let (used, no) = *self.order.first()?;
        let workspace = self.workspaces.get_mut(&no)?;
        let (endpoint_used, _, key) = workspace.ready.pop_first()?;
        workspace.level = workspace.level.max(endpoint_used);
        self.level = self.level.max(used);
        if workspace.ready.is_empty() {
            self.order.pop_first();
        }
        Some(key)
    }

    /// The endpoint that [`Self::next`] gave has left the order.
    pub(super) const fn left(standing: &mut Standing) {
        standing.queued = None;
    }

    /// A send of the endpoint begins.
    pub(super) fn began(&mut self, key: Key, standing: &mut Standing) {
        // A turn costs a millisecond at least, so that those who are always quick take turns.
        self.charge(key, standing, 1);
        self.workspaces.entry(key.workspace).or_default().in_flight += 1;
    }

    /// A send of the endpoint ended, after so many milliseconds.
    pub(super) fn ended(&mut self, key: Key, standing: &mut Standing, ms: u64) {
        self.charge(key, standing, ms.saturating_sub(1));
        if let Some(workspace) = self.workspaces.get_mut(&key.workspace) {
            workspace.in_flight = workspace.in_flight.saturating_sub(1);
        }
    }

    /// Sends of a workspace under way.
    pub(super) fn in_flight(&self, workspace: WorkspaceNo) -> usize {
        self.workspaces.get(&workspace).map_or(0, |w| w.in_flight)
    }

    /// Whether more than one workspace has something under way or a turn coming.
    pub(super) fn is_shared(&self) -> bool {
        self.workspaces.values().filter(|w| w.in_flight > 0 || !w.ready.is_empty()).nth(1).is_some()
    }

    fn charge(&mut self, key: Key, standing: &mut Standing, ms: u64) {
        if ms == 0 {
            return;
        }
        let Some(workspace) = self.workspaces.get_mut(&key.workspace) else { return };
        if let Some(arrival) = standing.queued {
            workspace.ready.remove(&(standing.used, arrival, key));
            workspace.ready.insert((standing.used + ms, arrival, key));
        }
        standing.used += ms;
        let is_ordered = !workspace.ready.is_empty();
        let old = workspace.used;
        workspace.used += ms;
        if is_ordered && self.order.remove(&(old, key.workspace)) {
            self.order.insert((workspace.used, key.workspace));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use roundtrip_domain::endpoint::Endpoint;
    use roundtrip_domain::id::Id;

    use super::*;

    fn key(workspace: u32, n: u128) -> Key {
        Key { workspace: WorkspaceNo(workspace), endpoint: Endpoint::Webhook(Id::from_bits(n)) }
    }

    /// One place, `turns` turns; each send takes what its endpoint takes. How often each was served.
    fn serve(all: &[(Key, u64)], turns: usize) -> HashMap<Key, usize> {
        let mut share = Share::default();
        let mut standings: HashMap<Key, Standing> = HashMap::new();
        for (key, _) in all {
            share.enter(*key, standings.entry(*key).or_default());
        }
        let mut served: HashMap<Key, usize> = HashMap::new();
        for _ in 0..turns {
            let key = share.next().expect("all always have something");
            let standing = standings.get_mut(&key).expect("it is known");
            Share::left(standing);
            *served.entry(key).or_default() += 1;
            share.began(key, standing);
            share.enter(key, standing);
            let took = all.iter().find(|(k, _)| *k == key).expect("it is known").1;
            share.ended(key, standing, took);
        }
        served
    }

    #[test]
    fn endpoints_share_time_not_turns() {
        let (quick, slow) = (key(1, 1), key(1, 2));
        let served = serve(&[(quick, 10), (slow, 1_000)], 1_010);
        assert!((9..=11).contains(&served[&slow]), "{served:?}");
    }

    #[test]
    fn workspaces_share_before_their_endpoints_do() {
        let many: Vec<_> = (0..99).map(|n| (key(1, n + 1), 5)).collect();
        let mut all = many.clone();
        all.push((key(2, 1), 5));
        let served = serve(&all, 1_000);
        assert!((495..=505).contains(&served[&key(2, 1)]), "{}", served[&key(2, 1)]);
    }

    #[test]
    fn who_is_quick_takes_turns() {
        let all: Vec<_> = (1..=5).map(|n| (key(1, n), 0)).collect();
        assert!(serve(&all, 100).values().all(|n| *n == 20));
    }

    #[test]
    fn a_rest_gives_no_credit() {
        let mut share = Share::default();
        let (mut busy, mut rested) = (Standing::default(), Standing::default());
        for _ in 0..50 {
            share.enter(key(1, 1), &mut busy);
            assert_eq!(share.next(), Some(key(1, 1)));
            Share::left(&mut busy);
            share.began(key(1, 1), &mut busy);
            share.ended(key(1, 1), &mut busy, 1_000);
        }
        share.enter(key(1, 1), &mut busy);
        let mut turns = Vec::new();
        for _ in 0..6 {
            share.enter(key(1, 2), &mut rested);
            share.enter(key(1, 1), &mut busy);
            let next = share.next().expect("both wait");
            turns.push(next == key(1, 2));
            let standing = if next == key(1, 2) { &mut rested } else { &mut busy };
            Share::left(standing);
            share.began(next, standing);
            share.ended(next, standing, 1_000);
        }
        assert_eq!(turns.iter().filter(|t| **t).count(), 3, "they take turns: {turns:?}");
    }

    #[test]
    fn counts_what_is_under_way() {
        let mut share = Share::default();
        let mut standing = Standing::default();
        share.enter(key(1, 1), &mut standing);
        assert!(!share.is_shared());
        share.began(key(1, 1), &mut standing);
        assert_eq!(share.in_flight(WorkspaceNo(1)), 1);
        share.enter(key(2, 1), &mut Standing::default());
        assert!(share.is_shared());
        share.ended(key(1, 1), &mut standing, 3);
        assert_eq!(share.in_flight(WorkspaceNo(1)), 0);
    }

    proptest::proptest! {
        /// Whatever happens, everybody who entered gets a turn, and nobody twice for one entry.
        #[test]
        fn nobody_is_lost(steps in proptest::collection::vec((0_u8..4, 0_u32..3, 1_u128..5, 0_u64..5_000), 0..300)) {
            let mut share = Share::default();
            let mut standings: BTreeMap<Key, Standing> = BTreeMap::new();
            for (step, workspace, n, ms) in steps {
                let key = key(workspace, n);
                let standing = standings.entry(key).or_default();
                match step {
                    0 => share.enter(key, standing),
                    1 => share.began(key, standing),
                    2 => share.ended(key, standing, ms),
                    _ => if let Some(next) = share.next() {
                        let standing = standings.get_mut(&next).expect("it entered");
                        assert!(standing.is_queued());
                        Share::left(standing);
                    },
                }
            }
            let queued = standings.values().filter(|s| s.is_queued()).count();
            let mut served = BTreeSet::new();
            while let Some(key) = share.next() { assert!(served.insert(key)); }
            assert_eq!(served.len(), queued);
            assert!(share.order.is_empty());
        }
    }
}
