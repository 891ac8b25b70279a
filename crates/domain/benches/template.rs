//! What one postback costs to fill in: a typical URL with eight macros, in our words and in those of other systems,
//! and with a signature. The floor is a million a second on one core: 1 µs.

use criterion::{Criterion, criterion_group, criterion_main};
use roundtrip_domain::template::sign::{Hash, Message, Scheme};
use roundtrip_domain::template::{Dialect, Parts, Sending, Severity, Template, Value};
use std::collections::BTreeMap;
use std::hint::black_box;

/// The same postback in some dialects. A further one is a further line.
const URLS: &[(Dialect, &str)] = &[
    (
        Dialect::Canonical,
        "https://partner.example/postback?clickid={click_id|raw}&event={event_name}&payout={revenue}\
         &cur={currency}&ts={event_time}&device={gaid}&s1={sub1}&ip={ip}&v=1",
    ),
    (
        Dialect::Appsflyer,
        "https://partner.example/postback?clickid=(clickid)&event=(event-name)&payout=(monetary)\
         &cur=(currency)&ts=(timestamp)&device=(advertiserId)&s1=(af_sub1)&ip=(ip)&v=1",
    ),
    (
        Dialect::Branch,
        "https://partner.example/postback?clickid=${(last_attributed_touch_data.~click_id)!}&event=${(name)!}\
         &payout=${(event_data.revenue)!}&cur=${(event_data.currency)!}&ts=${(event_timestamp)!}\
         &device=${(user_data.aaid)!}&os=${(user_data.os)!}&ip=${(user_data.ip)!}&v=1",
    ),
];

const SENDING: Sending<'static> = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };

fn values() -> BTreeMap<String, Value<'static>> {
    let mut values = BTreeMap::new();
    let mut put = |name: &str, decoded: &str, received: &str| {
        let value = Value::received(decoded.as_bytes().to_vec(), received.as_bytes().to_vec());
        values.insert(name.to_owned(), value);
    };
    put("partner_click_id", "5f2a/9c+e1d04b7a8", "5f2a%2f9c%2be1d04b7a8");
    put("event_name", "purchase", "purchase");
    put("revenue", "12.50", "12.50");
    put("revenue_usd", "13.60", "13.60");
    put("currency", "EUR", "EUR");
    put("event_time", "1780564904", "1780564904");
    put("event_time_ms", "1780564904000", "1780564904000");
    put("gaid", "38400000-8cf0-11bd-b23e-10b96e40000d", "38400000-8cf0-11bd-b23e-10b96e40000d");
    put("sub1", "summer sale", "summer%20sale");
    put("platform", "android", "android");
    put("ip", "203.0.113.9", "203.0.113.9");
    put("cfg.secret", "correct horse battery staple", "");
    values
}

/// Reads a template and makes sure that the whole of it is measured.
fn read(parts: Parts) -> Template {
    let (template, findings) = Template::parse(parts);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Info), "{findings:?}");
    let rendered = template.render(&values(), &SENDING);
    assert!(rendered.unexpanded.is_empty() && rendered.missing.is_empty(), "{rendered:?}");
    template
}

fn in_words_of_systems(criterion: &mut Criterion) {
    let values = values();
    for (dialect, url) in URLS {
        let parts = || Parts { dialect: *dialect, ..Parts::get(*url) };
        let template = read(parts());
        assert_eq!(template.macros().count(), 8, "{dialect:?}");
        criterion.bench_function(&format!("template/render/8-macros/{}", dialect.as_str()), |bencher| {
            bencher.iter(|| black_box(&template).render(black_box(&values), &SENDING));
        });
        criterion.bench_function(&format!("template/parse/8-macros/{}", dialect.as_str()), |bencher| {
            bencher.iter(|| Template::parse(black_box(parts())));
        });
    }
}

fn signed(criterion: &mut Criterion) {
    let values = values();
    let scheme = Scheme {
        hash: Hash::HmacSha256,
        message: Message::Text("{click_id}:{event_name}:{timestamp}".into()),
        key: Some("cfg.secret".into()),
        ..Scheme::default()
    };
    let template = read(Parts {
        signatures: vec![("signature".into(), scheme)],
        ..Parts::get(
            "https://partner.example/p?clickid={click_id}&event={event_name}&t={timestamp}&s={signature}",
        )
    });
    criterion.bench_function("template/render/signed", |bencher| {
        bencher.iter(|| black_box(&template).render(black_box(&values), &SENDING));
    });
}

criterion_group!(benches, in_words_of_systems, signed);
criterion_main!(benches);
