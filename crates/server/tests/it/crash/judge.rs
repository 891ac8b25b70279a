//! What was seen against what the server says, and against what lies in its files.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::visitor::{Credit, Event, Seen};
use super::world::{is_told, path};
use crate::house::{Admin, House, Partners, Told, say};

/// Connections that ask for clicks at the same time.
const ASKING: usize = 4;
/// Stories that are read in full.
const STORIES: usize = 25;

/// What a partner has to be told: where, and of which event.
type Fact = (String, String);
/// With which of the partner's click ids, and which of ours.
type ClickIds = (String, String);

/// Holds the running server against what was seen.
pub(super) async fn judge(house: &mut House, partners: &Partners, seen: &Seen) {
    clicks_are_there(house, seen).await;
    let mut admin = house.admin();
    let conversions = conversions(&mut admin).await;
    let facts = credits_are_right(&mut admin, &conversions, seen).await;
    partners_were_told(&facts, &partners.told());
    books_balance(&mut admin, &conversions, facts.len()).await;
    stories_are_whole(&mut admin, &conversions).await;
    let report = admin.get("/api/v1/report?by=link").await;
    let found = click_rows(house).values().sum::<usize>();
    assert_eq!(report["total"]["clicks"], found, "the report counts other clicks than there are: {report}");
    assert_eq!(report["total"]["installs"], conversions.iter().filter(|c| c["kind"] == "install").count());
}

