//! What the owner had better know: how many sends succeed, whether anything is reported at all, whether the books add
//! up. Each is looked at from time to time, and said once until it is well again.
//!
//! The cast: [`Rates`] counts the ends of sends of the last hour by workspace, in memory; [`Watch`] remembers what was
//! said; the ledger keeps each notice and tells the webhooks that ask for it.
//!
//! Not relied on: nothing here decides anything about a delivery. After a restart the hour is counted anew, and what
//! was said before it may be said once more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use roundtrip_domain::id::{Id, WorkspaceNo, kind};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::{Span, Timestamp, human};
use roundtrip_domain::webhook::Topic;
use roundtrip_store::payload::Notice;
use serde_json::json;

use crate::supervise::Shared;
use crate::{Config, Stats};

/// How often it is looked.
const EVERY_MS: u64 = 60_000;
/// The fewest sends of an hour of which a rate says anything.
const SENDS_MIN: u64 = 20;
/// The minutes over which successes are counted.
const MINUTES: i64 = 60;
/// How often the books are read, in rounds.
const BOOKS_ROUNDS: u32 = 15;
/// How far back an app's last event is looked for at the start, before it counts as one that never had any.
const SILENCE_LOOK: Span = Span::from_days(30);
/// How far before the last look the next one begins: what was reported then and is decided only now is seen too.
const SILENCE_AGAIN: Span = Span::from_hours(1);
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// When something is worth saying.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Below this many percent of successful sends in an hour; `None`: never.
    pub success_rate: Option<u8>,
    /// When an app that had events has had none for so long; `None`: never.
    pub silence: Option<Span>,
}

/// Ends of sends of the last hour.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<WorkspaceNo, VecDeque<Minute>>>);

#[derive(Debug, Clone, Copy)]
struct Minute {
    minute: i64,
    well: u64,
    ill: u64,
}

impl Rates {
    /// Counts the end of a send.
    pub(crate) fn add(&self, workspace: WorkspaceNo, at: Timestamp, is_well: bool) {
        let minute = at.ms().div_euclid(MINUTE_MS);
        // Every change is whole before the lock is given back, so a panic elsewhere leaves nothing half done.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minutes = all.entry(workspace).or_default();
        if minutes.back().is_none_or(|last| last.minute != minute) {
            minutes.push_back(Minute { minute, well: 0, ill: 0 });
            while minutes.len() as i64 > MINUTES {
                minutes.pop_front();
            }
        }
        if let Some(last) = minutes.back_mut() {
            let counter = if is_well { &mut last.well } else { &mut last.ill };
            *counter += 1;
        }
    }

    /// Successful sends of the hour before `now`, and all of them.
    pub(crate) fn of(&self, workspace: WorkspaceNo, now: Timestamp) -> (u64, u64) {
        let first = now.ms().div_euclid(MINUTE_MS) - MINUTES;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.get(&workspace).into_iter().flatten().filter(|one| one.minute > first);
        recent.fold((0, 0), |(well, sum), one| (well + one.well, sum + one.well + one.ill))
    }
}

/// What is being said.
#[derive(Debug, Default)]
pub struct Watch {
    low: BTreeSet<WorkspaceNo>,
    silent: BTreeSet<(WorkspaceNo, Id<kind::App>)>,
    heard: BTreeMap<WorkspaceNo, Heard>,
    unbalanced: BTreeSet<WorkspaceNo>,
    rounds: u32,
}

/// When the apps of a workspace were heard last, so that a look reads what came since the one before it.
#[derive(Debug)]
struct Heard {
    looked_at: Timestamp,
    last: BTreeMap<Id<kind::App>, Timestamp>,
}

/// Watches until told to stop.
pub async fn run(config: Config, mut shared: Shared) {
    let mut watch = Watch::default();
    while !shared.is_stopping() {
        if let Err(error) = watch.step(&config, &shared.stats, config.clock.now()).await {
            tracing::warn!(error = %error, "what the owner had better know cannot be read");
        }
        shared.pause(EVERY_MS).await;
    }
}

impl Watch {
    /// Looks once.
    ///
    /// # Errors
    /// When the ledger cannot answer; what was not looked at is looked at in the next round.
    pub async fn step(
        &mut self,
        config: &Config,
        stats: &Stats,
        now: Timestamp,
    ) -> Result<(), roundtrip_store::Error> {
        let catalog = config.ledger.catalog();
        let is_books_round = self.rounds.is_multiple_of(BOOKS_ROUNDS);
        self.rounds = self.rounds.wrapping_add(1);
        for settings in catalog.workspaces() {
            let workspace = settings.workspace;
            self.success(config, stats, workspace, now).await?;
            self.silence(config, settings, now).await?;
            if is_books_round {
                self.books(config, workspace, now).await?;
            }
        }
        Ok(())
    }

