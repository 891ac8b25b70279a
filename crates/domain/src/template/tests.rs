//! Tables of what templates come out as, and of what is said about them.

mod auth;
mod filters;
mod received;
mod signatures;

use super::*;
use std::collections::BTreeMap;

/// The values most tables are filled in with.
pub(super) fn sample_values() -> BTreeMap<String, Value<'static>> {
    let received: &[(&str, &[u8], &str)] = &[
        ("partner_click_id", b"a/b  c", "a%2fb%20+c"),
        ("sub1", b"x&y=z", "x%26y%3Dz"),
        ("sub2", b"\xff\xfe", "%FF%FE"),
        ("sub3", b"line\r\nbreak\"\\", "line%0D%0Abreak%22%5c"),
        ("sub4", b"", ""),
        ("sub5", "grün".as_bytes(), "gr\u{fc}n"),
        ("sub6", b"100%", "100%"),
        ("param.colour", b"dark red", "dark+red"),
    ];
    let ours = [
        ("rt_click_id", "019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f"),
        ("event_name", "purchase"),
        ("event_id", "evt_01"),
        ("event_time", "1780564904"),
        ("event_time_ms", "1780564904120"),
        ("event_time_iso", "2026-06-04T09:21:44.120Z"),
        ("event_value", "{\"level\":3}"),
        ("revenue", "12.50"),
        ("currency", "EUR"),
        ("gaid", "38400000-8cf0-11bd-b23e-10b96e40000d"),
        ("ua", "Mozilla/5.0"),
        ("is_organic", "0"),
        ("cfg.token", "t0k/en"),
        ("cfg.host", "api.partner.example:8443"),
        ("cfg.evil", "evil.example/@x"),
        ("cfg.base", "https://base.example/v1"),
    ];
    let mut values = BTreeMap::new();
    for (name, decoded, raw) in received {
        values.insert((*name).to_owned(), Value::received(decoded.to_vec(), raw.as_bytes().to_vec()));
    }
    for (name, text) in ours {
        values.insert(name.to_owned(), Value::text(text));
    }
    values
}

pub(super) const SENDING: Sending<'static> = Sending { attempt: 2, at_ms: 1_780_564_905_250, nonce: "n0nce" };

/// Renders a GET template and compares its URL.
#[track_caller]
fn check(template: &str, expected: &str) {
    let (parsed, _) = Template::parse(Parts::get(template));
    let rendered = parsed.render(&sample_values(), &SENDING);
    assert_eq!(rendered.url, expected, "of {template}");
    assert_eq!(parsed.source().url, template);
}

