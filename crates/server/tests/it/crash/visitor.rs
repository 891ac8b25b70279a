//! Those who come by: they click, install, sign up and buy, and remember what they were answered.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::world::{APPS, LINKS, Link};
use crate::house::{ANDROID, Answer, Call, DESKTOP, Dice, Line, our_click_id};
use crate::process::WAIT;

/// Where the server is, as far as passers-by can tell.
#[derive(Debug, Clone)]
pub(super) struct Street {
    /// The public listener; absent while the server is down.
    pub(super) address: Option<String>,
    /// Counts restarts.
    pub(super) round: usize,
    /// Whether nobody new is to come.
    pub(super) is_closing: bool,
}

/// A click that somebody made.
#[derive(Debug, Clone)]
pub(super) struct Click {
    /// On which link.
    pub(super) link: Link,
    /// Our id, if it was answered.
    pub(super) id: Option<String>,
    /// Whether the answer promised that it is stored.
    pub(super) is_stored: bool,
}

/// Who has to have the credit for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credit {
    /// The click with this partner click id.
    Click(String),
    /// Nobody.
    Organic,
    /// That click, or nobody: something that it rests on was never answered.
    ClickOrNobody(String),
}

/// An event that somebody reported.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Of which app.
    pub(super) app: &'static str,
    /// The kind of conversion that it is.
    pub(super) kind: &'static str,
    /// Our id, if it was answered.
    pub(super) id: Option<String>,
    /// How often it was sent.
    sends: u32,
    /// Whose it is.
    pub(super) credit: Credit,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Clicks by partner click id.
    pub(super) clicks: HashMap<String, Click>,
    /// Events by the caller's id.
    pub(super) events: HashMap<String, Event>,
    /// Answers that said `duplicate`.
    duplicates: u64,
    /// Requests without an answer.
    unanswered: u64,
}

/// What all visitors remember together.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Seen>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen.
    pub(super) fn into_seen(self) -> Seen {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = self.lock();
        let clicks = seen.clicks.values().filter(|click| click.is_stored).count();
        let events = seen.events.values().filter(|event| event.id.is_some()).count();
        let (duplicates, unanswered) = (seen.duplicates, seen.unanswered);
        write!(
            f,
            "{clicks} clicks and {events} events answered, {duplicates} duplicates, {unanswered} unanswered"
        )
    }
}

/// One after the other, all people who share a connection.
pub(super) struct Visitor {
    who: usize,
    dice: Dice,
    street: watch::Receiver<Street>,
    answers: Arc<AtomicU64>,
    memory: Arc<Memory>,
    keys: BTreeMap<String, String>,
    line: Option<(usize, Line)>,
}

/// A report on its way: the caller's id, and the document.
type Report = (String, Value);

impl Visitor {
    pub(super) fn new(
        who: usize,
        dice: Dice,
        street: watch::Receiver<Street>,
        answers: Arc<AtomicU64>,
        memory: Arc<Memory>,
        keys: BTreeMap<String, String>,
    ) -> Self {
        Self { who, dice, street, answers, memory, keys, line: None }
    }

    /// Comes by until the street is closed.
    pub(super) async fn live(mut self) {
        for n in 0_u64.. {
            if self.street.borrow().is_closing {
                return;
            }
            let name = format!("v{}x{n}", self.who);
            match *self.dice.pick(&APPS) {
                "shop" => self.shop(&name).await,
                app => self.install(&name, app).await,
            }
        }
    }

    fn key(&self, slug: &str) -> &str {
        self.keys.get(slug).unwrap_or_else(|| panic!("apply made no key {slug}"))
    }

    /// Makes one request of a server that is up. `None`: it was not answered.
    async fn try_once(&mut self, call: &Call) -> Option<Answer> {
        let up = self.street.wait_for(|street| street.address.is_some());
        let street = tokio::time::timeout(2 * WAIT, up).await.expect("the server is started again");
        let street = street.expect("the test goes on").clone();
        let address = street.address.unwrap_or_default();
        if self.line.as_ref().is_none_or(|(round, _)| *round != street.round) {
            self.line = Some((street.round, Line::to(&address)));
        }
        let (_, line) = self.line.as_mut().expect("it was just made");
        match line.call(call).await {
            Ok(answer) => {
                self.answers.fetch_add(1, Ordering::SeqCst);
                Some(answer)
            }
            Err(_) => {
                self.memory.lock().unanswered += 1;
                // The street may not have noticed yet that the server is gone; nobody asks it again before it is back.
                let back = self.street.wait_for(|now| now.round != street.round || now.is_closing);
                drop(tokio::time::timeout(2 * WAIT, back).await.expect("the server is started again"));
                None
            }
        }
    }

