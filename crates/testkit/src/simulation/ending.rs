//! The end of a world: everything becomes well, comes to rest by itself, and is counted.

use std::collections::BTreeSet;
use std::time::Duration;

use roundtrip_domain::id::{Id, kind};
use roundtrip_domain::time::Timestamp;
use roundtrip_store::ledger::Hook as _;
use roundtrip_store::ledger::{DeliveryFilter, DeliveryListed, DeliveryStory, LIST_ROWS_MAX, WindowWish};
use tokio::time::{Instant, sleep};

use super::Workers;
use super::process::Disk;
use super::receivers::{Answer, Manner};
use super::world::{ASKED_MS_MAX, WS, World};

/// How long after everything is well all that is due by then may take, beyond its own waits: a hanging send's
/// deadline, the sweep, a put-off decision, and the queue of a slow one.
const GRACE_MS: i64 = 180_000;

impl<W: Workers> World<'_, W> {
    pub(super) async fn count_the_books(&self) {
        let far = Timestamp::from_ms(i64::MAX / 2);
        let ledger = &self.kit.ledger;
        let (kept, counted) =
            (ledger.balance(WS, Timestamp::from_ms(0), far).await, ledger.recount(WS).await);
        let (Ok(mut kept), Ok(mut counted)) = (kept, counted) else {
            return self.judge.wrong("the books cannot be read".into());
        };
        for books in [&mut kept, &mut counted] {
            books.values_mut().for_each(|row| row.finished.retain(|_, n| *n != 0));
            books.retain(|_, row| *row != Default::default());
        }
        if kept != counted {
            self.judge.wrong(format!("the books kept differ from those counted: {kept:?} {counted:?}"));
        }
        for (key, row) in &kept {
            if row.differences() != (0, 0) {
                self.judge.wrong(format!("the books do not close: {key:?} {row:?}"));
            }
        }
    }

    /// Everything becomes well, and everything that was asked for must come to its end by itself.
    pub(super) async fn come_to_rest(&mut self) {
        self.trace.say(format_args!("everything becomes well"));
        for endpoint in 0..self.plan.endpoints {
            self.receivers.behave(endpoint, Manner::Well);
        }
        (self.plan.answers_lost, self.plan.refused) = (0, 0);
        for running in &self.alive {
            running.process.with_disk(|disk| {
                let wait_ms_max = disk.wait_ms_max;
                *disk = Disk { wait_ms_max, ..Disk::default() };
            });
        }
        // Of two, the one that was to have ended ends now.
        if self.alive.len() > 1 {
            self.alive[0].process.end();
        }
        for _ in 0..10 {
            // Also one that was to have ended by itself may do so only now.
            while self.alive.is_empty() || self.alive[0].process.has_ended() {
                self.look().await;
                sleep(Duration::from_secs(1)).await;
            }
            self.look().await;
            let again = std::mem::take(&mut self.unanswered);
            if again.is_empty() {
                break;
            }
            self.submit(again).await;
        }
        if !self.unanswered.is_empty() {
            self.judge.wrong(format!("{} events cannot be recorded", self.unanswered.len()));
        }
        let mut patience: Option<Instant> = None;
        // What ends can make an event be decided again, and that can plan more: it is looked at until it stays so.
        let mut calm = 0;
        while calm < 3 {
            self.put_the_clock_right().await;
            self.let_all_go_on().await;
            self.look_at_work().await;
            let Some((latest, waiting)) = self.latest_due().await else { return };
            let undecided = self.kit.ledger.undecided_count().await.unwrap_or(u64::MAX);
            let jobs = self.open_jobs().await;
            calm = if waiting == 0 && undecided == 0 && jobs == 0 { calm + 1 } else { 0 };
            // An endpoint may have become well right after its longest rest began.
            let rest_ms = W::BOUNDS.rest.as_millis() as i64;
            let left_ms = latest.since(self.time.now()).max(0) + GRACE_MS + rest_ms;
            let until =
                *patience.get_or_insert_with(|| Instant::now() + Duration::from_millis(left_ms as u64));
            if Instant::now() > until {
                self.judge
                    .wrong(format!("{waiting} deliveries, {undecided} events and {jobs} jobs are stuck"));
                return;
            }
            if self.judge.has_found() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        self.count_the_books().await;
        self.settle_up().await;
        if let Some(running) = self.alive.pop() {
            if W::panics(&running.worker) > 0 && !running.process.has_panicked() {
                self.judge.wrong("a loop panicked".into());
            }
            self.alive.push(running);
        }
        self.stop().await;
    }

    /// A clock that went back leaves work days away: it is put right, as people do, when that is so.
    async fn put_the_clock_right(&mut self) {
        let Some((latest, _)) = self.latest_due().await else { return };
        let away_ms = latest.since(self.time.now());
        let longest = self.plan.waits_ms.iter().max().copied().unwrap_or(0).max(ASKED_MS_MAX) * 5 / 4;
        if away_ms > longest {
            if away_ms > longest + self.time.went_back_ms() {
                self.judge.wrong(format!("something is due in {away_ms} ms, and no clock is why"));
            }
            self.jump(away_ms - longest);
        }
    }

    /// When the last of what waits is due, and how much waits.
    async fn latest_due(&self) -> Option<(Timestamp, u64)> {
        let ledger = &self.kit.ledger;
        let (mut latest, mut waiting) = (Timestamp::from_ms(0), 0);
        for head in ledger.queue_endpoints().await.ok()? {
            waiting += head.waiting;
            let all = u32::try_from(head.waiting).unwrap_or(u32::MAX);
            let wish =
                WindowWish { workspace: head.workspace, endpoint: head.endpoint, firsts: all, retries: all };
            let window = ledger.queue_windows(vec![wish]).await.ok()?.pop()?;
            let last = window.firsts.iter().chain(&window.retries).map(|item| item.due).max()?;
            latest = latest.max(last);
        }
        Some((latest, waiting))
    }

    /// Every event that somebody was told is kept, and every delivery of it.
    async fn settle_up(&self) {
        let mut found = BTreeSet::new();
        for event in &self.kept {
            let story = match self.kit.ledger.story(WS, *event).await {
                Ok(Some(story)) => story,
                other => {
                    self.judge.wrong(format!("{event} was said to be kept: {other:?}"));
                    continue;
                }
            };
            if story.revisions.is_empty() {
                self.judge.wrong(format!("{event} was never decided"));
            }
            let of_rules = |all: &[DeliveryStory]| {
                all.iter().filter(|d| d.replay_of.is_none() && d.endpoint.postback().is_some()).count()
            };
            let planned = of_rules(&story.deliveries);
            let is_less = planned < self.plan.of_events && !self.rejected.contains(event);
            if is_less || planned > self.plan.of_events {
                self.judge.wrong(format!("{planned} are told of {event}, {} should be", self.plan.of_events));
            }
            self.webhooks_of(*event, &story.deliveries).await;
            self.told_of_ends(&event.to_string(), &story.deliveries);
            story.deliveries.iter().for_each(|delivery| self.delivery(event.to_string(), delivery));
            for change in &story.changes {
                let of_changes = self.plan.rules - self.plan.of_events;
                if of_rules(&change.deliveries) > of_changes {
                    self.judge.wrong(format!("too many are told of {}", change.id));
                }
                self.told_of_ends(&change.id.to_string(), &change.deliveries);
                change.deliveries.iter().for_each(|delivery| self.delivery(change.id.to_string(), delivery));
            }
            found.extend(story.changes.iter().map(|change| change.id.to_string()));
            found.extend(story.deliveries.iter().map(|delivery| delivery.id.to_string()));
        }
        for promise in self.promised.difference(&found) {
            self.judge.wrong(format!("{promise} was promised and is nowhere"));
        }
        self.all_deliveries().await;
    }

    /// Whatever was planned, by whomever: it has ended.
    async fn all_deliveries(&self) {
        let all = self.kit.ledger.delivery_list(WS, DeliveryFilter::default(), None, LIST_ROWS_MAX).await;
        let Ok(all) = all else { return self.judge.wrong("the deliveries cannot be listed".into()) };
        for waiting in all.items.iter().filter(|listed| listed.state.is_waiting()) {
            self.judge.wrong(format!("{} waits", waiting.id));
        }
        let count = |is: &dyn Fn(&DeliveryListed) -> bool| all.items.iter().filter(|l| is(l)).count() as u64;
        let replays = count(&|listed| listed.replay_of.is_some());
        let cancelled = count(&|listed| listed.reason == "cancelled_by_owner");
        let mended = count(&|listed| listed.reason == "sent_before_cancelled");
        self.settle_jobs(replays, (cancelled, mended)).await;
    }

    /// Every webhook that asks for it is told of an event once.
    async fn webhooks_of(&self, event: Id<kind::Event>, deliveries: &[DeliveryStory]) {
        for hook in self.plan.hooks.iter().filter(|hook| hook.is_of_events) {
            let is_own = |d: &&DeliveryStory| {
                d.replay_of.is_none() && d.fact == event && self.index_of(d.endpoint) == Some(hook.endpoint)
            };
            let told: Vec<&DeliveryStory> = deliveries.iter().filter(is_own).collect();
            if told.len() > 1 {
                self.judge.wrong(format!("e{} is told of {event} {} times", hook.endpoint, told.len()));
            }
            if !told.is_empty() || self.rejected.contains(&event) {
                continue;
            }
            let slug = format!("e{}", hook.endpoint);
            let settings = self.kit.settings();
            let Some(webhook) = settings.webhooks.iter().find(|webhook| webhook.slug == slug) else {
                continue;
            };
            if !hook.is_late || self.is_filled(webhook.id, event).await {
                self.judge.wrong(format!("e{} is not told of {event}", hook.endpoint));
            }
        }
    }

    /// Every webhook that asks for it is told of every postback that was delivered, given up or came too late, once; of
    /// one that arrived after all it was told before that it had failed.
    fn told_of_ends(&self, event: &str, deliveries: &[DeliveryStory]) {
        for (states, kind) in
            [(&["delivered"][..], "postback_delivered"), (&["dead", "expired"], "postback_failed")]
        {
            let is_end = |d: &&DeliveryStory| {
                let had_failed = kind == "postback_failed" && d.reason == "arrived_after_all";
                d.endpoint.postback().is_some() && (states.contains(&d.state.as_str()) || had_failed)
            };
            let ended = deliveries.iter().filter(is_end).count();
            for hook in self.plan.hooks.iter().filter(|hook| hook.is_of_ends && !hook.is_late) {
                let is_told = |d: &&DeliveryStory| {
                    d.replay_of.is_none()
                        && d.kind == kind
                        && self.index_of(d.endpoint) == Some(hook.endpoint)
                };
                let told = deliveries.iter().filter(is_told).count();
                if told != ended {
                    self.judge.wrong(format!(
                        "of {event} {ended} postbacks are {states:?}, and e{} is told of {told}",
                        hook.endpoint
                    ));
                }
            }
        }
    }

    /// One delivery, once all is over: how it ended, and that those who were asked said so.
    fn delivery(&self, told: String, delivery: &DeliveryStory) {
        let DeliveryStory { id, state, reason, sends, .. } = delivery;
        let endpoint = self.index_of(delivery.endpoint).unwrap_or(usize::MAX);
        let told = if delivery.endpoint.postback().is_some() { told } else { delivery.fact.to_string() };
        let sends_policy = self.plan.sends_max.get(endpoint).copied().unwrap_or(0);
        let sends_max = self.judge.sends_max(endpoint, &self.judge.seen(*id));
        self.trace.say(format_args!("{id} {state} {reason} {sends}"));
        let wrong = |what: &str| self.judge.wrong(format!("{id}: {what}"));
        self.judge.tally(|tally| {
            tally.planned += 1;
            tally.delivered += u64::from(state == "delivered");
        });
        let seen = self.judge.seen(*id);
        let is_told = |wanted: std::ops::Range<u16>| {
            let mut answers = seen.iter().filter_map(|seen| seen.answer);
            answers.any(|answer| matches!(answer, Answer::Status(status, _) if wanted.contains(&status)))
        };
        match (state.as_str(), reason.as_str()) {
            ("delivered", _) => {
                if !is_told(200..300) {
                    wrong("it is delivered, and nobody said so");
                }
                if !seen.iter().any(|seen| self.receivers.has(seen.endpoint, &told)) {
                    wrong("it is delivered, and nobody has it");
                }
            }
            ("dead", "attempts_exhausted") if *sends < sends_policy => {
                wrong("it is given up before its time");
            }
            ("dead", "attempts_exhausted") | ("cancelled", _) => {}
            ("dead", "refused_by_receiver" | "redirect") => {
                if !is_told(300..500) {
                    wrong("it is refused, and nobody said so");
                }
            }
            ("expired", "held_too_long") if self.owner.has_held(endpoint) => {}
            (state, reason) => wrong(&format!("it ended as {state} ({reason})")),
        }
        if *sends > sends_max {
            wrong(&format!("it was sent {sends} times, {sends_max} are the policy"));
        }
        let mut rows: Vec<u32> = delivery.attempts.iter().map(|attempt| attempt.n).collect();
        // Two workers can have sent the same; both sends are kept.
        rows.dedup();
        if rows != (1..=*sends).collect::<Vec<_>>() {
            wrong(&format!("{sends} sends, and attempts {rows:?} are kept"));
        }
    }
}