/// Compares what follows `https://p.example/` in the query.
#[track_caller]
fn check_query(expression: &str, expected: &str) {
    check(&format!("https://p.example/?v={expression}"), &format!("https://p.example/?v={expected}"));
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

/// Compares the codes of the findings about a GET template, without those about what it leaves out and whose it may be.
#[track_caller]
fn check_codes(template: &str, expected: &[&str]) -> Vec<Finding> {
    let (_, findings) = Template::parse(Parts::get(template));
    let found: Vec<_> = codes(&findings)
        .into_iter()
        .filter(|code| !matches!(*code, "no_partner_click_id" | "dialect_likely"))
        .collect();
    assert_eq!(found, expected, "of {template}: {findings:#?}");
    findings
}

#[track_caller]
fn check_body(body: Body, expected: &str) {
    let parts = Parts { method: "POST".into(), body, ..Parts::get("https://p.example/") };
    let (parsed, _) = Template::parse(parts);
    let rendered = parsed.render(&sample_values(), &SENDING).body.expect("a body");
    assert_eq!(String::from_utf8(rendered).expect("utf-8"), expected);
}

#[test]
fn values_are_encoded_where_they_stand() {
    check(
        "https://p.example/pb?cid={click_id}&s={sub1}&bin={sub2}&rt={rt_click_id}",
        "https://p.example/pb?cid=a%2Fb%20+c&s=x%26y%3Dz&bin=%FF%FE&rt=019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f",
    );
    check("https://p.example/{click_id}/done", "https://p.example/a%2Fb%20+c/done");
    check("https://p.example/a?x=1#{click_id}", "https://p.example/a?x=1#a%2Fb%20+c");
    check_query("{sub3}", "line%0D%0Abreak%22%5C");
    check_query("{sub5}", "gr%C3%BCn");
}

#[test]
fn raw_gives_the_received_bytes_back() {
    check_query("{click_id|raw}", "a%2fb%20+c");
    check_query("{sub2|raw}", "%FF%FE");
    check_query("{param.colour|raw}", "dark+red");
    // Only the byte a URL cannot hold is encoded; a `%` that begins no escape would swallow what follows.
    check_query("{sub5|raw}", "gr%C3%BCn");
    check_query("{sub6|raw}00", "100%2500");
    check_query("{event_value|raw}", "%7B%22level%22:3%7D");
    check("https://p.example/{cfg.token|raw}/x", "https://p.example/t0k/en/x");
}

#[test]
fn raw_never_ends_the_part_it_stands_in() {
    let values = [("sub1", "a?b#c\r\nX: y")];
    let (parsed, _) = Template::parse(Parts::get("https://p.example/{sub1|raw}?q={sub1|raw}"));
    let url = parsed.render(&values, &SENDING).url;
    assert_eq!(url, "https://p.example/a%3Fb%23c%0D%0AX:%20y?q=a?b%23c%0D%0AX:%20y");
}

#[test]
fn missing_is_empty_and_unknown_keeps_its_text() {
    check("https://p.example/?a={idfa}&b={sub4}&c=", "https://p.example/?a=&b=&c=");
    check("https://p.example/?a={clickid}", "https://p.example/?a=%7Bclickid%7D");
    check("https://p.example/{nope|sha1}", "https://p.example/%7Bnope|sha1%7D");
    let (parsed, _) = Template::parse(Parts::get("https://p.example/?a={idfa}&b={sub4}&c={nope}&d={idfa}"));
    let rendered = parsed.render(&sample_values(), &SENDING);
    assert_eq!(rendered.missing, ["idfa"], "an empty value is a value");
    assert_eq!(rendered.unexpanded, ["nope"]);
}

#[test]
fn link_parameters_go_by_their_own_names() {
    check_query("{colour}", "dark+red");
    check_query("{param.colour}", "dark+red");
    check_query("{param.absent}", "");
}

#[test]
fn literals_survive() {
    for url in [
        "https://p.example/?adv=&android_id=&~x=1&$y=2&a-b=3",
        "https://p.example/a;b=c;ord=1?",
        "https://p.example/x::y::z",
        "https://p.example/?a[]=1|2^3&b=100%",
        "https://p.example",
        "https://p.example?x=y?z",
    ] {
        check(url, url);
    }
    check("https://p.example/a b?q=ü\"", "https://p.example/a%20b?q=%C3%BC%22");
    check("https://p.example/{event_name}_{currency}_x::{sub4}::", "https://p.example/purchase_EUR_x::::");
    check("https://p.example/?j={}&k={ x }", "https://p.example/?j=%7B%7D&k=%7B%20x%20%7D");
}

#[test]
fn alternatives_take_the_first_that_is_not_empty() {
    check_query("{idfa||gaid}", "38400000-8cf0-11bd-b23e-10b96e40000d");
    check_query("{sub4||currency}", "EUR");
    check_query("{nope||currency}", "EUR");
    check_query("{idfa||oaid}", "");
    check_query("{nope||also_nope}", "%7Bnope||also_nope%7D");
    check_query("{idfa|lower||currency|lower}", "eur");
    check_query("{idfa||oaid|default:none}", "none");
}

#[test]
fn what_only_the_attempt_knows() {
    check_query(
        "{attempt}.{timestamp}.{timestamp_ms}.{timestamp_iso}.{nonce}",
        "2.1780564905.1780564905250.2026-06-04T09%3A21%3A45.250Z.n0nce",
    );
}

#[test]
fn json_stays_json() {
    check_body(
        Body::Json(r#"{"id":"{click_id}","n":{revenue},"none":{idfa},"s":{currency},"v":{event_value},"b":"{sub2}","q":"{sub3}","u":{nope}}"#.into()),
        "{\"id\":\"a/b  c\",\"n\":12.50,\"none\":null,\"s\":\"EUR\",\"v\":{\"level\":3},\"b\":\"\u{fffd}\u{fffd}\",\"q\":\"line\\r\\nbreak\\\"\\\\\",\"u\":\"{nope}\"}",
    );
}

#[test]
fn forms_and_texts() {
    check_body(Body::Form("a={click_id}&b={click_id|raw}&c=#".into()), "a=a%2Fb%20+c&b=a%2fb%20+c&c=%23");
    check_body(Body::Text("first\nsecond {sub3} {nope}".into()), "first\nsecond linebreak\"\\ {nope}");
}

#[test]
fn headers_carry_no_line_breaks() {
    let parts = Parts {
        method: "post".into(),
        headers: vec![
            ("X-Id".into(), "v {sub3}".into()),
            ("Authorization".into(), "Bearer {cfg.token}".into()),
            ("Host".into(), "evil".into()),
            ("bad name".into(), "x".into()),
            ("X-Break".into(), "a\r\nb".into()),
            ("Webhook-Id".into(), "1".into()),
        ],
        body: Body::Json("{}".into()),
        ..Parts::get("https://u:p@p.example/?c={click_id}")
    };
    let (parsed, findings) = Template::parse(parts);
    let rendered = parsed.render(&sample_values(), &SENDING);
    let expected: &[(&str, &str)] = &[
        ("X-Id", "v linebreak\"\\"),
        ("Authorization", "Bearer t0k/en"),
        ("X-Break", "ab"),
        ("content-type", "application/json"),
    ];
    let got: Vec<_> = rendered
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).expect("ascii")))
        .collect();
    assert_eq!(got, expected);
    assert_eq!(rendered.method, Method::Post);
    assert_eq!(
        codes(&findings),
        ["url_userinfo", "header_reserved", "header_invalid", "header_control_bytes", "header_reserved"]
    );
    assert_eq!(findings[1].place, Place::Header(2));
}

