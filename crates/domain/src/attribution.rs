//! Which touch earned an event, and why.
//!
//! [`decide`] is pure: the event, what its evidence led to, and the settings go in; a [`Decision`] comes
//! out that carries [`Because`]: every candidate with the reason it won or lost. The same inputs give the
//! same decision, and the inputs are sets: nothing here depends on the order in which events arrived.
//!
//! One waterfall, by tier; inside a tier the later touch wins, then receive order, then the lower id. Built
//! here: 1 click id, 2 device-id click, 9 organic. The other tiers keep their numbers.
//!
//! `evidence` is the other half: what an event names, before anybody looked it up.
//!
//! Not decided here: who is told (`postback::plan`), and whether a touch is fraud.

mod evidence;
#[cfg(test)]
mod tests;

use crate::click::{Flags, LinkDialect, Touch, TouchKind};
use crate::click_id::ClickId;
use crate::event::{ConversionKind, Event};
use crate::id::{Id, WorkspaceNo, kind};
use crate::settings::{App, Settings};
use crate::time::{Span, Timestamp};

pub use self::evidence::{Carrier, DeadEnd, Lead, Named, device_evidence, evidence};

/// Most candidates that a decision keeps; the rest is counted.
pub const CANDIDATES_MAX: usize = 50;

/// How far a touch may lie after the time that the event's sender claims, when the event carries that
/// touch's id: a device's clock that is slow must not lose its install. 24 h is what a wrong time zone
/// can amount to, and as far ahead as a timestamp may lie.
pub const CLOCK_SKEW_MAX: Span = Span::from_hours(24);

/// How a touch was found. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MatchType {
    /// Our click id in the store's referrer.
    InstallReferrer = 1,
    /// Our click id in the event (deep link, landing page, cookie).
    ClickId = 2,
    /// Our click id in an inbound postback.
    Postback = 3,
    /// The same raw device id on click and event.
    DeviceId = 4,
}

impl MatchType {
    /// The type with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::InstallReferrer,
            2 => Self::ClickId,
            3 => Self::Postback,
            4 => Self::DeviceId,
            _ => return None,
        })
    }

    /// Its word in macros, webhooks and explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InstallReferrer => "install_referrer",
            Self::ClickId => "click_id",
            Self::Postback => "postback",
            Self::DeviceId => "device_id",
        }
    }

    /// Its tier in the waterfall, 1 the strongest.
    pub const fn tier(self) -> u8 {
        match self {
            Self::InstallReferrer | Self::ClickId | Self::Postback => 1,
            Self::DeviceId => 2,
        }
    }
}

/// Why a candidate won or lost. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// It earned the event.
    Won = 1,
    /// A stronger tier has a winner.
    WeakerTier = 2,
    /// A later touch of the same tier won.
    EarlierTouch = 3,
    /// Received longer before the event than the window allows.
    OutsideWindow = 4,
    /// Received only after the event happened.
    LateClick = 5,
    /// It promotes another app.
    OtherApp = 6,
    /// It belongs to another workspace.
    OtherWorkspace = 7,
    /// It earned another installation, which came first.
    AlreadyEarned = 8,
    /// A HEAD, prefetch or preview request: never a touch.
    Preview = 9,
    /// An impression; this tier is not matched.
    Impression = 10,
    /// The print matched but the device id differs.
    OtherDevice = 11,
}

