//! Whether a conversion counts: pending, approved, rejected, and who may change that.
//!
//! A change is an event of its own: it names the conversion that it changes, who changed it and why, and is told
//! to those that rules tell of changes. Not decided here: what is told, and what counts.

use crate::event::Event;
use crate::id::{Id, kind};

/// Whether a conversion counts. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// It counts.
    Approved = 1,
    /// It waits for approval: it does not count yet.
    Pending = 2,
    /// It does not count.
    Rejected = 3,
}

impl Status {
    /// The status with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Approved,
            2 => Self::Pending,
            3 => Self::Rejected,
            _ => return None,
        })
    }

    /// Its word in macros, the API and stories.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
        }
    }

    /// The status of exactly that word of ours.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Approved, Self::Pending, Self::Rejected].into_iter().find(|s| s.name() == text)
    }

    /// What a conversion is before anybody changes it.
    pub fn first_of(event: &Event) -> Self {
        if event.postback.as_ref().is_some_and(|p| p.pending) { Self::Pending } else { Self::Approved }
    }

    /// Whether a sender's word says of a conversion only that it came before. Of a repeat that says nothing about
    /// the one that came first.
    pub fn is_repeat_word(word: &str) -> bool {
        REPEATS.contains(&word.trim().to_ascii_lowercase().as_str())
    }

    /// Reads a sender's word in any case: the words of Tracknow (`Approved`, `Pending`, `Denied`, `Revision`) and
    /// those that networks commonly send. `None` for a word that nobody is known to use.
    pub fn of_word(word: &str) -> Option<Self> {
        let word = word.trim().to_ascii_lowercase();
        let is = |list: &[&str]| list.contains(&word.as_str());
        if is(APPROVED) {
            Some(Self::Approved)
        } else if is(PENDING) {
            Some(Self::Pending)
        } else if is(REJECTED) {
            Some(Self::Rejected)
        } else {
            None
        }
    }
}

/// Words for approved.
const APPROVED: &[&str] = &[
    "approved",
    "1",
    "approve",
    "confirmed",
    "confirm",
    "sale",
    "paid",
    "payed",
    "pay",
    "accepted",
    "billed",
    "rebill",
    "buyout",
    "redeem",
    "ftd",
    "dep",
    "first_dep",
    "a",
];
/// Words for pending.
const PENDING: &[&str] = &[
    "pending",
    "hold",
    "revision",
    "2",
    "5",
    "reg",
    "lead",
    "new",
    "wait",
    "waiting",
    "0",
    "created",
    "processing",
    "subscribe",
    "registration",
    "install",
    "p",
];
/// Words for rejected.
const REJECTED: &[&str] = &[
    "rejected",
    "trash",
    "3",
    "reject",
    "cancel",
    "canceled",
    "cancelled",
    "decline",
    "declined",
    "denied",
    "fail",
    "failure",
    "duplicate",
    "double",
    "spam",
    "invalid",
    "return",
    "not_redeemed",
    "d",
];

/// Those of them that say that a conversion was sent before.
const REPEATS: &[&str] = &["duplicate", "double"];

/// Who wants a status changed. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Asker {
    /// The owner, by page, API or command: the last word, in both directions.
    Owner = 1,
    /// A sender of postbacks that proved who it is.
    Sender = 2,
}

impl Asker {
    /// The asker with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Owner,
            2 => Self::Sender,
            _ => return None,
        })
    }
}

/// What a wish to change a status comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It is changed.
    Change,
    /// It is that already.
    Same,
    /// This asker may not do that.
    Refused,
}

impl Transition {
    /// Nobody makes a decided conversion pending again; only the owner approves what was rejected, and no sender
    /// changes what the owner decided. `last` is who changed it last, if anybody did.
    pub fn of(from: Status, to: Status, asker: Asker, last: Option<Asker>) -> Self {
        match (from, to, asker) {
            (from, to, _) if from == to => Self::Same,
            (_, _, Asker::Sender) if last == Some(Asker::Owner) => Self::Refused,
            (_, Status::Pending, _) => Self::Refused,
            (Status::Rejected, Status::Approved, Asker::Sender) => Self::Refused,
            _ => Self::Change,
        }
    }
}

/// A change of a conversion's status, as its event carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The event that made the conversion.
    pub of: Id<kind::Event>,
    /// What it was.
    pub from: Status,
    /// What it is since.
    pub to: Status,
    /// Who: an actor's name, or `postback`.
    pub by: String,
    /// Why, in the words of who changed it.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_mean_one_thing() {
        assert_eq!(Status::of_word(" Denied "), Some(Status::Rejected));
        assert_eq!(Status::of_word("APPROVED"), Some(Status::Approved));
        assert_eq!(Status::of_word("Revision"), Some(Status::Pending));
        assert_eq!(Status::of_word("perhaps"), None);
        for word in REPEATS {
            assert_eq!(Status::of_word(word), Some(Status::Rejected), "a first one is booked as rejected");
        }
        assert!(Status::is_repeat_word(" Double ") && !Status::is_repeat_word("rejected"));
        let all: Vec<&str> = [APPROVED, PENDING, REJECTED].concat();
        let mut unique = all.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), all.len());
        for status in [Status::Approved, Status::Pending, Status::Rejected] {
            assert_eq!(Status::from_number(status as u8), Some(status));
            assert_eq!(Status::of_word(status.name()), Some(status));
        }
    }

    #[test]
    fn the_owner_has_the_last_word() {
        use Asker::{Owner, Sender};
        use Status::{Approved, Pending, Rejected};
        for (from, to, asker, want) in [
            (Pending, Approved, Sender, Transition::Change),
            (Pending, Rejected, Sender, Transition::Change),
            (Approved, Rejected, Sender, Transition::Change),
            (Rejected, Approved, Sender, Transition::Refused),
            (Rejected, Approved, Owner, Transition::Change),
            (Approved, Rejected, Owner, Transition::Change),
            (Approved, Pending, Owner, Transition::Refused),
            (Rejected, Pending, Sender, Transition::Refused),
            (Approved, Approved, Owner, Transition::Same),
            (Pending, Pending, Sender, Transition::Same),
        ] {
            for last in [None, Some(Sender)] {
                assert_eq!(Transition::of(from, to, asker, last), want, "{from:?} → {to:?} by {asker:?}");
            }
            let after = if asker == Sender && from != to { Transition::Refused } else { want };
            assert_eq!(
                Transition::of(from, to, asker, Some(Owner)),
                after,
                "{from:?} → {to:?} after the owner"
            );
        }
        for asker in [Owner, Sender] {
            assert_eq!(Asker::from_number(asker as u8), Some(asker));
        }
    }
}
