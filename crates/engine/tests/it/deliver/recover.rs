//! Jobs as the loop takes their steps: at their rate, whatever the clock does, and to their end.

use std::sync::atomic::{AtomicBool, Ordering};

use roundtrip_domain::endpoint::{State, Wait};
use roundtrip_domain::rate::Rate;
use roundtrip_domain::time::Timestamp;
use roundtrip_engine::Stats;
use roundtrip_engine::recover::{Recovery, Round};
use roundtrip_store::ledger::{
    DeliveryFilter, DeliveryState, Due, EndpointLive, EndpointWish, Job, JobKind, JobPlan, JobState, Settled,
    Settlement, Why,
};
use roundtrip_testkit::NOON;

use super::*;

fn plan(rate: Option<f64>) -> JobPlan {
    let filter = DeliveryFilter { states: vec![DeliveryState::Dead], ..Default::default() };
    JobPlan { kind: JobKind::Replay, filter, into: None, rate: rate.and_then(Rate::per_s) }
}

async fn job(house: &House, id: roundtrip_domain::id::Id<roundtrip_domain::id::kind::Job>) -> Job {
    house.world.ledger.job_get(house.world.workspace, id).await.unwrap().unwrap()
}

/// A house with `n` deliveries that were given up, and a job that replays them.
async fn given_up(n: i64, rate: Option<f64>) -> (House, Job) {
    let rule = json!({"app": "game", "on": "install", "url": "https://p.example/?e={event_id}"});
    given_up_by(n, rate, rule).await
}

/// The same by a rule of one's own.
async fn given_up_by(n: i64, rate: Option<f64>, rule: Value) -> (House, Job) {
    let document = with(json!({ "tell": rule }));
    let mut house = House::new(&document, &[10]).await;
    house.config.clock = Clock::manual(NOON.plus_ms(3_600_000));
    let mut planned: Vec<Due> = Vec::new();
    for i in 0..n {
        let click = house.world.click("game-acme", NOON, "click_id=a1");
        let event = house.world.event("game", "install", NOON.plus_ms(i)).of(&format!("i{i}")).click(&click);
        house.world.record(event).await;
    }
    planned.extend(house.world.decide().await.planned);
    let dead =
        |item| Settlement { item, attempt: None, next: Settled::Dead { reason: "template_not_kept".into() } };
    house.world.ledger.delivery_settle(planned.into_iter().map(dead).collect(), NOON).await.unwrap();
    house.world.ledger.due_take();
    let (ws, now) = (house.world.workspace, house.config.clock.now());
    let job = house.world.ledger.job_create(ws, plan(rate), None, "test".into(), now).await.unwrap();
    (house, job.expect("room for a job"))
}

#[tokio::test]
async fn a_job_keeps_its_rate_whatever_the_clock_does() {
    let (house, made) = given_up(60, Some(10.0)).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    let at = async |recovery: &mut Recovery, ms: i64| {
        let now: Timestamp = begin.plus_ms(ms);
        // A loop goes on while there is room.
        while recovery.round(&house.config, &stats, now).await == Round::Busy {}
        job(&house, made.id).await.done
    };
    assert_eq!(at(&mut recovery, 0).await, 1, "the first at once");
    assert_eq!(at(&mut recovery, 99).await, 1);
    assert_eq!(at(&mut recovery, 100).await, 2);
    assert_eq!(at(&mut recovery, 1_000).await, 11);
    assert_eq!(at(&mut recovery, 86_400_000).await, 21, "a leap of a day gives a second's worth");
    assert_eq!(at(&mut recovery, -86_400_000).await, 21, "and a step back nothing");
    assert_eq!(at(&mut recovery, -86_399_000).await, 31);
    let mut restarted = Recovery::default();
    assert_eq!(at(&mut restarted, 90_000_000).await, 32, "a restart begins with an empty allowance");
    for second in 1..=3 {
        at(&mut restarted, 90_000_000 + second * 1_000).await;
    }
    let done = job(&house, made.id).await;
    assert_eq!((done.state, done.done), (JobState::Done, 60));
    assert_eq!(stats.recovered.load(Ordering::SeqCst), 60);
    assert_eq!(restarted.round(&house.config, &stats, begin).await, Round::Idle);
    assert_eq!(house.world.ledger.due_take().len(), 60);
    house.world.books_balance().await;
}

