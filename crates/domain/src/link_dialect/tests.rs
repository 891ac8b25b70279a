//! The tables as tables: that they are consistent, and that a link of each system reads as ours would.

use std::collections::BTreeSet;

use super::*;
use crate::click::{Click, Flags, TouchKind};
use crate::device::{DeviceId, DeviceIdKind};
use crate::id::{Id, WorkspaceNo};
use crate::time::Timestamp;

use LinkDialect as D;

const GAID: &str = "38400000-8cf0-11bd-b23e-10b96e40000d";
const NOW: Timestamp = Timestamp::from_ms(1_780_574_400_000);

/// Every canonical name that a table may translate to.
const CANONICAL: &[&str] = &[
    "click_id",
    "pid",
    "campaign",
    "campaign_id",
    "ad_group",
    "ad_group_id",
    "ad",
    "ad_id",
    "keyword",
    "keyword_id",
    "site_id",
    "sub_site_id",
    "aff_id",
    "pub_id",
    "offer_id",
    "creative_id",
    "sub1",
    "sub2",
    "sub3",
    "sub4",
    "sub5",
    "sub6",
    "sub7",
    "sub8",
    "sub9",
    "sub10",
    "gaid",
    "gaid_sha1",
    "gaid_md5",
    "idfa",
    "idfa_sha1",
    "idfa_md5",
    "idfv",
    "idfv_sha1",
    "idfv_md5",
    "oaid",
    "oaid_sha1",
    "oaid_md5",
    "android_id",
    "android_id_sha1",
    "android_id_md5",
    "fire_adid",
    "fire_adid_sha1",
    "ip",
    "user_agent",
    "lang",
    "os",
    "os_version",
    "device_model",
    "ts",
    "click_lookback",
    "view_lookback",
    "reengagement_window",
    "inactivity_window",
    "campaign_type",
    "deep_link",
    "deferred_deep_link",
    "redirect",
    "redirect_web",
    "redirect_android",
    "redirect_ios",
    "fallback",
    "cost_model",
    "cost_value",
    "cost_currency",
];

/// Canonical names that a dialect also uses for another one, without meaning something else by them.
const SHARED: &[(D, &str)] = &[
    (D::Kochava, "creative_id"),
    (D::AppMetrica, "creative_id"),
    (D::Everflow, "sub1"),
    (D::Affise, "sub1"),
];

fn touch(dialect: LinkDialect, query: &str) -> (Click, Params) {
    let mut click = Click {
        workspace: WorkspaceNo::DEFAULT,
        app: Id::from_bits(1),
        campaign: Id::from_bits(2),
        partner: Id::from_bits(3),
        link: Id::from_bits(4),
        kind: TouchKind::Click,
        dialect,
        flags: Flags::default(),
        received_at: NOW,
        query: query.into(),
        ip: None,
        user_agent: None,
        referer: None,
        language: None,
        location: Default::default(),
    };
    let params = click.flag();
    (click, params)
}

#[test]
fn numbers_and_names_lead_back() {
    let names: BTreeSet<&str> = D::ALL.iter().map(|dialect| dialect.name()).collect();
    assert_eq!(names.len(), D::ALL.len());
    for (at, dialect) in D::ALL.iter().enumerate() {
        assert_eq!(usize::from(*dialect as u8), at + 1, "numbers are stored");
        assert_eq!(D::from_number(*dialect as u8), Some(*dialect));
        assert_eq!(D::from_name(dialect.name()), Some(*dialect));
    }
    assert_eq!((D::from_number(0), D::from_name("apsflyer")), (None, None));
}

#[test]
fn tables_are_consistent() {
    for dialect in D::ALL.iter().copied() {
        let words = dialect.words();
        assert!(words.aliases.is_sorted_by(|a, b| a.0 < b.0), "{dialect:?}: looked up by halving");
        for (canonical, aliases) in words.aliases {
            assert!(CANONICAL.contains(canonical), "{dialect:?}: {canonical} is no name of ours");
            assert!(!aliases.is_empty() && aliases.iter().all(|a| !a.is_empty()), "{dialect:?}: {canonical}");
            for alias in *aliases {
                let is_other = CANONICAL.contains(alias) && alias != canonical;
                let is_settled = words.foreign.contains(alias) || SHARED.contains(&(dialect, alias));
                assert!(!is_other || is_settled, "{dialect:?}: {alias} also has a meaning of ours");
            }
        }
        for (name, chars) in words.limits {
            assert!(*chars > 0 && dialect.canonical(name).is_some() || *name == "redirect", "{name}");
        }
    }
}

