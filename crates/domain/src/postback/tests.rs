//! Rules as tables: what each conversion makes of each rule, and what a partner may see.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::attribution::{Because, MatchType, Winner};
use crate::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use crate::click_id::ClickId;
use crate::condition::{Condition, OsVersion};
use crate::event::{PostbackFields, Revenue, Source};
use crate::id::WorkspaceNo;
use crate::location::{Country, Location};
use crate::money::{Amount, Currency};
use crate::retry::{Late, Retry};
use crate::settings::{Accepts, Partner, PartnerGroup, Platform, PostbackAuth, Request};
use crate::template::{Dialect, Parts, Template, VOCABULARY};
use crate::time::Span;

mod acceptance;
mod callback;
mod group;

const NOON: Timestamp = Timestamp::from_ms(1_780_574_400_000);
const DAY: i64 = 86_400_000;
const APP: Id<kind::App> = Id::from_bits(1);
const ACME: Id<kind::Partner> = Id::from_bits(11);
const ZETA: Id<kind::Partner> = Id::from_bits(12);
const GROUP: Id<kind::PartnerGroup> = Id::from_bits(31);

fn touch(query: &str) -> Touch {
    Touch {
        id: ClickId::from_bits(77),
        click: Click {
            workspace: WorkspaceNo::DEFAULT,
            app: APP,
            campaign: Id::from_bits(5),
            partner: ACME,
            link: Id::from_bits(6),
            kind: TouchKind::Click,
            dialect: LinkDialect::Linkrunner,
            flags: Flags::default(),
            received_at: NOON.plus_ms(-DAY),
            query: query.as_bytes().to_vec(),
            ip: Some([203, 0, 113, 9].into()),
            user_agent: Some("Clicker/1".into()),
            referer: None,
            language: Some("de-DE".into()),
            location: Default::default(),
        },
    }
}