/// What was planned and not sent yet is sent, and arrives.
async fn deliver_all(house: &House, at: Timestamp) -> usize {
    let due = house.world.ledger.due_take();
    let settled = due.iter().map(|item| Settlement { item: *item, attempt: None, next: Settled::Delivered });
    house.world.ledger.delivery_settle(settled.collect(), at).await.unwrap();
    due.len()
}

/// Shows the job's endpoint as one that is given so many at a time.
fn gives(house: &House, endpoint: roundtrip_domain::endpoint::Endpoint, limit: u32) {
    let (sending, wait) = (Vec::new(), Wait::Next);
    let live = EndpointLive {
        limit,
        sending,
        probe_at: None,
        not_allowed: None,
        not_before: None,
        wait,
        until: None,
        retries_wait: false,
    };
    house.world.ledger.live_put([((house.world.workspace, endpoint), live)].into());
}

/// A house with deliveries of two rules in turn that were given up, and a job that replays them; the endpoints of the
/// rules `a` and `b`.
async fn given_up_by_two(installs: i64) -> (House, Job, [roundtrip_domain::endpoint::Endpoint; 2]) {
    let tell = |host: &str| json!({"app": "game", "on": "install", "url": format!("https://{host}/?e={{event_id}}")});
    let mut house = House::new(&with(json!({"a": tell("a.example"), "b": tell("b.example")})), &[10]).await;
    house.config.clock = Clock::manual(NOON.plus_ms(3_600_000));
    for i in 0..installs {
        let click = house.world.click("game-acme", NOON, "click_id=a1");
        let event = house.world.event("game", "install", NOON.plus_ms(i)).of(&format!("i{i}")).click(&click);
        house.world.record(event).await;
    }
    let planned = house.world.decide().await.planned;
    let dead =
        |item| Settlement { item, attempt: None, next: Settled::Dead { reason: "template_not_kept".into() } };
    house.world.ledger.delivery_settle(planned.into_iter().map(dead).collect(), NOON).await.unwrap();
    house.world.ledger.due_take();
    let (ws, now) = (house.world.workspace, house.config.clock.now());
    let job = house.world.ledger.job_create(ws, plan(None), None, "test".into(), now).await.unwrap();
    let partner = house.world.partner("acme");
    let of =
        |slug: &str| roundtrip_domain::endpoint::Endpoint::Postback { rule: house.world.rule(slug), partner };
    let endpoints = [of("a"), of("b")];
    (house, job.expect("room for a job"), endpoints)
}

/// Shows how endpoints stand: those with a time are broken until then.
fn shows(house: &House, endpoints: &[(roundtrip_domain::endpoint::Endpoint, Option<Timestamp>)]) {
    let live = |probe_at: Option<Timestamp>| EndpointLive {
        limit: 4,
        sending: Vec::new(),
        probe_at,
        not_allowed: None,
        not_before: None,
        wait: if probe_at.is_some() { Wait::BreakerOpen } else { Wait::Next },
        until: probe_at,
        retries_wait: false,
    };
    let ws = house.world.workspace;
    house.world.ledger.live_put(endpoints.iter().map(|(of, at)| ((ws, *of), live(*at))).collect());
}

#[tokio::test]
async fn a_broken_endpoint_keeps_a_job_from_no_other_and_a_job_that_waits_says_why() {
    let (house, made, [a, b]) = given_up_by_two(20).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    let broken_until = begin.plus_ms(900_000);
    shows(&house, &[(a, None), (b, Some(broken_until))]);
    // What is for the well one arrives at once; what is for the broken one waits.
    for ms in 0..500 {
        while recovery.round(&house.config, &stats, begin.plus_ms(ms * 20)).await == Round::Busy {}
        let due = house.world.ledger.due_take().into_iter().filter(|due| due.endpoint == a);
        let settled = due.map(|item| Settlement { item, attempt: None, next: Settled::Delivered });
        house.world.ledger.delivery_settle(settled.collect(), begin).await.unwrap();
    }
    let done = job(&house, made.id).await;
    assert_eq!(
        (done.state, done.done),
        (JobState::Done, 40),
        "in ten seconds, and not a minute for each of the broken"
    );
    assert_eq!(house.world.ledger.job_wait(house.world.workspace, made.id), None, "it is over");

    // When nobody takes anything, it waits and says for whom.
    let (house, made, [a, b]) = given_up_by_two(40).await;
    let wait = || house.world.ledger.job_wait(house.world.workspace, made.id);
    let mut recovery = Recovery::default();
    shows(&house, &[(a, Some(broken_until)), (b, Some(broken_until))]);
    for ms in 0..500 {
        while recovery.round(&house.config, &stats, begin.plus_ms(ms * 20)).await == Round::Busy {}
    }
    let planned = job(&house, made.id).await.done;
    assert!((16..=32).contains(&planned), "sixteen for each, and then it waits: {planned}");
    let waits = wait().expect("it waits");
    assert_eq!(waits.why, Why { wait: Wait::BreakerOpen, until: Some(broken_until) });
    assert!([Some(a), Some(b)].contains(&waits.endpoint), "{waits:?}");
    shows(&house, &[(a, None), (b, None)]);
    recovery.round(&house.config, &stats, begin.plus_ms(10_020)).await;
    let waits = wait().expect("it waits");
    assert_eq!(waits.why, Why { wait: Wait::ConcurrencyFull, until: None });
}

