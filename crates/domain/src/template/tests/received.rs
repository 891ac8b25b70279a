//! A value goes back so that the partner decodes what it sent, whichever way it decodes.

use super::*;

fn rendered(template: Parts, decoded: &[u8], received: &str) -> Rendered {
    let values = BTreeMap::from([(
        "partner_click_id".to_owned(),
        Value::received(decoded.to_vec(), received.as_bytes().to_vec()),
    )]);
    Template::parse(template).0.render(&values, &SENDING)
}

#[test]
fn a_received_value_goes_back_as_it_was_meant() {
    // Received; sent in a query; sent in JSON.
    for (received, query, json) in [
        ("a%2fb", "a%2Fb", "a/b"),
        ("a+b", "a+b", "a b"),
        ("a%2Bb", "a%2Bb", "a+b"),
        ("a%2bb", "a%2Bb", "a+b"),
        ("a%20b", "a%20b", "a b"),
        ("%41%7e", "A~", "A~"),
        ("abc==", "abc%3D%3D", "abc=="),
        ("100%", "100%25", "100%"),
        ("%4%31%", "%2541%25", "%41%"),
        ("%252F", "%252F", "%2F"),
        ("%ff%FE", "%FF%FE", "\u{fffd}\u{fffd}"),
        ("gr\u{fc}n", "gr%C3%BCn", "grün"),
        ("a%0d%0Ab", "a%0D%0Ab", "a\\r\\nb"),
    ] {
        let decoded = crate::params::decode(received.as_bytes());
        let url = "https://p.example/{click_id}/x?c={click_id}&d=1#{click_id}";
        let form =
            Parts { method: "POST".into(), body: Body::Form("c={click_id}".into()), ..Parts::get(url) };
        let request = rendered(form, &decoded, received);
        assert_eq!(
            request.url,
            format!("https://p.example/{query}/x?c={query}&d=1#{query}"),
            "of {received}"
        );
        assert_eq!(request.body, Some(format!("c={query}").into_bytes()));
        let body = Body::Json("{\"c\":\"{click_id}\"}".into());
        let request = rendered(
            Parts { method: "POST".into(), body, ..Parts::get("https://p.example/") },
            &decoded,
            received,
        );
        assert_eq!(request.body, Some(format!("{{\"c\":\"{json}\"}}").into_bytes()), "of {received}");
    }
}

#[test]
fn a_changed_value_has_no_received_form() {
    for (expression, expected) in [
        ("{click_id|lower}", "a%20b%2Bc"),
        ("{click_id|truncate:3}", "a%20b"),
        ("{click_id|map:a b+c=x+y}", "x%2By"),
        ("{click_id|if:a+b,}", "a%2Bb"),
        // A URL inside the URL is decoded twice, and what comes out then is what was sent.
        ("{click_id|urlencode}", "a%2Bb%252Bc"),
        // These leave it as it is.
        ("{click_id|default:x}", "a+b%2Bc"),
        ("{click_id|map:x=y}", "a+b%2Bc"),
        ("{idfa||click_id}", "a+b%2Bc"),
    ] {
        let request = rendered(Parts::get(format!("https://p.example/?c={expression}")), b"a b+c", "a+b%2bc");
        assert_eq!(request.url, format!("https://p.example/?c={expected}"), "of {expression}");
    }
}