#[test]
fn user_and_password_become_basic_authentication() {
    for (url, pair) in [
        ("https://us%65r:p%40ss@p.example/", "dXNlcjpwQHNz"), // user:p@ss
        ("https://user@p.example/", "dXNlcjo="),              // user:
        ("https://user:{cfg.token}@p.example/", "dXNlcjp0MGsvZW4="), // user:t0k/en
    ] {
        let (parsed, _) = Template::parse(Parts::get(url));
        let rendered = parsed.render(&sample_values(), &SENDING);
        assert_eq!(rendered.url, "https://p.example/");
        assert_eq!(rendered.headers, [("authorization".to_owned(), format!("Basic {pair}").into_bytes())]);
        assert_eq!(parsed.authority(), Some("p.example"));
    }
}

#[test]
fn hosts_take_settings_only() {
    check("https://{cfg.host}/x", "https://api.partner.example:8443/x");
    check("https://{cfg.evil}/x", "https://evil.example%2F%40x/x");
    check("{cfg.base}/pb?c={click_id}", "https://base.example/v1/pb?c=a%2Fb%20+c");
    // Not saved, and if it were: no host, so nothing is sent anywhere.
    check("https://{sub1}.p.example/", "https://%7Bsub1%7D.p.example/");
    check_codes("https://{sub1}.p.example/", &["macro_in_host"]);
    check_codes("https://p.example:{sub1}/", &["macro_in_host"]);
    check_codes("{sub1}://p.example/", &["macro_in_host"]);
    check_codes("{deep_link}", &["macro_unknown", "macro_in_host"]);
    check_codes("https://{cfg.host||sub1}/", &["macro_in_host"]);
    check_codes("https://{cfg.host}:{cfg.port}/", &[]);
    check_codes("{cfg.base}/pb", &[]);
    let authority = |url: &str| Template::parse(Parts::get(url)).0.authority().map(str::to_owned);
    assert_eq!(authority("https://p.example:8443/x").as_deref(), Some("p.example:8443"));
    assert_eq!(authority("https://{cfg.host}/x"), None);
    assert_eq!(authority("{cfg.base}/x"), None);
}

#[test]
fn findings_about_names() {
    for (wrong, likely) in [
        ("clickid", Some("click_id")),
        ("CLICK_ID", Some("click_id")),
        ("clik_id", Some("click_id")),
        ("click-id", Some("click_id")),
        ("$click_id", Some("click_id")),
        ("_click_id", Some("click_id")),
        ("revenu", Some("revenue")),
        ("ervenue", Some("revenue")),
        ("aff_sub3", Some("sub3")),
        ("gps_adid", Some("gaid")),
        ("advertisingid", Some("advertising_id")),
        ("colour", None),
    ] {
        let findings = check_codes(&format!("https://p.example/?a=1&b={{{wrong}}}"), &["macro_unknown"]);
        assert_eq!(findings[0].likely.as_deref(), likely, "of {wrong}");
        assert_eq!(findings[0].name.as_deref(), Some(wrong));
        assert_eq!((findings[0].place, findings[0].offset), (Place::Query, 26));
    }
    if let Some(later) = VOCABULARY.iter().find(|m| m.availability == Availability::Later && !m.money) {
        check_codes(&format!("https://p.example/?a={{{}}}", later.name), &["macro_not_filled"]);
    }
    check_codes("https://p.example/?a={user_agent}&b={param.x}&c={cfg.y}", &[]);
}