#[tokio::test]
async fn a_job_that_waits_for_its_own_rate_says_until_when() {
    let (house, made) = given_up(3, Some(0.5)).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    while recovery.round(&house.config, &stats, begin).await == Round::Busy {}
    let wait = house.world.ledger.job_wait(house.world.workspace, made.id).expect("it waits");
    assert_eq!((wait.why.wait, wait.endpoint), (Wait::RateLimited, None));
    let in_ms = wait.why.until.expect("it is known").since(begin);
    assert!((2_000..2_010).contains(&in_ms), "one in two seconds: {in_ms}");
}

#[tokio::test]
async fn a_job_without_a_rate_takes_a_quarter_and_leaves_the_rest_to_what_is_fresh() {
    let (house, made) = given_up(60, None).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    let round = async |recovery: &mut Recovery, ms: i64| {
        while recovery.round(&house.config, &stats, begin.plus_ms(ms)).await == Round::Busy {}
        job(&house, made.id).await.done
    };
    assert_eq!(round(&mut recovery, 0).await, 1, "a quarter of the four that every endpoint begins with");
    assert_eq!(round(&mut recovery, 10_000).await, 1, "it waits for its send, however long");
    let due = house.world.ledger.due_take();
    let endpoint = due[0].endpoint;
    let settled = |item: &Due| Settlement { item: *item, attempt: None, next: Settled::Delivered };
    house.world.ledger.delivery_settle(due.iter().map(settled).collect(), begin).await.unwrap();
    assert_eq!(round(&mut recovery, 10_020).await, 2, "and goes on when that has ended");
    deliver_all(&house, begin).await;

    gives(&house, endpoint, 40);
    assert_eq!(round(&mut recovery, 11_000).await, 12, "ten of forty");
    assert_eq!(deliver_all(&house, begin).await, 10);
    // One at a time cannot be quartered: it rests three times as long as the send took.
    gives(&house, endpoint, 1);
    assert_eq!(round(&mut recovery, 11_100).await, 12, "the hundred milliseconds of before count too");
    assert_eq!(round(&mut recovery, 11_399).await, 12);
    assert_eq!(round(&mut recovery, 11_400).await, 13);
    deliver_all(&house, begin).await;
    assert_eq!(round(&mut recovery, 11_600).await, 13);
    assert_eq!(round(&mut recovery, 12_199).await, 13);
    assert_eq!(round(&mut recovery, 12_200).await, 14);
    // What an ill endpoint does not take is waited for no longer than a minute.
    assert_eq!(round(&mut recovery, 72_199).await, 14);
    assert_eq!(round(&mut recovery, 72_200).await, 14, "and is followed by the longest rest");
    assert_eq!(round(&mut recovery, 132_200).await, 15);
    house.world.books_balance().await;
}

#[tokio::test]
async fn a_job_without_a_rate_takes_a_quarter_of_its_endpoints_rate() {
    let slow = json!({"app": "game", "on": "install", "url": "https://p.example/?e={event_id}", "rate": 2.0});
    let (house, made) = given_up_by(60, None, slow).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    for ms in (0..=20_000).step_by(20) {
        while recovery.round(&house.config, &stats, begin.plus_ms(ms)).await == Round::Busy {
            deliver_all(&house, begin).await;
        }
    }
    assert_eq!(job(&house, made.id).await.done, 11, "one at once, and one in two seconds");
}

