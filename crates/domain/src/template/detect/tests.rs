//! Guesses about templates whose system is known.

use super::*;
use crate::template::{Code, Parts, Template};

#[track_caller]
fn first(text: &str, hint: Option<&str>) -> Dialect {
    detect(text, hint)[0].dialect
}

#[test]
fn words_and_brackets_tell_a_system() {
    for (text, expected) in [
        (
            "https://t.example/pb?c=(clickid)&t=(install-unix-ts)&g=(advertiserId)&e=(event-name)",
            Dialect::Appsflyer,
        ),
        ("https://t.example/pb?c=#s2#&p=#price#&l=#leadid#&a=#affid#", Dialect::Cake),
        ("https://t.example/pb?subid=[[[subid]]]&status=[[[payment_status]]]", Dialect::Admitad),
        ("https://t.example/pb?c=${(last_attributed_touch_data.~click_id)!}&n=${(name)!}", Dialect::Branch),
        ("https://t.example/pb?a=<#if attributed>1<#else>0</#if>", Dialect::Branch),
        ("https://t.example/pb?g={device.gaid}&c={attributionResult.attributedClickID}", Dialect::Airbridge),
        ("https://t.example/pb?i={AIFA}&ip={ATTRIBUTION_IP}&e={EVTNAME}&t={UTC}", Dialect::Singular),
        (
            "https://t.example/pb?g={gps_adid}&i={installed_at}&n={network_name}&a={adgroup_name}",
            Dialect::Adjust,
        ),
        ("https://t.example/pb?c={aff_click_id}&s={conv_status}&g={goal_alias}", Dialect::Scaleo),
        ("https://t.example/pb?c={publisher_ref_id}&g={google_aid}&i={ios_ifa}&x={ios_ifv}", Dialect::Tune),
    ] {
        assert_eq!(first(text, None), expected, "{:#?}", detect(text, None));
    }
}

#[test]
fn a_name_decides_between_systems_that_share_words() {
    let text = "https://t.example/pb?c={click_id}&e={event_name}&r={revenue}&k={currency}";
    assert_eq!(first(text, None), Dialect::Canonical);
    for (hint, expected) in [
        ("AppsFlyer", Dialect::Appsflyer),
        ("Keitaro (tracker calls the source)", Dialect::Keitaro),
        ("TUNE (HasOffers)", Dialect::Tune),
        ("Linkrunner", Dialect::Linkrunner),
        ("Binom v2", Dialect::Binom),
        ("affise.com", Dialect::Affise),
        ("Red Track", Dialect::Redtrack),
        ("any", Dialect::Canonical),
        ("TrafficCake", Dialect::Canonical),
        ("Keitaro (network calls the tracker)", Dialect::Canonical),
        ("Keitaro (source macros)", Dialect::Canonical),
        ("", Dialect::Canonical),
    ] {
        assert_eq!(name(hint).unwrap_or(Dialect::Canonical), expected, "{hint}");
    }
    let own = "https://t.example/pb?c={sub1}&s={sum}&t={transactionid}&st={status}";
    assert_eq!(first(own, Some("Affise")), Dialect::Affise);
    let hinted = detect(own, Some("Affise"));
    assert!(hinted[0].because.starts_with("it is named; it has "), "{}", hinted[0].because);
}

#[test]
fn hosts_say_who_receives() {
    for (text, expected) in [
        ("https://acme.go2cloud.org/aff_lsr?x=1", Some(Dialect::Tune)),
        ("https://user@offers.affise.com:443/postback", Some(Dialect::Affise)),
        ("https://redirect.appmetrica.yandex.com/serve/1", Some(Dialect::Appmetrica)),
        ("https://ABR.GE/@x/y", Some(Dialect::Airbridge)),
        ("https://notaffise.com/", None),
        ("https://affise.com.example/", None),
        ("nothing", None),
    ] {
        let found = host(text).and_then(|host| owner(&host)).map(|(_, dialect)| *dialect);
        assert_eq!(found, expected, "{text}");
    }
    // The host alone is weaker than the words.
    let text = "https://app.appsflyer.com/a.b?pid=x&clickid=#s2#&r=#reqid#&a=#affid#";
    assert_eq!(first(text, None), Dialect::Cake);
    assert!(detect(text, None).iter().all(|guess| guess.dialect != Dialect::Generic || guess.certainty < 99));
}

