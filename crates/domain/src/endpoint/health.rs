//! How long an endpoint has been failing, whom that concerns, and when it is given up for now.
//!
//! Kept over restarts, and written only when something changes here, never per send. It runs on the wall clock:
//! days of failure outlast a process. Whoever notices that the wall clock was set moves it along with
//! [`Health::moved`].

use crate::time::Timestamp;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How long it must fail without a success before it is disabled.
pub const DISABLE_MS: i64 = 5 * DAY_MS;
/// How far apart two failures must lie to be evidence of more than one bad night.
pub const EVIDENCE_MS: i64 = 12 * HOUR_MS;
/// When somebody is told of it: after 1 h, 24 h, 4 d.
pub const NOTICES_MS: [i64; 3] = [HOUR_MS, DAY_MS, 4 * DAY_MS];
/// How long it fails before that is worth a row.
const WORTH_MS: i64 = 5 * 60_000;

/// What somebody should know of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
    /// It has been failing for so long.
    Failing {
        /// Hours: 1, 24 or 96.
        hours: u32,
    },
    /// It was disabled: deliveries are held until somebody enables it.
    Disabled,
    /// It works again, after a notice that it does not.
    Recovered,
}

impl Notice {
    /// Its stable word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Failing { .. } => "endpoint_failing",
            Self::Disabled => "endpoint_disabled",
            Self::Recovered => "endpoint_recovered",
        }
    }
}

/// What is known of an endpoint's failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// The first failure after the last success.
    pub failing_since: Option<Timestamp>,
    /// A failure that came at least [`EVIDENCE_MS`] after that.
    pub evidence_at: Option<Timestamp>,
    /// The last success that was written down.
    pub last_success: Option<Timestamp>,
    /// Notices sent since it fails.
    pub notices: u8,
    /// Whether that it fails was written down.
    pub is_kept: bool,
}

/// What a send's end changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether the health is to be written down.
    pub is_news: bool,
    /// What somebody should know.
    pub notice: Option<Notice>,
}

impl Health {
    /// A send failed.
    pub fn failed(&mut self, now: Timestamp) -> Change {
        let since = *self.failing_since.get_or_insert(now);
        let lasted = now.since(since);
        let mut change = Change::default();
        if lasted >= WORTH_MS && !self.is_kept {
            self.is_kept = true;
            change.is_news = true;
        }
        if lasted >= EVIDENCE_MS && self.evidence_at.is_none() {
            self.evidence_at = Some(now);
            change.is_news = true;
        }
        if lasted >= DISABLE_MS && self.evidence_at.is_some_and(|at| at < now) {
            return Change { is_news: true, notice: Some(Notice::Disabled) };
        }
        let due = NOTICES_MS.iter().filter(|after| lasted >= **after).count() as u8;
        if due > self.notices {
            self.notices = due;
            let hours = (NOTICES_MS[usize::from(due) - 1] / HOUR_MS) as u32;
            change = Change { is_news: true, notice: Some(Notice::Failing { hours }) };
        }
        change
    }

    /// A send succeeded.
    pub fn succeeded(&mut self, now: Timestamp) -> Change {
        if self.failing_since.is_none() {
            self.last_success = Some(now);
            return Change::default();
        }
        let change =
            Change { is_news: self.is_kept, notice: (self.notices > 0).then_some(Notice::Recovered) };
        *self = Self { last_success: Some(now), ..Self::default() };
        change
    }

    /// The wall clock was set forward by so much, or back: it has not failed longer for that.
    pub fn moved(&mut self, by_ms: i64) {
        for at in [&mut self.failing_since, &mut self.evidence_at].into_iter().flatten() {
            *at = at.plus_ms(by_ms);
        }
    }

    /// Somebody let it go on that was paused or disabled: it begins anew. The time in which nothing was sent is no
    /// evidence against it.
    pub fn forgive(&mut self) {
        *self = Self { last_success: self.last_success, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(n: i64) -> Timestamp {
        Timestamp::from_ms(n * HOUR_MS)
    }

    /// The notices that failures at these hours give, each with its hour.
    fn notices(at: impl IntoIterator<Item = i64>) -> Vec<(i64, Notice)> {
        let mut health = Health::default();
        at.into_iter().filter_map(|h| Some((h, health.failed(hours(h)).notice?))).collect()
    }

    #[test]
    fn tells_after_an_hour_a_day_and_four_and_disables_after_five() {
        let told = notices((0..130).take_while(|h| *h <= 120));
        assert_eq!(
            told,
            [
                (1, Notice::Failing { hours: 1 }),
                (24, Notice::Failing { hours: 24 }),
                (96, Notice::Failing { hours: 96 }),
                (120, Notice::Disabled),
            ]
        );
    }

    #[test]
    fn two_bad_moments_days_apart_are_no_evidence_until_a_third() {
        assert_eq!(notices([0, 200]), [(200, Notice::Failing { hours: 96 })]);
        assert_eq!(notices([0, 200, 201])[1], (201, Notice::Disabled));
        assert_eq!(
            notices([0, 11, 121]),
            [(11, Notice::Failing { hours: 1 }), (121, Notice::Failing { hours: 96 })]
        );
    }

    #[test]
    fn one_success_begins_anew_and_is_told_if_the_failing_was() {
        let mut health = Health::default();
        health.failed(hours(0));
        health.failed(hours(119));
        let change = health.succeeded(hours(119));
        assert_eq!(change, Change { is_news: true, notice: Some(Notice::Recovered) });
        assert_eq!(health.last_success, Some(hours(119)));
        health.failed(hours(120));
        assert_eq!(health.failing_since, Some(hours(120)));
        assert_eq!(health.succeeded(hours(120)), Change::default(), "a flap is written nowhere");
    }

    #[test]
    fn a_clock_that_is_set_disables_nothing() {
        let mut health = Health::default();
        (0..13).for_each(|h| {
            health.failed(hours(h));
        });
        health.moved(10 * DAY_MS);
        assert_eq!(health.failed(hours(240 + 13)).notice, None);
        health.moved(-10 * DAY_MS);
        assert_eq!(health.failed(hours(24)).notice, Some(Notice::Failing { hours: 24 }));
    }

    #[test]
    fn is_written_on_changes_only() {
        let mut health = Health::default();
        let minute = |n: i64| Timestamp::from_ms(n * 60_000);
        let written: Vec<i64> = (0..7_200).filter(|n| health.failed(minute(*n)).is_news).collect();
        assert_eq!(written, [5, 60, 720, 1_440, 5_760]);
    }
}
