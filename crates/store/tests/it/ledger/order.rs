//! Any order in which the same events arrive gives the same final decisions and the same postbacks.
//!
//! What is promised exactly:
//! - Every event ends with the same kind and credit. Of the births of one installation the first that is decided
//!   makes the conversion, so those are compared by installation, not by event.
//! - A postback is planned for the same rule, partner and fact. The fact of an install is the click that earned
//!   it, else its installation; that of a `first_only` rule is its subject (one of several events is told, whichever
//!   came first); else it is the event.
//! - Nothing sent is unsent. So where in some order an event was told of one winner and another came to light later
//!   (an earlier installation claims the click, a second birth brings better evidence, an earlier installation of
//!   the same customer arrives), more may have been told than in another order. Then this is promised: each final
//!   winner was told, by this event or by the click or subject that it shares; no rule tells a partner of an event
//!   twice, and none tells of a click's install twice.
//! - At rest nothing changes: decided once more, every event stays as it is.
//! - The books balance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proptest::prelude::*;
use roundtrip_ambient::Entropy;
use roundtrip_domain::attribution::Credit;
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::event::{ConversionKind, Event};
use roundtrip_domain::postback::Suppressed;
use roundtrip_store::ledger::{NewEvent, Recorded, Story};
use roundtrip_testkit::{NOON, Tell, World, sample};
use serde_json::{Value, json};

use super::assert_at_rest;

const MINUTE: i64 = 60_000;
const APPS: [&str; 3] = ["game", "tool", "shop"];
const LINKS: [&str; 6] = ["game-acme", "game-zeta", "tool-acme", "tool-zeta", "shop-acme", "shop-zeta"];
const GAIDS: [&str; 3] = [
    "38400000-8cf0-11bd-b23e-10b96e40000a",
    "38400000-8cf0-11bd-b23e-10b96e40000b",
    "38400000-8cf0-11bd-b23e-10b96e40000c",
];

/// A click: which link, in which minute, with whose device id, with a partner's click id.
#[derive(Clone)]
struct AClick {
    link: usize,
    minute: i64,
    gaid: Option<usize>,
    partner_id: bool,
}

/// An event, before it is one.
#[derive(Clone)]
struct AnEvent {
    app: usize,
    name: &'static str,
    minute: i64,
    /// How long before it was received it claims to have happened, in minutes.
    late: i64,
    install: Option<u8>,
    click: Option<(usize, bool)>,
    gaid: Option<usize>,
    customer: Option<u8>,
    postback: bool,
    twice: bool,
}

impl fmt::Debug for AClick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, minute, gaid, partner_id } = self;
        write!(f, "{} at {minute}, gaid {gaid:?}, partner id {partner_id}", LINKS[*link])
    }
}

impl fmt::Debug for AnEvent {
    /// One line, so that a failing case fits a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, name, minute, late, .. } = self;
        write!(f, "{} {name} at {minute}-{late}", APPS[*app])?;
        let words = [
            self.install.map(|i| format!(" of i{i}")),
            self.click.map(|(n, by)| format!(" {} click {n}", if by { "referrer" } else { "id of" })),
            self.gaid.map(|g| format!(" gaid {g}")),
            self.customer.map(|u| format!(" customer {u}")),
            self.postback.then(|| " postback".into()),
            self.twice.then(|| " twice".into()),
        ];
        f.write_str(&words.into_iter().flatten().collect::<String>())
    }
}

#[derive(Debug, Clone)]
struct Case {
    rules: u16,
    clicks: Vec<AClick>,
    events: Vec<AnEvent>,
    /// Seeds of the orders that are compared with the first, which is the order of receipt.
    orders: [u64; 3],
}

fn click() -> impl Strategy<Value = AClick> {
    (0..10_usize, 0..40_i64, option(0..3_usize, 0.5), any::<bool>()).prop_map(
        |(link, minute, gaid, partner_id)| AClick {
            // Most clicks are on the first app, so that installs have something to compete for.
            link: if link > 5 { link % 2 } else { link },
            minute,
            gaid,
            partner_id,
        },
    )
}

