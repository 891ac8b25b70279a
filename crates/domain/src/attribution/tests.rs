//! The waterfall as tables: who won, and what is said about each that did not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::*;
use crate::click::{Click, Flags, LinkDialect, TouchKind};
use crate::device::{Device, DeviceId, DeviceIdKind};
use crate::event::{Environment, PostbackFields, Source};
use crate::id::WorkspaceNo;
use crate::settings::{CLICK_WINDOW_MAX, Destinations, Link, Platform, PostbackAuth};

const NOON: Timestamp = Timestamp::from_ms(1_780_574_400_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const APP: Id<kind::App> = Id::from_bits(1);
const LINK: Id<kind::Link> = Id::from_bits(2);
/// A link of a window of one hour.
const SHORT: Id<kind::Link> = Id::from_bits(3);
/// A link of a window longer than is allowed.
const LONG: Id<kind::Link> = Id::from_bits(4);
const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";

fn app(platform: Platform) -> App {
    App {
        id: APP,
        slug: "game".into(),
        name: "Game".into(),
        platform,
        bundle_id: None,
        store_url: None,
        currency: None,
        events: BTreeMap::new(),
        click_window: platform.click_window(),
        postback: PostbackAuth::default(),
    }
}

fn settings() -> Settings {
    let mut settings = Settings::empty(WorkspaceNo::DEFAULT, "default");
    settings.version = 7;
    for (id, window) in [(LINK, None), (SHORT, Some(Span::from_hours(1))), (LONG, Some(Span::from_days(400)))]
    {
        let link = Link {
            id,
            public_id: format!("l{}", id.bits()),
            campaign: Id::from_bits(1),
            app: APP,
            partner: Id::from_bits(1),
            dialect: LinkDialect::Linkrunner,
            destinations: Destinations::default(),
            allow_destinations: Vec::new(),
            click_window: window,
            addresses: Vec::new(),
        };
        settings.links.insert(id, Arc::new(link));
    }
    settings
}

/// Touch number `n`, `ago` milliseconds before noon; negative: after. The node mints rising ids.
fn touch(n: u128, ago: i64) -> Touch {
    on_node(0, n, ago)
}

fn on_node(node: u128, n: u128, ago: i64) -> Touch {
    let received_at = NOON.plus_ms(-ago);
    let bits = (received_at.ms() as u128) << 80 | 7 << 76 | node << 64 | 0b10 << 62 | n << 32;
    Touch {
        id: ClickId::from_bits(bits),
        click: Click {
            workspace: WorkspaceNo::DEFAULT,
            app: APP,
            campaign: Id::from_bits(1),
            partner: Id::from_bits(1),
            link: LINK,
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at,
            query: format!("gaid={GAID}&sub1=x").into_bytes(),
            ip: Some([203, 0, 113, 9].into()),
            user_agent: Some("Mozilla/5.0".into()),
            referer: Some("https://example.com/".into()),
            language: Some("de".into()),
            location: Default::default(),
        },
    }
}

fn with(mut touch: Touch, change: impl FnOnce(&mut Click)) -> Touch {
    change(&mut touch.click);
    touch
}

/// An event at noon, received then.
fn event(name: &str) -> Event {
    let ids = DeviceId::parse(DeviceIdKind::Gaid, GAID).into_iter().collect();
    Event {
        id: Id::from_bits(100),
        workspace: WorkspaceNo::DEFAULT,
        app: APP,
        source: Source::Client,
        source_event_id: None,
        name: name.into(),
        environment: Environment::Production,
        received_at: NOON,
        occurred_at: NOON,
        install_id: Some("i1".into()),
        click_id: None,
        referrer: None,
        customer_id: None,
        device: Device { ids, ..Device::default() },
        revenue: None,
        properties: None,
        consent: None,
        ip: None,
        user_agent: None,
        location: Default::default(),
        postback: None,
        change: None,
        findings: Vec::new(),
    }
}

/// What is asked: an event, what led where, and which clicks others hold.
struct Ask {
    event: Event,
    platform: Platform,
    leads: Vec<Lead>,
    taken: Vec<ClickId>,
    earlier: Vec<Candidate>,
}

impl Ask {
    fn new(event: Event) -> Self {
        Self { event, platform: Platform::Android, leads: Vec::new(), taken: Vec::new(), earlier: Vec::new() }
    }

    fn lead(mut self, match_type: MatchType, touch: &Touch) -> Self {
        let carrier = Carrier::of(&self.event);
        self.leads.push(Lead::Touch { match_type, touch: touch.clone(), carrier });
        self
    }

    fn decide(&self) -> Decision {
        let basis = Basis::Own { leads: &self.leads, taken: &self.taken, earlier: &self.earlier };
        let question = Question {
            event: &self.event,
            kind: Some(ConversionKind::Install),
            reference_at: self.event.reference_at(),
            basis,
        };
        decide(&question, &app(self.platform), &settings())
    }

    /// Asserts each candidate's verdict, the winner being the one that has `Won`. Everything that must hold of any
    /// decision is asserted here as well, and that the order of the leads does not matter.
    #[track_caller]
    fn check(&self, want: &[(&Touch, Verdict)]) -> Decision {
        let decision = self.decide();
        let got: HashMap<ClickId, Verdict> =
            decision.because.candidates.iter().map(|c| (c.touch.id, c.verdict)).collect();
        let want_map: HashMap<ClickId, Verdict> = want.iter().map(|(t, v)| (t.id, *v)).collect();
        assert_eq!(got, want_map);
        complete(&decision, &self.leads);
        let mut turned = Self {
            leads: self.leads.clone(),
            taken: self.taken.clone(),
            earlier: self.earlier.clone(),
            event: self.event.clone(),
            ..*self
        };
        turned.leads.reverse();
        assert_eq!(turned.decide().credit, decision.credit, "the order of the leads");
        decision
    }
}

/// `because` tells everything: exactly one winner when attributed, and each lead once.
#[track_caller]
fn complete(decision: &Decision, leads: &[Lead]) {
    let because = &decision.because;
    let won: Vec<&Candidate> = because.candidates.iter().filter(|c| c.verdict == Verdict::Won).collect();
    match decision.credit.winner() {
        Some(winner) => {
            assert_eq!(won.len(), 1, "exactly one won");
            assert_eq!(won[0].touch, winner.touch);
            assert_eq!(because.candidates[0].touch.id, winner.touch.id, "the winner comes first");
        }
        None => assert!(won.is_empty()),
    }
    let mut ids: Vec<ClickId> = leads
        .iter()
        .filter_map(|l| match l {
            Lead::Touch { touch, .. } => Some(touch.id),
            Lead::Dead { .. } => None,
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(because.candidates.len() + because.rest as usize, ids.len(), "every touch once");
    assert_eq!(because.dead.len(), leads.iter().filter(|l| matches!(l, Lead::Dead { .. })).count());
    assert!(because.notes.iter().all(|n| NOTES.iter().any(|(known, _)| known == n)), "{:?}", because.notes);
    assert_eq!(decision.settings_version, 7);
}

#[test]
fn a_click_id_beats_a_device_id_however_much_later_that_click_came() {
    let (named, later) = (touch(1, DAY), touch(2, HOUR));
    for by in [MatchType::InstallReferrer, MatchType::ClickId, MatchType::Postback] {
        let decision = Ask::new(event("install"))
            .lead(MatchType::DeviceId, &later)
            .lead(by, &named)
            .check(&[(&named, Verdict::Won), (&later, Verdict::WeakerTier)]);
        assert_eq!(decision.credit.winner().unwrap().match_type, by);
        assert_eq!(decision.because.candidates[0].age_ms, DAY);
        assert_eq!(decision.because.candidates[0].window, Span::from_days(7));
    }
}

#[test]
fn inside_a_tier_the_later_touch_wins_whichever_way_it_was_found() {
    let (early, late) = (touch(1, DAY), touch(2, HOUR));
    Ask::new(event("install"))
        .lead(MatchType::InstallReferrer, &early)
        .lead(MatchType::ClickId, &late)
        .check(&[(&late, Verdict::Won), (&early, Verdict::EarlierTouch)]);
    Ask::new(event("install"))
        .lead(MatchType::DeviceId, &early)
        .lead(MatchType::DeviceId, &late)
        .check(&[(&late, Verdict::Won), (&early, Verdict::EarlierTouch)]);
}

#[test]
fn at_the_same_millisecond_receive_order_decides_then_the_lower_node() {
    let (first, second) = (touch(1, HOUR), touch(2, HOUR));
    Ask::new(event("install"))
        .lead(MatchType::ClickId, &first)
        .lead(MatchType::ClickId, &second)
        .check(&[(&second, Verdict::Won), (&first, Verdict::EarlierTouch)]);
    let (low, high) = (on_node(1, 9, HOUR), on_node(2, 1, HOUR));
    Ask::new(event("install"))
        .lead(MatchType::ClickId, &high)
        .lead(MatchType::ClickId, &low)
        .check(&[(&low, Verdict::Won), (&high, Verdict::EarlierTouch)]);
}

#[test]
fn ids_that_ran_ahead_of_their_clock_still_have_one_order() {
    // Node 0's second id ran two milliseconds ahead; node 1's id lies between. Mixing "later id" inside a node
    // with "lower id" between nodes would go in a circle here, and a sort may panic on that.
    let a = on_node(0, 1, HOUR);
    let b = with(on_node(0, 2, HOUR - 2), |c| c.received_at = NOON.plus_ms(-HOUR));
    let c = with(on_node(1, 1, HOUR - 1), |c| c.received_at = NOON.plus_ms(-HOUR));
    for leads in [[&a, &b, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
        let ask =
            leads.iter().fold(Ask::new(event("install")), |ask, touch| ask.lead(MatchType::ClickId, touch));
        ask.check(&[(&b, Verdict::Won), (&a, Verdict::EarlierTouch), (&c, Verdict::EarlierTouch)]);
    }
}

#[test]
fn a_touch_found_twice_counts_once_by_its_stronger_finding() {
    let click = touch(1, HOUR);
    for leads in
        [[MatchType::DeviceId, MatchType::InstallReferrer], [MatchType::InstallReferrer, MatchType::DeviceId]]
    {
        let ask = leads.iter().fold(Ask::new(event("install")), |ask, by| ask.lead(*by, &click));
        let decision = ask.check(&[(&click, Verdict::Won)]);
        assert_eq!(decision.credit.winner().unwrap().match_type, MatchType::InstallReferrer);
    }
}

#[test]
fn windows_are_the_links_then_the_apps_and_never_over_the_maximum() {
    let one = |platform, link, ago, want| {
        let click = with(touch(1, ago), |c| c.link = link);
        Ask { platform, ..Ask::new(event("install")) }
            .lead(MatchType::ClickId, &click)
            .check(&[(&click, want)])
    };
    let unknown = Id::from_bits(99);
    for (platform, link, window) in [
        (Platform::Android, LINK, Span::from_days(7)),
        (Platform::Ios, LINK, Span::from_days(7)),
        (Platform::Web, LINK, Span::from_days(30)),
        (Platform::Web, SHORT, Span::from_hours(1)),
        (Platform::Android, LONG, CLICK_WINDOW_MAX),
        // The link was deleted since: its click keeps the app's window.
        (Platform::Android, unknown, Span::from_days(7)),
    ] {
        let inside = one(platform, link, window.ms(), Verdict::Won);
        assert_eq!(inside.because.candidates[0].window, window);
        one(platform, link, window.ms() + 1, Verdict::OutsideWindow);
    }
}

#[test]
fn the_window_ends_at_the_earlier_of_event_time_and_receive_time() {
    let click = with(touch(1, 0), |c| c.link = SHORT);
    let mut early = event("install");
    early.occurred_at = NOON.plus_ms(HOUR);
    early.received_at = NOON.plus_ms(30 * HOUR);
    Ask::new(early.clone()).lead(MatchType::ClickId, &click).check(&[(&click, Verdict::Won)]);
    // A claimed time in the future does not lengthen anything, nor does it shorten.
    early.occurred_at = NOON.plus_ms(90 * HOUR);
    early.received_at = NOON.plus_ms(HOUR + 1);
    Ask::new(early).lead(MatchType::ClickId, &click).check(&[(&click, Verdict::OutsideWindow)]);
}

#[test]
fn a_click_after_the_event_is_late_unless_the_senders_clock_explains_it() {
    // Claimed at noon, received ten hours later; the click lies between.
    let delayed = |name: &str| {
        let mut event = event(name);
        event.received_at = NOON.plus_ms(30 * HOUR);
        event
    };
    let click = touch(1, -5 * HOUR);
    let decision = Ask::new(delayed("install"))
        .lead(MatchType::InstallReferrer, &click)
        .check(&[(&click, Verdict::Won)]);
    assert_eq!(decision.because.notes, ["clock_skew"]);
    assert_eq!(decision.because.candidates[0].age_ms, -5 * HOUR);
    // An app is opened long after it was installed: an open proves nothing about the order.
    Ask::new(delayed("open")).lead(MatchType::ClickId, &click).check(&[(&click, Verdict::LateClick)]);
    // A device id is no proof of order either.
    Ask::new(delayed("install")).lead(MatchType::DeviceId, &click).check(&[(&click, Verdict::LateClick)]);
    // More than a clock can be wrong.
    let far = touch(1, -CLOCK_SKEW_MAX.ms() - 1);
    Ask::new(delayed("install")).lead(MatchType::ClickId, &far).check(&[(&far, Verdict::LateClick)]);
    let edge = touch(1, -CLOCK_SKEW_MAX.ms());
    Ask::new(delayed("install")).lead(MatchType::ClickId, &edge).check(&[(&edge, Verdict::Won)]);
    // Received after the event itself: it cannot have led to it.
    let mut prompt = event("install");
    prompt.received_at = NOON.plus_ms(HOUR);
    Ask::new(prompt).lead(MatchType::ClickId, &click).check(&[(&click, Verdict::LateClick)]);
}

#[test]
fn a_later_install_of_the_same_installation_does_not_bring_a_click_from_between() {
    // Installed at noon; reinstalled six hours later through a click in between. Nobody's clock is wrong.
    let click = touch(1, -5 * HOUR);
    let mut again = event("install");
    again.occurred_at = NOON.plus_ms(6 * HOUR);
    again.received_at = again.occurred_at;
    let carrier = Carrier::of(&again);
    let leads = [Lead::Touch { match_type: MatchType::InstallReferrer, touch: click, carrier }];
    let first = event("install");
    let basis = Basis::Own { leads: &leads, taken: &[], earlier: &[] };
    let question = Question { event: &first, kind: Some(ConversionKind::Install), reference_at: NOON, basis };
    let decision = decide(&question, &app(Platform::Android), &settings());
    assert_eq!(decision.credit, Credit::Organic);
    assert_eq!(decision.because.candidates[0].verdict, Verdict::LateClick);
}

#[test]
fn what_cannot_earn_anything_says_why() {
    let one = |change: fn(&mut Click), want| {
        let bad = with(touch(1, HOUR), change);
        let good = touch(2, 2 * HOUR);
        Ask::new(event("install"))
            .lead(MatchType::ClickId, &bad)
            .lead(MatchType::DeviceId, &good)
            .check(&[(&bad, want), (&good, Verdict::Won)])
    };
    one(|c| c.app = Id::from_bits(9), Verdict::OtherApp);
    one(|c| c.kind = TouchKind::Preview, Verdict::Preview);
    one(|c| c.kind = TouchKind::Impression, Verdict::Impression);
    let server = with(touch(1, HOUR), |c| c.kind = TouchKind::ServerClick);
    Ask::new(event("install")).lead(MatchType::ClickId, &server).check(&[(&server, Verdict::Won)]);
}

#[test]
fn another_workspaces_click_is_named_and_not_shown() {
    let foreign = with(touch(1, HOUR), |c| c.workspace = WorkspaceNo(2));
    let ask = Ask::new(event("install")).lead(MatchType::ClickId, &foreign);
    let decision = ask.check(&[(&foreign, Verdict::OtherWorkspace)]);
    let shown = &decision.because.candidates[0].touch.click;
    assert!(shown.query.is_empty() && shown.ip.is_none() && shown.user_agent.is_none());
    assert!(shown.referer.is_none() && shown.language.is_none());
    let ids = [shown.app.bits(), shown.campaign.bits(), shown.partner.bits(), shown.link.bits()];
    assert_eq!((ids, shown.workspace.0), ([0; 4], 0), "nor whose it is");
    let candidate = &decision.because.candidates[0];
    assert_eq!(
        (shown.received_at.ms(), candidate.age_ms, candidate.window.ms()),
        (0, 0, 0),
        "nor when it was"
    );
}

#[test]
fn a_window_that_held_once_holds_for_life() {
    // Won inside the app's window of seven days; then the link's own window became an hour.
    let click = touch(1, 2 * HOUR);
    let before = Ask::new(event("install")).lead(MatchType::ClickId, &click).check(&[(&click, Verdict::Won)]);
    let moved = with(click.clone(), |c| c.link = SHORT);
    let mut again = Ask::new(event("install")).lead(MatchType::ClickId, &moved);
    again.check(&[(&moved, Verdict::OutsideWindow)]);
    again.earlier = before.because.candidates;
    let decision = again.check(&[(&moved, Verdict::Won)]);
    assert_eq!(decision.because.candidates[0].window, Span::from_days(7), "the one that held is shown");
}

#[test]
fn an_open_with_the_stores_referrer_may_come_from_a_slow_clock() {
    let click = touch(1, -5 * HOUR);
    let mut open = event("open");
    open.received_at = NOON.plus_ms(6 * HOUR);
    let ask = |by| Ask::new(open.clone()).lead(by, &click);
    let decision = ask(MatchType::InstallReferrer).check(&[(&click, Verdict::Won)]);
    assert_eq!(decision.because.notes, ["clock_skew"]);
    // Any other id may have been picked up long after the installation.
    ask(MatchType::ClickId).check(&[(&click, Verdict::LateClick)]);
}

#[test]
fn what_an_event_names_is_read_in_one_place() {
    let click = touch(1, HOUR);
    let mut full = event("install");
    full.click_id = Some(format!(" {} ", click.id));
    full.referrer = Some(crate::event::InstallReferrer {
        referrer: format!("utm_source=x&{}={}", crate::referrer::CLICK_ID_KEY, "nonsense".repeat(20)),
        ..Default::default()
    });
    let named = evidence(&full);
    let got: Vec<_> = named.iter().map(|n| (n.match_type, n.id, n.text.chars().count())).collect();
    let want = [(MatchType::InstallReferrer, None, 64), (MatchType::ClickId, Some(click.id), 38)];
    assert_eq!(got, want);
    full.source = Source::Postback;
    assert_eq!(evidence(&full)[1].match_type, MatchType::Postback);
    assert!(evidence(&event("open")).is_empty());

    // Known: judged with that match type or a stronger one.
    let known = |by| Ask::new(event("install")).lead(by, &click).decide().because.candidates;
    assert!(is_known(&named[1], &known(MatchType::InstallReferrer)));
    assert!(is_known(&named[1], &known(MatchType::ClickId)));
    assert!(!is_known(&named[1], &known(MatchType::DeviceId)), "a click id proves more than a device");
    assert!(!is_known(&named[0], &known(MatchType::ClickId)));
    let late = Ask::new(event("open")).lead(MatchType::ClickId, &touch(1, -HOUR)).decide();
    assert!(!is_known(&Named { id: Some(touch(1, -HOUR).id), ..named[1].clone() }, &late.because.candidates));
}

#[test]
fn a_print_that_collides_is_another_device() {
    let other = with(touch(1, HOUR), |c| c.query = b"gaid=38400000-8cf0-11bd-b23e-10b96e40ffff".to_vec());
    Ask::new(event("install")).lead(MatchType::DeviceId, &other).check(&[(&other, Verdict::OtherDevice)]);
    // The same text as another kind of id is another device too.
    let kind = with(touch(1, HOUR), |c| c.query = format!("idfa={GAID}").into_bytes());
    Ask::new(event("install")).lead(MatchType::DeviceId, &kind).check(&[(&kind, Verdict::OtherDevice)]);
    // By its own id it is the same touch that anyone may name.
    Ask::new(event("install")).lead(MatchType::ClickId, &other).check(&[(&other, Verdict::Won)]);
}

#[test]
fn a_click_that_earned_an_earlier_installation_gives_way_to_the_next_best() {
    let (best, next) = (touch(2, HOUR), touch(1, DAY));
    let mut ask = Ask::new(event("install")).lead(MatchType::ClickId, &best).lead(MatchType::DeviceId, &next);
    ask.taken = vec![best.id];
    let decision = ask.check(&[(&best, Verdict::AlreadyEarned), (&next, Verdict::Won)]);
    assert_eq!(claims(&decision), [next.id, best.id], "it takes the better one when that becomes free");
    ask.taken = vec![best.id, next.id];
    let decision = ask.check(&[(&best, Verdict::AlreadyEarned), (&next, Verdict::AlreadyEarned)]);
    assert_eq!(decision.credit, Credit::Organic);
    assert_eq!(claims(&decision), [best.id, next.id]);
    ask.taken = vec![next.id];
    let decision = ask.check(&[(&best, Verdict::Won), (&next, Verdict::AlreadyEarned)]);
    assert_eq!(claims(&decision), [best.id], "what is weaker than its own click it does not want");
}

#[test]
fn at_most_fifty_candidates_are_kept_and_the_rest_is_counted() {
    let touches: Vec<Touch> = (0..70).map(|n| touch(n, HOUR + n as i64)).collect();
    let held = touch(100, 30 * 60_000);
    let mut ask = touches.iter().fold(Ask::new(event("install")), |ask, t| ask.lead(MatchType::DeviceId, t));
    ask = ask.lead(MatchType::ClickId, &held);
    ask.taken = vec![held.id];
    let decision = ask.decide();
    complete(&decision, &ask.leads);
    assert_eq!((decision.because.candidates.len(), decision.because.rest), (50, 21));
    assert_eq!(decision.credit.winner().unwrap().touch, touches[0]);
    assert!(claims(&decision).contains(&held.id), "what it competes for survives the cut");
}

#[test]
fn click_ids_that_lead_nowhere_are_kept_with_the_reason() {
    let mut ask = Ask::new(event("install"));
    let all = [DeadEnd::Malformed, DeadEnd::NotOurs, DeadEnd::NotStored, DeadEnd::Expired];
    for why in all {
        ask.leads.push(Lead::Dead { match_type: MatchType::ClickId, text: why.code().into(), why });
        assert_eq!(DeadEnd::from_number(why as u8), Some(why));
    }
    let decision = ask.check(&[]);
    assert_eq!(decision.credit, Credit::Organic);
    assert_eq!(decision.because.dead.iter().map(|(_, _, why)| *why).collect::<Vec<_>>(), all);
    assert!(decision.because.notes.is_empty(), "there was evidence; it led nowhere");
}

#[test]
fn nothing_that_could_name_a_touch_is_organic_and_says_so() {
    let decision = Ask::new(event("install")).check(&[]);
    assert_eq!((decision.credit, decision.because.notes), (Credit::Organic, vec!["no_evidence"]));
    let mut clickless = event("purchase");
    clickless.postback = Some(PostbackFields { coupon: Some("SAVE10".into()), ..PostbackFields::default() });
    let decision = Ask::new(clickless).check(&[]);
    assert_eq!(decision.because.notes, ["no_evidence", "clickless_not_credited"]);
}

#[test]
fn a_follower_has_its_installations_credit_and_says_by_which_key() {
    let credit = Credit::Touch(Box::new(Winner { touch: touch(1, HOUR), match_type: MatchType::DeviceId }));
    let install = Id::from_bits(50);
    for (name, notes) in
        [("purchase", vec!["tie_install_id"]), ("open", vec!["tie_install_id", "repeat_install"])]
    {
        let event = event(name);
        let basis = Basis::Install { event: install, credit: &credit, tie: "tie_install_id" };
        let question = Question { event: &event, kind: None, reference_at: NOON, basis };
        let decision = decide(&question, &app(Platform::Android), &settings());
        assert_eq!((&decision.credit, decision.because.follows), (&credit, Some(install)));
        assert_eq!(decision.because.notes, notes);
        assert!(claims(&decision).is_empty());
    }
    let event = event("purchase");
    let question = Question { event: &event, kind: None, reference_at: NOON, basis: Basis::InstallUnknown };
    assert_eq!(decide(&question, &app(Platform::Android), &settings()).credit, Credit::InstallUnknown);
}

#[test]
fn what_was_known_is_remembered_when_the_log_has_let_it_go() {
    let click = touch(1, HOUR);
    let ask = Ask::new(event("install")).lead(MatchType::ClickId, &click);
    let before = ask.decide();
    let gone =
        Lead::Dead { match_type: MatchType::ClickId, text: click.id.to_string(), why: DeadEnd::Expired };
    let mut again = Ask::new(event("install"));
    again.leads = vec![gone];
    remember(&mut again.leads, &before.because.candidates, |id| {
        (id == ask.event.id).then(|| Carrier::of(&ask.event))
    });
    assert_eq!(again.leads, ask.leads);
    // Still there: nothing is added.
    let mut still = ask.leads.clone();
    remember(&mut still, &before.because.candidates, |_| Some(Carrier::of(&ask.event)));
    assert_eq!(still, ask.leads);
}

#[test]
fn every_number_reads_back_and_every_code_is_its_own() {
    let verdicts: Vec<Verdict> = (1..=u8::MAX).map_while(Verdict::from_number).collect();
    assert_eq!(verdicts.len(), 11);
    assert!(verdicts.iter().enumerate().all(|(i, v)| *v as usize == i + 1));
    let mut codes: Vec<&str> = verdicts.iter().map(|v| v.code()).collect();
    codes.sort();
    codes.dedup();
    assert_eq!(codes.len(), 11);
    let types: Vec<MatchType> = (1..=u8::MAX).map_while(MatchType::from_number).collect();
    assert!(types.len() == 4 && types.iter().enumerate().all(|(i, t)| *t as usize == i + 1));
}

proptest::proptest! {
    /// Any evidence, in any order, gives the same credit, and every touch is accounted for.
    #[test]
    fn the_order_of_the_evidence_does_not_matter(
        found in proptest::collection::vec((0..12_u128, 0..4_u8, 0..4_u8, -40..40_i64, proptest::prelude::any::<bool>()), 0..20),
        turn in 0..20_usize,
    ) {
        let mut ask = Ask::new(event("install"));
        ask.event.received_at = NOON.plus_ms(30 * HOUR);
        for (n, by, odd, hours, taken) in found {
            // The same number is always the same touch.
            let click = with(touch(n, (n as i64 - 3) * HOUR), |c| match n % 5 {
                0 => c.link = SHORT,
                1 if n > 6 => c.app = Id::from_bits(9),
                2 if n > 8 => c.kind = TouchKind::Preview,
                _ => {}
            });
            let by = MatchType::from_number(by + 1).expect("a match type");
            let mut carrier = Carrier::of(&ask.event);
            carrier.follows_touch = odd > 0;
            carrier.claimed_at = NOON.plus_ms(hours.min(0) * HOUR);
            if taken {
                ask.taken.push(click.id);
            }
            ask.leads.push(Lead::Touch { match_type: by, touch: click, carrier });
        }
        let one = ask.decide();
        complete(&one, &ask.leads);
        let turn = turn.min(ask.leads.len());
        ask.leads.rotate_left(turn);
        assert_eq!(ask.decide().credit, one.credit);
        ask.leads.reverse();
        assert_eq!(ask.decide().credit, one.credit);
    }
}

#[test]
fn a_click_s_own_lookback_narrows_its_window_and_never_widens_it() {
    let asks = |ago: i64, link, query: &str| {
        with(touch(1, ago), |c| {
            (c.link, c.dialect, c.query) = (link, LinkDialect::AppsFlyer, query.as_bytes().to_vec());
        })
    };
    for (ago, link, query, verdict, is_noted) in [
        (6 * HOUR, LINK, "af_click_lookback=6h", Verdict::Won, false),
        (6 * HOUR + 1, LINK, "af_click_lookback=6h", Verdict::OutsideWindow, true),
        (8 * DAY, LINK, "af_click_lookback=6h", Verdict::OutsideWindow, false),
        (8 * DAY, LINK, "af_click_lookback=30d", Verdict::OutsideWindow, false),
        (2 * HOUR, SHORT, "af_click_lookback=6h", Verdict::OutsideWindow, false),
        (6 * DAY, LINK, "af_click_lookback=1m", Verdict::Won, false),
        (6 * DAY, LINK, "af_viewthrough_lookback=1h", Verdict::Won, false),
    ] {
        let click = asks(ago, link, query);
        let decision =
            Ask::new(event("install")).lead(MatchType::ClickId, &click).check(&[(&click, verdict)]);
        let noted = decision.because.notes.contains(&"click_lookback");
        assert_eq!(noted, is_noted, "{query}, {ago} ms ago");
    }
    let click = asks(HOUR, LINK, "af_click_lookback=6h");
    let decision = Ask::new(event("install")).lead(MatchType::ClickId, &click).decide();
    assert_eq!(
        decision.because.candidates[0].window,
        Span::from_hours(6),
        "the story shows the window that held"
    );
}