fn event(name: &str) -> Event {
    Event {
        id: Id::from_bits(100),
        workspace: WorkspaceNo::DEFAULT,
        app: APP,
        source: Source::Server,
        source_event_id: None,
        name: name.into(),
        environment: Environment::Production,
        received_at: NOON,
        occurred_at: NOON,
        install_id: Some("i1".into()),
        click_id: None,
        referrer: None,
        customer_id: None,
        device: Default::default(),
        revenue: Some(Revenue {
            amount: Amount::parse("12.5").unwrap(),
            currency: Currency::parse("EUR"),
            verified: true,
        }),
        properties: Some(r#"{"level":3,"order_id":"o-1"}"#.into()),
        consent: None,
        ip: None,
        user_agent: None,
        location: Default::default(),
        postback: None,
        change: None,
        findings: Vec::new(),
    }
}

fn rule(on: ConversionKind, url: &str) -> Rule {
    Rule {
        id: Id::from_bits(21),
        slug: "r".into(),
        version: 3,
        app: APP,
        partner: Some(ACME),
        group: None,
        on,
        events: Vec::new(),
        request: Template::parse(Parts::get(url)).0.into(),
        scope: Scope::Attributed,
        first_only: false,
        share: Share::None,
        conditions: Vec::new(),
        delay: Span::from_ms(0),
        rename: BTreeMap::new(),
        sandbox: false,
        pending: false,
        window: Span::from_days(30),
        rate: None,
        retry: Retry::default(),
        accepts: Accepts::default(),
        accepts_from: AcceptsFrom::default(),
        late: Late::default(),
    }
}

/// One conversion and one rule.
struct Case {
    event: Event,
    kind: ConversionKind,
    credit: Credit,
    rule: Rule,
    is_install: bool,
    install_at: Option<Timestamp>,
    told_before: bool,
    heard: bool,
    is_superseded: bool,
    status: Status,
    change: Option<StatusChange>,
    members: Vec<Id<kind::Partner>>,
    /// Whether the partners' links may carry callbacks.
    callbacks: bool,
    /// How long the partners accept installs.
    partners_accept: Option<Span>,
}

/// A purchase a day after its install, won by acme, and acme's rule for purchases.
fn case() -> Case {
    Case {
        event: event("purchase"),
        kind: ConversionKind::Purchase,
        credit: won("click_id=a1b2"),
        rule: rule(ConversionKind::Purchase, "https://p.example/?c={click_id}"),
        is_install: false,
        install_at: Some(NOON.plus_ms(-DAY)),
        told_before: false,
        heard: true,
        is_superseded: false,
        status: Status::Approved,
        change: None,
        members: vec![ACME, ZETA],
        callbacks: true,
        partners_accept: None,
    }
}

fn won(query: &str) -> Credit {
    Credit::Touch(Box::new(Winner { touch: touch(query), match_type: MatchType::ClickId }))
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn plan(&self) -> Vec<Considered> {
        let app = App {
            id: APP,
            slug: "game".into(),
            name: "Game".into(),
            platform: Platform::Android,
            bundle_id: Some("com.example.game".into()),
            store_url: None,
            currency: None,
            events: BTreeMap::new(),
            click_window: Span::from_days(7),
            postback: PostbackAuth::default(),
        };
        let mut settings = Settings::empty(WorkspaceNo::DEFAULT, "default");
        for (id, slug) in [(ACME, "acme"), (ZETA, "zeta")] {
            let cfg = [("token".to_owned(), "s3cr3t".to_owned())].into();
            let partner = Partner {
                id,
                slug: slug.into(),
                name: slug.into(),
                ref_id: slug.into(),
                cfg,
                in_link_callbacks: self.callbacks,
                rate: None,
                accepts_within: self.partners_accept,
            };
            settings.partners.insert(id, Arc::new(partner));
        }
        let group = PartnerGroup {
            id: GROUP,
            slug: "both".into(),
            name: "both".into(),
            partners: self.members.clone(),
        };
        settings.groups.insert(GROUP, Arc::new(group));
        settings.rules.insert(APP, vec![Arc::new(self.rule.clone())]);
        let because = Because {
            reference_at: NOON,
            candidates: Vec::new(),
            rest: 0,
            dead: Vec::new(),
            follows: None,
            notes: Vec::new(),
        };
        let decision = Decision {
            event: self.event.id,
            kind: Some(self.kind.clone()),
            credit: self.credit.clone(),
            because,
            settings_version: 1,
        };
        let told = |_: &Rule, _: Option<Id<kind::Partner>>| self.told_before;
        let context = Context {
            install: None,
            births: &[],
            install_at: self.install_at,
            is_install: self.is_install,
            status: self.status,
            change: self.change.as_ref().map(|change| (Id::from_bits(200), change)),
            told_before: &told,
            heard: &|_| self.heard,
            is_superseded: self.is_superseded,
        };
        plan(&self.event, &decision, &app, &settings, context)
    }

    fn values(&self) -> BTreeMap<String, String> {
        let considered = self.plan().remove(0);
        let values = considered.outcome.expect("planned");
        values.into_iter().map(|v| (v.name, String::from_utf8(v.decoded).unwrap())).collect()
    }
}

#[track_caller]
fn check(case: &Case, want: Result<Id<kind::Partner>, Suppressed>) {
    let mut considered = case.plan();
    assert_eq!(considered.len(), 1, "every rule of the kind is considered once");
    let one = considered.remove(0);
    assert_eq!((one.rule, one.rule_version), (case.rule.id, 3));
    match (want, one.outcome) {
        (Ok(partner), Ok(_)) => assert_eq!(one.partner, Some(partner)),
        (Err(want), Err(got)) => assert_eq!(got, want),
        (want, got) => panic!("wanted {want:?}, got {got:?}"),
    }
}

#[test]
fn each_reason_is_reached() {
    let organic = |c: &mut Case| c.credit = Credit::Organic;
    let mut reached = Vec::new();
    let mut because = |reason, change: &dyn Fn(&mut Case)| {
        check(&case().with(change), Err(reason));
        reached.push(reason);
    };
    because(Suppressed::Unattributed, &organic);
    because(Suppressed::OtherPartner, &|c| c.rule.partner = Some(ZETA));
    because(Suppressed::InstallUnknown, &|c| c.credit = Credit::InstallUnknown);
    because(Suppressed::Unmapped, &|c| c.rule.rename = [("order".into(), "sale".into())].into());
    because(Suppressed::OtherEvent, &|c| {
        (c.kind, c.rule.on) = (ConversionKind::Event, ConversionKind::Event);
        c.rule.events = vec!["level".into()];
    });
    because(Suppressed::OutsideWindow, &|c| c.install_at = Some(NOON.plus_ms(-30 * DAY - 1)));
    because(Suppressed::NotFirst, &|c| (c.rule.first_only, c.told_before) = (true, true));
    because(Suppressed::NoPartnerClickId, &|c| c.credit = won("sub1=x"));
    because(Suppressed::Pending, &|c| c.status = Status::Pending);
    because(Suppressed::Sandbox, &|c| c.event.environment = Environment::Sandbox);
    because(Suppressed::NobodyToTell, &|c| {
        organic(c);
        (c.rule.partner, c.rule.scope) = (None, Scope::All);
    });
    because(Suppressed::Condition, &|c| c.rule.conditions = vec![Condition::Platform(vec![Platform::Ios])]);
    because(Suppressed::Rejected, &|c| c.status = Status::Rejected);
    because(Suppressed::NoCallback, &|c| c.rule.request = Request::Callback);
    because(Suppressed::CallbackRefused, &|c| {
        c.rule.request = Request::Callback;
        c.credit = callback::clicked("event_callback_purchase=https%3A%2F%2F127.0.0.1%2F");
    });
    because(Suppressed::NeverTold, &|c| {
        rejected(c);
        (c.rule.on, c.heard) = (ConversionKind::Rejected, false);
    });
    because(Suppressed::Superseded, &|c| {
        rejected(c);
        (c.rule.on, c.is_superseded) = (ConversionKind::Rejected, true);
    });
    reached.sort();
    assert_eq!(reached, Suppressed::ALL);
    for reason in Suppressed::ALL {
        assert_eq!(Suppressed::from_number(reason as u8), Some(reason));
    }
    assert_eq!(Suppressed::from_number(0), None, "0 stands for told");
}

#[test]
fn a_rule_fires_when_nothing_speaks_against_it() {
    check(&case(), Ok(ACME));
    // At the last moment of the window.
    check(&case().with(|c| c.install_at = Some(NOON.plus_ms(-30 * DAY))), Ok(ACME));
    // Without an installation the click begins the window.
    let web = |days: i64| {
        case().with(|c| {
            c.install_at = None;
            c.rule.window = Span::from_days(1);
            (c.event.occurred_at, c.event.received_at) = (NOON.plus_ms(days), NOON.plus_ms(days));
        })
    };
    check(&web(0), Ok(ACME));
    check(&web(1), Err(Suppressed::OutsideWindow));
    // What asks for it gets it.
    check(&case().with(|c| (c.event.environment, c.rule.sandbox) = (Environment::Sandbox, true)), Ok(ACME));
    check(&case().with(|c| (c.status, c.rule.pending) = (Status::Pending, true)), Ok(ACME));
    // First, and told before to no one; or not asked to be first.
    check(&case().with(|c| c.rule.first_only = true), Ok(ACME));
    check(&case().with(|c| c.told_before = true), Ok(ACME));
    // A template that does not echo the partner's click id does not need one.
    let other = Request::from(Template::parse(Parts::get("https://p.example/?r={rt_click_id}")).0);
    check(&case().with(|c| (c.credit, c.rule.request) = (won(""), other)), Ok(ACME));
    // Nor does one that has another choice: the sub parameter in which some systems carry it.
    for (dialect, url) in [
        (Dialect::Affise, "https://p.example/?c={sub1}"),
        (Dialect::Canonical, "https://p.example/?c={click_id||sub1}"),
    ] {
        let parts = Parts { dialect, ..Parts::get(url) };
        let other = Request::from(Template::parse(parts).0);
        let told = case().with(|c| (c.credit, c.rule.request) = (won("sub1=x"), other));
        assert_eq!(told.values()["sub1"], "x", "{url}");
    }
    let twice = Request::from(Template::parse(Parts::get("https://p.example/?c={click_id}{sub1}")).0);
    check(
        &case().with(|c| (c.credit, c.rule.request) = (won("sub1=x"), twice)),
        Err(Suppressed::NoPartnerClickId),
    );
    // Unexpanded is as good as absent.
    check(&case().with(|c| c.credit = won("click_id={clickid}")), Err(Suppressed::NoPartnerClickId));
}

#[test]
fn rules_of_another_kind_and_events_that_are_no_conversion_are_not_considered() {
    assert!(case().with(|c| c.kind = ConversionKind::Signup).plan().is_empty());
}

#[test]
fn a_rule_for_all_partners_tells_whoever_won() {
    check(&case().with(|c| c.rule.partner = None), Ok(ACME));
    check(
        &case().with(|c| (c.rule.partner, c.credit) = (None, Credit::Organic)),
        Err(Suppressed::Unattributed),
    );
}

#[test]
fn a_rule_that_tells_of_everything_tells_others_wins_and_organic_ones_but_waits_for_the_installation() {
    let all = |c: &mut Case| (c.rule.scope, c.rule.partner) = (Scope::All, Some(ZETA));
    check(&case().with(all), Ok(ZETA));
    check(&case().with(all).with(|c| c.credit = Credit::Organic), Ok(ZETA));
    check(&case().with(all).with(|c| c.credit = won("")), Ok(ZETA));
    check(&case().with(all).with(|c| c.credit = Credit::InstallUnknown), Err(Suppressed::InstallUnknown));
}

#[test]
fn the_birth_of_an_installation_is_told_by_its_own_name_and_outside_no_window() {
    let birth = || {
        case().with(|c| {
            (c.kind, c.rule.on, c.is_install) = (ConversionKind::Install, ConversionKind::Install, true);
            c.event.name = "open".into();
            c.rule.request = Request::from(
                Template::parse(Parts::get("https://p.example/{event_name}/{mapped_event_name}")).0,
            );
        })
    };
    let names =
        |case: &Case| (case.values()["event_name"].clone(), case.values()["mapped_event_name"].clone());
    assert_eq!(names(&birth()), ("install".into(), "install".into()));
    let renamed = birth().with(|c| c.rule.rename = [("install".into(), "cpi".into())].into());
    assert_eq!(names(&renamed), ("install".into(), "cpi".into()));
    // Another of its births was first, long ago.
    check(&birth().with(|c| c.install_at = Some(NOON.plus_ms(-90 * DAY))), Ok(ACME));
}

/// A rule with every macro there is.
fn everything(case: &mut Case) {
    let query: Vec<String> = VOCABULARY.iter().map(|m| format!("{0}={{{0}}}", m.name)).collect();
    let url = format!("https://p.example/?{}&p={{param.color}}&t={{cfg.token}}", query.join("&"));
    case.rule.request = Request::from(Template::parse(Parts::get(url)).0);
    case.credit =
        won("click_id=a1b2&color=blue&sub1=x&cost_currency=USD&gaid=38400000-8cf0-11bd-b23e-10b96e40000d");
}

#[test]
fn others_never_see_what_belongs_to_the_winning_touch() {
    let winner = case().with(everything).values();
    assert_eq!((winner["partner_click_id"].as_str(), winner["sub1"].as_str()), ("a1b2", "x"));
    assert_eq!((winner["param.color"].as_str(), winner["ip"].as_str()), ("blue", "203.0.113.9"));
    let other =
        case().with(everything).with(|c| (c.rule.partner, c.rule.scope) = (Some(ZETA), Scope::All)).values();
    for only in VOCABULARY.iter().filter(|m| m.winner_only) {
        assert!(!other.contains_key(only.name), "{} is the winner's", only.name);
    }
    assert_eq!(other["param.color"], "", "known, and empty");
    // What only the click knew is not handed on either, whatever its name.
    for hidden in ["ip", "ua", "lang", "gaid", "device_id", "cost_currency"] {
        assert!(!other.contains_key(hidden), "{hidden} came from the click");
    }
    assert_eq!((other["is_organic"].as_str(), other["event_name"].as_str()), ("0", "purchase"));
    // What the event itself says is everybody's.
    let ip: IpAddr = [198, 51, 100, 7].into();
    let own = case().with(everything).with(|c| {
        (c.rule.partner, c.rule.scope, c.event.ip) = (Some(ZETA), Scope::All, Some(ip));
    });
    assert_eq!(own.values()["ip"], "198.51.100.7");
}

#[test]
fn places_are_of_one_address_and_the_winners_stays_with_the_winner() {
    let berlin =
        || Location { country: Country::parse("DE"), city: Location::text("Berlin"), ..Default::default() };
    let wide = |case: Case| {
        case.with(everything).with(|c| {
            let Credit::Touch(winner) = &mut c.credit else { panic!("won") };
            winner.touch.click.location = berlin();
        })
    };
    let told = |case: &Case| {
        let values = case.values();
        ["country", "region", "city"].map(|name| values.get(name).cloned().unwrap_or_default())
    };
    let to_another = |c: &mut Case| (c.rule.partner, c.rule.scope) = (Some(ZETA), Scope::All);
    assert_eq!(
        told(&wide(case())),
        ["DE", "", "Berlin"],
        "an event without an address has the click's place"
    );
    assert_eq!(told(&wide(case()).with(to_another)), ["", "", ""], "nobody else learns where the click was");
    let paris = |c: &mut Case| {
        c.event.ip = Some([198, 51, 100, 7].into());
        c.event.location = Location { country: Country::parse("FR"), ..Default::default() };
    };
    assert_eq!(told(&wide(case()).with(paris)), ["FR", "", ""], "its own place, and no city of another");
    assert_eq!(
        told(&wide(case()).with(paris).with(to_another)),
        ["FR", "", ""],
        "what the event says is everybody's"
    );
    let unknown = |c: &mut Case| c.event.ip = Some([198, 51, 100, 7].into());
    assert_eq!(
        told(&wide(case()).with(unknown)),
        ["", "", ""],
        "an address of its own that no database knows"
    );
}

#[test]
fn money_is_told_only_by_rules_that_share_it() {
    let shared = case().with(everything).with(|c| c.rule.share = Share::Exact).values();
    assert_eq!((shared["revenue"].as_str(), shared["revenue_minor"].as_str()), ("12.50", "1250"));
    assert_eq!(
        (shared["currency"].as_str(), shared["event_value"].as_str()),
        ("EUR", r#"{"level":3,"order_id":"o-1"}"#)
    );
    let kept = case().with(everything).values();
    for money in VOCABULARY.iter().filter(|m| m.money) {
        assert!(!kept.contains_key(money.name), "{} is money", money.name);
    }
    assert!(VOCABULARY.iter().any(|m| m.money && m.name == "event_value"));
    assert_eq!(kept["order_id"], "o-1");
}

#[test]
fn events_are_renamed_as_the_rule_says() {
    let renamed = case().with(|c| {
        c.rule.rename = [("purchase".into(), "sale".into())].into();
        c.rule.request = Request::from(
            Template::parse(Parts::get("https://p.example/{event_name}/{mapped_event_name}")).0,
        );
    });
    let values = renamed.values();
    assert_eq!((values["event_name"].as_str(), values["mapped_event_name"].as_str()), ("purchase", "sale"));
}

#[test]
fn a_partners_settings_are_read_at_the_send_and_never_stored() {
    let values = case().with(everything).plan().remove(0).outcome.unwrap();
    assert!(!values.iter().any(|v| v.name.starts_with("cfg.")));
    let cfg = BTreeMap::from([("token".to_owned(), "rotated".to_owned())]);
    let stored = Stored { values: &values, cfg: Some(&cfg) };
    assert_eq!(stored.get("cfg.token").unwrap().decoded.as_ref(), b"rotated");
    assert_eq!(stored.get("partner_click_id").unwrap().received.as_deref(), Some(&b"a1b2"[..]));
    assert_eq!(stored.get("cfg.other"), None);
}

#[test]
fn a_value_is_stored_once_however_often_it_is_used() {
    let twice = Request::from(
        Template::parse(Parts::get("https://p.example/{event_id}?e={event_id}&f={event_id|upper}")).0,
    );
    let values = case().with(|c| c.rule.request = twice).plan().remove(0).outcome.unwrap();
    assert_eq!(values.iter().filter(|v| v.name == "event_id").count(), 1);
}

#[test]
fn what_an_inbound_postback_and_the_touch_say_is_told() {
    let told = case().with(everything).with(|c| {
        c.rule.share = Share::Exact;
        c.rule.pending = true;
        c.status = Status::Pending;
        c.event.customer_id = Some("u-7".into());
        c.event.revenue = Some(Revenue {
            amount: Amount::parse("12.5").unwrap(),
            currency: Currency::parse("USD"),
            verified: false,
        });
        c.event.postback = Some(PostbackFields {
            goal: Some("deposit".into()),
            coupon: Some("X10".into()),
            comment: Some("second".into()),
            new_customer: true,
            pending: true,
            query: b"adv_sub=first&custom2=second&adv11=none&adv3=".to_vec(),
            ..PostbackFields::default()
        });
        if let Credit::Touch(winner) = &mut c.credit {
            winner.touch.click.referer = Some("https://blog.example/".into());
            winner.touch.click.kind = TouchKind::Impression;
        }
    });
    let values = told.values();
    for (name, expected) in [
        ("goal", "deposit"),
        ("coupon", "X10"),
        ("comment", "second"),
        ("is_new_customer", "1"),
        ("status", "pending"),
        ("customer_id", "u-7"),
        ("revenue_usd", "12.50"),
        ("revenue_usd_minor", "1250"),
        ("is_verified", "0"),
        ("adv1", "first"),
        ("adv2", "second"),
        ("environment", "production"),
        ("partner", "acme"),
        ("partner_name", "acme"),
        ("is_attributed", "1"),
        ("referrer", "https://blog.example/"),
        ("click_ip", "203.0.113.9"),
        ("click_ua", "Clicker/1"),
        ("impression_time", "1780488000"),
        ("touch_age", "86400"),
        ("touch_age_hours", "24"),
        ("touch_age_days", "1"),
        ("click_window", "168"),
        ("postback_window", "720"),
        ("install_hour", "1780488000"),
    ] {
        assert_eq!(values.get(name).map(String::as_str), Some(expected), "{name}");
    }
    for absent in ["adv3", "adv10", "install_referrer"] {
        assert!(!values.contains_key(absent), "{absent}");
    }
    let part = told.with(|c| c.rule.share = Share::Percent(10_000_000)).values();
    assert_eq!(part["revenue_usd"], "1.25");
    assert!(!part.contains_key("adv1"), "a field of the advertiser's can hold the very amount");
    let plain = case().with(everything).with(|c| c.rule.share = Share::Exact).values();
    assert_eq!(
        (plain["status"].as_str(), plain.get("revenue_usd")),
        ("approved", None),
        "euros are no dollars"
    );
    let other =
        case().with(everything).with(|c| (c.rule.partner, c.rule.scope) = (Some(ZETA), Scope::All)).values();
    assert_eq!((other["is_attributed"].as_str(), other["partner"].as_str()), ("0", "zeta"));
}

#[test]
fn every_money_macro_tells_the_same_share() {
    let shared = |share| case().with(everything).with(|c| c.rule.share = share);
    let seventy = shared(Share::Percent(70_000_000));
    let values = seventy.values();
    assert_eq!((values["revenue"].as_str(), values["revenue_minor"].as_str()), ("8.75", "875"));
    assert_eq!(values["currency"], "EUR");
    assert!(!values.contains_key("event_value"), "properties can hold the exact amount");
    let told = Detail::Shared {
        how: "70 %".into(),
        micros: 8_750_000,
        of_micros: 12_500_000,
        currency: Currency::parse("EUR"),
    };
    assert_eq!(seventy.plan().remove(0).detail, Some(told));
    let rounded = shared(Share::Rounded(1_000_000)).values();
    assert_eq!((rounded["revenue"].as_str(), rounded["revenue_minor"].as_str()), ("12.00", "1200"));
    assert!(!rounded.contains_key("event_value"));
    assert_eq!(
        case().with(|c| c.rule.share = Share::Exact).plan().remove(0).detail,
        None,
        "its template tells none"
    );
}

#[test]
fn each_condition_is_met_and_not_met_and_says_what_it_saw() {
    let de = || vec![Country::parse("DE").unwrap()];
    let revenue = |micros, code| Condition::MinRevenue { micros, currency: Currency::parse(code).unwrap() };
    let param = |name: &str, value: &str| Condition::Param { name: name.into(), values: vec![value.into()] };
    let version = |text| OsVersion::parse(text).unwrap();
    let words = |text: &str| vec![text.to_owned()];
    let base = || {
        case().with(|c| {
            c.credit = won("click_id=a1b2&sub1=x&site_id=s-9");
            c.event.properties = Some(r#"{"country":"de"}"#.into());
            c.event.device.os_version = Some("14.1".into());
        })
    };
    let check = |condition: Condition, want: Result<(), Option<&str>>, change: &dyn Fn(&mut Case)| {
        let case = base().with(|c| c.rule.conditions = vec![condition.clone()]).with(change);
        let one = case.plan().remove(0);
        match want {
            Ok(()) => assert!(one.outcome.is_ok(), "{condition:?}: {:?}", one.detail),
            Err(seen) => {
                assert_eq!(one.outcome, Err(Suppressed::Condition), "{condition:?}");
                let Some(Detail::Condition(unmet)) = one.detail else { panic!("{condition:?} says why") };
                assert_eq!((unmet.condition, unmet.seen.as_deref()), (condition.name(), seen));
            }
        }
    };
    let nothing = |_: &mut Case| {};
    let at_home = |c: &mut Case| c.event.properties = None;
    let in_france = |c: &mut Case| c.event.properties = Some(r#"{"country":"FR"}"#.into());
    check(Condition::Country(de()), Ok(()), &nothing);
    check(Condition::Country(de()), Err(Some("FR")), &in_france);
    check(Condition::Country(de()), Err(None), &at_home);
    check(Condition::NotCountry(de()), Err(Some("DE")), &nothing);
    check(Condition::NotCountry(de()), Ok(()), &in_france);
    check(Condition::NotCountry(de()), Err(None), &at_home);
    // What the address says comes before what the event says of itself.
    let by_address = |c: &mut Case| {
        c.event.location = Location { country: Country::parse("FR"), ..Default::default() };
    };
    check(Condition::Country(de()), Err(Some("FR")), &by_address);
    check(Condition::Platform(vec![Platform::Android]), Ok(()), &nothing);
    check(Condition::Platform(vec![Platform::Android]), Err(Some("iOS")), &|c| {
        c.event.device.platform = Some("iOS".into());
    });
    check(Condition::OsMin(version("14")), Ok(()), &nothing);
    check(Condition::OsMin(version("14.2")), Err(Some("14.1")), &nothing);
    check(Condition::OsMax(version("13")), Err(Some("14.1")), &nothing);
    check(Condition::OsMax(version("15")), Err(None), &|c| c.event.device.os_version = None);
    check(Condition::Event(words("purchase")), Ok(()), &nothing);
    check(Condition::Event(words("signup")), Err(Some("purchase")), &nothing);
    check(Condition::NotEvent(words("purchase")), Err(Some("purchase")), &nothing);
    check(revenue(12_500_000, "EUR"), Ok(()), &nothing);
    check(revenue(12_500_001, "EUR"), Err(Some("12.50 EUR")), &nothing);
    check(revenue(1, "USD"), Err(Some("12.50 EUR")), &nothing);
    check(revenue(0, "EUR"), Err(None), &|c| c.event.revenue = None);
    check(param("sub1", "x"), Ok(()), &nothing);
    check(param("sub1", "y"), Err(Some("x")), &nothing);
    check(param("sub2", "x"), Err(None), &nothing);
    check(Condition::Site(words("s-9")), Ok(()), &nothing);
    check(Condition::Site(words("s-8")), Err(Some("s-9")), &nothing);
    check(Condition::NotSite(words("s-9")), Err(Some("s-9")), &nothing);
    check(Condition::NotSite(words("s-8")), Ok(()), &nothing);
}

#[test]
fn a_window_says_how_late_it_was() {
    let late = case().with(|c| c.install_at = Some(NOON.plus_ms(-31 * DAY)));
    let told = Detail::Window { window: Span::from_days(30), age_ms: 31 * DAY };
    assert_eq!(late.plan().remove(0).detail, Some(told));
}

fn rejected(case: &mut Case) {
    (case.kind, case.status) = (ConversionKind::Rejected, Status::Rejected);
    case.change = Some(StatusChange {
        of: case.event.id,
        from: Status::Approved,
        to: Status::Rejected,
        by: "owner".into(),
        reason: Some("returned".into()),
    });
}

#[test]
fn a_rejection_is_told_under_an_id_of_its_own_by_rules_for_it_and_for_changes() {
    let url = "https://p.example/?e={event_id}&r={relates_to}&s={status}&o={old_status}&x={is_rejected}\
               &w={reject_reason}&t={transaction_id}&n={event_name}";
    for on in [ConversionKind::Rejected, ConversionKind::StatusChange] {
        let case = case().with(|c| {
            rejected(c);
            c.rule.on = on.clone();
            c.rule.request = Request::from(Template::parse(Parts::get(url)).0);
        });
        let values = case.values();
        let get = |name: &str| {
            values.get(name).or_else(|| values.get(&format!("param.{name}"))).map_or("", String::as_str)
        };
        let (change, own): (Id<kind::Event>, Id<kind::Event>) = (Id::from_bits(200), case.event.id);
        assert_eq!(
            (get("event_id"), get("relates_to")),
            (change.to_string().as_str(), own.to_string().as_str())
        );
        assert_eq!((get("status"), get("old_status")), ("rejected", "approved"));
        assert_eq!((get("is_rejected"), get("reject_reason")), ("1", "returned"));
        assert_eq!(get("transaction_id"), own.conversion().to_string());
        assert_eq!(get("event_name"), "purchase");
    }
    // Neither a rule for purchases nor one for other changes than rejections hears of it otherwise.
    assert!(case().with(rejected).plan().is_empty());
    let approved = case().with(|c| {
        rejected(c);
        c.kind = ConversionKind::StatusChange;
        c.rule.on = ConversionKind::Rejected;
    });
    assert!(approved.plan().is_empty());
}

#[test]
fn a_rejection_of_what_a_partner_never_heard_of_is_not_told_and_an_outdated_change_to_nobody() {
    let never = |on: ConversionKind| {
        let of = case().with(|c| {
            rejected(c);
            (c.rule.on, c.heard) = (on, false);
        });
        of.plan().remove(0).outcome.err()
    };
    assert_eq!(never(ConversionKind::Rejected), Some(Suppressed::NeverTold));
    assert_eq!(never(ConversionKind::StatusChange), None, "that rule tells whatever changed");
    for on in [ConversionKind::Rejected, ConversionKind::StatusChange] {
        let of = case().with(|c| {
            rejected(c);
            (c.rule.on, c.is_superseded) = (on, true);
        });
        assert_eq!(of.plan().remove(0).outcome.err(), Some(Suppressed::Superseded));
    }
}