impl Verdict {
    /// The verdict with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Won,
            2 => Self::WeakerTier,
            3 => Self::EarlierTouch,
            4 => Self::OutsideWindow,
            5 => Self::LateClick,
            6 => Self::OtherApp,
            7 => Self::OtherWorkspace,
            8 => Self::AlreadyEarned,
            9 => Self::Preview,
            10 => Self::Impression,
            11 => Self::OtherDevice,
            _ => return None,
        })
    }

    /// The stable reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::WeakerTier => "weaker_tier",
            Self::EarlierTouch => "earlier_touch",
            Self::OutsideWindow => "outside_window",
            Self::LateClick => "late_click",
            Self::OtherApp => "other_app",
            Self::OtherWorkspace => "other_workspace",
            Self::AlreadyEarned => "already_earned",
            Self::Preview => "preview",
            Self::Impression => "impression",
            Self::OtherDevice => "other_device",
        }
    }

    /// The reason as the end of the sentence "it lost because …" (or won).
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Won => "it is the latest touch of the strongest tier inside its window",
            Self::WeakerTier => "a touch of a stronger tier won",
            Self::EarlierTouch => "a later touch of the same tier won",
            Self::OutsideWindow => "it came longer before the event than its window allows",
            Self::LateClick => "it came only after the event happened",
            Self::OtherApp => "it promotes another app",
            Self::OtherWorkspace => "it belongs to another workspace",
            Self::AlreadyEarned => "it earned an earlier installation already",
            Self::Preview => "it was a preview, prefetch or HEAD request, not a visitor",
            Self::Impression => "it is an impression, and views are not matched",
            Self::OtherDevice => "the device id is not the same",
        }
    }
}

/// A touch that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The touch, whole: the story outlives the click.
    pub touch: Touch,
    /// How it was found.
    pub match_type: MatchType,
    /// Which event carried the evidence.
    pub carrier: Id<kind::Event>,
    /// Why it won or lost.
    pub verdict: Verdict,
    /// The window that held for it.
    pub window: Span,
    /// From the touch to the reference time, in milliseconds; negative when it came after.
    pub age_ms: i64,
}

/// Who gets the credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credit {
    /// A touch of a partner.
    Touch(Box<Winner>),
    /// Nobody: it came by itself.
    Organic,
    /// Not known yet: the event's installation has not been seen.
    InstallUnknown,
}

impl Credit {
    /// The winner, if there is one.
    pub fn winner(&self) -> Option<&Winner> {
        match self {
            Self::Touch(winner) => Some(winner),
            _ => None,
        }
    }

    /// Its word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Touch(_) => "attributed",
            Self::Organic => "organic",
            Self::InstallUnknown => "install_unknown",
        }
    }

    /// Whether both give the same touch, or both none.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Touch(a), Self::Touch(b)) => a.touch.id == b.touch.id && a.match_type == b.match_type,
            (a, b) => a.name() == b.name(),
        }
    }
}

/// The winning touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// The touch, whole.
    pub touch: Touch,
    /// How it was found.
    pub match_type: MatchType,
}

/// Why a decision is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Because {
    /// Where windows end: the earlier of event time and receive time, of the installation's first word. For
    /// an event that follows its installation, when that one was born.
    pub reference_at: Timestamp,
    /// Touches that were considered, winners first; at most [`CANDIDATES_MAX`].
    pub candidates: Vec<Candidate>,
    /// How many more there were.
    pub rest: u32,
    /// Click ids that led nowhere.
    pub dead: Vec<(MatchType, String, DeadEnd)>,
    /// The installation's event whose credit this event shares for life.
    pub follows: Option<Id<kind::Event>>,
    /// Stable words on what else mattered, such as `clock_skew`.
    pub notes: Vec<&'static str>,
}

/// All notes that a decision can carry, so that rows can be read back to the same words.
pub const NOTES: &[(&str, &str)] = &[
    (
        "clock_skew",
        "the sender's clock is behind: the event carries the id of a click that came after the time it claims",
    ),
    ("repeat_install", "the installation was known already; this is kept as an event"),
    ("no_evidence", "the event carries nothing that could name a touch"),
    ("tie_install_id", "tied to its installation by install_id"),
    ("tie_customer_id", "tied to its installation by a customer_id seen with it"),
    ("tie_device_id", "tied to its installation by a raw device id"),
    (
        "click_lookback",
        "a click came inside its link's window and lost by the shorter one that its own parameter asked for",
    ),
    (
        "clickless_not_credited",
        "ref_id, coupon and lifetime customer are stored; this version credits clicks only",
    ),
    (
        "told_before_winning",
        "a rule that tells of everything told the winner before it won, so without its own click id; it is not told again",
    ),
    ("app_deleted", "the app was deleted before this was decided; it makes no conversion"),
    (
        "crowded_identity",
        "its customer or device id was seen with more installations than one person has; only some of them are considered",
    ),
    (
        "wake_capped",
        "more events wait for this customer or device than are decided again at once; only the newest are",
    ),
];

