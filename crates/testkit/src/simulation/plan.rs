//! What a seed says about its world before it begins: who is told, how patient we are, what kind of trouble there is.

use serde_json::{Map, Value, json};

use super::dice::Dice;

/// Waits between sends, in milliseconds, shorter than real ones: the clock is looked at every second, so that time
/// that passes costs as much as time that is filled.
const SCHEDULES: &[&[i64]] = &[
    &[],
    &[400],
    &[1_000, 3_000],
    &[500, 2_000, 8_000, 20_000],
    &[200, 200, 1_000, 1_000, 5_000, 5_000, 30_000],
    &[1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 45_000, 60_000],
];

/// Waits of webhooks between sends, in seconds.
const HOOK_WAITS: &[&[u32]] = &[&[], &[1], &[1, 3], &[1, 2, 8, 20], &[1, 1, 2, 4, 8, 16, 30]];

/// What webhooks ask for.
const ASKED: &[&[&str]] = &[
    &["event"],
    &["event", "rejected"],
    &["postback_delivered", "postback_failed"],
    &["event", "endpoint_failing", "endpoint_disabled", "endpoint_recovered"],
];

/// How much of the world there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Postbacks, and nobody who stops endpoints or makes jobs.
    Narrow,
    /// All of it.
    Full,
}

/// A webhook of a world.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    /// Which endpoint it is.
    pub(super) endpoint: usize,
    /// As a document.
    pub(super) document: Value,
    /// Whether it is told of every event.
    pub(super) is_of_events: bool,
    /// Whether it is told how postbacks end.
    pub(super) is_of_ends: bool,
    /// Whether the owner adds it only later.
    pub(super) is_late: bool,
}

/// A world before it begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The settings.
    pub(super) document: Value,
    /// How many endpoints there are; endpoint `n` is the rule or webhook `e{n}`.
    pub(super) endpoints: usize,
    /// How many of them are rules.
    pub(super) rules: usize,
    /// How many of those are told of every event; the others only of rejections.
    pub(super) of_events: usize,
    /// The endpoints that are webhooks.
    pub(super) hooks: Vec<Hook>,
    /// Most sends of a delivery, by endpoint.
    pub(super) sends_max: Vec<u32>,
    /// Over how many hosts the endpoints are spread.
    hosts: u64,
    /// Waits between sends of postbacks, in milliseconds.
    pub(super) waits_ms: Vec<i64>,
    /// How many operations.
    pub(super) operations: u64,
    /// Most events in one burst.
    pub(super) burst_max: u64,
    /// The longest wait of a call of the ledger.
    pub(super) disk_wait_ms_max: u64,
    /// Writes in a thousand whose answer is lost.
    pub(super) answers_lost: u64,
    /// Calls in a thousand that are refused.
    pub(super) refused: u64,
    /// Whether processes end at any call, receivers are ill, clocks jump, there are two processes.
    pub(super) has_crashes: bool,
    pub(super) has_illness: bool,
    pub(super) has_jumps: bool,
    pub(super) has_two: bool,
    /// Whether tasks panic.
    pub(super) has_bugs: bool,
    /// Whether it is more than a narrow one.
    pub(super) is_full: bool,
    /// Whether the owner stops endpoints, and whether they make jobs.
    pub(super) has_stops: bool,
    pub(super) has_jobs: bool,
}

impl Plan {
    pub(super) fn of(dice: &mut Dice) -> Self {
        // Once in a while many endpoints share a host, or one has a backlog that memory does not hold.
        let (endpoints, hosts, burst_max) = dice.weighed(&[
            (84, (dice.clone().between(1, 5), 3, 8)),
            (12, (2, 1, 90)),
            (4, (dice.clone().between(33, 40), 1, 5)),
        ]);
        let mut rules = Map::new();
        let mut of_events = 0;
        for n in 0..endpoints {
            let host = dice.between(1, hosts);
            let on = if n > 0 && dice.chance(150) { "rejected" } else { "event" };
            of_events += usize::from(on == "event");
            let mut rule = json!({
                "app": "shop",
                "on": on,
                "scope": "all",
                "partner": if dice.chance(700) { "acme" } else { "zeta" },
                "url": format!("https://h{host}.example/e{n}?e={{event_id}}"),
            });
            if dice.chance(150) {
                rule["delay"] = "20s".into();
            }
            rules.insert(format!("e{n}"), rule);
        }
        let mut document = crate::sample();
        document["rules"] = rules.into();
        let waits_ms = dice.one_of(SCHEDULES).to_vec();
        Self {
            document,
            endpoints: endpoints as usize,
            rules: endpoints as usize,
            of_events,
            hooks: Vec::new(),
            sends_max: vec![waits_ms.len() as u32 + 1; endpoints as usize],
            hosts,
            waits_ms,
            operations: dice.between(12, 45),
            burst_max,
            disk_wait_ms_max: dice.weighed(&[(60, 0), (30, 5), (10, 300)]),
            answers_lost: dice.weighed(&[(75, 0), (25, 40)]),
            refused: dice.weighed(&[(75, 0), (25, 30)]),
            has_crashes: dice.chance(600),
            has_illness: dice.chance(850),
            has_jumps: dice.chance(350),
            has_two: dice.chance(250),
            has_bugs: dice.chance(150),
            is_full: false,
            has_stops: false,
            has_jobs: false,
        }
    }

    /// Adds what a full world has beside postbacks, by dice of its own: what was there stays as it was.
    pub(super) fn widen(&mut self, dice: &mut Dice) {
        self.is_full = true;
        self.has_stops = dice.chance(500);
        self.has_jobs = dice.chance(500);
        let mut documents = Map::new();
        let count = dice.weighed(&[(35, 0), (40, 1), (25, 3)]);
        for endpoint in self.endpoints..self.endpoints + count {
            let host = dice.between(1, self.hosts);
            let asked = *dice.one_of(ASKED);
            let waits = *dice.one_of(HOOK_WAITS);
            let document = json!({
                "url": format!("https://h{host}.example/e{endpoint}"),
                "events": asked,
                "retry": waits.iter().map(|s| format!("{s}s")).collect::<Vec<_>>(),
            });
            let is_late = self.has_jobs && dice.chance(400);
            if !is_late {
                documents.insert(format!("e{endpoint}"), document.clone());
            }
            let (is_of_events, is_of_ends) =
                (asked.contains(&"event"), asked.contains(&"postback_delivered"));
            self.hooks.push(Hook { endpoint, document, is_of_events, is_of_ends, is_late });
            self.sends_max.push(waits.len() as u32 + 1);
            self.endpoints += 1;
        }
        if !documents.is_empty() {
            self.document["webhooks"] = documents.into();
        }
    }
}
