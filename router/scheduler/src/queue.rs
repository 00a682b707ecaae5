//! Who waits, and who is next.
//!
//! Order: higher priority, then sequences that were started before (their clients see a pause),
//! then the tenant served least, then arrival. Inside a lane (equal priority, started or not, and
//! tenant) it is first come, first served. Lanes are linked lists over slots, so that removing from
//! the middle costs the same as from an end.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::sequence::{Arrival, Sequence, Slot};
use crate::tenants::{TenantIndex, Tenants};

const NONE: u32 = u32::MAX;

/// Where a lane stands among the others; the least is next.
type Rank = (Reverse<i32>, Reverse<bool>, u64, Arrival, u32);

#[derive(Clone, Copy, Debug)]
struct Link {
    lane: u32,
    older: u32,
    newer: u32,
    arrival: Arrival,
}

const UNLINKED: Link = Link {
    lane: NONE,
    older: NONE,
    newer: NONE,
    arrival: Arrival(0),
};

#[derive(Clone, Copy, Debug)]
struct Lane {
    priority: i32,
    started: bool,
    tenant: TenantIndex,
    first: u32,
    last: u32,
    /// Under which it stands in `ready`.
    rank: Option<Rank>,
}

impl Lane {
    fn key(&self) -> (i32, bool, u32) {
        (self.priority, self.started, self.tenant.number())
    }
}

/// All waiting sequences.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By slot.
    links: Vec<Link>,
    lanes: Vec<Lane>,
    vacant_lanes: Vec<u32>,
    lane_of: HashMap<(i32, bool, u32), u32, BuildHasherDefault<DefaultHasher>>,
    ready: BTreeSet<Rank>,
    len: u32,
}