#[test]
fn each_system_s_words_are_read_as_ours() {
    for (dialect, query, reads) in [
        (
            D::AppsFlyer,
            "pid=acme_int&c=summer&af_c_id=7&af_adset=set&af_ad=vid&af_siteid=s1&af_sub_siteid=s2&clickid=X\
             &af_sub1=a&af_sub5=e&af_channel=ch&af_ip=203.0.113.7&af_ua=UA&af_lang=de&af_dp=app%3A%2F%2Fx\
             &af_r=https%3A%2F%2Fr&af_web_dp=https%3A%2F%2Fw&af_cost_value=1.5&redirect=false",
            &[
                ("pid", "acme_int"),
                ("campaign", "summer"),
                ("campaign_id", "7"),
                ("ad_group", "set"),
                ("ad", "vid"),
                ("site_id", "s1"),
                ("sub_site_id", "s2"),
                ("click_id", "X"),
                ("sub1", "a"),
                ("sub5", "e"),
                ("ip", "203.0.113.7"),
                ("user_agent", "UA"),
                ("lang", "de"),
                ("deep_link", "app://x"),
                ("redirect", "https://r"),
                ("redirect_web", "https://w"),
                ("cost_value", "1.5"),
                ("af_channel", "ch"),
            ][..],
        ),
        (
            D::Adjust,
            "campaign=summer&adgroup=set&creative=vid&label=a&gps_adid=G&acme_click_id=X&cost_type=CPI\
             &cost_amount=2&cost_currency=EUR&deep_link=app%3A%2F%2Fx&redirect=https%3A%2F%2Fr",
            &[
                ("campaign", "summer"),
                ("ad_group", "set"),
                ("ad", "vid"),
                ("sub1", "a"),
                ("gaid", "G"),
                ("click_id", "X"),
                ("cost_model", "CPI"),
                ("cost_value", "2"),
                ("cost_currency", "EUR"),
                ("deep_link", "app://x"),
                ("redirect", "https://r"),
            ],
        ),
        (
            D::Adjust,
            "adj_campaign=summer&adj_label=a&x_click_id=&click_id=X",
            &[("campaign", "summer"), ("sub1", "a"), ("click_id", "X")],
        ),
        (
            D::Branch,
            "%243p=a_acme&%7Eclick_id=X&~secondary_publisher=s1&~campaign=summer&~ad_set_name=set&~ad_name=vid\
             &~ad_id=9&%24aaid=G&device_ip=203.0.113.7&%24desktop_url=https%3A%2F%2Fw&~cost_value=1",
            &[
                ("pid", "a_acme"),
                ("click_id", "X"),
                ("site_id", "s1"),
                ("campaign", "summer"),
                ("ad_group", "set"),
                ("ad", "vid"),
                ("ad_id", "9"),
                ("gaid", "G"),
                ("ip", "203.0.113.7"),
                ("redirect_web", "https://w"),
                ("cost_value", "1"),
            ],
        ),
        (
            D::Singular,
            "cl=X&pcid=7&pcn=summer&pscn=set&pcrid=9&pcrn=vid&psid=s1&pssid=s2&aifa=G&aif1=h1&ifa5=h5&andi=A\
             &ua=UA&lc=de&_dl=app%3A%2F%2Fx&_fallback_redirect=https%3A%2F%2Ff",
            &[
                ("click_id", "X"),
                ("campaign_id", "7"),
                ("campaign", "summer"),
                ("ad_group", "set"),
                ("ad_id", "9"),
                ("ad", "vid"),
                ("site_id", "s1"),
                ("sub_site_id", "s2"),
                ("gaid", "G"),
                ("gaid_sha1", "h1"),
                ("idfa_md5", "h5"),
                ("android_id", "A"),
                ("user_agent", "UA"),
                ("lang", "de"),
                ("deep_link", "app://x"),
                ("fallback", "https://f"),
            ],
        ),
        (
            D::Kochava,
            "click_id=X&device_id=G&ip_address=203.0.113.7&device_ua=UA&site_id=s1&creative_id=9\
             &partner_campaign_id=7&partner_campaign_name=summer",
            &[
                ("click_id", "X"),
                ("gaid", "G"),
                ("idfa", "G"),
                ("ip", "203.0.113.7"),
                ("user_agent", "UA"),
                ("site_id", "s1"),
                ("ad_id", "9"),
                ("creative_id", "9"),
                ("campaign_id", "7"),
                ("campaign", "summer"),
            ],
        ),
        (
            D::Airbridge,
            "click_id=X&campaign=summer&ad_group=set&ad_creative=vid&ad_creative_id=9&term=shoes&sub_id=s1\
             &sub_id_1=a&sub_id_2=b&ad_id=G&deeplink_url=app%3A%2F%2Fx&language=de",
            &[
                ("click_id", "X"),
                ("campaign", "summer"),
                ("ad_group", "set"),
                ("ad", "vid"),
                ("ad_id", "9"),
                ("keyword", "shoes"),
                ("site_id", "s1"),
                ("sub_site_id", "a"),
                ("sub1", "a"),
                ("sub2", "b"),
                ("gaid", "G"),
                ("idfa", "G"),
                ("deep_link", "app://x"),
                ("lang", "de"),
            ],
        ),
        (
            D::AppMetrica,
            "click_id=X&google_aid=G&google_aid_sha1=h1&ios_ifa_md5=h5&device_ip=203.0.113.7&device_ua=UA\
             &click_timestamp=1780574400&afpub_id=p&creative_id=9&own=o",
            &[
                ("click_id", "X"),
                ("gaid", "G"),
                ("gaid_sha1", "h1"),
                ("idfa_md5", "h5"),
                ("ip", "203.0.113.7"),
                ("user_agent", "UA"),
                ("ts", "1780574400"),
                ("pub_id", "p"),
                ("site_id", "p"),
                ("ad_id", "9"),
                ("own", "o"),
            ],
        ),
        (D::AppMetrica, "external_click_id=X&click_id=", &[("click_id", "X")]),
        (
            D::Trackier,
            "p1=X&p2=b&p10=j&camp=summer&camp_id=7&ad=vid&gaid=G&ipaddr=203.0.113.7&source=s1",
            &[
                ("click_id", "X"),
                ("sub1", "X"),
                ("sub2", "b"),
                ("sub10", "j"),
                ("campaign", "summer"),
                ("campaign_id", "7"),
                ("ad", "vid"),
                ("gaid", "G"),
                ("ip", "203.0.113.7"),
                ("site_id", "s1"),
            ],
        ),
        (
            D::Tenjin,
            "advertising_id=G&click_id=X&campaign_name=summer",
            &[("gaid", "G"), ("idfa", "G"), ("click_id", "X"), ("campaign", "summer")],
        ),
        (
            D::MyTracker,
            "mt_network=acme&utm_campaign=summer&mt_adset=set&mt_sub1=a&mt_sub5=e&click_id=X",
            &[
                ("pid", "acme"),
                ("campaign", "summer"),
                ("ad_group", "set"),
                ("sub1", "a"),
                ("sub5", "e"),
                ("click_id", "X"),
            ],
        ),
        (
            D::Tune,
            "offer_id=12&aff_id=7&aff_click_id=X&source=s1&aff_sub=a&aff_sub5=e&google_aid=G",
            &[
                ("offer_id", "12"),
                ("aff_id", "7"),
                ("click_id", "X"),
                ("site_id", "s1"),
                ("sub1", "a"),
                ("sub5", "e"),
                ("gaid", "G"),
            ],
        ),
        (
            D::Everflow,
            "oid=12&affid=7&sub1=X&sub2=b&source_id=s1",
            &[
                ("offer_id", "12"),
                ("aff_id", "7"),
                ("click_id", "X"),
                ("sub1", "X"),
                ("sub2", "b"),
                ("site_id", "s1"),
            ],
        ),
        (
            D::Affise,
            "offer_id=12&pid=7&sub1=X&sub2=b&ios_idfa=I",
            &[("offer_id", "12"), ("aff_id", "7"), ("click_id", "X"), ("sub2", "b"), ("idfa", "I")],
        ),
        (
            D::Scaleo,
            "o=12&a=7&aff_click_id=X&sub_id1=a&sub_id5=e&aff_param1=f&deep_link=https%3A%2F%2Fr",
            &[
                ("offer_id", "12"),
                ("aff_id", "7"),
                ("click_id", "X"),
                ("sub1", "a"),
                ("sub5", "e"),
                ("sub6", "f"),
                ("redirect", "https://r"),
            ],
        ),
        (
            D::Cake,
            "a=7&c=12&s1=a&s2=X&s5=e",
            &[
                ("aff_id", "7"),
                ("creative_id", "12"),
                ("sub1", "a"),
                ("click_id", "X"),
                ("sub2", "X"),
                ("sub5", "e"),
            ],
        ),
        (
            D::Keitaro,
            "external_id=X&sub_id_1=a&sub_id_10=j&keyword=k&cost=0.5&currency=EUR&source=s1",
            &[
                ("click_id", "X"),
                ("sub1", "a"),
                ("sub10", "j"),
                ("keyword", "k"),
                ("cost_value", "0.5"),
                ("cost_currency", "EUR"),
                ("site_id", "s1"),
            ],
        ),
        (D::Voluum, "externalid=X&cost=1", &[("click_id", "X"), ("cost_value", "1")]),
        (D::Binom, "externalid=X", &[("click_id", "X")]),
        (D::BeMob, "externalId=X", &[("click_id", "X")]),
        (D::Generic, "clickid=X&aff_sub=a&gps_adid=G", &[("click_id", "X"), ("sub1", "a"), ("gaid", "G")]),
        (D::Tracknow, "click_id=X&sub1=a&clickid=no", &[("click_id", "X"), ("sub1", "a")]),
    ] {
        let (_, params) = touch(dialect, query);
        for (canonical, value) in reads {
            assert_eq!(
                params.text(canonical).as_deref(),
                Some(*value),
                "{dialect:?}: {canonical} in {query}"
            );
        }
    }
}

