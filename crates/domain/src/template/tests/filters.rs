//! What each filter makes of a value, and what is said of those that cannot be used.

use super::*;

#[test]
fn filters() {
    check_query("{currency|sha1}", "d06e0731df1a4cdf21dfbcfddeb5d1d3cca162cc");
    check_query("{currency|md5}", "a055562bdb59ad8ba9cc680367308118");
    check_query("{currency|lower|upper}", "EUR");
    check_query("{sub1|b64}", "eCZ5PXo%3D");
    check_query("{sub2|b64url}", "__4");
    check_query("{sub1|urlencode}", "x%2526y%253Dz");
    check_query("{sub5|truncate:3}", "gr%C3%BC");
    check_query("{sub2|truncate:1}", "%FF");
    check_query("{gaid|alphanumeric}", "384000008cf011bdb23e10b96e40000d");
    check_query("{idfa|default:no\\|ne\\}}", "no%7Cne%7D");
    check_query("{idfa|sha1}", "");
    check_query("{idfa|b64}", "");
}

#[test]
fn hashes_have_known_values() {
    let values = [("sub1", "abc")];
    for (filter, expected) in [
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
    ] {
        let (parsed, _) = Template::parse(Parts::get(format!("https://p.example/{{sub1|{filter}}}")));
        assert_eq!(parsed.render(&values, &SENDING).url, format!("https://p.example/{expected}"));
    }
}

#[test]
fn map_and_default() {
    check_query("{event_name|map:install=1,purchase=2}", "2");
    check_query("{event_name|map:install=1}", "purchase");
    check_query("{event_name|map:install=1,*=9}", "9");
    check_query("{idfa|map:*=9}", "9");
    check_query("{idfa|map:=none}", "none");
    check_query("{is_organic|map:0=a\\,b,1=c\\=d}", "a%2Cb");
    check_query("{currency|map:EUR=}", "");
}

#[test]
fn dates() {
    check_query("{event_time|date:%Y-%m-%d}", "2026-06-04");
    check_query("{event_time_ms|date:%Y-%m-%dT%H\\:%M:%S,Asia/Tokyo}", "2026-06-04T18%3A21%3A44");
    check_query("{event_time_iso|date:%H,Europe/Berlin}", "11");
    check_query("{timestamp|date:%s}", "1780564905");
    check_query("{currency|date:%Y}", "");
    // A bad zone or format empties the macro.
    check_query("{event_time|date:%Y,Nowhere/At_All}", "");
    check_query("{event_time|date:%}", "");
    check_query("{event_time|sha265}", "");
    check_query("{event_time|sha265|bool}", "0");
}

#[test]
fn dates_in_php_style() {
    let values = [("event_time", "1780564904"), ("click_time", "1704067200"), ("install_time", "1780564904")];
    let date = |format: &str| {
        let (parsed, findings) =
            Template::parse(Parts::get(format!("https://p.example/?c={{click_id}}&v={{{format}}}")));
        assert_eq!(codes(&findings), [""; 0], "of {format}");
        let url = parsed.render(&values, &SENDING).url;
        String::from_utf8(place::urldecode(&url.as_bytes()["https://p.example/?c=&v=".len()..]))
            .expect("text")
    };
    // 2026-06-04 09:21:44 UTC is a Thursday, day 155 from 1, in ISO week 23.
    for (format, expected) in [
        ("Y-m-d H:i:s", "2026-06-04 09:21:44"),
        ("d/m/y", "04/06/26"),
        ("D\\, j M Y", "Thu, 4 Jun 2026"),
        ("l jS F Y", "Thursday 4th June 2026"),
        ("g:i a|lower", "9:21 am"),
        ("h:i A", "09:21 AM"),
        ("G.i", "9.21"),
        ("N w z W o", "4 4 154 23 2026"),
        ("n t L", "6 30 0"),
        ("U u v", "1780564904 000000 000"),
        ("c,Europe/Berlin", "2026-06-04T11:21:44+02:00"),
        ("r", "Thu, 04 Jun 2026 09:21:44 +0000"),
        ("e I O P p T Z,America/New_York", "America/New_York 1 -0400 -04:00 -04:00 EDT -14400"),
        ("e p,UTC", "UTC Z"),
        ("Y\\Ym\\m", "2026Y06m"),
        ("\\%Y", "%2026"),
    ] {
        let format = match format {
            // A `%` anywhere means strftime, and there it is written twice.
            "\\%Y" => "%%%Y",
            other => other,
        };
        assert_eq!(date(&format!("event_time|date:{format}")), expected, "of {format}");
    }
    // 2024 is a leap year, its first day a Monday.
    assert_eq!(date("click_time|date:D jS z L t o-W"), "Mon 1st 0 1 31 2024-01");
    for bad in ["YYYY-MM-DD", "Q", "-", "Y-m-d,Nowhere/At_All", "Y b", "B"] {
        check_codes(&format!("https://p.example/?a={{event_time|date:{bad}}}"), &["filter_argument"]);
        check_query(&format!("{{event_time|date:{bad}}}"), "");
    }
}

#[test]
fn times_change_their_unit() {
    check_query("{event_time|ms}", "1780564904000");
    check_query("{event_time_ms|s}", "1780564904");
    check_query("{event_time_ms|ms}", "1780564904120");
    check_query("{event_time_iso|ms}", "1780564904120");
    check_query("{timestamp_iso|s}", "1780564905");
    // After a filter the name no longer tells the unit.
    check_query("{event_time_ms|s|date:Y-m-d}", "2026-06-04");
    check_query("{event_time_ms|s|ms}", "1780564904000");
    check_query("{currency|ms}", "");
    check_query("{idfa|s}", "");
    check_codes("https://p.example/?a={currency|ms}", &["filter_argument"]);
    check_codes("https://p.example/?a={event_time|ms}&b={param.t|s}", &[]);
}