fn option<S: Strategy>(some: S, weight: f64) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    proptest::option::weighted(weight, some)
}

fn event() -> impl Strategy<Value = AnEvent> {
    let names =
        prop::sample::select(vec!["install", "install", "open", "signup", "purchase", "purchase", "level"]);
    let app = prop::sample::select(vec![0_usize, 0, 0, 1, 2]);
    (
        (app, names, 10..60_i64, prop::sample::select(vec![0_i64, 0, 5, 30])),
        (option(0..3_u8, 0.7), option((0..8_usize, any::<bool>()), 0.4)),
        (option(0..3_usize, 0.4), option(0..2_u8, 0.4)),
        (prop::bool::weighted(0.1), prop::bool::weighted(0.2)),
    )
        .prop_map(
            |((app, name, minute, late), (install, click), (gaid, customer), (postback, twice))| AnEvent {
                app,
                name,
                minute,
                late,
                install,
                click,
                gaid,
                customer,
                postback,
                twice,
            },
        )
}

fn case() -> impl Strategy<Value = Case> {
    (
        any::<u16>(),
        prop::collection::vec(click(), 0..8),
        prop::collection::vec(event(), 1..12),
        any::<[u64; 3]>(),
    )
        .prop_map(|(rules, clicks, events, orders)| Case { rules, clicks, events, orders })
}

/// The sample with windows of minutes, and those rules whose bit is set.
fn document(rules: u16) -> Value {
    let mut document = sample();
    for app in ["game", "tool", "shop"] {
        document["apps"][app]["click_window"] = "45m".into();
    }
    document["links"]["game-zeta"]["click_window"] = "15m".into();
    let url = "https://partner.example/p?c={rt_click_id}&e={event_id}&g={gaid}";
    let echo = "https://partner.example/p?c={click_id}";
    let all = [
        ("a-install", json!({"app": "game", "partner": "acme", "on": "install", "url": url})),
        ("a-purchase", json!({"app": "game", "partner": "acme", "on": "purchase", "url": echo})),
        ("b-install", json!({"app": "game", "on": "install", "url": url})),
        ("b-purchase-first", json!({"app": "game", "on": "purchase", "url": url, "first_only": true})),
        (
            "c-install-all",
            json!({"app": "game", "partner": "zeta", "on": "install", "url": url, "scope": "all"}),
        ),
        (
            "c-purchase-all-first",
            json!({"app": "game", "partner": "zeta", "on": "purchase", "url": url, "scope": "all", "first_only": true}),
        ),
        (
            "c-purchase-all",
            json!({"app": "game", "partner": "acme", "on": "purchase", "url": url, "scope": "all", "window": "20m"}),
        ),
        ("d-signup", json!({"app": "game", "on": "signup", "url": url, "window": "10m"})),
        (
            "d-level",
            json!({"app": "game", "on": "event", "events": ["level"], "url": url, "first_only": true}),
        ),
        ("e-tool", json!({"app": "tool", "on": "install", "url": url})),
        (
            "e-tool-purchase",
            json!({"app": "tool", "on": "purchase", "url": url, "scope": "all", "partner": "zeta"}),
        ),
        ("f-shop", json!({"app": "shop", "on": "purchase", "url": url})),
        ("f-shop-first", json!({"app": "shop", "on": "purchase", "url": url, "first_only": true})),
        (
            "f-shop-install",
            json!({"app": "shop", "on": "event", "url": url, "scope": "all", "partner": "acme"}),
        ),
        ("g-install-held", json!({"app": "game", "on": "install", "url": url, "delay": "1h"})),
        (
            "g-purchase-held-first",
            json!({"app": "game", "on": "purchase", "url": url, "delay": "1h", "first_only": true}),
        ),
    ];
    let rules: serde_json::Map<_, _> = all
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| rules >> bit & 1 == 1)
        .map(|(_, (slug, rule))| (slug.to_owned(), rule))
        .collect();
    document["rules"] = rules.into();
    document
}

