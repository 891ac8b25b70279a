//! Lists of deliveries, and jobs over many of them: nothing twice, nothing left out, and the books closed.

use std::collections::BTreeMap;

use roundtrip_domain::endpoint::State;
use roundtrip_domain::endpoint::health::Health;
use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::status::{Asker, Status};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{
    AttemptRow, DeliveryFilter, DeliveryState, Due, EndpointNews, EndpointWish, Into, Job, JobAnswer,
    JobKind, JobPlan, JobState, JobStep, JobWish, Settled, Settlement, StatusWish, Trouble, states_default,
};
use roundtrip_testkit::{NOON, Tell, World};
use serde_json::json;

use super::{minute, rule, with_rules};

type Delivery = Id<kind::Delivery>;

fn ended(item: Due, outcome: &str, next: Settled) -> Settlement {
    let attempt = AttemptRow {
        n: item.sends + 1,
        at: item.due,
        outcome: outcome.into(),
        status: None,
        total_us: 900,
        next: "…".into(),
        body: "{}".into(),
    };
    Settlement { item, attempt: Some(attempt), next }
}

fn dead(item: Due) -> Settlement {
    ended(item, "http_404", Settled::Dead { reason: "refused_by_receiver".into() })
}

/// A world with `n` planned postbacks, a minute apart, in their order.
async fn planned(rules: serde_json::Value, n: i64) -> (World, Vec<Due>) {
    let mut world = World::new(&with_rules(rules)).await;
    let mut all = Vec::new();
    for i in 0..n {
        let click = world.click("game-acme", minute(i), "click_id=a1");
        world.record(world.event("game", "install", minute(i)).of(&format!("i{i}")).click(&click)).await;
        all.extend(world.decide().await.planned);
    }
    (world, all)
}

fn one_rule() -> serde_json::Value {
    json!({"i": rule("install", None)})
}

async fn settle(world: &World, batch: Vec<Settlement>) {
    world.ledger.delivery_settle(batch, NOON).await.unwrap();
    world.books_balance().await;
}

async fn listed(world: &World, filter: DeliveryFilter) -> Vec<Delivery> {
    let page = world.ledger.delivery_list(world.workspace, filter, None, 100).await.unwrap();
    page.items.into_iter().map(|item| item.id).collect()
}

fn of(states: &[DeliveryState]) -> DeliveryFilter {
    DeliveryFilter { states: states.to_vec(), ..Default::default() }
}

fn plan(kind: JobKind, filter: DeliveryFilter) -> JobPlan {
    JobPlan { kind, filter, into: None, rate: None }
}

async fn job(world: &World, plan: JobPlan, at: Timestamp) -> Job {
    let made = world.ledger.job_create(world.workspace, plan, None, "test".into(), at).await.unwrap();
    made.expect("room for a job")
}

async fn step(world: &World, job: &Job, room: u32, at: Timestamp) -> JobStep {
    world.ledger.job_step(world.workspace, job.id, room, at).await.unwrap().expect("the job is kept")
}

/// Steps until the job is over.
async fn finish(world: &World, job: &Job, at: Timestamp) -> Job {
    for _ in 0..100 {
        if step(world, job, 2, at).await.state.is_over() {
            world.books_balance().await;
            return world.ledger.job_get(world.workspace, job.id).await.unwrap().expect("the job is kept");
        }
    }
    panic!("the job does not end");
}

fn skipped(job: &Job) -> BTreeMap<&str, u64> {
    job.skipped.iter().map(|(reason, n)| (reason.as_str(), *n)).collect()
}