#[test]
fn a_word_that_means_something_else_is_not_read_as_ours() {
    for (dialect, query, canonical) in [
        (D::Airbridge, "ad_id=G", "ad_id"),
        (D::AppsFlyer, "redirect=https%3A%2F%2Fr", "redirect"),
        (D::Affise, "pid=7", "pid"),
        (D::Scaleo, "deep_link=https%3A%2F%2Fr", "deep_link"),
        (D::Linkrunner, "clickid=X", "click_id"),
        (D::Cake, "transaction_id=T", "click_id"),
        (D::Tune, "transaction_id=T", "click_id"),
    ] {
        let (_, params) = touch(dialect, query);
        assert_eq!(params.get(canonical), None, "{dialect:?}: {query}");
        assert!(params.iter().next().is_some_and(|param| !param.raw.is_empty()), "it is kept all the same");
    }
    assert_eq!(D::Airbridge.canonical("ad_id"), Some("gaid"));
    assert_eq!(D::AppsFlyer.canonical("redirect"), None);
    assert_eq!(D::AppsFlyer.canonical("af_sub1"), Some("sub1"));
    assert_eq!(D::AppsFlyer.canonical("anything"), Some("anything"));
}

#[test]
fn the_first_word_that_is_not_empty_counts() {
    let get = |query: &str| touch(D::AppsFlyer, query).1.get("sub1").map(|param| param.name.to_owned());
    assert_eq!(get("af_custom1=b&af_sub1=a").as_deref(), Some("af_sub1"));
    assert_eq!(get("af_sub1=&af_custom1=b").as_deref(), Some("af_custom1"));
    assert_eq!(get("sub1=c&af_sub1=&af_custom1=").as_deref(), Some("sub1"), "ours comes last");
    assert_eq!(get("af_custom1=&sub1=").as_deref(), Some("af_custom1"), "what is there, though empty");
    assert_eq!(get("sub2=c"), None);
}