#[test]
fn findings_about_syntax() {
    check_codes("https://p.example/?a={click_id", &["macro_unclosed"]);
    check_codes("https://p.example/?a={click_id&b={sub1}", &["macro_unclosed"]);
    check_codes("https://p.example/?a={click_id|default:x", &["macro_unclosed"]);
    check_codes("https://p.example/?a={click_id||}", &["macro_malformed"]);
    check_codes("https://p.example/?a=${click_id}", &["macro_syntax_foreign"]);
    check_codes("https://p.example/?a={{click_id}}", &["macro_syntax_foreign"]);
    check_codes("https://p.example/?a=100%", &["url_percent"]);
    check_codes("https://p.example/?a=b c", &["literal_encoded"]);
}

#[test]
fn findings_about_urls() {
    check_codes("", &["url_invalid"]);
    check_codes("p.example/x", &["url_invalid"]);
    check_codes("https:/p.example/x", &["url_invalid"]);
    // The parser alone would take `x` for the host.
    check_codes("https:///x", &["url_invalid"]);
    check_codes("https://user@/x", &["url_invalid", "url_userinfo"]);
    check_codes("https://", &["url_invalid"]);
    check_codes("https://p.example:99999/", &["url_invalid"]);
    check_codes("https://p.example\\@evil.example/", &["url_invalid", "literal_encoded"]);
    check_codes("https://p.example/\n", &["url_invalid"]);
    check_codes(" https://p.example/", &["url_invalid", "literal_encoded"]);
    check_codes("ftp://p.example/", &["url_scheme"]);
    check_codes("javascript:alert(1)", &["url_scheme"]);
    check_codes("http://p.example/", &["url_plain_http"]);
    check_codes("HTTPS://p.example/", &[]);
    check_codes("https://p.example/#x", &["url_fragment"]);
    check_codes(&format!("https://p.example/{}", "x".repeat(URL_BYTES_MAX)), &["template_too_long"]);
}

#[test]
fn findings_about_the_whole_request() {
    let parse = |parts: Parts| codes(&Template::parse(parts).1);
    assert_eq!(parse(Parts::get("https://p.example/")), ["no_partner_click_id"]);
    assert_eq!(parse(Parts::get("https://p.example/?c={partner_click_id}")), [""; 0]);
    assert_eq!(parse(Parts::get("https://p.example/?c={rt_click_id}")), ["no_partner_click_id"]);
    let url = "https://p.example/?c={click_id}";
    assert_eq!(parse(Parts::get(format!("{url}&r={{revenue}}"))), ["revenue_without_currency"]);
    assert_eq!(parse(Parts::get(format!("{url}&r={{revenue}}&k={{currency}}"))), [""; 0]);
    assert_eq!(parse(Parts { method: "PATCH".into(), ..Parts::get(url) }), ["method_invalid"]);
    assert_eq!(parse(Parts { body: Body::Form("a=b".into()), ..Parts::get(url) }), ["body_ignored"]);
    let json = |text: &str| Parts { method: "PUT".into(), body: Body::Json(text.into()), ..Parts::get(url) };
    assert_eq!(parse(json("{\"a\":{revenue},\"k\":\"{currency}\"}")), [""; 0]);
    assert_eq!(parse(json("{\"a\":\"{sub1}}")), ["json_invalid"]);
    assert_eq!(parse(json("{\"a\":\"\\{sub1}\"}")), ["json_invalid"]);
}

#[test]
fn findings_are_bounded_and_keep_the_errors() {
    let url = format!("https://p.example/?{}&e={{sub1|nope}}", "{zz9}".repeat(300));
    let (_, findings) = Template::parse(Parts::get(url));
    assert_eq!(findings.len(), FINDINGS_MAX);
    assert!(findings.iter().any(|finding| finding.code == Code::FilterUnknown));
}