#[test]
fn a_name_that_cannot_be_is_doubted() {
    // Templates of Branch's catalogue are kept with neutral words in braces.
    let text = "https://t.example/pb?c={click_id}&d={DID}&v={value}&t={TIMESTAMP_MS}";
    let guesses = detect(text, Some("Branch"));
    assert_eq!(guesses[0].dialect, Dialect::Generic, "{guesses:#?}");
    assert_eq!(first("https://t.example/pb?n=${(name)!}", Some("Branch")), Dialect::Branch);
    // Half of the words are no reason.
    assert_eq!(first("https://t.example/?a={af_siteid}&b={zzq}&c={zzr}", None), Dialect::Generic);
    // Bare words are in nobody's brackets.
    assert_eq!(
        first("https://{sub}.voluumtrk.com/postback?cid=REPLACE&payout=OPTIONAL", None),
        Dialect::Voluum
    );
    assert_eq!(
        first("https://{sub}.bemobtrcks.com/postback?cid=REPLACE&payout=OPTIONAL", Some("any")),
        Dialect::Bemob
    );
    assert_eq!(first("https://t.example/postback?cid=replace", None), Dialect::Canonical);
}

#[test]
fn nobody_stands_out_of_nothing() {
    assert_eq!(first("", None), Dialect::Canonical);
    assert_eq!(first("https://t.example/x?a=1&data[sub]=2&b=%20c%20", None), Dialect::Canonical);
    assert_eq!(first("https://t.example/?c={zzq}&d=##ZZQ##", None), Dialect::Generic);
    assert_eq!(first("https://t.example/?c=__ZZQ__", None), Dialect::Generic);
    assert_eq!(first("https://{namespace}.t.example/postback?key=value", None), Dialect::Generic);
    assert_eq!(first("https://{cfg.host}/postback?key=value", None), Dialect::Canonical);
    // Settings are ours in every dialect, so they say nothing.
    assert_eq!(first("https://{cfg.host}/?k={cfg.key}&c=#s2#&l=#leadid#", None), Dialect::Cake);
    let all = "https://t.example/?x={click_id}&a={sub1}&b={cfg.x}&c={gaid|sha1}&d={idfa||gaid}";
    assert_eq!(first(all, None), Dialect::Canonical);
    for text in ["", "{", "${", "<#if", "%", "{x", "äöü{ß}", "https://"] {
        let guesses = detect(text, None);
        assert!(!guesses.is_empty(), "{text}");
        assert!(guesses.iter().all(|guess| (CERTAINTY_MIN..=99).contains(&guess.certainty.into())));
        assert!(guesses.is_sorted_by_key(|guess| std::cmp::Reverse(guess.certainty)));
    }
}

#[test]
fn a_template_that_is_read_as_ours_and_is_not_says_so() {
    let likely = |url: &str| {
        let (_, findings) = Template::parse(Parts::get(url));
        let finding = findings.into_iter().find(|finding| finding.code == Code::DialectLikely);
        finding.and_then(|finding| finding.likely)
    };
    assert_eq!(likely("https://p.example/?c=(clickid)&e=(event-name)").as_deref(), Some("appsflyer"));
    assert_eq!(likely("https://p.example/?c=#s2#&t=#tid#").as_deref(), Some("cake"));
    assert_eq!(likely("https://p.example/?c={click_id}&e={event_name}"), None);
    // Words that many have are proposed one by one.
    assert_eq!(likely("https://p.example/?c={clickid}"), None);
}