/// The parameter that each dialect has for the partner's click id.
fn click_id_words() -> impl Iterator<Item = (LinkDialect, &'static str)> {
    D::ALL.iter().copied().flat_map(|dialect| {
        let words = dialect.aliases("click_id").iter().copied();
        let suffixed = (dialect == D::Adjust).then_some("acme_click_id");
        words.chain(["click_id"]).chain(suffixed).map(move |word| (dialect, word))
    })
}

#[test]
fn a_partner_click_id_is_judged_under_every_dialect_s_own_word() {
    let of = |dialect, query: &str| {
        let (click, params) = touch(dialect, query);
        let has = |flag| click.flags.has(flag);
        let flags = (has(Flags::PARTNER_CLICK_ID_ABSENT), has(Flags::PARTNER_CLICK_ID_UNEXPANDED));
        (flags, params.get("click_id").map(|param| param.bytes().into_owned()), click.prints(&params).len())
    };
    for (dialect, word) in click_id_words() {
        let case = format!("{dialect:?}: {word}");
        assert_eq!(
            of(dialect, &format!("{word}=a%2fb+c%ff")),
            ((false, false), Some(b"a/b c\xff".to_vec()), 1),
            "{case}"
        );
        assert_eq!(
            of(dialect, &format!("{word}=%7Bclickid%7D")),
            ((false, true), Some(b"{clickid}".to_vec()), 0),
            "{case}"
        );
        assert_eq!(of(dialect, &format!("{word}=")).0, (true, false), "{case}");
        assert_eq!(of(dialect, "other=1"), ((true, false), None, 0), "{case}");
    }
    assert!(click_id_words().count() > 2 * D::ALL.len() - 8);
}

