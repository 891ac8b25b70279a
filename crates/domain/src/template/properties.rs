//! What holds for every template and every value.

use super::tests::SENDING;
use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Text that is likely to be nearly a template.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        3 => "[a-zA-Z0-9/?&=#:@.%;~$_-]{0,6}",
        1 => "\\PC{0,3}",
        1 => "[\\x00-\\x20\"\\\\<>`^|\\[\\]]{0,3}",
        2 => Just("{".to_owned()),
        2 => Just("}".to_owned()),
        1 => Just("|".to_owned()),
        1 => Just("||".to_owned()),
        1 => Just("\\".to_owned()),
        1 => Just("https://".to_owned()),
        2 => prop::sample::select(&["click_id", "sub1", "cfg.x", "param.y", "foo", "event_time", "timestamp"][..])
            .prop_map(str::to_owned),
        2 => prop::sample::select(
            &["|sha1", "|raw", "|lower", "|default:x", "|map:a=1,*=2", "|date:%Y,UTC", "|truncate:2", "|urlencode", "|nope"][..]
        ).prop_map(str::to_owned),
        3 => prop::sample::select(
            &["{click_id}", "{sub1|raw}", "{foo||sub2|b64}", "{cfg.x}", "{event_time|date:%H}", "{ua|alphanumeric}"][..]
        ).prop_map(str::to_owned),
    ];
    vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        "[a-zA-Z0-9%/+ &=#?\"\\\\\r\n]{0,30}".prop_map(String::into_bytes),
        "-?[0-9]{1,20}".prop_map(String::into_bytes),
    ]
}