/// The decision about one event. A later fact appends the next revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The event.
    pub event: Id<kind::Event>,
    /// What conversion it makes; `None` for what is kept only as an event.
    pub kind: Option<ConversionKind>,
    /// Who gets the credit.
    pub credit: Credit,
    /// Why.
    pub because: Because,
    /// The version of the settings that were used.
    pub settings_version: u64,
}

/// Where an event's credit comes from.
#[derive(Debug, Clone)]
pub enum Basis<'a> {
    /// Its own touches: the birth of an installation, or an event that stands alone.
    Own {
        /// What the evidence led to.
        leads: &'a [Lead],
        /// Clicks that installations with precedence hold.
        taken: &'a [ClickId],
        /// The candidates of the decision before this one: what held for them goes on holding, since a
        /// change of settings takes no credit back.
        earlier: &'a [Candidate],
    },
    /// Its installation's credit, for life.
    Install {
        /// The installation's event.
        event: Id<kind::Event>,
        /// Its credit now.
        credit: &'a Credit,
        /// Which key tied them: one of the `tie_…` notes.
        tie: &'static str,
    },
    /// Nothing yet.
    InstallUnknown,
}

/// A question to decide.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The event.
    pub event: &'a Event,
    /// What conversion it makes.
    pub kind: Option<ConversionKind>,
    /// The reference time: the event's own, or the earliest of its installation's first words.
    pub reference_at: Timestamp,
    /// Where its credit comes from.
    pub basis: Basis<'a>,
}

/// Decides one event.
pub fn decide(question: &Question<'_>, app: &App, settings: &Settings) -> Decision {
    let mut because = Because {
        reference_at: question.reference_at,
        candidates: Vec::new(),
        rest: 0,
        dead: Vec::new(),
        follows: None,
        notes: Vec::new(),
    };
    let credit = match &question.basis {
        Basis::Own { leads, .. } => waterfall(question, leads, app, settings, &mut because),
        Basis::Install { event, credit, tie } => {
            because.follows = Some(*event);
            because.notes.push(tie);
            if question.event.names_install() {
                because.notes.push("repeat_install");
            }
            (*credit).clone()
        }
        Basis::InstallUnknown => Credit::InstallUnknown,
    };
    Decision {
        event: question.event.id,
        kind: question.kind.clone(),
        credit,
        because,
        settings_version: settings.version,
    }
}

fn waterfall(
    question: &Question<'_>,
    leads: &[Lead],
    app: &App,
    settings: &Settings,
    because: &mut Because,
) -> Credit {
    let mut candidates: Vec<Candidate> = Vec::new();
    for lead in leads {
        match lead {
            Lead::Dead { match_type, text, why } => because.dead.push((*match_type, text.clone(), *why)),
            Lead::Touch { match_type, touch, carrier } => {
                let candidate = judge(question, *match_type, touch, carrier, app, settings);
                if lost_by_own_lookback(&candidate, app, settings)
                    && !because.notes.contains(&"click_lookback")
                {
                    because.notes.push("click_lookback");
                }
                // The same touch can be found by click id and by device id: its stronger finding stands.
                match candidates.iter_mut().find(|c| c.touch.id == touch.id) {
                    Some(known) if rank(known) <= rank(&candidate) => {}
                    Some(known) => *known = candidate,
                    None => candidates.push(candidate),
                }
            }
        }
    }
    candidates.sort_by(|a, b| {
        let place = |c: &Candidate| (c.verdict != Verdict::Won, c.match_type.tier());
        place(a).cmp(&place(b)).then_with(|| later_first(a, b)).then(a.match_type.cmp(&b.match_type))
    });
    let winner = candidates.iter().position(|c| c.verdict == Verdict::Won);
    if let Some(at) = winner {
        let tier = candidates[at].match_type.tier();
        for (i, other) in candidates.iter_mut().enumerate() {
            if i != at && other.verdict == Verdict::Won {
                other.verdict =
                    if other.match_type.tier() == tier { Verdict::EarlierTouch } else { Verdict::WeakerTier };
            }
        }
        if candidates[at].age_ms < 0 {
            because.notes.push("clock_skew");
        }
    }
    if leads.is_empty() {
        because.notes.push("no_evidence");
    }
    if winner.is_none()
        && question
            .event
            .postback
            .as_ref()
            .is_some_and(|p| p.coupon.is_some() || p.ref_id.is_some() || p.ref_custom_id.is_some())
    {
        because.notes.push("clickless_not_credited");
    }
    let credit = match winner {
        Some(at) => Credit::Touch(Box::new(Winner {
            touch: candidates[at].touch.clone(),
            match_type: candidates[at].match_type,
        })),
        None => Credit::Organic,
    };
    // What the installation still competes for must survive the cut: the ledger reads its claims from here.
    candidates.sort_by_key(|c| match c.verdict {
        Verdict::Won => 0,
        Verdict::AlreadyEarned => 1,
        _ => 2,
    });
    because.rest = candidates.len().saturating_sub(CANDIDATES_MAX) as u32;
    candidates.truncate(CANDIDATES_MAX);
    because.candidates = candidates;
    credit
}