    /// Clicks; returns our id if the click is stored.
    async fn click(&mut self, link: Link, pcid: &str, more: &str) -> Option<String> {
        let by_server = self.dice.one_in(5);
        let s2s = if by_server { "&s2s=1&format=json" } else { "" };
        let call = Call::get(&format!("/c/{}?click_id={pcid}{more}{s2s}", link.slug));
        let call = call.browser(if link.app == "shop" { DESKTOP } else { ANDROID });
        let click = Click { link, id: None, is_stored: false };
        self.memory.lock().clicks.insert(pcid.to_owned(), click);
        let answer = self.try_once(&call).await?;
        let is_stored = !answer.is_unstored();
        let id = match (by_server, is_stored, answer.status) {
            (true, true, 200) => {
                answer.json()["click_id"].as_str().expect("the answer has the id").to_owned()
            }
            (true, false, 503) => return None,
            (false, _, 302) => {
                let location = answer.location();
                our_click_id(location).unwrap_or_else(|| panic!("no click id in {location}"))
            }
            _ => panic!("a click was answered {}: {}", answer.status, answer.text()),
        };
        let mut seen = self.memory.lock();
        let click = seen.clicks.get_mut(pcid).expect("it was just remembered");
        (click.id, click.is_stored) = (Some(id.clone()), is_stored);
        is_stored.then_some(id)
    }

    /// Sends reports, alone or together, until they are answered. `false`: this visitor lost patience.
    async fn report(&mut self, call: &Call, reports: &[String]) -> bool {
        loop {
            {
                let mut seen = self.memory.lock();
                for id in reports {
                    seen.events.get_mut(id).expect("it is remembered").sends += 1;
                }
            }
            let Some(answer) = self.try_once(call).await else {
                if self.dice.one_in(4) {
                    return false;
                }
                continue;
            };
            assert!(
                matches!(answer.status, 200 | 202),
                "a report was answered {}: {}",
                answer.status,
                answer.text()
            );
            let document = answer.json();
            match document["results"].as_array() {
                Some(results) => {
                    assert_eq!(results.len(), reports.len(), "{document}");
                    for (result, id) in results.iter().zip(reports) {
                        self.remember(id, result);
                    }
                    for id in reports {
                        // A batch that holds a report twice must not take it twice.
                        let taken = results
                            .iter()
                            .zip(reports)
                            .filter(|(result, other)| *other == id && result["status"] == "accepted");
                        assert!(taken.count() <= 1, "{id} was accepted twice: {document}");
                    }
                }
                None => {
                    assert_eq!(reports.len(), 1, "{document}");
                    self.remember(&reports[0], &document);
                }
            }
            return true;
        }
    }

    /// Notes the answer to one report, and holds it against the earlier ones.
    fn remember(&self, id: &str, result: &Value) {
        let mut seen = self.memory.lock();
        let event = seen.events.get_mut(id).expect("it is remembered");
        let (status, ours) = (&result["status"], result["event_id"].as_str());
        let ours = ours.unwrap_or_else(|| panic!("{id} was refused: {result}"));
        match &event.id {
            Some(known) => {
                assert_eq!(known, ours, "{id} became another event");
                assert_eq!(status, "duplicate", "{id} was answered before, and is accepted again: {result}");
            }
            None if event.sends == 1 => {
                assert_eq!(status, "accepted", "{id} was never sent before: {result}")
            }
            None => assert!(status == "accepted" || status == "duplicate", "{id}: {result}"),
        }
        event.id = Some(ours.to_owned());
        seen.duplicates += u64::from(status == "duplicate");
    }

    fn expect(&self, id: &str, app: &'static str, kind: &'static str, credit: &Credit) {
        let event = Event { app, kind, id: None, sends: 0, credit: credit.clone() };
        let known = self.memory.lock().events.insert(id.to_owned(), event);
        assert!(known.is_none(), "the test names {id} twice");
    }

    /// From here on it is open whether anybody has the credit for what this visitor did.
    fn lose_patience(&self, name: &str, pcid: &str) {
        let own = format!("{name}-");
        for (id, event) in &mut self.memory.lock().events {
            if id.starts_with(&own) && event.credit != Credit::Organic {
                event.credit = Credit::ClickOrNobody(pcid.to_owned());
            }
        }
    }

    /// Comes to the shop and may order.
    async fn shop(&mut self, name: &str) {
        let links: Vec<Link> = LINKS.into_iter().filter(|link| link.app == "shop").collect();
        let (link, pcid) = (*self.dice.pick(&links), format!("pc-{name}-"));
        let Some(click) = self.click(link, &pcid, "&sub1=news").await else { return };
        for n in 0..self.dice.below(3) {
            let id = format!("{name}-o{n}");
            self.expect(&id, "shop", "purchase", &Credit::Click(pcid.clone()));
            let token = self.key("shop-postback");
            let cents = 10 + self.dice.below(90);
            let form = format!(
                "token={token}&campaign_id=shop&click_id={click}&order_id={id}&amount=9.{cents}&currency=EUR"
            );
            let call = if self.dice.one_in(2) {
                Call::get(&format!("/postback?{form}"))
            } else {
                Call::post("/postback", form)
            };
            if !self.report(&call, std::slice::from_ref(&id)).await {
                return self.lose_patience(name, &pcid);
            }
            if self.dice.one_in(3) && !self.report(&call, std::slice::from_ref(&id)).await {
                return;
            }
        }
    }