/// Events of a case, the same in every world that is made from it.
fn events(case: &Case, world: &mut World) -> Vec<(Event, bool)> {
    let at = |minute: i64| NOON.plus_ms(minute * MINUTE);
    let mut clicks: Vec<(usize, &AClick)> = case.clicks.iter().enumerate().collect();
    clicks.sort_by_key(|(_, c)| c.minute);
    let mut touches = BTreeMap::new();
    for (n, click) in clicks {
        let mut query = String::new();
        if click.partner_id {
            query = format!("click_id=p-{n}");
        }
        if let Some(gaid) = click.gaid {
            query += &format!("&gaid={}", GAIDS[gaid]);
        }
        touches.insert(n, world.click(LINKS[click.link], at(click.minute), &query));
    }
    case.events
        .iter()
        .enumerate()
        .map(|(n, a)| {
            let received_at = at(a.minute).plus_ms(n as i64);
            let mut event = world.event(APPS[a.app], a.name, received_at);
            event = event.claims(received_at.plus_ms(-a.late * MINUTE)).revenue("1.50");
            event.source_event_id = Some(format!("e{n}"));
            if let Some(install) = a.install.filter(|_| !a.postback) {
                event = event.of(&format!("i{install}"));
            }
            match a.click.and_then(|(n, by)| Some((touches.get(&n)?, by))) {
                Some((touch, true)) if !a.postback => event = event.referrer(touch),
                Some((touch, _)) => event = event.click(touch),
                None => {}
            }
            if let Some(gaid) = a.gaid {
                event = event.gaid(GAIDS[gaid]);
            }
            if let Some(customer) = a.customer {
                event = event.customer(&format!("u{customer}"));
            }
            if a.postback {
                event = event.postback(Some(a.name), false);
            }
            (event, a.twice)
        })
        .collect()
}

/// An order of arrival, and how much is decided between.
fn deliver(events: Vec<(Event, bool)>, order: Option<u64>) -> Vec<(Vec<NewEvent>, u32)> {
    let mut all: Vec<NewEvent> = Vec::new();
    for (event, twice) in events {
        let key = event.source_event_id.clone().unwrap_or_default();
        let new = World::keyed(event, &key, 1);
        all.extend(twice.then(|| new.clone()));
        all.push(new);
    }
    let Some(seed) = order else {
        all.sort_by_key(|new| new.event.received_at);
        return all.into_iter().map(|new| (vec![new], 1_000)).collect();
    };
    let dice = Entropy::seeded(seed);
    for i in (1..all.len()).rev() {
        all.swap(i, dice.u32() as usize % (i + 1));
    }
    let mut batches = Vec::new();
    while !all.is_empty() {
        let rest = all.split_off((1 + dice.u32() as usize % 4).min(all.len()));
        // Nothing, a part, or all that is undecided is decided before the next batch.
        batches.push((std::mem::replace(&mut all, rest), [0, 1, 2, AHEAD, 1_000][dice.u32() as usize % 5]));
    }
    batches
}

/// What is final, and what was told.
#[derive(Debug, Default)]
struct Outcome {
    /// By event, or by installation: kind and credit.
    decisions: BTreeMap<String, String>,
    told: Vec<Told>,
    /// Facts whose credit, installation or time of birth changed after it was known.
    unsteady: BTreeSet<String>,
    /// Clicks that earned an install at some time, with the installations that they earned.
    held: BTreeMap<ClickId, BTreeSet<String>>,
    /// Rule and partner that an install's final decision wants told, with its installation and click.
    wins: Vec<(String, String, ClickId, Result<(), Suppressed>)>,
}

#[derive(Debug, Clone)]
struct Told {
    rule: String,
    partner: String,
    fact: String,
    subject: String,
    first_only: bool,
    click: Option<ClickId>,
}

/// The installation that a birth is one of, as the docs define it.
fn installation(event: &Event) -> String {
    let app = event.app;
    match (&event.install_id, event.device.ids.first()) {
        (Some(id), _) => format!("{app} install {id}"),
        (None, Some(id)) => format!("{app} device {}", id.text),
        (None, None) => format!("{app} birth {}", event.id),
    }
}