#[test]
fn device_ids_are_found_under_every_dialect_s_own_word() {
    for (dialect, word, kinds) in [
        (D::AppsFlyer, "advertising_id", &[DeviceIdKind::Gaid][..]),
        (D::AppsFlyer, "idfa", &[DeviceIdKind::Idfa]),
        (D::Adjust, "gps_adid", &[DeviceIdKind::Gaid]),
        (D::Branch, "%24idfa", &[DeviceIdKind::Idfa]),
        (D::Singular, "aifa", &[DeviceIdKind::Gaid]),
        (D::Kochava, "device_id", &[DeviceIdKind::Gaid, DeviceIdKind::Idfa]),
        (D::Airbridge, "ad_id", &[DeviceIdKind::Gaid, DeviceIdKind::Idfa]),
        (D::AppMetrica, "ios_ifa", &[DeviceIdKind::Idfa]),
        (D::Tune, "google_aid", &[DeviceIdKind::Gaid]),
        (D::Generic, "aaid", &[DeviceIdKind::Gaid]),
    ] {
        let (_, params) = touch(dialect, &format!("{word}={GAID}"));
        let want: Vec<DeviceId> = kinds.iter().filter_map(|kind| DeviceId::parse(*kind, GAID)).collect();
        assert_eq!(Click::device_ids(&params), want, "{dialect:?}: {word}");
    }
    for (kind, want) in
        [("advertising_id", Some(DeviceIdKind::Gaid)), ("idfa", Some(DeviceIdKind::Idfa)), ("tifa", None)]
    {
        let query = format!("af_device_id_type={kind}&af_device_id_value={GAID}");
        let want: Vec<DeviceId> = want.and_then(|kind| DeviceId::parse(kind, GAID)).into_iter().collect();
        assert_eq!(Click::device_ids(&touch(D::AppsFlyer, &query).1), want, "{kind}");
        assert_eq!(Click::device_ids(&touch(D::Adjust, &query).1), [], "{kind}");
        let twice = format!("advertising_id={GAID}&{query}&idfa={GAID}");
        assert_eq!(Click::device_ids(&touch(D::AppsFlyer, &twice).1).len(), 2, "{kind}: none stands twice");
    }
}

