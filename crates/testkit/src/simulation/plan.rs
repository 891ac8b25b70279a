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

/// A world before it begins.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The settings.
    pub(super) document: Value,
    /// How many endpoints there are; endpoint `n` is the rule `e{n}`.
    pub(super) endpoints: usize,
    /// How many of them are told of every event; the others only of rejections.
    pub(super) of_events: usize,
    /// Waits between sends, in milliseconds.
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
        Self {
            document,
            endpoints: endpoints as usize,
            of_events,
            waits_ms: dice.one_of(SCHEDULES).to_vec(),
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
        }
    }
}
