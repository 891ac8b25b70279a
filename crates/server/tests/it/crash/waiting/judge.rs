//! What the receivers heard against what lay on the disk.
//!
//! After each of the server's lives three things have to fit together: what was heard in it, the attempts that it made
//! durable, and the deliveries that it ended. A request is known by its delivery and the number of its attempt. One
//! whose attempt is durable is never made again; one whose attempt is not is made again in a later life, and those are
//! the duplicates that a kill costs. There are at most as many as the engine lets stand unsettled.

use std::collections::{HashMap, HashSet};
use std::fmt;

use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::{Config, Ledger};
use rusqlite::{Connection, OpenFlags};

use super::sink::Heard;
use super::stock::Stock;
use crate::house::{Admin, House};

/// Most requests that one kill may cost: what the engine lets be under way or wait for its commit, together.
const UNSETTLED_MAX: usize = 4_096;

type Delivery = Id<kind::Delivery>;
/// A request: which delivery, and the number of the attempt.
type Request = (Delivery, u32);

/// What a life of the server came to.
#[derive(Debug)]
pub(super) struct Life {
    heard: usize,
    settled: usize,
    again: usize,
    ended: usize,
    retries: usize,
}

impl Life {
    /// Requests of it that were heard and are not durable.
    const fn unsettled(&self) -> usize {
        self.heard - self.settled
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "heard {} requests ({} of them once more), of which {} are not durable; {} deliveries have ended, {} wait \
             for another try",
            self.heard,
            self.again,
            self.unsettled(),
            self.ended,
            self.retries
        )
    }
}

/// Judges life after life.
pub(super) struct Judge<'s> {
    stock: &'s Stock,
    sends_max: u32,
    /// How often each request was heard.
    requests: HashMap<Request, usize>,
    /// Deliveries that were answered 200.
    taken: HashSet<Delivery>,
    /// Attempts that were durable at the end of the last life.
    durable: HashSet<Request>,
    lives: Vec<Life>,
}

impl<'s> Judge<'s> {
    /// A judge of a server that was never started, whose webhooks wait so often.
    pub(super) fn new(stock: &'s Stock, waits: usize) -> Self {
        Self {
            stock,
            sends_max: waits as u32 + 1,
            requests: HashMap::new(),
            taken: HashSet::new(),
            durable: HashSet::new(),
            lives: Vec::new(),
        }
    }

    /// Deliveries that arrived so far.
    pub(super) fn arrived(&self) -> usize {
        self.taken.len()
    }

    /// The most retries that waited at the end of a life.
    pub(super) fn retries_waited(&self) -> usize {
        self.lives.iter().map(|life| life.retries).max().unwrap_or_default()
    }

    /// Judges what was heard in a life that is over.
    pub(super) fn life_ended(&mut self, heard: Vec<Heard>, house: &House) -> &Life {
        let before = self.requests.len();
        let n = heard.len();
        self.requests_are_right(heard);
        let again = n - (self.requests.len() - before);

        let ledger = open(house);
        let durable = attempts(&ledger);
        assert!(durable.is_superset(&self.durable), "attempts that were durable are gone");
        let unheard: Vec<_> = durable.iter().filter(|r| !self.requests.contains_key(r)).collect();
        assert!(unheard.is_empty(), "attempts that nobody heard: {unheard:?}");
        let life = Life {
            heard: n,
            settled: durable.len() - self.durable.len(),
            again,
            ended: count(&ledger, "SELECT count(*) FROM finish"),
            retries: count(&ledger, "SELECT count(*) FROM queue WHERE sends > 0"),
        };
        let waiting = count(&ledger, "SELECT count(*) FROM queue");
        assert_eq!(
            waiting + life.ended,
            self.stock.deliveries.len(),
            "a delivery neither waits nor has ended, or both: {life}"
        );
        assert!(life.unsettled() <= UNSETTLED_MAX, "a kill cost {} requests", life.unsettled());
        self.durable = durable;
        self.lives.push(life);
        &self.lives[self.lives.len() - 1]
    }

