//! Signatures, through whole requests: the vectors that vendors' open-source clients are tested with, and the bounds.

use super::sign::{Encoding, Hash, Message, SIGNATURES_MAX, Scheme};
use super::*;

fn text(hash: Hash, message: &str) -> Scheme {
    Scheme { hash, message: Message::Text(message.into()), ..Scheme::default() }
}

fn keyed(message: &str) -> Scheme {
    Scheme { key: Some("cfg.secret".into()), ..text(Hash::HmacSha256, message) }
}

fn named(schemes: Vec<(&str, Scheme)>) -> Vec<(String, Scheme)> {
    schemes.into_iter().map(|(name, scheme)| (name.to_owned(), scheme)).collect()
}

/// A GET request with the click id and what else is given in its query.
fn get(query: &str, schemes: Vec<(&str, Scheme)>) -> Parts {
    Parts { signatures: named(schemes), ..Parts::get(format!("https://p.example/?c={{click_id}}{query}")) }
}

#[test]
fn chartboost_signs_a_signature() {
    let parts = Parts {
        method: "POST".into(),
        headers: vec![
            ("X-Chartboost-App".into(), "{cfg.app_id}".into()),
            ("X-Chartboost-Signature".into(), "{signature.install_sig}".into()),
        ],
        body: Body::Json(r#"{"ifa":{idfa},"app_id":"{cfg.app_id}","claim":1}"#.into()),
        signatures: named(vec![
            (
                "sig",
                text(Hash::Sha256, "action:pia;app:{cfg.app_id};token:{cfg.api_token};timestamp:{param.ts};"),
            ),
            (
                "install_sig",
                text(Hash::Sha256, "action:attribution\n{cfg.api_secret}\n{signature.sig}\n{body}"),
            ),
        ]),
        ..Parts::get("https://p.example/?c={click_id}&sig={signature.sig}")
    };
    let values = [
        ("cfg.app_id", "app_id"),
        ("cfg.api_token", "api_token"),
        ("cfg.api_secret", "api_secret"),
        ("param.ts", "fubar"),
        ("partner_click_id", "x"),
    ];
    let (template, findings) = Template::parse(parts);
    assert_eq!(findings, []);
    let request = template.render(&values, &SENDING);
    assert_eq!(request.body.as_deref(), Some(&br#"{"ifa":null,"app_id":"app_id","claim":1}"#[..]));
    assert_eq!(
        request.url,
        "https://p.example/?c=x&sig=85191be548c623170605aaf539a03fa39810f2c66e6262da3529ddefc79a8fb8"
    );
    assert_eq!(
        request.headers[1],
        (
            "X-Chartboost-Signature".to_owned(),
            b"785dba88b030f33387f70439b15cc11598a64c13be93c6262f8fb7913279a3d8".to_vec()
        )
    );
    assert_eq!(request.missing, ["idfa"]);
    assert!(!format!("{request:?}").contains("api_secret"));
}

#[test]
fn playhaven_leaves_absent_parts_out() {
    let scheme = Scheme {
        hash: Hash::HmacSha1,
        message: Message::Join {
            by: ":".into(),
            parts: vec!["{idfa}".into(), "{param.token}".into(), "{nonce}".into()],
        },
        key: Some("cfg.secret".into()),
        encoding: Encoding::Base64Url,
    };
    let (template, findings) =
        Template::parse(get("&nonce={nonce}&sig4={signature}", vec![("signature", scheme)]));
    assert_eq!(findings, []);
    let sending = Sending { nonce: "19fd147d6738e02337c4eccd5b3b3813", ..SENDING };
    let sign = |values: &dyn Values| {
        let request = template.render(values, &sending);
        assert_eq!(request.missing, ["click_id"], "a part that is left out is not missing");
        request.url.rsplit_once('=').expect("a query").1.to_owned()
    };
    let full = [("cfg.secret", "hmac"), ("idfa", "adid"), ("param.token", "token")];
    assert_eq!(sign(&full), "LuCilzd1kDmdhx4MktsHjNWyUCU");
    // An empty key is a key.
    assert_eq!(sign(&[("cfg.secret", "")]), "ByQeeSt3oxJFbURKiwf5rtwSFkE");
}

#[test]
fn hashes_and_encodings_have_known_values() {
    // RFC 2202 and RFC 4231, test case 2; FIPS 180 and RFC 1321 for "abc".
    let (key, data) = ("Jefe", "what do ya want for nothing?");
    for (hash, expected) in [
        (Hash::HmacMd5, "750c783e6ab0b503eaa86e310a5db738"),
        (Hash::HmacSha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Hash::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Hash::HmacSha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
        (Hash::Md5, "900150983cd24fb0d6963f7d28e17f72"),
        (Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            Hash::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        let scheme = Scheme {
            key: hash.has_key().then(|| "cfg.secret".to_owned()),
            ..text(hash, if hash.has_key() { data } else { "abc" })
        };
        let (template, findings) = Template::parse(get("&s={signature}", vec![("signature", scheme)]));
        assert_eq!(findings, []);
        let url = template.render(&[("cfg.secret", key)], &SENDING).url;
        assert_eq!(url, format!("https://p.example/?c=&s={expected}"), "of {}", hash.as_str());
        assert_eq!(Hash::from_name(hash.as_str()), Some(hash));
    }
    // A hash whose Base64 has `+`, `/` and padding.
    for (encoding, expected) in [
        (Encoding::Hex, "5c08be3af4bb51a9cd648cbf0f7459111a651215"),
        (Encoding::HexUpper, "5C08BE3AF4BB51A9CD648CBF0F7459111A651215"),
        (Encoding::Base64, "XAi%2BOvS7UanNZIy%2FD3RZERplEhU%3D"),
        (Encoding::Base64Url, "XAi-OvS7UanNZIy_D3RZERplEhU"),
    ] {
        let scheme = Scheme { encoding, ..text(Hash::Sha1, "sample-19") };
        let (template, _) = Template::parse(get("&s={signature}", vec![("signature", scheme)]));
        let url = template.render(&[("sub1", "")], &SENDING).url;
        assert_eq!(url, format!("https://p.example/?c=&s={expected}"), "of {}", encoding.as_str());
        assert_eq!(Encoding::from_name(encoding.as_str()), Some(encoding));
    }
    assert_eq!((Hash::ALL.len(), Encoding::ALL.len()), (8, 4));
}

/// The SHA-256 of a text, in hex.
fn sha256(text: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}

#[test]
fn the_signed_values_are_those_of_the_request() {
    let message =
        "{timestamp_ms}.{nonce}.{attempt}.{click_id}.{click_id|raw}.{click_id|urlencode}.{sub3}.{body}";
    let parts = Parts {
        method: "POST".into(),
        headers: vec![("X-Sig".into(), "v1={signature}".into())],
        body: Body::Form("t={timestamp_ms}&n={nonce}&c={click_id}&h={signature.head}".into()),
        signatures: named(vec![
            ("head", text(Hash::Sha256, "{timestamp_ms}.{nonce}")),
            ("signature", text(Hash::Sha256, message)),
        ]),
        ..Parts::get("https://p.example/")
    };
    let (template, findings) = Template::parse(parts);
    assert_eq!(findings, []);
    for sending in [SENDING, Sending { attempt: 3, at_ms: 1, nonce: "other" }] {
        let request = template.render(&sample_values(), &sending);
        let Sending { attempt, at_ms, nonce } = sending;
        let head = sha256(format!("{at_ms}.{nonce}").as_bytes());
        let body = format!("t={at_ms}&n={nonce}&c=a%2Fb%20+c&h={head}");
        assert_eq!(request.body.as_deref(), Some(body.as_bytes()));
        // Values are signed as they are, line breaks and all.
        let signed =
            format!("{at_ms}.{nonce}.{attempt}.a/b  c.a%2fb%20+c.a%2Fb%20+c.line\r\nbreak\"\\.{body}");
        assert_eq!(request.headers[0].1, format!("v1={}", sha256(signed.as_bytes())).into_bytes());
    }
}

#[test]
fn an_absent_body_is_signed_as_nothing() {
    let (template, findings) =
        Template::parse(get("&s={signature}", vec![("signature", text(Hash::Sha256, "{body}"))]));
    assert_eq!(findings, []);
    let url = template.render(&sample_values(), &SENDING).url;
    assert!(url.ends_with(&sha256(b"")), "{url}");
    // Outside a message `body` is a name like others.
    check_query("{body}", "%7Bbody%7D");
}

#[test]
fn without_a_key_there_is_no_signature() {
    let (template, _) = Template::parse(get("&s={signature}", vec![("signature", keyed("{nonce}"))]));
    let request = template.render(&[("sub1", "")], &SENDING);
    assert_eq!(request.url, "https://p.example/?c=&s=");
    assert_eq!(request.missing, ["click_id", "signature", "cfg.secret"]);
}

#[test]
fn a_message_says_what_it_lacks() {
    let message = "{idfa}|{nope}|{sub4}|x";
    let (template, _) =
        Template::parse(get("&s={signature}", vec![("signature", text(Hash::Sha256, message))]));
    let request = template.render(&sample_values(), &SENDING);
    assert_eq!(request.missing, ["idfa"]);
    assert_eq!(request.unexpanded, ["nope"]);
    assert!(request.url.ends_with(&sha256(b"|{nope}||x")), "{}", request.url);
}

#[test]
fn joined_parts_are_whole_or_left_out() {
    let join = |by: &str, parts: &[&str]| Scheme {
        hash: Hash::Sha256,
        message: Message::Join {
            by: by.into(),
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        },
        ..Scheme::default()
    };
    for (by, parts, expected) in [
        ("&", &["a={idfa}", "b={currency}", "c={sub4}", "d={nope}", "e"][..], "b=EUR&e"),
        ("", &["{idfa}", "{currency}", "{currency|lower}"], "EUReur"),
        ("\n", &["{idfa}", "{idfa|default:none}", "{currency}{idfa}"], "none"),
        (":", &["{idfa}"], ""),
        (":", &["", "{currency}"], ":EUR"),
    ] {
        let (template, findings) =
            Template::parse(get("&s={signature}", vec![("signature", join(by, parts))]));
        assert!(findings.iter().all(|finding| finding.severity != Severity::Error), "{findings:?}");
        let request = template.render(&sample_values(), &SENDING);
        assert!(request.url.ends_with(&sha256(expected.as_bytes())), "{parts:?}");
        assert_eq!(request.missing, [""; 0]);
    }
}

#[test]
fn findings_about_signatures() {
    let check = |schemes: Vec<(&str, Scheme)>, query: &str, expected: &[&str]| {
        let parts = get(query, schemes);
        let shown = format!("{parts:?}");
        let (template, findings) = Template::parse(parts.clone());
        assert_eq!(codes(&findings), expected, "of {shown}: {findings:#?}");
        assert_eq!(template.source(), &parts);
        let request = template.render(&sample_values(), &SENDING);
        if expected.contains(&"signature_invalid") {
            assert!(request.url.ends_with('='), "{}", request.url);
        }
        findings
    };
    let one = |scheme: Scheme| vec![("signature", scheme)];
    let used = "&s={signature}";
    check(one(text(Hash::Sha256, "a")), used, &[]);
    check(one(text(Hash::Sha256, "a")), "&s={signature.signature}", &[]);
    check(one(text(Hash::Sha256, "a")), "", &["signature_unused"]);
    check(vec![], used, &["signature_undefined"]);
    check(vec![("other", text(Hash::Sha256, "a"))], used, &["signature_undefined", "signature_unused"]);
    let findings = check(vec![], "&s={signature.x}", &["signature_undefined"]);
    assert_eq!((findings[0].place, findings[0].name.as_deref()), (Place::Query, Some("signature.x")));

    for bad in ["", "a b", "a.b", "ä", "a}", &"x".repeat(33)] {
        let scheme = vec![(bad, text(Hash::Sha256, "a"))];
        assert_eq!(codes(&Template::parse(get("", scheme)).1)[0], "signature_invalid", "of {bad}");
    }
    for bad in [
        text(Hash::HmacSha256, "a"),
        Scheme { key: Some("secret".into()), ..keyed("a") },
        Scheme { key: Some("cfg.".into()), ..keyed("a") },
        Scheme { key: Some("cfg.a b".into()), ..keyed("a") },
        Scheme { key: Some("{cfg.a}".into()), ..keyed("a") },
        Scheme { key: Some("click_id".into()), ..keyed("a") },
        Scheme { hash: Hash::Sha256, ..keyed("a") },
        text(Hash::Sha256, ""),
        text(Hash::Sha256, &"a".repeat(sign::MESSAGE_BYTES_MAX + 1)),
        text(Hash::Sha256, "{signature}"),
        text(Hash::Sha256, "{signature.later}"),
        Scheme {
            message: Message::Join {
                by: String::new(),
                parts: vec!["a".into(); sign::MESSAGE_PARTS_MAX + 1],
            },
            ..text(Hash::Sha256, "")
        },
    ] {
        let findings = check(one(bad), used, &["signature_invalid"]);
        assert_eq!(findings[0].place, Place::Signature(0));
    }
    let twice = vec![("a", text(Hash::Sha256, "a")), ("a", text(Hash::Sha256, "b"))];
    let (_, findings) = Template::parse(get("&s={signature.a}", twice));
    assert!(codes(&findings).contains(&"signature_invalid"));
    let forwards = vec![("a", text(Hash::Sha256, "{signature.b}")), ("b", text(Hash::Sha256, "b"))];
    check(forwards, "&b={signature.b}&a={signature.a}", &["signature_invalid"]);
    let many = (0..=SIGNATURES_MAX).map(|index| (format!("s{index}"), text(Hash::Sha256, "a"))).collect();
    let (_, findings) = Template::parse(Parts { signatures: many, ..get("", vec![]) });
    assert_eq!(codes(&findings)[0], "signature_invalid");
    assert_eq!(findings[0].place.to_string(), format!("signature[{SIGNATURES_MAX}]"));

    // What is said of a message's own macros.
    check(one(text(Hash::Sha256, "{clickid}")), used, &["macro_unknown"]);
    check(one(text(Hash::Sha256, "{sub1|sha265}")), used, &["filter_unknown"]);
    // What is only signed is not told.
    let (template, findings) = Template::parse(Parts {
        signatures: named(one(text(Hash::Sha256, "{click_id}{revenue}"))),
        ..Parts::get("https://p.example/?s={signature}")
    });
    assert_eq!(codes(&findings), ["no_partner_click_id"]);
    assert!(!template.uses_partner_click_id());
    let listed: Vec<_> = template.macros().map(|used| format!("{} {}", used.key, used.place)).collect();
    assert_eq!(listed, ["signature query", "partner_click_id signature[0]", "revenue signature[0]"]);
    // A destination is not sent, so nothing signs it.
    let (url, findings) =
        UrlTemplate::parse("https://s.example/?s={signature}", Scope::Destination, Dialect::Canonical);
    assert_eq!(codes(&findings), ["macro_unavailable"]);
    assert_eq!(url.render(&sample_values(), None).url, "https://s.example/?s=");
}

#[test]
fn a_key_is_never_sent() {
    let parts = get("&k={cfg.secret}&s={signature}", vec![("signature", keyed("a"))]);
    let (_, findings) = Template::parse(parts);
    assert_eq!(codes(&findings), ["signature_key_shown"]);
    let (template, _) =
        Template::parse(get("&s={signature}", vec![("signature", keyed("{nonce}{cfg.secret}"))]));
    let request = template.render(&[("cfg.secret", "hush-hush")], &SENDING);
    assert!(!format!("{request:?}").contains("hush-hush"));
    assert!(request.missing == ["click_id"], "{request:?}");
}

#[test]
fn a_signature_of_the_body_is_not_in_it() {
    let schemes = || {
        named(vec![
            ("head", text(Hash::Sha256, "a")),
            ("all", text(Hash::Sha256, "{body}")),
            ("over", text(Hash::Sha256, "{signature.all}")),
        ])
    };
    for (body, expected) in [
        ("{signature.head}", &[][..]),
        ("{signature.all}", &["signature_in_body"]),
        ("{signature.over}", &["signature_in_body"]),
    ] {
        let (template, findings) = Template::parse(Parts {
            method: "POST".into(),
            body: Body::Text(body.into()),
            signatures: schemes(),
            ..Parts::get("https://p.example/?c={click_id}&{signature.head}{signature.all}{signature.over}")
        });
        assert_eq!(codes(&findings), expected, "of {body}");
        let request = template.render(&sample_values(), &SENDING);
        let sent = request.body.expect("a body");
        assert_eq!(sent.is_empty(), !expected.is_empty());
        let (head, all) = (sha256(b"a"), sha256(&sent));
        assert!(request.url.ends_with(&format!("{head}{all}{}", sha256(all.as_bytes()))), "{}", request.url);
    }
}

#[test]
fn a_message_is_bounded() {
    let scheme = text(Hash::Sha256, &"{body}".repeat(sign::MESSAGE_BYTES_MAX / 6));
    let (template, _) = Template::parse(Parts {
        method: "POST".into(),
        body: Body::Text("x".repeat(BODY_BYTES_MAX)),
        ..get("&s={signature}", vec![("signature", scheme)])
    });
    let request = template.render(&sample_values(), &SENDING);
    assert!(request.too_long);
    assert!(request.url.ends_with("&s="));
}

#[test]
fn templates_of_other_systems_carry_signatures() {
    for (dialect, url) in [
        (Dialect::Appsflyer, "https://p.example/?c=(clickid)&s=(signature.sig)"),
        (Dialect::Adjust, "https://p.example/?c={label}&s={signature.sig}"),
        (Dialect::Cake, "https://p.example/?c=#s2#&s=#signature.sig#"),
        (
            Dialect::Branch,
            "https://p.example/?c=${(last_attributed_touch_data.~click_id)!}&s=${(signature.sig)!}",
        ),
        (Dialect::Admitad, "https://p.example/?c=[[[subid]]]&s=[[[signature.sig]]]"),
        (Dialect::Generic, "https://p.example/?c=__CLICK_ID__&s=%{signature.sig}"),
    ] {
        let (template, findings) = Template::parse(Parts {
            dialect,
            signatures: named(vec![("sig", keyed("{click_id}"))]),
            ..Parts::get(url)
        });
        assert!(
            !codes(&findings).iter().any(|code| code.starts_with("signature")),
            "{dialect:?}: {findings:?}"
        );
        // The message is canonical whatever the template is written in: HMAC-SHA256 of "x" with the key "k".
        let request = template.render(&[("cfg.secret", "k"), ("partner_click_id", "x")], &SENDING);
        let signature = "c38edc8815c8489f64738978f44008f8596345545f0baa68ef6fcf5c53e57189";
        assert!(request.url.ends_with(&format!("&s={signature}")), "{dialect:?}: {}", request.url);
    }
}