#[tokio::test]
async fn a_job_waits_for_no_endpoint_that_is_stopped() {
    let (house, made) = given_up(60, None).await;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let begin = house.config.clock.now();
    while recovery.round(&house.config, &stats, begin).await == Round::Busy {}
    let endpoint = house.world.ledger.due_take()[0].endpoint;
    let wish = EndpointWish {
        workspace: house.world.workspace,
        endpoint,
        to: State::Paused,
        reason: String::new(),
        actor: "test".into(),
    };
    house.world.ledger.endpoint_set(wish, begin).await.unwrap();
    for ms in (20..=2_000).step_by(20) {
        while recovery.round(&house.config, &stats, begin.plus_ms(ms)).await == Round::Busy {}
    }
    let made = job(&house, made.id).await;
    assert_eq!((made.done, made.state), (60, JobState::Done), "it is held, and comes back by ramp");
}

#[tokio::test]
async fn slow_jobs_of_one_workspace_leave_the_others_their_turn() {
    let (house, _) = given_up(3, Some(1.0)).await;
    let now = house.config.clock.now();
    let ws = house.world.workspace;
    for _ in 1..100 {
        house
            .world
            .ledger
            .job_create(ws, plan(Some(1.0)), None, "test".into(), now)
            .await
            .unwrap()
            .expect("room");
    }
    let document =
        with(json!({"tell": {"app": "game", "on": "install", "url": "https://p.example/?e={event_id}"}}));
    let mut other = house.world.workspace("other", &document).await;
    let click = other.click("game-acme", NOON, "click_id=a1");
    other.record(other.event("game", "install", NOON).of("i1").click(&click)).await;
    let due = other.decide().await.planned.remove(0);
    let next = Settled::Dead { reason: "template_not_kept".into() };
    other.ledger.delivery_settle(vec![Settlement { item: due, attempt: None, next }], NOON).await.unwrap();
    let made =
        other.ledger.job_create(other.workspace, plan(Some(1.0)), None, "test".into(), now).await.unwrap();
    let id = made.expect("room for a job").id;
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    recovery.round(&house.config, &stats, now).await;
    let job = other.ledger.job_get(other.workspace, id).await.unwrap().unwrap();
    assert_eq!(job.done, 1, "its first step is taken in the first round");
}

#[tokio::test]
async fn a_job_that_cannot_be_read_fails_and_says_why() {
    let (house, made) = given_up(1, Some(10.0)).await;
    let conn = rusqlite::Connection::open(house.world.dir().join("ledger.sqlite")).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.execute("UPDATE job SET body = '{\"v\":1,\"states\":[\"gone\"]}'", []).unwrap();
    let (mut recovery, stats) = (Recovery::default(), Stats::default());
    let now = house.config.clock.now();
    recovery.round(&house.config, &stats, now).await;
    assert_eq!(recovery.round(&house.config, &stats, now).await, Round::Idle);
    let (state, note): (String, String) =
        conn.query_row("SELECT state, note FROM job", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(state, "failed");
    assert!(note.contains("gone") && note.contains(&made.id.to_string()), "{note}");
    assert!(house.world.ledger.due_take().is_empty(), "a filter that cannot be read is never all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_while_a_partner_was_ill_is_delivered_when_it_is_well() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let receiver = Receiver::start(move |_, mut stream, seen| {
        let well = well.clone();
        async move {
            while seen.request(&mut stream).await.is_some() {
                let answer = if well.load(Ordering::SeqCst) {
                    OK
                } else {
                    "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await;
    let house = House::new(&with(json!({"tell": rule(receiver.address, "")})), &[10]).await;
    let engine = Engine::start(house.config.clone());
    let mut events = Vec::new();
    for i in 0..20 {
        let click = house.click("game-acme", "click_id=a1").await;
        let mut event = house.event("install");
        event.install_id = Some(format!("i{i}"));
        event.click_id = Some(click);
        events.push(house.world.record(event).await);
    }
    for event in &events {
        house.until(*event, "its end", finished).await;
    }
    is_well.store(true, Ordering::SeqCst);
    let ws = house.world.workspace;
    let now = Clock::System.now().plus_ms(1);
    house.world.ledger.job_create(ws, plan(Some(1_000.0)), None, "test".into(), now).await.unwrap();
    for event in &events {
        let story = house
            .until(*event, "the replay", |story| story.deliveries.iter().any(|d| d.state == "delivered"))
            .await;
        let states: Vec<_> = story.deliveries.iter().map(|d| d.state.as_str()).collect();
        assert_eq!(states, ["dead", "delivered"], "told once more, and the old one stands as it was");
        assert_eq!(story.deliveries[0].fact, story.deliveries[1].fact);
    }
    engine.stop().await;
    house.world.books_balance().await;
}