impl Queue {
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.links
            .get(slot.0 as usize)
            .is_some_and(|link| link.lane != NONE)
    }

    pub(crate) fn push_back(&mut self, slot: Slot, sequence: &Sequence, tenants: &Tenants) {
        let lane = self.lane_for(sequence);
        let last = self.lanes[lane as usize].last;
        self.link(
            slot,
            Link {
                lane,
                older: last,
                newer: NONE,
                arrival: sequence.arrival,
            },
        );
        self.rank(lane, tenants);
    }

    pub(crate) fn push_front(&mut self, slot: Slot, sequence: &Sequence, tenants: &Tenants) {
        let lane = self.lane_for(sequence);
        let first = self.lanes[lane as usize].first;
        self.link(
            slot,
            Link {
                lane,
                older: NONE,
                newer: first,
                arrival: sequence.arrival,
            },
        );
        self.rank(lane, tenants);
    }

    pub(crate) fn remove(&mut self, slot: Slot, tenants: &Tenants) {
        let link = std::mem::replace(&mut self.links[slot.0 as usize], UNLINKED);
        let lane = &mut self.lanes[link.lane as usize];
        match link.older {
            NONE => lane.first = link.newer,
            older => self.links[older as usize].newer = link.newer,
        }
        match link.newer {
            NONE => lane.last = link.older,
            newer => self.links[newer as usize].older = link.older,
        }
        self.len -= 1;
        self.rank(link.lane, tenants);
    }

    /// Takes out the next one.
    pub(crate) fn pick(&mut self, tenants: &Tenants) -> Option<Slot> {
        loop {
            let rank = *self.ready.first()?;
            let lane = rank.4;
            // A lane is ranked anew only here: served tokens never shrink, so a lane whose rank is
            // up to date and least is the least of all.
            if self.rank(lane, tenants) == Some(rank) {
                let slot = Slot(self.lanes[lane as usize].first);
                self.remove(slot, tenants);
                return Some(slot);
            }
        }
    }

    fn lane_for(&mut self, sequence: &Sequence) -> u32 {
        let lane = Lane {
            priority: sequence.priority,
            started: sequence.started,
            tenant: sequence.tenant,
            first: NONE,
            last: NONE,
            rank: None,
        };
        if let Some(index) = self.lane_of.get(&lane.key()) {
            return *index;
        }
        let index = match self.vacant_lanes.pop() {
            Some(index) => {
                self.lanes[index as usize] = lane;
                index
            }
            None => {
                self.lanes.push(lane);
                self.lanes.len() as u32 - 1
            }
        };
        self.lane_of.insert(lane.key(), index);
        index
    }

    fn link(&mut self, slot: Slot, link: Link) {
        let needed = slot.0 as usize + 1;
        if self.links.len() < needed {
            self.links.resize(needed, UNLINKED);
        }
        self.links[slot.0 as usize] = link;
        let lane = &mut self.lanes[link.lane as usize];
        match link.older {
            NONE => lane.first = slot.0,
            older => self.links[older as usize].newer = slot.0,
        }
        match link.newer {
            NONE => lane.last = slot.0,
            newer => self.links[newer as usize].older = slot.0,
        }
        self.len += 1;
    }

    /// Puts a lane where its head and tenant belong, or away when it is empty.
    fn rank(&mut self, index: u32, tenants: &Tenants) -> Option<Rank> {
        let lane = self.lanes[index as usize];
        let rank = (lane.first != NONE).then(|| {
            let arrival = self.links[lane.first as usize].arrival;
            let served = tenants.served_tokens(lane.tenant);
            (
                Reverse(lane.priority),
                Reverse(lane.started),
                served,
                arrival,
                index,
            )
        });
        if rank != lane.rank {
            if let Some(old) = lane.rank {
                self.ready.remove(&old);
            }
            match rank {
                Some(new) => {
                    self.ready.insert(new);
                }
                None => {
                    self.lane_of.remove(&lane.key());
                    self.vacant_lanes.push(index);
                }
            }
            self.lanes[index as usize].rank = rank;
        }
        rank
    }

    /// Whether lists, lanes and counts tell the same story.
    pub(crate) fn is_consistent(&self) -> bool {
        let linked = self.links.iter().filter(|link| link.lane != NONE).count();
        let lanes = self.lane_of.len();
        let walked: usize = self.lane_of.values().map(|lane| self.walk(*lane)).sum();
        linked == self.len as usize && walked == linked && self.ready.len() == lanes
    }

    /// Sequences of one lane, counted along the links; no more than there are in all.
    fn walk(&self, lane: u32) -> usize {
        let next = |slot: &u32| {
            let newer = self.links[*slot as usize].newer;
            (newer != NONE).then_some(newer)
        };
        let first = self.lanes[lane as usize].first;
        let slots = std::iter::successors((first != NONE).then_some(first), next);
        slots
            .take(self.len as usize + 1)
            .filter(|slot| self.links[*slot as usize].lane == lane)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    struct Bench {
        queue: Queue,
        tenants: Tenants,
        arrivals: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                queue: Queue::default(),
                tenants: Tenants::default(),
                arrivals: 0,
            }
        }

        fn sequence(&mut self, tenant: u64, priority: i32, started: bool) -> Sequence {
            self.arrivals += 1;
            let tenant = self.tenants.join(TenantId(tenant));
            Sequence {
                arrival: Arrival(self.arrivals),
                tenant,
                priority,
                started,
                ..Sequence::default()
            }
        }

        fn push(&mut self, slot: u32, tenant: u64, priority: i32, started: bool) {
            let sequence = self.sequence(tenant, priority, started);
            self.queue.push_back(Slot(slot), &sequence, &self.tenants);
            assert!(self.queue.is_consistent());
        }

        fn order(&mut self) -> Vec<u32> {
            let mut order = Vec::new();
            while let Some(slot) = self.queue.pick(&self.tenants) {
                assert!(self.queue.is_consistent());
                order.push(slot.0);
            }
            order
        }
    }

    #[test]
    fn priority_then_started_then_arrival() {
        let mut bench = Bench::new();
        bench.push(0, 1, 0, false);
        bench.push(1, 1, 5, false);
        bench.push(2, 2, 0, true);
        bench.push(3, 3, 0, false);
        assert_eq!(bench.order(), [1, 2, 0, 3]);
    }

    #[test]
    fn the_tenant_served_least_is_next() {
        let mut bench = Bench::new();
        bench.push(0, 1, 0, false);
        bench.push(1, 1, 0, false);
        bench.push(2, 2, 0, false);
        bench.push(3, 2, 0, false);
        let first = bench.queue.pick(&bench.tenants);
        assert_eq!(first, Some(Slot(0)));
        let tenant = bench.tenants.join(TenantId(1));
        bench.tenants.charge(tenant, 10);
        assert_eq!(bench.order(), [2, 3, 1]);
    }

    #[test]
    fn removal_from_the_middle_keeps_the_order() {
        let mut bench = Bench::new();
        for slot in 0..4 {
            bench.push(slot, 1, 0, false);
        }
        bench.queue.remove(Slot(2), &bench.tenants);
        assert!(!bench.queue.contains(Slot(2)));
        bench.queue.remove(Slot(0), &bench.tenants);
        assert_eq!(bench.order(), [1, 3]);
        assert_eq!(bench.queue.len(), 0);
    }

    #[test]
    fn the_front_goes_before_the_rest_of_its_lane() {
        let mut bench = Bench::new();
        bench.push(0, 1, 0, false);
        let sequence = bench.sequence(1, 0, false);
        bench.queue.push_front(Slot(1), &sequence, &bench.tenants);
        assert_eq!(bench.order(), [1, 0]);
    }
}