    fn requests_are_right(&mut self, heard: Vec<Heard>) {
        let mut in_this_life: HashSet<Request> = HashSet::new();
        let mut taken_in_it: HashSet<Delivery> = HashSet::new();
        for heard in heard {
            let request = (heard.delivery, heard.attempt);
            let wanted = self.stock.deliveries.get(&heard.delivery);
            let wanted = wanted.unwrap_or_else(|| panic!("nobody planned {heard:?}"));
            assert_eq!((heard.fact, &heard.place), (wanted.fact, &wanted.place), "{heard:?}");
            assert!(heard.attempt <= self.sends_max, "more sends than the policy allows: {heard:?}");
            assert!(!self.durable.contains(&request), "sent again although its end was durable: {heard:?}");
            assert!(in_this_life.insert(request), "sent twice without a kill: {heard:?}");
            assert!(!taken_in_it.contains(&heard.delivery), "sent on although it was taken: {heard:?}");
            if heard.is_taken {
                taken_in_it.insert(heard.delivery);
                self.taken.insert(heard.delivery);
            }
            *self.requests.entry(request).or_default() += 1;
        }
    }

    /// Holds the running server's books against what waited in the beginning.
    pub(super) async fn books(&self, admin: &mut Admin) {
        let all = self.stock.deliveries.len();
        let books = admin.get("/api/v1/balance").await;
        assert_eq!(books["balanced"], true, "{books}");
        assert_eq!(books["total"]["planned"], all, "{books}");
        assert_eq!(books["total"]["ended"], serde_json::json!({ "delivered": all }), "{books}");
        assert_eq!(books["waiting"]["deliveries"], 0, "{books}");
    }

    /// Judges the whole, after a life that ended in order with nothing left to do. Gives how many requests were heard
    /// once more.
    pub(super) async fn verdict(&self, house: &House) -> usize {
        let all = self.stock.deliveries.len();
        let missing: Vec<_> = self.stock.deliveries.keys().filter(|id| !self.taken.contains(id)).collect();
        assert!(missing.is_empty(), "{} deliveries never arrived: {missing:?}", missing.len());
        assert_eq!(self.requests.len(), self.durable.len(), "requests that no attempt tells of");
        let last = self.lives.last().expect("there was one");
        assert_eq!(last.unsettled(), 0, "a server that ended in order left requests unsettled");
        let twice: usize = self.requests.values().map(|n| n - 1).sum();
        let cost: usize = self.lives.iter().map(Life::unsettled).sum();
        assert_eq!(twice, cost, "what was heard once more is not what the kills cost");

        let ledger = open(house);
        let check: String =
            ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
        assert_eq!(check, "ok");
        for (sql, want) in [
            ("SELECT count(*) FROM delivery", all),
            ("SELECT count(*) FROM queue", 0),
            ("SELECT count(*) FROM todo", 0),
            ("SELECT count(*) FROM finish", all),
            ("SELECT count(*) FROM finish WHERE state = 'delivered'", all),
            ("SELECT sum(sends) FROM finish", self.durable.len()),
            (
                "SELECT count(*) FROM finish f JOIN attempt a ON a.workspace = f.workspace AND a.delivery = f.delivery \
                 AND a.n = f.sends WHERE a.outcome = 'http_200'",
                all,
            ),
            ("SELECT count(*) FROM attempt WHERE outcome = 'http_200'", all),
            ("SELECT count(*) FROM attempt WHERE outcome NOT IN ('http_200', 'http_503')", 0),
        ] {
            assert_eq!(count(&ledger, sql), want, "{sql}");
        }
        drop(ledger);
        recount(house).await;
        twice
    }
}

/// Counts the books both ways, as the next start would find them.
async fn recount(house: &House) {
    let now = Clock::System.now();
    let opened = Ledger::open(&Config::in_dir(house.data()), Entropy::System, now);
    let (ledger, _) = opened.expect("the ledger opens again");
    let workspace = WorkspaceNo::DEFAULT;
    let kept = ledger.balance(workspace, Timestamp::from_ms(0), now.plus_ms(86_400_000)).await;
    let kept = kept.expect("there are books");
    assert_eq!(
        kept,
        ledger.recount(workspace).await.expect("they can be counted"),
        "the books kept differ from those counted"
    );
    for (key, row) in &kept {
        assert_eq!(row.differences(), (0, 0), "{key:?}: {row:?}");
    }
    ledger.close().await;
}

fn open(house: &House) -> Connection {
    let path = house.data().join("ledger.sqlite");
    let file = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn count(ledger: &Connection, sql: &str) -> usize {
    let count: i64 =
        ledger.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    usize::try_from(count).unwrap_or_else(|_| panic!("{sql}: {count}"))
}

fn attempts(ledger: &Connection) -> HashSet<Request> {
    let mut select = ledger.prepare("SELECT delivery, n FROM attempt").expect("there are attempts");
    let rows = select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?)));
    rows.expect("they can be read")
        .map(|row| {
            let (delivery, n) = row.expect("it can be read");
            (Id::from_slice(&delivery).expect("an id"), n)
        })
        .collect()
}
