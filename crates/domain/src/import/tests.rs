//! That nothing is dropped, that links and postbacks are told apart, and what each system's URL becomes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::template::{Scope, Template, UrlTemplate};

fn as_kind(url: &str, kind: Kind) -> Result<Imported, Problem> {
    import(&Input { url: url.into(), kind: Some(kind), ..Input::default() })
}

/// How often each thing is told of, carried or lost.
fn told(imported: &Imported) -> BTreeMap<&str, usize> {
    let carried = imported.carried.iter().map(|one| one.what.as_str());
    let mut told = BTreeMap::new();
    for what in carried.chain(imported.lost.iter().map(|one| one.what.as_str())) {
        *told.entry(what).or_default() += 1;
    }
    told
}

/// What of a URL is in neither list. A parameter that stands there twice with different values is told of twice.
fn dropped(url: &str, imported: &Imported) -> Vec<String> {
    let told = told(imported);
    let pasted = Pasted::read(url).expect("it was read before");
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in pasted.pairs {
        wanted.entry(format!("parameter {}", pair.name)).or_default().insert(pair.raw);
    }
    let macros: Vec<String> = match imported.kind {
        Kind::Rule => {
            let parts = Parts { dialect: imported.rules[0].parts.dialect, ..Parts::get(pasted.text) };
            Template::parse(parts).0.macros().map(|used| used.text.clone()).collect()
        }
        Kind::Link => {
            let (template, _) = UrlTemplate::parse(&pasted.text, Scope::Link, Dialect::Generic);
            template.macros().map(|used| used.text.clone()).collect()
        }
    };
    for text in macros {
        wanted.entry(format!("macro {text}")).or_default().insert(String::new());
    }
    wanted.retain(|what, values| told.get(what.as_str()).is_none_or(|count| *count < values.len()));
    wanted.into_keys().collect()
}

fn corpus() -> Vec<serde_json::Value> {
    serde_json::from_str(include_str!("../../tests/data/network-templates.json")).expect("the data is JSON")
}

#[test]
fn no_row_of_the_corpus_loses_anything_without_a_word() {
    let mut seen = 0;
    for (index, row) in corpus().iter().enumerate() {
        let url = row["template"].as_str().expect("a row has a template");
        for kind in [Kind::Link, Kind::Rule] {
            for from in [None, row["mmp"].as_str().filter(|name| system::named(name).is_ok())] {
                let from = from.map(str::to_owned);
                let input = Input { url: url.into(), kind: Some(kind), from, ..Input::default() };
                let imported = import(&input).unwrap_or_else(|problem| panic!("{index} {url}: {problem:?}"));
                assert_eq!(dropped(url, &imported), Vec::<String>::new(), "{index} {kind:?} {url}");
                seen += 1;
            }
        }
    }
    assert!(seen > 500);
}