/// Two batches, the second of which is made ready before the first is committed.
const AHEAD: u32 = 500;

async fn run(case: &Case, order: Option<u64>) -> Outcome {
    let mut world = World::new(&document(case.rules)).await;
    let events = events(case, &mut world);
    let ids: Vec<_> = events.iter().map(|(event, _)| event.id).collect();
    for (batch, decide) in deliver(events, order) {
        for answer in world.ledger.event_record(batch).await {
            assert!(matches!(answer, Ok(Recorded::Accepted(_) | Recorded::Duplicate(_))), "{answer:?}");
        }
        match decide {
            0 => {}
            1_000 => drop(world.decide().await),
            AHEAD => world.decide_ahead(2).await,
            limit => drop(world.decide_step(limit).await),
        }
    }
    world.decide().await;
    world.books_balance().await;
    let mut outcome = Outcome::default();
    let mut stories = Vec::new();
    for id in ids {
        stories.push(world.story(id).await);
    }
    for story in &stories {
        outcome.read(&world, story, &stories);
    }
    assert_at_rest(&world).await;
    world.ledger.close().await;
    outcome
}

impl Outcome {
    fn read(&mut self, world: &World, story: &Story, all: &[Story]) {
        let event = &story.event;
        assert!(!story.undecided);
        let last = story.revisions.last().expect("a decision");
        let is_mobile = event.app != world.app("shop");
        let is_birth = is_mobile && event.names_install();
        let fact = if is_birth { installation(event) } else { event.source_event_id.clone().expect("a key") };
        let credit = |credit: &Credit| match credit {
            Credit::Touch(w) => format!("{} by {}", w.touch.id, w.match_type.name()),
            other => other.name().to_owned(),
        };
        if is_birth && last.kind.is_none() {
            // A later birth: its installation's conversion is another event's, and shares its credit.
            let first =
                all.iter().find(|s| Some(s.event.id) == last.because.follows).expect("it follows a birth");
            assert_eq!(installation(&first.event), fact);
            assert_eq!(credit(&first.revisions.last().expect("decided").credit), credit(&last.credit));
            assert!(story.rules.is_empty());
        } else {
            let kind = last.kind.as_ref().map_or("none", ConversionKind::name);
            let known = self.decisions.insert(fact.clone(), format!("{kind}: {}", credit(&last.credit)));
            assert_eq!(known, None, "{fact} makes one conversion");
        }
        let mut seen = BTreeSet::new();
        for revision in story.revisions.iter().filter(|r| r.credit != Credit::InstallUnknown) {
            seen.insert((credit(&revision.credit), revision.because.follows, revision.because.reference_at));
            // An install that came through `/postback` competes for its click as a birth does.
            if last.kind == Some(ConversionKind::Install)
                && let Some(winner) = revision.credit.winner()
            {
                self.held.entry(winner.touch.id).or_default().insert(fact.clone());
            }
        }
        if seen.len() > 1 {
            self.unsteady.insert(fact.clone());
        }
        let subject = match (&last.because.follows, &event.customer_id, last.credit.winner()) {
            _ if is_birth => fact.clone(),
            (Some(install), _, _) => {
                installation(&all.iter().find(|s| s.event.id == *install).expect("it follows a birth").event)
            }
            (None, Some(customer), _) => format!("{} customer {customer}", event.app),
            (None, None, Some(winner)) => winner.touch.id.to_string(),
            _ => fact.clone(),
        };
        for told in &story.rules {
            let rule = world.rule_slug(told.rule);
            let partner = told.partner.map_or_else(String::new, |p| world.partner_slug(p));
            let winner = last.credit.winner();
            if last.kind == Some(ConversionKind::Install)
                && let Some(winner) = winner.filter(|w| Some(w.touch.click.partner) == told.partner)
            {
                let outcome = told.suppressed.map_or(Ok(()), Err);
                self.wins.push((format!("{rule} {partner}"), fact.clone(), winner.touch.id, outcome));
            }
            let is_cancelled =
                || story.deliveries.iter().any(|d| Some(d.id) == told.delivery && d.state == "cancelled");
            if told.suppressed.is_some() || is_cancelled() {
                continue;
            }
            let revision =
                story.revisions.iter().find(|r| r.revision == told.revision).expect("the revision");
            self.told.push(Told {
                first_only: rule.contains("first") || rule == "d-level",
                rule,
                partner,
                fact: fact.clone(),
                subject: subject.clone(),
                click: (last.kind == Some(ConversionKind::Install))
                    .then(|| revision.credit.winner().map(|w| w.touch.id))
                    .flatten(),
            });
        }
    }