fn values() -> impl Strategy<Value = BTreeMap<String, Value<'static>>> {
    let names = prop::sample::select(
        &["partner_click_id", "sub1", "sub2", "cfg.x", "param.y", "param.foo", "event_time", "ua"][..],
    );
    btree_map(names.prop_map(str::to_owned), (bytes(), proptest::option::of(bytes())), 0..6).prop_map(|map| {
        map.into_iter()
            .map(|(name, (decoded, received))| {
                (name, Value { decoded: decoded.into(), received: received.map(Into::into) })
            })
            .collect()
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let body = (0..4, scraps()).prop_map(|(kind, text)| match kind {
        0 => Body::None,
        1 => Body::Form(text),
        2 => Body::Json(text),
        _ => Body::Text(text),
    });
    let method = prop::sample::select(&["GET", "POST", "PUT", "x"][..]).prop_map(str::to_owned);
    let url = prop_oneof![scraps(), scraps().prop_map(|rest| format!("https://p.example/{rest}"))];
    let headers = vec(("[A-Za-z :-]{0,8}", scraps()), 0..3);
    let dialect = prop::sample::select(Dialect::ALL);
    (dialect, method, url, headers, body).prop_map(|(dialect, method, url, headers, body)| Parts {
        dialect,
        method,
        url,
        headers,
        body,
        ..Parts::default()
    })
}

/// The value of a parameter as it may stand on a link.
fn received() -> impl Strategy<Value = Vec<u8>> {
    let scrap = prop_oneof![
        4 => "[a-zA-Z0-9]{1,4}".prop_map(String::into_bytes),
        3 => any::<u8>().prop_map(|byte| format!("%{byte:02x}").into_bytes()),
        2 => any::<u8>().prop_map(|byte| format!("%{byte:02X}").into_bytes()),
        3 => Just(b"+".to_vec()),
        2 => Just(b"%".to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => prop::sample::select(&["%2B", "%20", "%2f", "%252F", "%u0041", "%%41", "%4", "=", "/", "\""][..])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec(scrap, 0..12).prop_map(|scraps| scraps.concat())
}

fn decoded(text: &str) -> Vec<u8> {
    super::place::urldecode(text.as_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_input_gives_a_request_that_stays_on_its_lines(parts in parts(), values in values()) {
        let (template, findings) = Template::parse(parts.clone());
        prop_assert!(findings.len() <= FINDINGS_MAX);
        for finding in &findings {
            prop_assert!(!finding.to_string().is_empty());
        }
        prop_assert_eq!(template.source(), &parts);
        prop_assert_eq!(&Template::parse(template.source().clone()).0, &template);

        let rendered = template.render(&values, &SENDING);
        prop_assert!(rendered.url.len() <= URL_BYTES_MAX);
        prop_assert!(rendered.url.bytes().all(|byte| byte.is_ascii_graphic()), "{}", rendered.url);
        for (name, value) in &rendered.headers {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(value.len() <= HEADER_BYTES_MAX + 64);
            prop_assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        }
        prop_assert!(rendered.body.is_none_or(|body| body.len() <= BODY_BYTES_MAX));
    }

    #[test]
    fn any_destination_gives_a_url_of_an_allowed_scheme(text in scraps(), values in values()) {
        let (template, _) = UrlTemplate::parse(&text, Scope::Destination, Dialect::Canonical);
        prop_assert_eq!(template.to_string(), text);
        let rendered = template.render(&values, None);
        prop_assert!(rendered.url.bytes().all(|byte| byte.is_ascii_graphic()));
        let scheme = rendered.url.split(':').next().unwrap_or_default().to_ascii_lowercase();
        prop_assert!(!["javascript", "data", "vbscript", "file", "blob"].contains(&scheme.as_str()));
    }

    #[test]
    fn the_pieces_joined_are_the_text(text in scraps()) {
        use super::expression::{Piece, Reading};
        let reading = Reading {
            scope: Scope::Postback,
            place: Place::Body,
            free_text: true,
        };
        let mut at_expected = 0;
        let mut joined = String::new();
        for piece in reading.scan(&text, &mut super::finding::Findings::default()) {
            let (at, piece) = match &piece {
                Piece::Literal { at, text } => (*at, *text),
                Piece::Macro { at, expression } => (*at, expression.text.as_str()),
            };
            prop_assert_eq!(at, at_expected);
            at_expected += piece.len();
            joined.push_str(piece);
        }
        prop_assert_eq!(joined, text);
    }

    #[test]
    fn encoded_values_decode_to_what_they_were(value in vec(any::<u8>(), 0..60), raw in any::<bool>()) {
        // As on the wire: a received form that decodes to the value, here with every byte escaped in lower case.
        let received: String = value.iter().map(|byte| format!("%{byte:02x}")).collect();
        let values = BTreeMap::from([(
            "partner_click_id".to_owned(),
            Value::received(value.clone(), received.clone().into_bytes()),
        )]);
        let text = if raw { "{click_id|raw}" } else { "{click_id}" };
        let (template, _) = Template::parse(Parts {
            method: "POST".into(),
            body: Body::Form(format!("a={text}&b=2")),
            ..Parts::get(format!("https://p.example/x/{text}/y?a={text}&b=2"))
        });
        let rendered = template.render(&values, &SENDING);
        let (path, query) = rendered.url.split_once('?').expect("a query");
        let segments: Vec<_> = path.split('/').collect();
        prop_assert_eq!(segments.len(), 6);
        prop_assert_eq!(decoded(segments[4]), value.clone());
        let pairs: Vec<_> = query.split('&').collect();
        prop_assert_eq!(pairs.len(), 2);
        prop_assert_eq!(decoded(&pairs[0][2..]), value.clone());
        prop_assert_eq!(rendered.body.expect("a body"), query.as_bytes());
        if raw {
            prop_assert_eq!(&pairs[0][2..], received);
        }
    }

    /// For any bytes on a link: a partner that reads `+` as a space and one that does not both decode what we send
    /// in a query or a form to what they would have decoded themselves.
    #[test]
    fn both_ways_of_decoding_give_what_was_sent(received in received(), ending in "[&a-f0-9+%]{0,3}") {
        let value = Value::received(crate::params::decode(&received), received.clone());
        let values = BTreeMap::from([("partner_click_id".to_owned(), value)]);
        let text = format!("a={{click_id}}&b={{click_id|raw}}&c={{click_id|urlencode}}&{ending}");
        let (template, _) = Template::parse(Parts {
            method: "POST".into(),
            body: Body::Form(text.clone()),
            ..Parts::get(format!("https://p.example/{{click_id}}/?{text}"))
        });
        let rendered = template.render(&values, &SENDING);
        let (path, query) = rendered.url.split_once("/?a=").expect("a query");
        let form = String::from_utf8(rendered.body.expect("a body")).expect("ascii");
        prop_assert_eq!(form.strip_prefix("a="), Some(query));
        let (plain, rest) = query.split_once("&b=").expect("the first value");
        let (raw, nested) = rest.rsplit_once("&c=").expect("the second value");
        let nested = nested.strip_suffix(&format!("&{ending}")).expect("the third value");
        let segment = path.rsplit_once('/').expect("a segment").1;
        for sent in [plain, raw, segment] {
            prop_assert_eq!(decoded(sent), super::place::urldecode(&received));
            prop_assert_eq!(crate::params::decode(sent.as_bytes()), crate::params::decode(&received));
        }
        // Decoded once by either, the nested one is to be decoded once more.
        let inner = decoded(nested);
        prop_assert_eq!(&inner, &crate::params::decode(nested.as_bytes()));
        prop_assert_eq!(super::place::urldecode(&inner), super::place::urldecode(&received));
        prop_assert_eq!(crate::params::decode(&inner), crate::params::decode(&received));
        // The very bytes, where each of them can stand in a query.
        if received.iter().all(|byte| byte.is_ascii_alphanumeric() || b"%+-_.~/:,".contains(byte))
            && !crate::params::bad_escape(&received)
        {
            prop_assert_eq!(raw.as_bytes(), received);
        }
    }

    #[test]
    fn literal_text_survives(
        before in "[a-zA-Z0-9/._~$;:=&,!*'()@+|\\[\\]-]{0,30}",
        after in "[a-zA-Z0-9/._~$;:=&,!*'()@+|\\[\\]?-]{0,30}",
    ) {
        let url = format!("https://p.example/{before}{{sub1}}?{after}");
        let (template, _) = Template::parse(Parts::get(url));
        let rendered = template.render(&[("sub1", "v")], &SENDING);
        prop_assert_eq!(rendered.url, format!("https://p.example/{before}v?{after}"));
    }

    #[test]
    fn a_known_macro_with_a_value_never_stays(index in 0..VOCABULARY.len(), tail in "[a-z0-9&=]{0,9}") {
        struct Everything;
        impl Values for Everything {
            fn get(&self, _: &str) -> Option<Value<'_>> {
                Some(Value::text("v"))
            }
        }
        let name = VOCABULARY[index].name;
        let (template, _) = Template::parse(Parts {
            method: "POST".into(),
            headers: vec![("X-A".into(), format!("{{{name}}}"))],
            body: Body::Json(format!("{{\"a\":\"{{{name}}}\"}}")),
            signatures: vec![("signature".into(), sign::Scheme {
                hash: sign::Hash::Sha256,
                message: sign::Message::Text("a".into()),
                ..sign::Scheme::default()
            })],
            ..Parts::get(format!("https://p.example/{{{name}}}?x={{{name}}}{tail}"))
        });
        let rendered = template.render(&Everything, &SENDING);
        prop_assert!(rendered.unexpanded.is_empty() && rendered.missing.is_empty());
        prop_assert!(!rendered.url.contains("%7B"));
        prop_assert!(!rendered.headers[0].1.contains(&0x7b));
        let body = String::from_utf8(rendered.body.expect("a body")).expect("utf-8");
        prop_assert!(!body.contains(name));
    }

    #[test]
    fn json_bodies_stay_json(value in bytes(), received in proptest::option::of(bytes())) {
        let value = Value { decoded: value.into(), received: received.map(Into::into) };
        let values = BTreeMap::from([("sub1".to_owned(), value)]);
        let text = r#"{"s":"a{sub1}b","r":"{sub1|raw}","v":{sub1},"w":{sub1|raw},"k{sub1}":[{foo},"{foo}",{idfa}]}"#;
        let (template, findings) = Template::parse(Parts {
            method: "POST".into(),
            body: Body::Json(text.into()),
            ..Parts::get("https://p.example/")
        });
        prop_assert!(findings.iter().all(|finding| finding.severity != Severity::Error));
        let body = template.render(&values, &SENDING).body.expect("a body");
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
    }
}