#[test]
fn yes_and_no() {
    for (value, is_true) in [
        ("", false),
        ("0", false),
        ("false", false),
        ("False", false),
        ("NO", false),
        ("1", true),
        ("no way", true),
        ("00", true),
        ("x", true),
    ] {
        let values = [("sub1", value)];
        let url = "https://p.example/{sub1|bool}{sub1|not}{sub1|if:y\\,z,n}{sub1|if:y}";
        let (parsed, _) = Template::parse(Parts::get(url));
        let expected = if is_true { "10y,zy" } else { "01n" };
        let got = parsed.render(&values, &SENDING).url;
        assert_eq!(got.replace("%2C", ","), format!("https://p.example/{expected}"), "of {value:?}");
    }
    check_query("{idfa|bool}{idfa|not}{idfa|if:a,b}{idfa|if:a}", "01b");
    check_query("{is_organic|if:organic,paid}", "paid");
    check_query("{gaid|if:1,0}", "1");
    for bad in ["{sub1|if}", "{sub1|if:a,b,c}", "{sub1|bool:1}", "{sub1|not:}"] {
        check_codes(&format!("https://p.example/?a={bad}"), &["filter_argument"]);
    }
}

#[test]
fn amounts_in_hundredths() {
    for (amount, expected) in [
        ("12.50", "1250"),
        ("12", "1200"),
        ("0.01", "1"),
        ("0", "0"),
        ("-0.00", "0"),
        ("-0.004", "0"),
        ("-3.1", "-310"),
        ("+.5", "50"),
        ("7.", "700"),
        // Half to even, as `revenue_minor` is rounded.
        ("0.125", "12"),
        ("0.135", "14"),
        ("0.1250", "12"),
        ("0.12500001", "13"),
        ("0.124999", "12"),
        ("9.995", "1000"),
        ("99.999", "10000"),
        ("90071992547409931234567890.129", "9007199254740993123456789013"),
        (" 1.5 ", "150"),
        ("", ""),
        ("1,5", ""),
        ("1.2.3", ""),
        ("1e3", ""),
        ("-", ""),
        (".", ""),
        ("EUR", ""),
    ] {
        let values = [("revenue", amount)];
        let (parsed, _) = Template::parse(Parts::get("https://p.example/{revenue|cents}"));
        let got = parsed.render(&values, &SENDING).url;
        assert_eq!(got, format!("https://p.example/{expected}"), "of {amount:?}");
    }
}

#[test]
fn texts_inside_other_texts() {
    check_query("{sub3|json|raw}", "line%5Cr%5Cnbreak%5C%22%5C%5C");
    check_query("{idfa|json}", "");
    let values = [("sub1", "a%2fb%20c+d%zz"), ("sub2", "\u{1}\"ü")];
    let (parsed, _) = Template::parse(Parts {
        method: "POST".into(),
        body: Body::Text("{sub1|urldecode} {sub2|json}".into()),
        ..Parts::get("https://p.example/")
    });
    let body = parsed.render(&values, &SENDING).body.expect("a body");
    assert_eq!(String::from_utf8(body).expect("text"), "a/b c+d%zz \\u0001\\\"ü");
}

#[test]
fn names_of_filters_that_are_meant() {
    for (wrong, likely) in [
        ("hundredths", "cents"),
        ("minor", "cents"),
        ("url_decode", "urldecode"),
        ("base64", "b64"),
        ("boolean", "bool"),
        ("UPPER", "upper"),
        ("millis", "ms"),
    ] {
        let findings = check_codes(&format!("https://p.example/{{sub1|{wrong}}}"), &["filter_unknown"]);
        assert_eq!(findings[0].likely.as_deref(), Some(likely), "of {wrong}");
    }
    // A key has no place in a URL, so there is no such filter; the finding says where it goes.
    let findings = check_codes("https://p.example/{sub1|hmac_sha256:key}", &["filter_argument"]);
    assert!(findings[0].message.contains("{signature}"), "{}", findings[0].message);
}

#[test]
fn findings_about_filters() {
    let findings = check_codes("https://p.example/{gaid|sha265}", &["filter_unknown"]);
    assert_eq!(findings[0].likely.as_deref(), Some("sha256"));
    assert_eq!(findings[0].place, Place::Path);
    for bad in [
        "{sub1|sha1:x}",
        "{sub1|truncate}",
        "{sub1|truncate:0}",
        "{sub1|truncate:many}",
        "{sub1|map:a}",
        "{sub1|default:{sub2}",
        "{event_time|date:%Y,Mars/Base}",
        "{event_time|date:%Y,UTC,UTC}",
        "{event_time|date:}",
        "{event_time|date:%!}",
        "{currency|date:%Y}",
        "{sub1|raw|raw|raw|raw|raw|raw|raw|raw|raw}",
    ] {
        check_codes(&format!("https://p.example/?a={bad}"), &["filter_argument"]);
    }
    check_codes("https://p.example/?a={gaid||idfa|sha1}", &["filter_one_side"]);
    check_codes("https://p.example/?a={gaid_sha1||gaid|sha1}", &[]);
    check_codes("https://p.example/?a={gaid|sha1||idfa|sha1}", &[]);
    check_codes("https://p.example/?a={sub1|urlencode}", &["filter_nested"]);
}