/// Which of two findings of the same touch is the stronger one; the lower wins.
fn rank(candidate: &Candidate) -> (bool, u8, MatchType) {
    (candidate.verdict != Verdict::Won, candidate.match_type.tier(), candidate.match_type)
}

/// The later touch first; at the same millisecond the one received later by the same node, then the
/// lower id.
fn later_first(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    let (a, b) = (&a.touch, &b.touch);
    // The node is compared before the id: an id's own millisecond may run ahead of `received_at`, and an
    // order that mixed the two rules would not be one.
    b.click
        .received_at
        .cmp(&a.click.received_at)
        .then(a.id.node().cmp(&b.id.node()))
        .then_with(|| b.id.cmp(&a.id))
}

/// Judges one touch by itself. `Won` means: eligible.
fn judge(
    question: &Question<'_>,
    match_type: MatchType,
    touch: &Touch,
    carrier: &Carrier,
    app: &App,
    settings: &Settings,
) -> Candidate {
    let click = &touch.click;
    let (taken, earlier) = match &question.basis {
        Basis::Own { taken, earlier, .. } => (*taken, *earlier),
        _ => (&[][..], &[][..]),
    };
    // What was judged once keeps its window: an installation's credit is for life, whatever is set later.
    let window = earlier
        .iter()
        .find(|c| c.touch.id == touch.id && c.verdict != Verdict::OtherWorkspace)
        .map_or_else(|| window_of(click, app, settings), |c| c.window);
    let age_ms = question.reference_at.since(click.received_at);
    let device_matches = || {
        let params = click.params();
        let on_click = crate::click::Click::device_ids(&params);
        carrier.device_ids.iter().any(|id| on_click.contains(id))
    };
    // A click id that an event carries proves that the click came before that event, whatever the device's
    // clock says. Where the carrier itself claims a time after the click, no clock is wrong: the click came
    // between the installation's first word and this one. An `open` proves it only by the store's referrer,
    // which is fixed when the app is installed.
    let skew = match_type.tier() == 1
        && (carrier.follows_touch || match_type == MatchType::InstallReferrer)
        && click.received_at > carrier.claimed_at
        && click.received_at <= carrier.received_at
        && -age_ms <= CLOCK_SKEW_MAX.ms();
    let verdict = if click.workspace != settings.workspace {
        Verdict::OtherWorkspace
    } else if click.app != app.id {
        Verdict::OtherApp
    } else if click.kind == TouchKind::Preview {
        Verdict::Preview
    } else if !click.kind.is_click() {
        Verdict::Impression
    } else if match_type == MatchType::DeviceId && !device_matches() {
        Verdict::OtherDevice
    } else if age_ms < 0 && !skew {
        Verdict::LateClick
    } else if age_ms > window.ms() {
        Verdict::OutsideWindow
    } else if taken.contains(&touch.id) {
        Verdict::AlreadyEarned
    } else {
        Verdict::Won
    };
    if verdict == Verdict::OtherWorkspace {
        return presented(touch.id, match_type, carrier.event);
    }
    Candidate { touch: touch.clone(), match_type, carrier: carrier.event, verdict, window, age_ms }
}