#[tokio::test]
async fn deliveries_are_listed_by_what_is_asked_for() {
    let mut slow = rule("install", None);
    slow["delay"] = "1h".into();
    let (world, due) = planned(json!({"i": rule("install", None), "slow": slow}), 3).await;
    let ws = world.workspace;
    let of_rule = |slug: &str| -> Vec<Due> {
        due.iter().filter(|d| d.endpoint.postback().unwrap().0 == world.rule(slug)).copied().collect()
    };
    let (fast, held) = (of_rule("i"), of_rule("slow"));
    assert_eq!((fast.len(), held.len()), (3, 3));
    let later = Settled::Again { due: minute(60), reason: "timeout".into() };
    settle(
        &world,
        vec![ended(fast[0], "http_200", Settled::Delivered), dead(fast[1]), ended(fast[2], "timeout", later)],
    )
    .await;
    let ids = |list: &[Due]| -> Vec<Delivery> {
        let mut ids: Vec<Delivery> = list.iter().map(|d| d.delivery).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids
    };
    use DeliveryState as S;
    let pause = EndpointWish {
        workspace: ws,
        endpoint: held[0].endpoint,
        to: State::Paused,
        reason: "test".into(),
        actor: "test".into(),
    };
    world.ledger.endpoint_set(pause, NOON).await.unwrap();
    assert_eq!(listed(&world, Default::default()).await, ids(&due), "the newest first");
    for (states, want) in [
        (vec![S::Delivered], vec![fast[0]]),
        (vec![S::Dead], vec![fast[1]]),
        (vec![S::Dead, S::Expired, S::Cancelled], vec![fast[1]]),
        (vec![S::Expired], vec![]),
        (vec![S::Scheduled], vec![fast[2]]),
        (vec![S::Held], held.clone()),
        (vec![S::Held, S::Scheduled], [held.clone(), vec![fast[2]]].concat()),
        (vec![S::Delivered, S::Scheduled], vec![fast[0], fast[2]]),
        (S::ALL.to_vec(), due.clone()),
    ] {
        assert_eq!(listed(&world, of(&states)).await, ids(&want), "{states:?}");
    }
    let filter = DeliveryFilter { rule: Some(world.rule("slow")), ..Default::default() };
    assert_eq!(listed(&world, filter).await, ids(&held));
    let filter = DeliveryFilter { outcome: Some("timeout".into()), ..Default::default() };
    assert_eq!(listed(&world, filter).await, [fast[2].delivery]);
    let event = world.ledger.event_of_delivery(ws, fast[1].delivery).await.unwrap().unwrap();
    for filter in [
        DeliveryFilter { event: Some(event), ..Default::default() },
        DeliveryFilter { fact: Some(event), ..Default::default() },
    ] {
        assert_eq!(listed(&world, filter).await, ids(&[fast[1], held[1]]));
    }
    let filter = DeliveryFilter { event: Some(event), states: vec![S::Dead], ..Default::default() };
    assert_eq!(listed(&world, filter).await, [fast[1].delivery]);
    for (partner, app, kind, n) in [
        (Some("acme"), None, None, 6),
        (Some("zeta"), None, None, 0),
        (None, Some("game"), None, 6),
        (None, Some("tool"), None, 0),
        (None, None, Some("install"), 6),
        (None, None, Some("purchase"), 0),
    ] {
        let filter = DeliveryFilter {
            partner: partner.map(|slug| world.partner(slug)),
            app: app.map(|slug| world.app(slug)),
            kinds: kind.into_iter().map(str::to_owned).collect(),
            ..Default::default()
        };
        assert_eq!(listed(&world, filter).await.len(), n, "{partner:?} {app:?} {kind:?}");
    }
    // Everything is planned at noon here.
    for (from, until, n) in
        [(NOON, NOON.plus_ms(1), 6), (NOON.plus_ms(1), minute(9), 0), (minute(-9), NOON, 0)]
    {
        let filter = DeliveryFilter { from: Some(from), until: Some(until), ..Default::default() };
        assert_eq!(listed(&world, filter).await.len(), n, "{from} to {until}");
    }
    let state = world.ledger.delivery_list(ws, of(&[S::Scheduled]), None, 1).await.unwrap().items.remove(0);
    let last = state.last.expect("it was sent");
    assert_eq!((state.reason.as_str(), state.due, state.sends), ("timeout", Some(minute(60)), 1));
    assert_eq!((last.outcome.as_str(), last.total_us), ("timeout", 900));
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_rows_and_says_where_to_go_on() {
    let (world, due) = planned(one_rule(), 7).await;
    let ws = world.workspace;
    settle(&world, vec![dead(due[0])]).await;
    let filter = DeliveryFilter { outcome: Some("http_404".into()), ..Default::default() };
    let (mut before, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = world.ledger.delivery_list_within(ws, filter.clone(), before, 10, 2).await.unwrap();
        assert!(page.rows <= 2, "{page:?}");
        found.extend(page.items.iter().map(|item| item.id));
        pages += 1;
        match page.next {
            Some(next) => before = Some(next),
            None => break,
        }
    }
    assert_eq!((found, pages), (vec![due[0].delivery], 4));
    // Every page of what an index finds is full.
    let first = world.ledger.delivery_list_within(ws, of(&[DeliveryState::Dead]), None, 10, 2).await.unwrap();
    assert_eq!((first.items.len(), first.rows, first.next), (1, 1, None));
    let mut walked = Vec::new();
    let mut before = None;
    for _ in 0..4 {
        let page = world.ledger.delivery_list(ws, Default::default(), before, 2).await.unwrap();
        walked.extend(page.items.iter().map(|item| item.id));
        before = page.next;
    }
    walked.reverse();
    let mut all: Vec<Delivery> = due.iter().map(|d| d.delivery).collect();
    all.sort();
    assert_eq!(walked, all);
}

#[tokio::test]
async fn a_job_replays_what_died_once_through_every_restart() {
    let (mut world, due) = planned(one_rule(), 7).await;
    let ws = world.workspace;
    settle(
        &world,
        due[..5].iter().map(|d| dead(*d)).chain([ended(due[5], "http_200", Settled::Delivered)]).collect(),
    )
    .await;
    let wish = plan(JobKind::Replay, of(&states_default(JobKind::Replay)));
    let count = world.ledger.job_count(ws, wish.clone(), 2, 1_000, minute(60)).await.unwrap();
    assert_eq!((count.matched, count.done, count.is_whole, count.sample.len()), (5, 5, true, 2));
    assert!(count.skipped.is_empty(), "{count:?}");
    assert_eq!(world.ledger.queue_depth().await.unwrap().waiting, 1, "counting plans nothing");

    let made = job(&world, wish, minute(60)).await;
    assert_eq!(world.ledger.job_unfinished(10).await.unwrap().len(), 1);
    world.ledger.due_take();
    for done in [2, 2] {
        let taken = step(&world, &made, 2, minute(61)).await;
        assert_eq!((taken.done, taken.state), (done, JobState::Running));
        assert_eq!(world.ledger.due_take().len(), 2, "the engine is handed it at once");
        world.reopen().await;
        world.books_balance().await;
    }
    let job = finish(&world, &made, minute(62)).await;
    assert_eq!((job.state, job.matched, job.done, job.rows), (JobState::Done, 5, 5, 5));
    assert_eq!(job.ended_at, Some(minute(62)));
    assert!(job.skipped.is_empty(), "{job:?}");
    assert!(world.ledger.job_unfinished(10).await.unwrap().is_empty());
    assert_eq!(step(&world, &made, 2, minute(63)).await.done, 0, "what is over does nothing");

    let replays =
        world.ledger.delivery_list(ws, of(&[DeliveryState::Scheduled]), None, 100).await.unwrap().items;
    let mut of_dead: Vec<Delivery> = replays.iter().filter_map(|item| item.replay_of).collect();
    of_dead.sort();
    let mut wanted: Vec<Delivery> = due[..5].iter().map(|d| d.delivery).collect();
    wanted.sort();
    assert_eq!(of_dead, wanted, "each once");
    for replay in replays.iter().filter(|item| item.replay_of.is_some()) {
        assert_eq!((replay.fact, replay.reason.as_str()), (replay.event, "replayed"));
    }
}

#[tokio::test]
async fn what_was_told_since_or_must_not_be_told_is_left_alone() {
    let (world, due) = planned(one_rule(), 6).await;
    let ws = world.workspace;
    settle(&world, due[..5].iter().map(|d| dead(*d)).collect()).await;
    let replay =
        async |of: &Due| match world.ledger.delivery_replay(ws, of.delivery, minute(30)).await.unwrap() {
            roundtrip_store::ledger::Replay::Planned(due) => due,
            other => panic!("not planned: {other:?}"),
        };
    // 0: replayed and delivered; 1: replayed and dead again; 2: replayed and waiting; 3: rejected; 4: plain.
    let (delivered, dead_again, _waiting) =
        (replay(&due[0]).await, replay(&due[1]).await, replay(&due[2]).await);
    settle(&world, vec![ended(delivered, "http_200", Settled::Delivered), dead(dead_again)]).await;
    let event = world.ledger.event_of_delivery(ws, due[3].delivery).await.unwrap().unwrap();
    let wish = StatusWish {
        conversion: event.conversion(),
        to: Status::Rejected,
        asker: Asker::Owner,
        by: "test".into(),
        reason: Some("returned".into()),
    };
    world.ledger.status_change(ws, wish, minute(31)).await.unwrap();
    world.decide().await;

    let everything = plan(JobKind::Replay, DeliveryFilter::default());
    let count = world.ledger.job_count(ws, everything.clone(), 0, 1_000, minute(60)).await.unwrap();
    let made = job(&world, everything, minute(60)).await;
    let job = finish(&world, &made, minute(61)).await;
    let want = BTreeMap::from([
        ("conversion_rejected", 1),
        ("delivered_since", 1),
        ("repeated", 1),
        ("waiting", 2),
        ("waiting_already", 1),
    ]);
    assert_eq!(skipped(&job), want);
    // The dead one, the last of those that died twice, and the delivered one: who names no state means all.
    assert_eq!((job.matched, job.done), (9, 3));
    assert_eq!((count.matched, count.done, count.skipped), (job.matched, job.done, job.skipped.clone()));

    // What the first job planned is not among what it meant, and a second job finds it waiting.
    let again = self::job(&world, plan(JobKind::Replay, of(&[DeliveryState::Dead])), minute(62)).await;
    let again = finish(&world, &again, minute(62)).await;
    assert_eq!(again.done, 0, "{again:?}");
}

#[tokio::test]
async fn a_job_means_only_what_was_planned_before_it_also_when_the_clock_steps_back() {
    let (world, due) = planned(one_rule(), 3).await;
    settle(&world, due.iter().map(|d| dead(*d)).collect()).await;
    let made = job(&world, plan(JobKind::Replay, of(&[DeliveryState::Dead])), minute(60)).await;
    step(&world, &made, 1, minute(-600)).await;
    let planned = world.ledger.due_take();
    settle(&world, planned.iter().filter(|d| d.due < NOON).map(|d| dead(*d)).collect()).await;
    let job = finish(&world, &made, minute(-600)).await;
    assert_eq!((job.matched, job.done), (3, 3), "{job:?}");
}

#[tokio::test]
async fn what_had_ended_before_a_job_was_made_is_told_whatever_the_clock_said_then() {
    const DAY: i64 = 24 * 60;
    let (world, due) = planned(one_rule(), 3).await;
    let give_up = async |item: Due, at| {
        world.ledger.delivery_settle(vec![dead(item)], minute(at)).await.unwrap();
    };
    // Given up two days after it was planned; then the clock is set back by a day.
    give_up(due[0], 2 * DAY).await;
    let made = job(&world, plan(JobKind::Replay, of(&[DeliveryState::Dead])), minute(DAY)).await;
    // Given up after the job was made, once at a time that seems to lie before it.
    give_up(due[1], DAY + 10).await;
    give_up(due[2], DAY - 10).await;
    let first = finish(&world, &made, minute(DAY + 20)).await;
    assert_eq!((first.matched, first.done), (3, 1), "{first:?}");
    assert_eq!(skipped(&first), BTreeMap::from([("ended_since", 2)]));
    let made = job(&world, plan(JobKind::Replay, of(&[DeliveryState::Dead])), minute(DAY + 30)).await;
    let second = finish(&world, &made, minute(DAY + 30)).await;
    assert_eq!((second.done, skipped(&second)), (2, BTreeMap::from([("waiting_already", 1)])));
}

#[tokio::test]
async fn a_job_pauses_resumes_and_ends() {
    let (world, due) = planned(one_rule(), 4).await;
    let ws = world.workspace;
    settle(&world, due.iter().map(|d| dead(*d)).collect()).await;
    let made = job(&world, plan(JobKind::Replay, of(&[DeliveryState::Dead])), minute(60)).await;
    step(&world, &made, 1, minute(60)).await;
    let change = async |wish| match world.ledger.job_change(ws, made.id, wish, minute(61)).await.unwrap() {
        JobAnswer::Is(job) => Ok(job.state),
        JobAnswer::Refused(state) => Err(state),
        JobAnswer::Unknown => panic!("the job is kept"),
    };
    assert_eq!(change(JobWish::Pause).await, Ok(JobState::Paused));
    assert_eq!(change(JobWish::Pause).await, Ok(JobState::Paused));
    let taken = step(&world, &made, 2, minute(61)).await;
    assert_eq!((taken.done, taken.state), (0, JobState::Paused));
    assert!(world.ledger.job_unfinished(10).await.unwrap().is_empty());
    assert_eq!(change(JobWish::Resume).await, Ok(JobState::Running));
    assert_eq!(step(&world, &made, 1, minute(61)).await.done, 1);
    assert_eq!(change(JobWish::Cancel).await, Ok(JobState::Cancelled));
    let taken = step(&world, &made, 2, minute(62)).await;
    assert_eq!((taken.done, taken.state), (0, JobState::Cancelled));
    for wish in [JobWish::Pause, JobWish::Resume] {
        assert_eq!(change(wish).await, Err(JobState::Cancelled));
    }
    let job = world.ledger.job_get(ws, made.id).await.unwrap().unwrap();
    assert_eq!((job.done, job.ended_at), (2, Some(minute(61))), "what it did stays done");
    let other = world.ledger.job_change(ws, Id::from_bits(1), JobWish::Pause, minute(61)).await.unwrap();
    assert_eq!(other, JobAnswer::Unknown);
    let list = world.ledger.job_list(ws, None, 10).await.unwrap();
    assert_eq!(list, [job]);
}

#[tokio::test]
async fn what_waits_is_cancelled_and_comes_back_by_a_replay() {
    let mut slow = rule("install", None);
    slow["delay"] = "1h".into();
    let (world, due) = planned(json!({"i": rule("install", None), "slow": slow}), 2).await;
    let filter = DeliveryFilter { rule: Some(world.rule("slow")), ..of(&states_default(JobKind::Cancel)) };
    let made = job(&world, plan(JobKind::Cancel, filter.clone()), minute(1)).await;
    let cancelled = finish(&world, &made, minute(1)).await;
    assert_eq!((cancelled.matched, cancelled.done), (2, 2));
    assert_eq!(world.ledger.queue_depth().await.unwrap().waiting, 2, "the other rule's wait as before");
    let item =
        world.ledger.delivery_list(world.workspace, of(&[DeliveryState::Cancelled]), None, 9).await.unwrap();
    assert!(item.items.iter().all(|item| item.reason == "cancelled_by_owner"), "{item:?}");

    // A send that was under way and arrived all the same was delivered.
    let slow = due.iter().find(|d| d.endpoint.postback().unwrap().0 == world.rule("slow")).unwrap();
    settle(&world, vec![ended(*slow, "http_200", Settled::Delivered)]).await;

    let back = DeliveryFilter { states: vec![DeliveryState::Cancelled], ..filter };
    let made = job(&world, plan(JobKind::Replay, back), minute(2)).await;
    let back = finish(&world, &made, minute(2)).await;
    assert_eq!((back.matched, back.done), (1, 1), "{back:?}");
}

#[tokio::test]
async fn what_a_decision_took_back_is_not_told_by_a_replay() {
    let (world, due) = planned(one_rule(), 1).await;
    let ws = world.workspace;
    let event = world.ledger.event_of_delivery(ws, due[0].delivery).await.unwrap().unwrap();
    let status = |to, reason: Option<&str>| StatusWish {
        conversion: event.conversion(),
        to,
        asker: Asker::Owner,
        by: "test".into(),
        reason: reason.map(str::to_owned),
    };
    world.ledger.status_change(ws, status(Status::Rejected, Some("returned")), minute(1)).await.unwrap();
    world.decide().await;
    world.ledger.status_change(ws, status(Status::Approved, None), minute(2)).await.unwrap();
    world.decide().await;
    let made = job(&world, plan(JobKind::Replay, of(&[DeliveryState::Cancelled])), minute(60)).await;
    let job = finish(&world, &made, minute(60)).await;
    assert_eq!((job.done, skipped(&job)), (0, BTreeMap::from([("decided_otherwise", 1)])));
}

#[tokio::test]
async fn another_rule_is_told_instead_where_what_it_says_is_stored() {
    let url = "https://p.example/?c={rt_click_id}&e={event_id}";
    let rules = json!({
        "i": rule("install", None),
        "mended": {"app": "game", "on": "install", "partner": "zeta", "url": "https://new.example/?click={rt_click_id}&t={cfg.token}&n={attempt}"},
        "acme-only": {"app": "game", "on": "install", "partner": "acme", "when": {"country": ["FR"]}, "url": url},
        "more": {"app": "game", "on": "install", "partner": "acme", "when": {"country": ["FR"]}, "url": format!("{url}&os={{os_version}}")},
    });
    let (world, due) = planned(rules, 3).await;
    let ws = world.workspace;
    settle(&world, due.iter().map(|d| dead(*d)).collect()).await;
    let into = |slug: &str| JobPlan {
        into: Some(Into::Rule(world.rule(slug))),
        ..plan(JobKind::Replay, DeliveryFilter { rule: Some(world.rule("i")), ..of(&[DeliveryState::Dead]) })
    };
    for (slug, reason) in [("mended", "target_does_not_tell"), ("more", "values_not_stored")] {
        let made = job(&world, into(slug), minute(60)).await;
        let job = finish(&world, &made, minute(60)).await;
        assert_eq!((job.done, skipped(&job)), (0, BTreeMap::from([(reason, 3)])), "{slug}");
    }
    let made = job(&world, into("acme-only"), minute(60)).await;
    assert_eq!(finish(&world, &made, minute(60)).await.done, 3);
    let page = world.ledger.delivery_list(ws, of(&[DeliveryState::Scheduled]), None, 9).await.unwrap();
    for item in &page.items {
        let (rule, partner) = item.endpoint.postback().unwrap();
        assert_eq!((world.rule_slug(rule), world.partner_slug(partner)), ("acme-only".into(), "acme".into()));
        assert!(due.iter().any(|d| Some(d.delivery) == item.replay_of));
    }
    // Told once, it is not told again.
    let made = job(&world, into("acme-only"), minute(61)).await;
    let job = finish(&world, &made, minute(61)).await;
    assert_eq!(skipped(&job), BTreeMap::from([("waiting_already", 3)]));
}

fn hook(events: &[&str]) -> serde_json::Value {
    json!({"url": "https://hooks.example/in", "events": events})
}

/// A world of a webhook `first` that asks for installs, with `n` of them, and then a second webhook.
async fn with_hooks(n: i64, second: serde_json::Value) -> (World, Vec<Due>) {
    let mut document = with_rules(json!({}));
    document["webhooks"] = json!({"first": hook(&["install", "organic_install"])});
    let world = World::new(&document).await;
    let mut due = Vec::new();
    for i in 0..n {
        let app = if i % 2 == 0 { "game" } else { "tool" };
        world.record(world.event(app, "install", minute(i)).of(&format!("i{i}"))).await;
        world.record(world.event(app, "level", minute(i)).of(&format!("i{i}"))).await;
        due.extend(world.decide().await.planned);
    }
    assert_eq!(due.len() as i64, n);
    world.apply(&json!({"webhooks": {"second": second}}), false).await;
    (world, due)
}

fn webhook(world: &World, slug: &str) -> Id<kind::Webhook> {
    world.settings().webhooks.iter().find(|webhook| webhook.slug == slug).expect("the webhook").id
}

#[tokio::test]
async fn a_new_webhook_is_filled_from_the_past_once_through_a_restart() {
    let (mut world, _) = with_hooks(5, hook(&["organic_install", "event:level"])).await;
    let ws = world.workspace;
    let backfill = |filter: DeliveryFilter| JobPlan {
        into: Some(Into::Webhook(webhook(&world, "second"))),
        ..plan(JobKind::Backfill, filter)
    };
    let of_game = backfill(DeliveryFilter {
        app: Some(world.app("game")),
        kinds: vec!["organic_install".into()],
        ..Default::default()
    });
    let everything = backfill(DeliveryFilter::default());
    let late =
        backfill(DeliveryFilter { from: Some(minute(3)), until: Some(minute(4)), ..Default::default() });
    for (wish, n) in [(&of_game, 3), (&everything, 10), (&late, 2)] {
        let count = world.ledger.job_count(ws, wish.clone(), 5, 1_000, minute(60)).await.unwrap();
        assert_eq!((count.matched, count.done, count.is_whole), (n, n, true), "{wish:?}");
    }
    let made = job(&world, of_game, minute(60)).await;
    assert_eq!(finish(&world, &made, minute(60)).await.done, 3);
    let made = job(&world, everything.clone(), minute(61)).await;
    assert_eq!(step(&world, &made, 2, minute(61)).await.done, 2);
    world.reopen().await;
    let job_done = finish(&world, &made, minute(61)).await;
    assert_eq!((job_done.done, job_done.matched), (7, 7), "what the first job told is not told again");
    world.books_balance().await;
    let to_second = DeliveryFilter { webhook: Some(webhook(&world, "second")), ..Default::default() };
    let page = world.ledger.delivery_list(ws, to_second, None, 100).await.unwrap().items;
    let facts: std::collections::BTreeSet<_> = page.iter().map(|item| item.fact).collect();
    assert_eq!((page.len(), facts.len()), (10, 10), "each fact once");
    assert!(page.iter().all(|item| item.replay_of.is_none()), "nothing is re-sent upstream");
    let first = DeliveryFilter { webhook: Some(webhook(&world, "first")), ..Default::default() };
    assert_eq!(world.ledger.delivery_list(ws, first, None, 100).await.unwrap().items.len(), 5);
    let again = job(&world, everything, minute(62)).await;
    let again = finish(&world, &again, minute(62)).await;
    assert_eq!((again.matched, again.done), (0, 0));
}

#[tokio::test]
async fn a_webhooks_facts_are_replayed_into_another_webhook() {
    let mut second = hook(&["purchase"]);
    second["app"] = "game".into();
    let (world, due) = with_hooks(4, second).await;
    let ws = world.workspace;
    settle(
        &world,
        vec![
            dead(due[0]),
            ended(due[1], "http_200", Settled::Delivered),
            ended(due[2], "http_200", Settled::Delivered),
        ],
    )
    .await;
    let into = |states: Vec<DeliveryState>| JobPlan {
        into: Some(Into::Webhook(webhook(&world, "second"))),
        ..plan(
            JobKind::Replay,
            DeliveryFilter { webhook: Some(webhook(&world, "first")), states, ..Default::default() },
        )
    };
    let made = job(&world, into(vec![]), minute(60)).await;
    let done = finish(&world, &made, minute(60)).await;
    // Whatever it came to at the first one, also what still waits there; the tool's are not for this one.
    assert_eq!((done.matched, done.done, skipped(&done)), (4, 2, BTreeMap::from([("not_wanted", 2)])));
    let to_second = DeliveryFilter { webhook: Some(webhook(&world, "second")), ..Default::default() };
    let page = world.ledger.delivery_list(ws, to_second, None, 9).await.unwrap().items;
    assert_eq!(page.len(), 2);
    for item in &page {
        let of = item.replay_of.expect("a replay");
        let old = world.ledger.delivery_listed(ws, vec![of]).await.unwrap().remove(0).expect("kept");
        assert_eq!((item.fact, &item.kind), (old.fact, &old.kind), "the same fact");
    }
    let made = job(&world, into(vec![]), minute(61)).await;
    assert_eq!(
        skipped(&finish(&world, &made, minute(61)).await),
        BTreeMap::from([("not_wanted", 2), ("waiting_already", 2)])
    );
    // A deleted webhook is told nothing, and its own deliveries are not told again.
    let first_dead = plan(
        JobKind::Replay,
        DeliveryFilter { webhook: Some(webhook(&world, "first")), ..of(&[DeliveryState::Dead]) },
    );
    world.apply(&with_rules(json!({})), true).await;
    let made = job(&world, first_dead, minute(62)).await;
    assert_eq!(skipped(&finish(&world, &made, minute(62)).await), BTreeMap::from([("webhook_deleted", 1)]));
}

#[tokio::test]
async fn what_was_not_over_then_is_meant_whenever_it_was_planned() {
    use DeliveryState as S;
    let (world, due) = planned(json!({"i": rule("install", None)}), 4).await;
    let give_up = async |item: Due, at| {
        world.ledger.delivery_settle(vec![dead(item)], minute(at)).await.unwrap();
    };
    give_up(due[0], 100).await;
    give_up(due[1], 200).await;
    let arrived = ended(due[2], "http_200", Settled::Delivered);
    world.ledger.delivery_settle(vec![arrived], minute(150)).await.unwrap();
    let meant = async |states: &[S], at| {
        let filter = DeliveryFilter { ended_from: Some(minute(at)), ..of(states) };
        let mut found = listed(&world, filter.clone()).await;
        // Of one event it is another index.
        for one in &due {
            let event = world.ledger.event_of_delivery(world.workspace, one.delivery).await.unwrap();
            let of_event = DeliveryFilter { event, ..filter.clone() };
            assert_eq!(listed(&world, of_event).await.len(), usize::from(found.contains(&one.delivery)));
        }
        found.sort_unstable();
        found.len()
    };
    assert_eq!(meant(&[S::Dead, S::Expired], 100).await, 2);
    assert_eq!(meant(&[S::Dead, S::Expired], 101).await, 1, "planned before it and given up after it");
    assert_eq!(meant(&[S::Dead, S::Expired], 201).await, 0);
    assert_eq!(meant(&[], 150).await, 3, "and what waits is not over");
    assert_eq!(meant(&[S::Scheduled, S::Held], 999).await, 1);
}

#[tokio::test]
async fn when_an_endpoints_trouble_began_is_known_after_it_is_over() {
    let (world, due) = planned(json!({"i": rule("install", None)}), 1).await;
    let (ws, endpoint) = (world.workspace, due[0].endpoint);
    let trouble = async || world.ledger.endpoint_trouble(ws, endpoint).await.unwrap();
    let set = async |to, at| {
        let (reason, actor) = (String::new(), "test".to_owned());
        let wish = EndpointWish { workspace: ws, endpoint, to, reason, actor };
        world.ledger.endpoint_set(wish, minute(at)).await.unwrap();
    };
    let fails = async |since: Option<i64>, at| {
        let health = Health { failing_since: since.map(minute), ..Health::default() };
        let news = EndpointNews { workspace: ws, endpoint, health, disable: None, notice: None };
        world.ledger.endpoint_news(vec![news], minute(at)).await.unwrap();
    };
    let is = |from, is_over| Some(Trouble { from: minute(from), is_over });
    assert_eq!(trouble().await, None);
    set(State::Paused, 1).await;
    set(State::Active, 2).await;
    assert_eq!(trouble().await, None, "a pause is no trouble");
    fails(Some(10), 16).await;
    assert_eq!(trouble().await, is(10, false));
    fails(Some(10), 60).await;
    fails(None, 70).await;
    assert_eq!(trouble().await, is(10, true), "it works again, and what was lost may be wanted");
    fails(Some(100), 106).await;
    set(State::Disabled, 200).await;
    assert_eq!(trouble().await, is(100, false));
    set(State::Active, 300).await;
    assert_eq!(trouble().await, is(100, true), "enabling begins anew and forgets nothing");
    set(State::Disabled, 400).await;
    assert_eq!(trouble().await, is(400, false), "without failing, since it was disabled");
    set(State::Active, 500).await;
    assert_eq!(trouble().await, is(400, true));
    set(State::Paused, 600).await;
    set(State::Active, 700).await;
    assert_eq!(trouble().await, is(400, true), "a pause by itself is no trouble");
    fails(Some(800), 806).await;
    set(State::Paused, 900).await;
    set(State::Active, 1_000).await;
    assert_eq!(trouble().await, is(800, true), "letting it go on begins anew, too");
    assert!(world.ledger.endpoint_rows().await.unwrap().is_empty(), "it fails no more, as far as is known");
}

#[tokio::test]
async fn a_test_of_a_webhook_has_a_body_and_stands_in_no_book() {
    let (world, _) = with_hooks(0, hook(&["purchase"])).await;
    let ws = world.workspace;
    let wanted = roundtrip_store::ledger::DeliveryTest {
        endpoint: roundtrip_domain::endpoint::Endpoint::Webhook(webhook(&world, "second")),
        version: 1,
        app: Id::from_bits(0),
        values: Vec::new(),
    };
    let id = world.ledger.delivery_test(ws, wanted, minute(1)).await.unwrap();
    let due = world.ledger.test_take().into_iter().find(|due| due.delivery == id).expect("it is handed over");
    let outgoing = world.ledger.delivery_load_all(vec![due]).await.unwrap().remove(0).expect("kept");
    let body = outgoing.payload.expect("a body");
    assert_eq!(outgoing.deadline, Some(minute(11)), "later it is no test any more");
    assert!(body.contains("\"test\"") && body.contains("webhook:second"), "{body}");
    world.books_balance().await;
    settle(&world, vec![ended(due, "http_200", Settled::Delivered)]).await;
    let far = Timestamp::from_ms(i64::MAX / 2);
    assert!(
        world.ledger.balance(ws, Timestamp::from_ms(0), far).await.unwrap().is_empty(),
        "it is in no book"
    );
}
