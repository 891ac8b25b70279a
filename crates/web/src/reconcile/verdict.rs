//! The words of a reconciliation: what a line or fact comes to, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a line of the list, or a fact, comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReconcileVerdict")]
pub enum Verdict {
    /// On both sides, with another amount or currency.
    OtherAmount,
    /// On both sides, at another time.
    OtherTime,
    /// A line that repeats an earlier one.
    Duplicate,
    /// A line of which nothing was told.
    MissingHere,
    /// A line outside of the period that matches nothing.
    Outside,
    /// A fact that should be in the list and is not.
    MissingThere,
    /// A fact of which the partner was not told, and that is not in the list.
    NotTold,
}

impl Verdict {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherAmount => "other_amount",
            Self::OtherTime => "other_time",
            Self::Duplicate => "duplicate",
            Self::MissingHere => "missing_here",
            Self::Outside => "outside",
            Self::MissingThere => "missing_there",
            Self::NotTold => "not_told",
        }
    }

    /// Whether the two sides disagree.
    pub const fn is_difference(self) -> bool {
        !matches!(self, Self::NotTold | Self::Outside)
    }
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal, $sentence:literal;)*) => {
        /// Why. Words are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(rename = "ReconcileCause")]
        pub enum Cause {
            $($(#[doc = $doc])* #[serde(rename = $word)] $name,)*
        }

        impl Cause {
            /// All causes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it means.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

causes! {
    /// Every rule had a reason; the detail names it.
    NeverSent = "never_sent", "no rule told it";
    /// No rule was considered.
    NoRule = "no_rule", "no rule tells this partner of such conversions";
    /// The deliveries were given up; the detail says what the last send came to.
    Failed = "failed", "it was given up before it arrived";
    /// Its acceptance window ended first.
    Expired = "expired", "its acceptance window ended before it arrived";
    /// Taken back before it was sent.
    Cancelled = "cancelled", "it was cancelled before it arrived";
    /// Still on its way.
    Waiting = "waiting", "it waits to be sent";
    /// Its endpoint is paused or disabled.
    Held = "held", "it is held: its endpoint is paused or disabled";
    /// It arrived, and their list does not have it.
    Delivered = "delivered", "they accepted it, and it is not in their list";
    /// It arrived after the period.
    Late = "late", "it arrived after the period had ended, so a later list has it";
    /// By the list's time zone it is of another day.
    DayBoundary = "day_boundary", "by the list's own time zone it belongs to another day";
    /// The conversion waits for approval.
    Pending = "pending", "the conversion waits for approval";
    /// The conversion was rejected.
    Rejected = "rejected", "the conversion was rejected";
    /// A sandbox event.
    Test = "test", "it is a test";
    /// The list has it twice.
    ListedTwice = "listed_twice", "the list has it more than once, and it was told once";
    /// It was told more than once.
    ToldTwice = "told_twice", "it was told more than once (a replay), under the same event id";
    /// The two amounts are in other currencies.
    OtherCurrency = "other_currency", "the currencies differ";
    /// One side counts in the minor unit.
    MinorUnits = "minor_units", "one of the two is in the minor unit (cents), or off by a hundred";
    /// One side is rounded.
    Rounded = "rounded", "one of the two is rounded";
    /// The partner was not told an amount.
    AmountNotTold = "amount_not_told", "the partner was told no amount";
    /// The amounts just differ.
    AmountDiffers = "amount_differs", "the amounts differ";
    /// By a whole offset of hours.
    TimeZone = "time_zone", "the times differ by what looks like a time zone";
    /// The times just differ.
    TimeDiffers = "time_differs", "the times differ";
    /// The click id was never given out, or the partner's is not known.
    NeverOurs = "never_ours", "no click with this id was ever recorded for this partner";
    /// The click is known, and nothing came of it.
    ClickOnly = "click_without_conversion", "the click is known, and no conversion was credited to it";
    /// The click is known, its conversions are in the list, and this one is no such.
    OtherEvent = "no_such_event", "the click is known, and no conversion of that name was credited to it";
    /// The click or conversion is another partner's.
    OtherPartner = "other_partner", "it belongs to another partner";
    /// Older than clicks are kept.
    ClickExpired = "click_expired", "the click is older than clicks are kept";
    /// Ours, and not in the click log.
    ClickNotStored = "click_not_stored", "the click id is genuine, and the click was not stored";
    /// It was told, at another time.
    OtherPeriod = "other_period", "it was received at another time than the one that is compared";
    /// Another kind than is compared.
    OtherKind = "other_kind", "it is of another kind than is compared";
    /// The line names nothing to look for.
    NoKey = "no_key", "the line has no click id, event id or order id";
    /// No order with this id.
    OrderUnknown = "order_unknown", "no conversion has this order id or event id";
    /// Not in the owner's orders.
    NotInOrders = "not_in_orders", "it is no order of the list";
    /// The line's time is outside of the period.
    OutsidePeriod = "outside_period", "the line is outside of the period that is compared";
}

impl Cause {
    /// Whether telling it once more mends it.
    pub const fn is_mended_by_replay(self) -> bool {
        matches!(self, Self::Failed | Self::Expired | Self::Delivered)
    }
}