#[test]
fn links_and_postbacks_are_told_apart() {
    let mut wrong = Vec::new();
    let mut asked = 0;
    let rows = corpus();
    for (index, row) in rows.iter().enumerate() {
        let url = row["template"].as_str().expect("a row has a template");
        let want = match row["kind"].as_str() {
            Some("click" | "impression") => Kind::Link,
            _ => Kind::Rule,
        };
        match import(&Input { url: url.into(), ..Input::default() }) {
            Ok(imported) if imported.kind == want => {}
            Ok(_) => wrong.push(format!("{index} {want:?} {url}")),
            Err(problem) => {
                assert_eq!(problem.code, Code::ImportAmbiguous, "{index} {url}");
                assert!(problem.message.contains("--as link"), "{}", problem.message);
                asked += 1;
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    // To ask is right where nothing speaks; it must not become the usual answer.
    assert!(asked * 5 <= rows.len(), "asked {asked} of {}", rows.len());
}

#[test]
fn a_canonical_rewriting_is_offered_where_it_comes_to_the_same() {
    let rows = corpus();
    let rules = || rows.iter().filter(|row| !matches!(row["kind"].as_str(), Some("click" | "impression")));
    let offered = rules().filter(|row| {
        let imported = as_kind(row["template"].as_str().unwrap_or_default(), Kind::Rule).expect("it is read");
        imported.rules[0].canonical.is_some()
    });
    let (offered, all) = (offered.count(), rules().count());
    assert!(offered * 10 >= all * 7, "{offered} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_url_loses_anything_without_a_word(
        host in "(app\\.appsflyer\\.com|app\\.adjust\\.com|x\\.app\\.link|t\\.example|net\\.go2cloud\\.org|\\{host\\})",
        path in "/[a-z0-9_/@\\{\\}.-]{0,20}",
        names in proptest::collection::vec("(pid|c|af_dp|af_r|af_click_lookback|clickid|install_callback|event_callback_ab1|\\$3p|~campaign|offer_id|aff_id|token|key|sub1|s2s|[a-z$~_]{1,6}|%7e[a-z]{2})", 0..8),
        values in proptest::collection::vec("([a-zA-Z0-9]{0,20}|\\{[a-z_]{1,9}\\}|#[a-z]{1,5}#|x\\{click_id\\}y|https%3A%2F%2Fshop\\.example%2F[a-z\\{\\}]{0,5}|[0-9]{1,3}[hd]|myapp%3A%2F%2Fx|[ -~é]{0,12})", 8),
        tail in "(#[a-z]{0,5})?",
    ) {
        let query: Vec<String> = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}")).collect();
        let url = format!("https://{host}{path}?{}{tail}", query.join("&"));
        for kind in [Kind::Link, Kind::Rule] {
            if let Ok(imported) = as_kind(&url, kind) {
                prop_assert_eq!(dropped(&url, &imported), Vec::<String>::new(), "{:?} {}", kind, url);
            }
        }
    }

    #[test]
    fn any_text_is_imported_or_refused_with_a_code(text in "(https?://)?[ -~\u{e9}\n]{0,80}") {
        let _ = import(&Input { url: text.clone(), ..Input::default() });
        for kind in [Kind::Link, Kind::Rule] {
            let _ = as_kind(&text, kind);
        }
    }
}

/// What was lost, as `what: value`.
fn lost(imported: &Imported) -> Vec<String> {
    imported.lost.iter().map(|one| format!("{}: {}", one.what, one.value)).collect()
}

fn link(query: &str) -> (LinkDraft, Vec<String>) {
    let url = format!("https://app.appsflyer.com/com.example.shop?pid=acme&clickid={{id}}&{query}");
    let imported = as_kind(&url, Kind::Link).unwrap_or_else(|problem| panic!("{url}: {problem:?}"));
    let lost = lost(&imported);
    (imported.link.expect("it is a link"), lost)
}

#[test]
fn windows_are_cut_to_what_a_link_may_ask() {
    for (asked, kept, is_lost) in [
        ("14d", Some("14d"), false),
        ("6h", Some("6h"), false),
        ("45d", Some("30d"), true),
        ("9999d", Some("30d"), true),
        ("0d", None, true),
        ("7", None, true),
        ("", None, true),
        ("30m", None, true),
        ("99999999999999999999d", None, true),
        ("%7Bwindow%7D", None, false),
    ] {
        let (link, lost) = link(&format!("af_click_lookback={asked}"));
        assert_eq!((link.click_window.as_deref(), !lost.is_empty()), (kept, is_lost), "{asked}: {lost:?}");
    }
}

#[test]
fn destinations_go_where_they_belong_or_nowhere() {
    let (all, none) = link(
        "af_r=https%3A%2F%2FShop.example%3A8443%2Fa&af_ios_url=https%3A%2F%2Fios.example%2Fb&af_dp=shop%3A%2F%2Fc",
    );
    assert_eq!(none, Vec::<String>::new());
    assert_eq!(all.android.as_deref(), Some("https://Shop.example:8443/a"));
    assert_eq!(all.ios.as_deref(), Some("https://ios.example/b"), "its own parameter says more");
    assert_eq!((all.web, all.deep_link.as_deref()), (all.android, Some("shop://c")));
    let allowed = ["https://shop.example:8443/", "https://ios.example/", "shop://"];
    assert_eq!(all.allow_destinations, allowed);

    // The network's macro would be ours in the link's own destination.
    let (varying, none) = link("af_r=https%3A%2F%2Fshop.example%2F%3Fc%3D%7Bclick_id%7D");
    assert_eq!((varying.web, varying.allow_destinations), (None, vec!["https://shop.example/".to_owned()]));
    assert_eq!(none, Vec::<String>::new());
    for bad in [
        "javascript:alert(1)",
        "javascript://x/%0aalert(1)",
        "data:text/html,x",
        "//evil.example",
        "{page}",
        "https://{host}/x",
        "https://u:p@shop.example/",
    ] {
        let encoded = percent_encoding::utf8_percent_encode(bad, percent_encoding::NON_ALPHANUMERIC);
        let (link, lost) = link(&format!("af_r={encoded}"));
        assert_eq!((link.web, link.allow_destinations), (None, vec![]), "{bad}");
        assert_eq!(lost, [format!("parameter af_r: {bad}")]);
    }
}

#[test]
fn what_has_no_place_is_lost_with_a_reason() {
    let (_, twice) = link("af_sub1=a&af_sub1=b");
    assert_eq!(twice, ["parameter af_sub1: b"]);
    let url = "http://u:p@t.example:81/x/y?pid=7&click_id={id}#top";
    let imported = as_kind(url, Kind::Link).expect("it is read");
    assert_eq!(lost(&imported), ["port: 81", "user: ••••", "fragment: top"]);
    let macro_in_path = as_kind("https://t.example/x/{offer}?click_id={id}", Kind::Link).expect("it is read");
    assert!(macro_in_path.link.is_some_and(|link| link.also.is_empty()));
    assert_eq!(macro_in_path.lost[0].what, "path");
    let view = as_kind("https://impression.appsflyer.com/com.example.shop?pid=acme&clickid={id}", Kind::Link);
    let view = view.expect("it is read");
    assert_eq!(view.link.expect("it is a link").also_impressions, ["/com.example.shop?pid=acme"]);
    assert!(view.url.is_some_and(|url| url.contains("/i/")));
}

#[test]
fn a_servers_click_is_a_link_and_a_shared_path_needs_its_pairs() {
    let read = |url: &str| import(&Input { url: url.into(), ..Input::default() }).expect("it is read");
    let adjust = read("https://s2s.adjust.com/abc123?s2s=1&gps_adid={gaid}&acme_click_id={id}");
    assert_eq!(adjust.link.expect("it is a link").slug, "abc123");
    let path = "/v1.0/s2s/click/app/android/com.example.shop";
    let engaged = read(&format!(
        "https://engagements.appsflyer.com{path}?af_media_source=acme&af_campaign_id=1&af_click_id={{id}}"
    ));
    let also = engaged.link.expect("it is a link").also;
    assert_eq!(also, [format!("{path}?af_media_source=acme&af_campaign_id=1")]);
    let known =
        read("https://track.example/click?offer_id=12&aff=7&cid={clickid}").link.expect("it is a link");
    assert_eq!(known.also, ["/click?offer_id=12"]);
    let bare = read("https://track.example/click?of=12&cid={clickid}");
    assert!(bare.missing.iter().any(|one| one.field.ends_with(".also")), "{:?}", bare.missing);
}

#[test]
fn callbacks_that_no_rule_is_like_are_lost() {
    let callback = "https%3A%2F%2Fpb.example%2Fx%3Fid%3D%7Bacme_click_id%7D%26token%3Ds3cr3t";
    let names =
        ["install", "conversion", "reattribution", "session", "click", "impression", "rejected_install"];
    let query: Vec<String> = names.iter().map(|name| format!("{name}_callback={callback}")).collect();
    let url = format!("https://app.adjust.com/abc123?acme_click_id={{id}}&{}", query.join("&"));
    let imported = read_as_link(&url);
    let slugs: Vec<&str> = imported.rules.iter().map(|rule| rule.slug.as_str()).collect();
    assert_eq!(slugs, ["partner-install", "partner-conversion"]);
    assert_eq!(imported.rules[0].parts.url, "https://pb.example/x?id={click_id}&token={cfg.token}");
    assert_eq!(imported.partner.cfg, [("token".to_owned(), "s3cr3t".to_owned())]);
    assert_eq!(imported.lost.len(), 6, "{:#?}", imported.lost);
    assert!(!imported.url.clone().is_some_and(|url| url.contains("callback")), "{:?}", imported.url);
}

fn read_as_link(url: &str) -> Imported {
    as_kind(url, Kind::Link).unwrap_or_else(|problem| panic!("{url}: {problem:?}"))
}

#[test]
fn brackets_of_another_system_are_no_macros() {
    let url = "https://p.example/conv?cid={click_id}&y={{ y }}&sdk=<app_id>&both={sub1}-[[z]]";
    let input =
        Input { url: url.into(), from: Some("roundtrip".into()), kind: Some(Kind::Rule), ..Input::default() };
    let imported = import(&input).expect("it is read");
    let what: Vec<&str> = imported.lost.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(what, ["parameter y", "parameter sdk", "parameter both"]);
    assert_eq!(imported.rules[0].parts.url, url);
}

#[test]
fn a_whole_request_is_read() {
    let input = Input {
        url: "https://bob:pa55@pb.example/conv?cid={click_id}&k=v&click={clickkid}&t=${x}<#if a>#end".into(),
        from: Some("linkrunner".into()),
        partner: Some("acme".into()),
        headers: vec![("Authorization".into(), "Bearer 9f86d081884c7d65".into()), ("X-A".into(), "b".into())],
        body: Body::Json(r#"{"api_key": "0123456789abcdef", "id": "{click_id}", "n": "{revenue}"}"#.into()),
        ..Input::default()
    };
    let imported = import(&input).expect("it is read");
    let parts = &imported.rules[0].parts;
    assert_eq!(parts.method, "POST");
    assert!(parts.url.starts_with("https://{cfg.user}:{cfg.password}@pb.example/conv?"), "{}", parts.url);
    assert_eq!(parts.headers[0].1, "Bearer {cfg.authorization}");
    assert!(parts.body.text().starts_with(r#"{"api_key": "{cfg.api_key}", "id""#), "{:?}", parts.body);
    let names: Vec<&str> = imported.partner.cfg.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["user", "password", "authorization", "api_key"]);
    let what: BTreeSet<&str> = imported.lost.iter().map(|one| one.what.as_str()).collect();
    for one in ["macro {clickkid}", "condition", "fragment", "macro {revenue}"] {
        assert!(what.contains(one), "{one}: {what:?}");
    }
    let shown = format!("{imported:?}");
    for secret in ["pa55", "9f86d081884c7d65", "0123456789abcdef"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let likely = imported.lost.iter().find(|one| one.what == "macro {clickkid}").expect("it is there");
    assert!(likely.fix.contains("click"), "{likely:?}");
}