#[test]
fn servers_and_views_say_so_in_their_dialect_s_words() {
    for (dialect, query, is_server, is_view) in [
        (D::Linkrunner, "s2s=1", true, false),
        (D::Linkrunner, "redirect=false", false, false),
        (D::AppsFlyer, "redirect=false", true, false),
        (D::AppsFlyer, "redirect=False", true, false),
        (D::AppsFlyer, "redirect=true", false, false),
        (D::Adjust, "s2s=1", true, false),
        (D::Branch, "%24s2s=true", true, false),
        (D::Branch, "$s2s=true", true, false),
        (D::Airbridge, "ad_type=server_to_server_click", true, false),
        (D::Airbridge, "ad_type=click", false, false),
        (D::Airbridge, "ad_type=view", false, true),
        (D::AppMetrica, "noredirect=1", true, false),
        (D::AppMetrica, "noredirect=0", false, false),
        (D::Trackier, "ad_type=view", false, false),
        (D::Generic, "noredirect=1", true, false),
    ] {
        let (_, params) = touch(dialect, query);
        assert_eq!(
            (params.says_server_to_server(), params.says_view()),
            (is_server, is_view),
            "{dialect:?} {query}"
        );
    }
}

#[test]
fn windows_cost_time_and_audience_are_flagged() {
    const NONE: &[&str] = &["partner_click_id_absent"];
    for (dialect, query, flags) in [
        (D::AppsFlyer, "af_click_lookback=1h", NONE),
        (D::AppsFlyer, "af_click_lookback=30d", NONE),
        (D::AppsFlyer, "af_click_lookback=31d", &["lookback_invalid"][..]),
        (D::AppsFlyer, "af_click_lookback=59m", &["lookback_invalid"]),
        (D::AppsFlyer, "af_click_lookback=7", &["lookback_invalid"]),
        (D::AppsFlyer, "af_click_lookback=-7d", &["lookback_invalid"]),
        (D::AppsFlyer, "af_click_lookback=%7Blookback%7D", &["lookback_invalid"]),
        (D::AppsFlyer, "af_click_lookback=", NONE),
        (D::AppsFlyer, "af_viewthrough_lookback=forever", NONE),
        (D::AppsFlyer, "af_cost_value=1.5&af_cost_currency=eur&af_cost_model=cpi", NONE),
        (D::AppsFlyer, "af_cost_value=1,5", &["cost_invalid"]),
        (D::AppsFlyer, "af_cost_value=1&af_cost_currency=EURO", &["cost_invalid"]),
        (D::Adjust, "cost_amount=-1", &["cost_invalid"]),
        (D::Branch, "~cost_value=%7Bbid%7D", &["cost_invalid"]),
        (D::Keitaro, "cost=0.001&currency=USD", NONE),
        (D::AppMetrica, "click_timestamp=1780574400", NONE),
        (D::AppMetrica, "click_timestamp=1780531200", NONE),
        (D::AppMetrica, "click_timestamp=1780531199", &["engagement_late"]),
        (D::AppMetrica, "click_timestamp=1780578001", &["engagement_time_invalid"]),
        (D::AppMetrica, "click_timestamp=yesterday", &["engagement_time_invalid"]),
        (D::Linkrunner, "ts=83765283", NONE),
        (D::AppsFlyer, "is_retargeting=true", &["retargeting"]),
        (D::AppsFlyer, "af_campaign_type=retargeting", &["retargeting"]),
        (D::AppsFlyer, "is_retargeting=false&af_campaign_type=user_acquisition", NONE),
    ] {
        let (click, _) = touch(dialect, query);
        let got: Vec<&str> = click.flags.names().filter(|name| !NONE.contains(name)).collect();
        let want: Vec<&str> = flags.iter().copied().filter(|name| !NONE.contains(name)).collect();
        assert_eq!(got, want, "{dialect:?}: {query}");
    }
    let (mut click, _) = touch(D::AppsFlyer, "af_click_lookback=6h&af_viewthrough_lookback=1h");
    assert_eq!(click.lookback(), Some(Span::from_hours(6)));
    click.kind = TouchKind::Impression;
    assert_eq!(click.lookback(), Some(Span::from_hours(1)));
    let escaped = touch(D::AppsFlyer, "af_click_%6cookback=6h").0;
    assert_eq!(escaped.lookback(), Some(Span::from_hours(6)));
    assert_eq!(touch(D::AppsFlyer, "c=lookback").0.lookback(), None);
}

