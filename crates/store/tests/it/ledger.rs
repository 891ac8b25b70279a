//! What the ledger promises, on a real SQLite file. A behaviour that is not here is not promised.

mod birth;
mod country;
mod deliver;
mod endpoint;
mod jobs;
mod keep;
mod order;
#[cfg(target_os = "linux")]
mod power;
mod record;
mod status;
mod tell;
mod todo;
mod webhook;

use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::Story;
use roundtrip_testkit::{NOON, World, sample};
use serde_json::{Value, json};

/// A second connection to the ledger's file, for what no caller may do.
fn raw(world: &World) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(world.dir().join("ledger.sqlite")).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn
}

/// Puts every event back on the list, and decides. What a late fact should have changed and did not, changes
/// now: a ledger at rest decides nothing and plans nothing.
async fn assert_at_rest(world: &World) {
    let queued = raw(world)
        .execute("INSERT INTO todo (workspace, event) SELECT workspace, event FROM decision WHERE true ON CONFLICT DO NOTHING", [])
        .unwrap();
    let again = world.decide().await;
    assert_eq!((again.decided, again.planned.len()), (0, 0), "{queued} events were decided again");
}

/// Noon and some minutes.
fn minute(n: i64) -> Timestamp {
    NOON.plus_ms(n * 60_000)
}

/// The sample with rules for the game: acme's installs and purchases, and whoever's signups.
fn with_rules(rules: Value) -> Value {
    let mut document = sample();
    document["rules"] = rules;
    document
}

/// A rule of the game that echoes our click id.
fn rule(on: &str, partner: Option<&str>) -> Value {
    let mut rule = json!({"app": "game", "on": on, "url": "https://p.example/?c={rt_click_id}&e={event_id}"});
    if let Some(partner) = partner {
        rule["partner"] = partner.into();
    }
    rule
}

/// The latest credit, in words: the winner's partner, or the credit's own word.
fn credit(world: &World, story: &Story) -> String {
    let last = story.revisions.last().expect("a decision");
    match last.credit.winner() {
        Some(winner) => world.partner_slug(winner.touch.click.partner),
        None => last.credit.name().to_owned(),
    }
}

/// Who was told by which rule, sorted: `rule partner`.
fn told(world: &World, story: &Story) -> Vec<String> {
    let mut told: Vec<String> = story
        .rules
        .iter()
        .filter(|r| r.suppressed.is_none())
        .map(|r| {
            format!("{} {}", world.rule_slug(r.rule), world.partner_slug(r.partner.expect("who was told")))
        })
        .collect();
    told.sort();
    assert_eq!(told.len(), story.deliveries.iter().filter(|d| d.replay_of.is_none()).count());
    told
}

/// Why rules did not fire, sorted: `rule reason`.
fn suppressed(world: &World, story: &Story) -> Vec<String> {
    let reason = |r: &roundtrip_store::ledger::RuleStory| {
        r.suppressed.map(|why| format!("{} {}", world.rule_slug(r.rule), why.code()))
    };
    let mut reasons: Vec<String> = story.rules.iter().filter_map(reason).collect();
    reasons.sort();
    reasons
}