#[test]
fn what_is_too_long_is_not_read() {
    let parts = Parts {
        method: "POST".into(),
        headers: vec![("X-A".into(), "x".repeat(HEADER_BYTES_MAX + 1))],
        body: Body::Text("x".repeat(BODY_BYTES_MAX + 1)),
        ..Parts::get(format!("https://p.example/{}", "{sub1}".repeat(URL_BYTES_MAX)))
    };
    let (parsed, findings) = Template::parse(parts);
    assert_eq!(codes(&findings)[..3], ["template_too_long"; 3]);
    let rendered = parsed.render(&sample_values(), &SENDING);
    assert_eq!((rendered.url.as_str(), rendered.body.as_deref()), ("", Some(&b""[..])));
    // Beginnings that never end are read once each, not once each to the end of the text.
    let (_, findings) = Template::parse(Parts {
        method: "POST".into(),
        body: Body::Text("{a|".repeat(BODY_BYTES_MAX / 3)),
        ..Parts::get("https://p.example/?c={click_id}")
    });
    assert_eq!(findings.len(), FINDINGS_MAX);
}

#[test]
fn destinations_mean_our_click_id() {
    let check = |template: &str, expected: &str, expected_codes: &[&str]| {
        let (parsed, findings) = UrlTemplate::parse(template, Scope::Destination, Dialect::Canonical);
        assert_eq!(parsed.render(&sample_values(), None).url, expected, "of {template}");
        assert_eq!(codes(&findings), expected_codes, "of {template}");
    };
    let ours = "019a8c3e-7b1d-7c44-9f02-5a1b6c7d8e9f";
    check(
        "https://shop.example/?click_id={click_id}&p={partner_click_id}#top",
        &format!("https://shop.example/?click_id={ours}&p=a%2Fb%20+c#top"),
        &[],
    );
    check("myapp://product/{sub1}", "myapp://product/x%26y%3Dz", &[]);
    check("myapp:///x/{sub1}", "myapp:///x/x%26y%3Dz", &[]);
    check("http://shop.example/", "http://shop.example/", &[]);
    check("intent://x/#Intent;S.a={sub1};end", "intent://x/#Intent;S.a=x%26y%3Dz;end", &[]);
    check("https://s.example/{revenue}{timestamp}", "https://s.example/12.50", &["macro_unavailable"; 2]);
    for bad in [
        "javascript:alert('{sub1}')",
        "JavaScript://x",
        "data:text/html,{sub1}",
        "vbscript:x",
        "file:///x",
        "blob:x",
    ] {
        check(bad, "", &["url_scheme_forbidden"]);
    }
    check("{sub1}", "%7Bsub1%7D", &["macro_in_host"]);
    check("/relative", "/relative", &["url_invalid"]);
    check("java\tscript:x", "", &["url_invalid", "url_scheme_forbidden"]);
    let (parsed, _) = UrlTemplate::parse("{cfg.x}:{sub1}", Scope::Destination, Dialect::Canonical);
    assert_eq!(parsed.render(&[("cfg.x", "javascript"), ("sub1", "1")], None).url, "");
}

#[test]
fn an_audience_sees_what_it_may() {
    let values = sample_values();
    let (parsed, _) = Template::parse(Parts::get(
        "https://p.example/?c={click_id}&s={sub1}&l={colour}&n={nope}&r={revenue|default:0}&k={currency}&v={event_value}&e={event_name}&t={cfg.token}",
    ));
    let see = |winner, revenue_shared| {
        parsed.render(&Audience { values: &values, revenue_shared, winner }, &SENDING).url.split_off(19)
    };
    assert_eq!(
        see(true, true),
        "c=a%2Fb%20+c&s=x%26y%3Dz&l=dark+red&n=%7Bnope%7D&r=12.50&k=EUR&v=%7B%22level%22%3A3%7D&e=purchase&t=t0k%2Fen"
    );
    assert_eq!(
        see(true, false),
        "c=a%2Fb%20+c&s=x%26y%3Dz&l=dark+red&n=%7Bnope%7D&r=0&k=&v=&e=purchase&t=t0k%2Fen"
    );
    assert_eq!(see(false, false), "c=&s=&l=&n=%7Bnope%7D&r=0&k=&v=&e=purchase&t=t0k%2Fen");
}