    /// Clicks or not, installs an app or not, and uses it.
    async fn install(&mut self, name: &str, app: &'static str) {
        let links: Vec<Link> = LINKS.into_iter().filter(|link| link.app == app).collect();
        let (link, pcid, gaid) = (*self.dice.pick(&links), format!("pc-{name}-"), self.dice.gaid());
        let mut install = json!({
            "event_id": format!("{name}-i"), "event_name": "install", "install_id": format!("d-{name}"),
            "device": { "platform": "android", "os_version": "16" },
        });
        let credit = match self.dice.below(8) {
            0 => Credit::Organic,
            1 => {
                // A click of another app is no evidence for this one.
                let Some(foreign) = self.foreign_click(app) else { return };
                install["install_referrer"] = json!({ "referrer": format!("rt_click_id={foreign}") });
                Credit::Organic
            }
            2 => {
                let Some(_) = self.click(link, &pcid, &format!("&gaid={gaid}")).await else { return };
                install["device"]["gaid"] = gaid.as_str().into();
                Credit::Click(pcid.clone())
            }
            _ => {
                let Some(click) = self.click(link, &pcid, &format!("&gaid={gaid}&sub1=a%20b")).await else {
                    return;
                };
                if self.dice.one_in(4) {
                    return;
                }
                install["install_referrer"] =
                    json!({ "referrer": format!("rt_click_id={click}&utm_source=x") });
                Credit::Click(pcid.clone())
            }
        };
        let mut reports = vec![("install", install)];
        let event = |tail: &str, event_name: &str| json!({ "event_id": format!("{name}-{tail}"), "event_name": event_name, "install_id": format!("d-{name}") });
        if self.dice.one_in(2) {
            reports.push(("signup", event("s", "signup")));
        }
        for n in 0..self.dice.below(3) {
            let mut purchase = event(&format!("p{n}"), "purchase");
            purchase["revenue"] = format!("{}.99", self.dice.below(50)).into();
            reports.push(("purchase", purchase));
        }
        if self.dice.one_in(5) {
            reports.push(("event", event("l", "level_up")));
        }
        if self.dice.one_in(4) {
            // What follows an install may well arrive before it.
            reports.reverse();
        }
        let mut known: Vec<Report> = Vec::new();
        for (kind, document) in reports {
            let id = document["event_id"].as_str().expect("it has one").to_owned();
            self.expect(&id, app, kind, &credit);
            known.push((id, document));
        }
        if !self.tell(app, &known).await {
            self.lose_patience(name, &pcid);
        }
    }

    /// Reports events in one batch or one by one, some of them twice.
    async fn tell(&mut self, app: &str, reports: &[Report]) -> bool {
        let key =
            self.key(&format!("{app}-{}", if self.dice.one_in(2) { "client" } else { "server" })).to_owned();
        let call = |body: &Value| Call::post("/v1/events", body.to_string()).json_body().bearer(&key);
        if self.dice.one_in(3) {
            let mut batch: Vec<Report> = reports.to_vec();
            if self.dice.one_in(2) {
                batch.push(self.dice.pick(reports).clone());
            }
            let documents: Vec<&Value> = batch.iter().map(|(_, document)| document).collect();
            let ids: Vec<String> = batch.iter().map(|(id, _)| id.clone()).collect();
            if !self.report(&call(&json!({ "events": documents })), &ids).await {
                return false;
            }
        } else {
            for (id, document) in reports {
                if !self.report(&call(document), std::slice::from_ref(id)).await {
                    return false;
                }
            }
        }
        // An app that was closed before it noted the answer sends once more; what comes of that changes nothing.
        if self.dice.one_in(3) {
            let (id, document) = self.dice.pick(reports).clone();
            self.report(&call(&document), &[id]).await;
        }
        true
    }

    /// Our id of some stored click of another app.
    fn foreign_click(&self, app: &str) -> Option<String> {
        let seen = self.memory.lock();
        let others = seen.clicks.values().filter(|click| click.link.app != app && click.is_stored);
        let ids: Vec<&String> = others.filter_map(|click| click.id.as_ref()).take(64).collect();
        (!ids.is_empty()).then(|| (*self.dice.pick(&ids)).clone())
    }
}