/// Every click whose answer promised it is there, with the ids and the link that its visitor saw.
async fn clicks_are_there(house: &House, seen: &Seen) {
    let stored: Vec<_> = seen.clicks.iter().filter(|(_, click)| click.is_stored).collect();
    let ids: HashSet<_> = stored.iter().filter_map(|(_, click)| click.id.as_deref()).collect();
    assert_eq!(ids.len(), stored.len(), "two clicks got the same id");
    let mut asking = tokio::task::JoinSet::new();
    for part in stored.chunks(stored.len() / ASKING + 1) {
        let mut admin = house.admin();
        let part: Vec<_> = part.iter().map(|(pcid, click)| ((*pcid).clone(), (*click).clone())).collect();
        asking.spawn(async move {
            for (pcid, click) in part {
                let id = click.id.expect("a stored click was answered");
                let answer = admin.ask(&format!("/api/v1/clicks/{id}")).await;
                assert_eq!(answer.status, 200, "the answered click {id} ({pcid}) is gone: {}", answer.text());
                let story = answer.json();
                let told = &story["click"];
                assert_eq!(told["partner_click_id"], pcid.as_str(), "{story}");
                assert_eq!(told["link"]["slug"], click.link.slug, "{story}");
                assert_eq!(told["app"]["slug"], click.link.app, "{story}");
                assert_eq!(story["kept"], true, "{story}");
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}

/// All conversions, page by page.
async fn conversions(admin: &mut Admin) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut before = String::new();
    loop {
        let page = admin.get(&format!("/api/v1/conversions?limit=500{before}")).await;
        all.extend(page["items"].as_array().expect("a page has items").iter().cloned());
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return all,
        }
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Every answered event is there once, with the credit that it has to have. Returns what partners have to be told.
async fn credits_are_right(admin: &mut Admin, conversions: &[Value], seen: &Seen) -> HashMap<Fact, ClickIds> {
    let mut answered: HashMap<&str, (&str, &Event)> = HashMap::new();
    for (id, event) in &seen.events {
        if let Some(ours) = &event.id {
            let twin = answered.insert(ours, (id, event));
            assert!(twin.is_none(), "{id} and {twin:?} share the event {ours}");
        }
    }
    let mut there: HashSet<String> = HashSet::new();
    let mut facts = HashMap::new();
    for conversion in conversions {
        let ours = text(conversion, "/event");
        let (id, event) = match answered.get(ours) {
            Some((id, event)) => ((*id).to_owned(), *event),
            None => unanswered(admin, ours, seen).await,
        };
        assert!(there.insert(id.clone()), "{id} is there twice");
        assert_eq!(text(conversion, "/kind"), event.kind, "{id}: {conversion}");
        assert_eq!(text(conversion, "/app/slug"), event.app, "{id}: {conversion}");
        let is_attributed = conversion["credit"] == "attributed";
        let pcid = match &event.credit {
            Credit::Organic => {
                assert!(!is_attributed, "{id} is nobody's, and somebody has the credit: {conversion}");
                continue;
            }
            Credit::Click(pcid) => {
                assert!(is_attributed, "{id} is {pcid}'s, and nobody has the credit: {conversion}");
                pcid
            }
            Credit::ClickOrNobody(pcid) if is_attributed => pcid,
            Credit::ClickOrNobody(_) => continue,
        };
        let click = &seen.clicks[pcid];
        let click_id = click.id.as_deref().expect("the event named it");
        assert_eq!(text(conversion, "/click_id"), click_id, "{id}: {conversion}");
        assert_eq!(click.link.app, event.app, "{id} has a click of another app: {conversion}");
        assert_eq!(text(conversion, "/partner/slug"), click.link.partner, "{id}: {conversion}");
        assert_eq!(text(conversion, "/link/slug"), click.link.slug, "{id}: {conversion}");
        if is_told(event.app, event.kind, click.link.partner) {
            let fact = (path(event.app, event.kind, click.link.partner), ours.to_owned());
            facts.insert(fact, (pcid.clone(), click_id.to_owned()));
        }
    }
    let lost: Vec<_> = answered.values().filter(|(id, _)| !there.contains(*id)).collect();
    assert!(lost.is_empty(), "answered events are gone: {lost:?}");
    facts
}

/// The event of a conversion that nobody was answered for: somebody must have sent it all the same.
async fn unanswered<'s>(admin: &mut Admin, ours: &str, seen: &'s Seen) -> (String, &'s Event) {
    let story = admin.get(&format!("/api/v1/explain/{ours}")).await;
    let fields = story.pointer("/event/postback/fields").and_then(Value::as_array);
    let order = fields
        .into_iter()
        .flatten()
        .find(|field| field["name"] == "order_id")
        .map(|field| text(field, "/value"));
    let id = order.unwrap_or_else(|| text(&story, "/event/source_event_id"));
    let event = seen.events.get(id).unwrap_or_else(|| panic!("nobody sent {ours}: {story}"));
    assert_eq!(event.id, None, "{id} was answered with another event than {ours}");
    (id.to_owned(), event)
}

/// Whoever won heard of it, always as the same event, and nobody heard of anything else.
fn partners_were_told(facts: &HashMap<Fact, ClickIds>, told: &[Told]) {
    let mut taken: HashSet<Fact> = HashSet::new();
    let mut events_of: HashMap<(&str, &str), HashSet<&str>> = HashMap::new();
    for told in told {
        let fact = (told.path.clone(), told.parameter("event_id").to_owned());
        let (pcid, click_id) = facts.get(&fact).unwrap_or_else(|| panic!("nobody earned this: {told:?}"));
        assert_eq!(
            (told.parameter("clickid"), told.parameter("rt")),
            (pcid.as_str(), click_id.as_str()),
            "{told:?}"
        );
        events_of
            .entry((&told.path, told.parameter("clickid")))
            .or_default()
            .insert(told.parameter("event_id"));
        if told.taken {
            taken.insert(fact);
        }
    }
    for ((path, pcid), events) in events_of {
        let is_single = path.ends_with("/install") || path.ends_with("/signup");
        assert!(!is_single || events.len() == 1, "{pcid} was told to {path} as different events: {events:?}");
    }
    let missing: Vec<_> = facts.keys().filter(|fact| !taken.contains(*fact)).collect();
    assert!(missing.is_empty(), "{} of {} postbacks never arrived: {missing:?}", missing.len(), facts.len());
    let again = told.iter().filter(|told| told.taken).count() - taken.len();
    say(&format!("crash test: {} postbacks arrived, {again} of them more than once", taken.len()));
}

async fn books_balance(admin: &mut Admin, conversions: &[Value], facts: usize) {
    let books = admin.get("/api/v1/balance").await;
    let total = &books["total"];
    assert_eq!(books["balanced"], true, "{books}");
    assert_eq!(
        (&total["difference_rules"], &total["difference_deliveries"]),
        (&0.into(), &0.into()),
        "{books}"
    );
    assert_eq!(total["planned"], facts, "planned is not what partners have to be told: {books}");
    assert_eq!(total["ended"], serde_json::json!({ "delivered": facts }), "{books}");
    let delivered: u64 = conversions.iter().filter_map(|c| c["postbacks"]["delivered"].as_u64()).sum();
    assert_eq!(delivered, facts as u64, "the list counts other deliveries than the books");
}

/// Some stories, told from click to the partner's answer.
async fn stories_are_whole(admin: &mut Admin, conversions: &[Value]) {
    let told = conversions.iter().filter(|c| c["postbacks"]["delivered"].as_u64().is_some());
    for conversion in told.step_by(conversions.len() / STORIES + 1) {
        let story = admin.get(&format!("/api/v1/conversions/{}/explain", text(conversion, "/id"))).await;
        let delivery = &story["deliveries"][0];
        assert_eq!(delivery["state"], "delivered", "{story}");
        let attempts = delivery["attempts"].as_array().expect("a delivery lists its attempts");
        assert_eq!(attempts.last().map(|attempt| &attempt["outcome"]), Some(&"http_200".into()), "{story}");
        assert_eq!(text(&story, "/decision/winner/id"), text(conversion, "/click_id"), "{story}");
    }
}

fn open(path: &std::path::Path) -> Connection {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// How many rows of the slices carry each partner click id.
fn click_rows(house: &House) -> HashMap<String, usize> {
    let mut rows: HashMap<String, usize> = HashMap::new();
    for path in house.slice_files(".sqlite") {
        if path.ends_with("manifest.sqlite") {
            continue;
        }
        let slice = open(&path);
        let mut select = slice.prepare("SELECT body FROM click").expect("a slice has clicks");
        let bodies = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("they can be read");
        for body in bodies {
            let body = body.expect("it can be read");
            let text = String::from_utf8_lossy(&body);
            let at = text.find("click_id=pc-").expect("every click has the partner's id") + "click_id=".len();
            let pcid: String =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            *rows.entry(pcid).or_default() += 1;
        }
    }
    rows
}

/// The files of a server that is down: each click in one row, each fact once, nothing half-done.
pub(super) fn judge_files(house: &House, seen: &Seen) {
    let rows = click_rows(house);
    for (pcid, n) in &rows {
        assert!(seen.clicks.contains_key(pcid), "nobody made the click {pcid}");
        assert_eq!(*n, 1, "{pcid} is stored {n} times");
    }
    for (pcid, click) in seen.clicks.iter().filter(|(_, click)| click.is_stored) {
        assert!(rows.contains_key(pcid), "{pcid} was answered and is in no slice: {click:?}");
    }
    let damaged = house.clicks().join("damaged");
    assert!(!damaged.exists(), "a crash was taken for damage: {}", damaged.display());

    let ledger = open(&house.data().join("ledger.sqlite"));
    let one = |sql: &str| -> i64 {
        ledger.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    let check: String =
        ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
    assert_eq!(check, "ok");
    let events = one("SELECT count(*) FROM event");
    let answered = seen.events.values().filter(|event| event.id.is_some()).count() as i64;
    assert!(answered <= events && events <= seen.events.len() as i64, "{events} events, {answered} answered");
    for (sql, want) in [
        ("SELECT count(*) FROM event_key", events),
        ("SELECT count(DISTINCT event) FROM event_key", events),
        ("SELECT count(*) FROM conversion", events),
        ("SELECT count(DISTINCT event) FROM decision", events),
        ("SELECT count(*) FROM todo", 0),
        ("SELECT count(*) FROM queue", 0),
        ("SELECT count(*) - count(DISTINCT event || teller || partner) FROM delivery", 0),
        (
            "SELECT count(*) FROM delivery d LEFT JOIN finish f ON f.delivery = d.id WHERE f.state IS NOT 'delivered'",
            0,
        ),
        (
            "SELECT count(*) FROM delivery d WHERE NOT EXISTS (SELECT 1 FROM attempt a WHERE a.delivery = d.id)",
            0,
        ),
    ] {
        assert_eq!(one(sql), want, "{sql}");
    }
}