    /// What holds in any order.
    fn check(&self) {
        let mut once = BTreeSet::new();
        let mut clicks = BTreeSet::new();
        for told in &self.told {
            assert!(once.insert((&told.rule, &told.partner, &told.fact)), "told twice: {told:?}");
            if let Some(click) = told.click {
                assert!(
                    clicks.insert((&told.rule, &told.partner, click)),
                    "a click's install was told twice: {told:?}"
                );
            }
        }
        for (rule, fact, click, outcome) in &self.wins {
            let by_click = self
                .told
                .iter()
                .any(|t| format!("{} {}", t.rule, t.partner) == *rule && t.click == Some(*click));
            assert!(
                match outcome {
                    Ok(()) | Err(Suppressed::NoPartnerClickId) => true,
                    Err(Suppressed::NotFirst) => by_click,
                    Err(_) => false,
                },
                "{rule} {fact}: the final winner is told, by its own event or by its click: {outcome:?}"
            );
        }
        let mut firsts = BTreeSet::new();
        for told in self.told.iter().filter(|t| t.first_only && !self.unsteady.contains(&t.fact)) {
            assert!(
                firsts.insert((&told.rule, &told.partner, &told.subject)),
                "two were the first: {told:?}"
            );
        }
    }

    /// What was told of facts that are steady in both outcomes: rule, partner and fact or subject.
    fn steady(&self, other: &Self) -> BTreeSet<(String, String, String)> {
        let unsteady = |fact: &String| self.unsteady.contains(fact) || other.unsteady.contains(fact);
        let contended: BTreeSet<&String> = [self, other]
            .iter()
            .flat_map(|o| o.held.values())
            .filter(|facts| facts.iter().any(unsteady))
            .flatten()
            .collect();
        let loose: BTreeSet<(&str, &str, &str)> = [self, other]
            .iter()
            .flat_map(|o| &o.told)
            .filter(|t| t.first_only && unsteady(&t.fact))
            .map(|t| (t.rule.as_str(), t.partner.as_str(), ""))
            .collect();
        self.told
            .iter()
            .filter(|t| {
                let is_loose = t.first_only && loose.contains(&(t.rule.as_str(), t.partner.as_str(), ""));
                !unsteady(&t.fact) && !contended.contains(&t.fact) && !is_loose
            })
            .map(|t| {
                let fact = if t.first_only { t.subject.clone() } else { t.fact.clone() };
                // Two reports of one click's install (an app's and an advertiser's postback) are told once.
                (t.rule.clone(), t.partner.clone(), t.click.map_or(fact, |click| click.to_string()))
            })
            .collect()
    }
}

async fn compare(case: &Case) {
    let first = run(case, None).await;
    first.check();
    for order in case.orders {
        let other = run(case, Some(order)).await;
        other.check();
        assert_eq!(first.decisions, other.decisions, "final decisions, order {order}");
        assert_eq!(first.steady(&other), other.steady(&first), "postbacks, order {order}");
    }
}

fn block(case: &Case) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(compare(case));
}

/// 100 worlds take some ten seconds; `PROPTEST_CASES` says otherwise.
fn config() -> ProptestConfig {
    let config =
        ProptestConfig { max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig { cases: 100, ..config }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_of_arrival_does_not_matter(case in case()) {
        block(&case);
    }
}