#[test]
fn limits_cut_and_flag_and_the_query_stays() {
    for (dialect, name, chars) in [
        (D::AppsFlyer, "pid", 150),
        (D::AppsFlyer, "c", 100),
        (D::AppsFlyer, "af_siteid", 24),
        (D::AppsFlyer, "af_sub_siteid", 50),
        (D::AppsFlyer, "af_c_id", 24),
        (D::AppsFlyer, "af_prt", 50),
        (D::Adjust, "cost_id", 256),
        (D::Cake, "s1", 50),
        (D::Cake, "s5", 100),
    ] {
        for (extra, is_cut) in [(0, false), (1, true)] {
            let query = format!("{name}={}", "é".repeat(chars + extra));
            let (click, params) = touch(dialect, &query);
            assert_eq!(click.flags.has(Flags::CUT), is_cut, "{dialect:?}: {name}");
            assert_eq!(params.received(name).map(|p| p.text().chars().count()), Some(chars), "{name}");
            assert_eq!(click.query, query.as_bytes());
        }
    }
}

#[test]
fn a_server_s_word_that_its_own_system_would_refuse_is_flagged() {
    for (dialect, query, is_incomplete) in [
        (D::Adjust, "s2s=1&gps_adid=G", false),
        (D::Adjust, "s2s=1&label=x", true),
        (D::Adjust, "label=x", false),
        (D::Branch, "$s2s=true&$aaid=G&device_ip=203.0.113.7&user_agent=UA", false),
        (D::Branch, "$s2s=true&$aaid=G&user_agent=UA", true),
        (
            D::AppMetrica,
            "noredirect=1&click_id=X&device_ip=203.0.113.7&device_ua=UA&click_timestamp=1780574400",
            false,
        ),
        (D::AppMetrica, "noredirect=1&click_id=X&device_ip=203.0.113.7&device_ua=UA", true),
        (D::AppsFlyer, "redirect=false&md5_idfa=h", false),
        (D::AppsFlyer, "redirect=false&af_ref=acme_1", false),
        (D::AppsFlyer, "redirect=false&af_ip=203.0.113.7&af_ua=UA&af_lang=de", false),
        (D::AppsFlyer, "redirect=false&af_ip=203.0.113.7&af_ua=UA", true),
        (D::Linkrunner, "s2s=1", false),
        (D::Tune, "s2s=1", false),
    ] {
        let (click, _) = touch(dialect, query);
        assert_eq!(click.flags.has(Flags::SERVER_INCOMPLETE), is_incomplete, "{dialect:?}: {query}");
    }
}

proptest::proptest! {
    #[test]
    fn any_query_is_read_in_any_dialect(
        number in 1..=D::ALL.len() as u8,
        query in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let dialect = D::from_number(number).unwrap();
        let text = String::from_utf8_lossy(&query).into_owned();
        let (click, params) = touch(dialect, &text);
        let _ = (click.prints(&params), click.lookback(), params.callbacks());
        for canonical in CANONICAL {
            // Whatever is read is one of the parameters that came.
            if let Some(param) = params.get(canonical) {
                proptest::prop_assert!(params.iter().any(|known| known == param));
            }
        }
    }

    #[test]
    fn words_of_a_dialect_lead_to_their_value(number in 1..=D::ALL.len() as u8, pick in 0usize..1_000, value in "[a-z%+0-9]{1,20}") {
        let dialect = D::from_number(number).unwrap();
        let all: Vec<_> = dialect.words().aliases.iter().flat_map(|(c, names)| names.iter().map(move |n| (*c, *n))).collect();
        let Some((canonical, name)) = all.get(pick % all.len().max(1)) else { return Ok(()) };
        let query = format!("x=1&{name}={value}&y=2");
        let params = Params::parse_as(query.as_bytes(), dialect);
        proptest::prop_assert_eq!(params.get(canonical).map(|param| param.raw), Some(value.as_bytes()));
    }
}