#[test]
fn lengths_are_bounded() {
    let long = "ü".repeat(BODY_BYTES_MAX);
    let values = [("sub1", long.as_str())];
    let parts = Parts {
        method: "POST".into(),
        headers: vec![("X-A".into(), "{sub1}".into())],
        body: Body::Text("{sub1}".into()),
        ..Parts::get("https://p.example/?a={sub1}&b={sub1}")
    };
    let (parsed, _) = Template::parse(parts);
    let rendered = parsed.render(&values, &SENDING);
    assert!(rendered.too_long);
    assert!(rendered.url.len() <= URL_BYTES_MAX && rendered.url.len() > URL_BYTES_MAX - 3);
    assert!(rendered.url.ends_with("%C3") || rendered.url.ends_with("%BC"));
    assert_eq!(rendered.headers[0].1.len(), HEADER_BYTES_MAX);
    assert_eq!(rendered.body.map(|body| body.len()), Some(BODY_BYTES_MAX));
}

#[test]
fn macros_are_listed_with_their_places() {
    let parts = Parts {
        method: "POST".into(),
        headers: vec![("X-A".into(), "{nonce}".into())],
        body: Body::Form("x={foo}".into()),
        ..Parts::get("https://{cfg.host}/{sub1}?c={click_id||rt_click_id}")
    };
    let (parsed, _) = Template::parse(parts);
    let listed: Vec<_> = parsed
        .macros()
        .map(|used| format!("{} {} {}:{}", used.name, used.key, used.place, used.offset))
        .collect();
    assert_eq!(
        listed,
        [
            "cfg.host cfg.host host:9",
            "sub1 sub1 path:20",
            "click_id partner_click_id query:29",
            "rt_click_id rt_click_id query:39",
            "nonce nonce header[0]:1",
            "foo param.foo body:3",
        ]
    );
    assert!(parsed.uses_partner_click_id());
    assert_eq!(
        parsed.to_string(),
        "POST https://{cfg.host}/{sub1}?c={click_id||rt_click_id}\nX-A: {nonce}\n\nx={foo}"
    );
}

#[test]
fn the_vocabulary_is_sound() {
    let mut names: Vec<_> = VOCABULARY.iter().map(|m| m.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "each name once");
    for m in VOCABULARY {
        let (_, findings) = Template::parse(Parts::get(format!(
            "https://p.example/?c={{click_id}}&k={{currency}}&x={{{}}}",
            m.name
        )));
        let expected: &[&str] = match m {
            _ if m.availability == Availability::Later => &["macro_not_filled"],
            _ if m.name == "signature" => &["signature_undefined"],
            _ => &[],
        };
        assert_eq!(codes(&findings), expected, "of {}", m.name);
    }
    for name in ["revenue", "revenue_usd", "revenue_minor", "currency", "event_value"] {
        assert!(vocabulary::find(name).is_some_and(|m| m.money), "{name}");
    }
    for name in ["partner_click_id", "rt_click_id", "sub1", "sub10", "campaign", "site_id"] {
        assert!(vocabulary::find(name).is_some_and(|m| m.winner_only), "{name}");
    }
    let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), Code::ALL.len());
}

#[test]
fn an_empty_host_takes_none_from_the_path() {
    let url = |template: &str, values: &[(&str, &str)]| {
        let values: std::collections::BTreeMap<_, _> =
            values.iter().map(|(name, value)| ((*name).to_owned(), Value::text(*value))).collect();
        Template::parse(Parts::get(template)).0.render(&values, &SENDING).url
    };
    for empty in [
        "https://{cfg.host}/{sub1}/x?c={click_id}",
        "http://{cfg.host}{cfg.more}/{cfg.key}/x",
        "{cfg.host}/{sub1}/x",
        "{cfg.scheme}://p.example/",
    ] {
        assert_eq!(url(empty, &[("sub1", "evil.example"), ("cfg.key", "s3cr3t")]), "", "{empty}");
    }
    for odd in ["https:", "https://", "https:///", "//p.example", "p.example", "https://?x"] {
        assert_eq!(url("{cfg.base}/{sub1}/x", &[("cfg.base", odd), ("sub1", "evil.example")]), "", "{odd}");
    }
    assert_eq!(
        url("{cfg.base}/x", &[("cfg.base", "https://p.example:8443/v1")]),
        "https://p.example:8443/v1/x"
    );
    assert_eq!(url("https://{cfg.host}/x", &[("cfg.host", "p.example")]), "https://p.example/x");
}