    async fn success(
        &mut self,
        config: &Config,
        stats: &Stats,
        workspace: WorkspaceNo,
        now: Timestamp,
    ) -> Result<(), roundtrip_store::Error> {
        let Some(least) = config.alerts.success_rate else { return Ok(()) };
        let (well, sends) = stats.rates.of(workspace, now);
        let is_low = sends >= SENDS_MIN && well * 100 < sends * u64::from(least);
        if !is_low {
            self.low.remove(&workspace);
            return Ok(());
        }
        if self.low.contains(&workspace) {
            return Ok(());
        }
        let sentence =
            format!("Of the {sends} sends of the last hour {well} succeeded, which is below {least} %.");
        let figures = json!({ "sends": sends, "succeeded": well, "threshold_percent": least });
        let notice = Notice { sentence, about: None, figures };
        config.ledger.notice(workspace, Topic::SuccessRateLow, None, notice, now).await?;
        self.low.insert(workspace);
        Ok(())
    }

    async fn silence(
        &mut self,
        config: &Config,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), roundtrip_store::Error> {
        let Some(longest) = config.alerts.silence else { return Ok(()) };
        let workspace = settings.workspace;
        let known = self.heard.remove(&workspace);
        let from = match &known {
            // A clock that was set back looks back from where it stands.
            Some(known) => known.looked_at.min(now).plus_ms(-SILENCE_AGAIN.ms()),
            None => now.plus_ms(-SILENCE_LOOK.ms()),
        };
        let mut last = known.map(|known| known.last).unwrap_or_default();
        last.extend(config.ledger.last_conversions(workspace, from).await?);
        for app in settings.apps.values() {
            let Some(heard) = last.get(&app.id).copied() else { continue };
            if now.since(heard) <= longest.ms() {
                self.silent.remove(&(workspace, app.id));
                continue;
            }
            if self.silent.contains(&(workspace, app.id)) {
                continue;
            }
            // Before it is said: what was decided long after it came is looked for where it counts.
            let all = config.ledger.last_conversions(workspace, heard).await?;
            let heard = all.get(&app.id).copied().unwrap_or(heard);
            last.insert(app.id, heard);
            let silent_ms = now.since(heard);
            if silent_ms <= longest.ms() {
                continue;
            }
            let slug = &app.slug;
            let sentence = format!("Nothing of {slug} has been reported for {}.", human(silent_ms));
            let figures = json!({ "silent_s": silent_ms / 1000, "threshold_s": longest.ms() / 1000 });
            let notice = Notice { sentence, about: Some(format!("app:{slug}")), figures };
            config.ledger.notice(workspace, Topic::Silence, Some(app.id), notice, now).await?;
            self.silent.insert((workspace, app.id));
        }
        self.heard.insert(workspace, Heard { looked_at: now, last });
        Ok(())
    }

    async fn books(
        &mut self,
        config: &Config,
        workspace: WorkspaceNo,
        now: Timestamp,
    ) -> Result<(), roundtrip_store::Error> {
        let books = config.ledger.balance(workspace, now.plus_ms(-DAY_MS), now).await?;
        let (rules, deliveries) = books
            .values()
            .map(|row| row.differences())
            .fold((0, 0), |(a, b), (rules, deliveries)| (a + rules.abs(), b + deliveries.abs()));
        if (rules, deliveries) == (0, 0) {
            self.unbalanced.remove(&workspace);
            return Ok(());
        }
        if self.unbalanced.contains(&workspace) {
            return Ok(());
        }
        let sentence = format!(
            "The books of the last two days do not add up: {rules} rules and {deliveries} deliveries are missing or counted twice. This is a bug of Roundtrip; please report it."
        );
        tracing::error!(rules, deliveries, "the books do not add up");
        let figures = json!({ "difference_rules": rules, "difference_deliveries": deliveries });
        let notice = Notice { sentence, about: None, figures };
        config.ledger.notice(workspace, Topic::BooksUnbalanced, None, notice, now).await?;
        self.unbalanced.insert(workspace);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_last_hour_and_no_more() {
        let rates = Rates::default();
        let ws = WorkspaceNo::DEFAULT;
        for minute in 0..200 {
            rates.add(ws, Timestamp::from_ms(minute * MINUTE_MS), minute % 4 == 0);
        }
        let now = Timestamp::from_ms(199 * MINUTE_MS);
        assert_eq!(rates.of(ws, now), (15, 60));
        assert_eq!(rates.of(ws, now.plus_ms(2 * 3_600_000)), (0, 0), "an old hour says nothing");
        assert_eq!(rates.of(WorkspaceNo(9), now), (0, 0));
    }
}