/// How long a click may earn something: as its link says, or shorter where a parameter of the click itself
/// asks for that. A parameter is a stranger's word, and never makes a window longer.
fn window_of(click: &crate::click::Click, app: &App, settings: &Settings) -> Span {
    let window = settings.click_window(app, click.link);
    click.lookback().map_or(window, |asked| asked.min(window))
}

/// Whether a touch would have been inside its link's window, and is outside the one it asked for.
fn lost_by_own_lookback(candidate: &Candidate, app: &App, settings: &Settings) -> bool {
    let click = &candidate.touch.click;
    candidate.verdict == Verdict::OutsideWindow
        && candidate.age_ms <= settings.click_window(app, click.link).ms()
        && click.lookback() == Some(candidate.window)
}

/// A touch of another workspace. That is a wall: the id was presented here, and of what stands behind it
/// nothing is shown, not even whose it is or when it was.
fn presented(id: ClickId, match_type: MatchType, carrier: Id<kind::Event>) -> Candidate {
    let click = crate::click::Click {
        workspace: WorkspaceNo(0),
        app: Id::from_bits(0),
        campaign: Id::from_bits(0),
        partner: Id::from_bits(0),
        link: Id::from_bits(0),
        kind: TouchKind::Click,
        dialect: LinkDialect::Linkrunner,
        flags: Flags::default(),
        received_at: Timestamp::from_ms(0),
        query: Vec::new(),
        ip: None,
        user_agent: None,
        referer: None,
        language: None,
        location: Default::default(),
    };
    let (verdict, window) = (Verdict::OtherWorkspace, Span::from_ms(0));
    Candidate { touch: Touch { id, click }, match_type, carrier, verdict, window, age_ms: 0 }
}

/// Adds what an earlier decision about the same event knew to what the click log answers now: a click that
/// the log let go meanwhile goes on counting, since an installation's credit is for life. `carrier` gives
/// the event of that id, if it is still kept.
pub fn remember(
    leads: &mut Vec<Lead>,
    earlier: &[Candidate],
    carrier: impl Fn(Id<kind::Event>) -> Option<Carrier>,
) {
    for candidate in earlier.iter().filter(|c| c.verdict != Verdict::OtherWorkspace) {
        leads.retain(|lead| match lead {
            Lead::Dead { text, .. } => ClickId::parse(text.trim().as_bytes()) != Some(candidate.touch.id),
            Lead::Touch { .. } => true,
        });
        let is_known = leads.iter().any(|lead| match lead {
            Lead::Touch { match_type, touch, carrier } => {
                (touch.id, *match_type, carrier.event)
                    == (candidate.touch.id, candidate.match_type, candidate.carrier)
            }
            Lead::Dead { .. } => false,
        });
        if let (false, Some(carrier)) = (is_known, carrier(candidate.carrier)) {
            let (match_type, touch) = (candidate.match_type, candidate.touch.clone());
            leads.push(Lead::Touch { match_type, touch, carrier });
        }
    }
}

/// Whether a click id that a later event of the same installation names tells nothing new: it was judged with
/// this match type or a stronger one, and another carrier would not change the verdict. Apps send the store's
/// referrer again with every start.
pub fn is_known(named: &Named, candidates: &[Candidate]) -> bool {
    candidates.iter().any(|c| {
        Some(c.touch.id) == named.id && c.match_type <= named.match_type && c.verdict != Verdict::LateClick
    })
}

/// The clicks that an installation competes for: those it would earn if no other held them, down to the
/// one it earned. Stored, so that a change of one installation's claim is followed by the others.
pub fn claims(decision: &Decision) -> Vec<ClickId> {
    let mut claims = Vec::new();
    let winner = decision.credit.winner();
    for candidate in &decision.because.candidates {
        let stronger = winner.is_none_or(|w| {
            (candidate.match_type.tier(), std::cmp::Reverse(candidate.touch.click.received_at))
                <= (w.match_type.tier(), std::cmp::Reverse(w.touch.click.received_at))
        });
        match candidate.verdict {
            Verdict::Won => claims.push(candidate.touch.id),
            Verdict::AlreadyEarned if stronger => claims.push(candidate.touch.id),
            _ => {}
        }
    }
    claims
}
