//! What one postback costs to fill in: a typical URL with eight macros.

use criterion::{Criterion, criterion_group, criterion_main};
use roundtrip_domain::template::{Parts, Sending, Template, Value};
use std::collections::BTreeMap;
use std::hint::black_box;

fn render(criterion: &mut Criterion) {
    let url = "https://partner.example/postback?clickid={click_id|raw}&event={event_name}&payout={revenue}\
               &cur={currency}&ts={event_time}&device={device_id}&s1={sub1}&ip={ip}&v=1";
    let mut values = BTreeMap::new();
    let mut put = |name: &str, decoded: &str, received: &str| {
        let value = Value::received(decoded.as_bytes().to_vec(), received.as_bytes().to_vec());
        values.insert(name.to_owned(), value);
    };
    put("partner_click_id", "5f2a/9c+e1d04b7a8", "5f2a%2f9c%2be1d04b7a8");
    put("event_name", "purchase", "purchase");
    put("revenue", "12.50", "12.50");
    put("currency", "EUR", "EUR");
    put("event_time", "1780564904", "1780564904");
    put("device_id", "38400000-8cf0-11bd-b23e-10b96e40000d", "38400000-8cf0-11bd-b23e-10b96e40000d");
    put("sub1", "summer sale", "summer%20sale");
    put("ip", "203.0.113.9", "203.0.113.9");
    let sending = Sending { attempt: 1, at_ms: 1_780_564_905_250, nonce: "9f86d081884c7d65" };

    let (template, findings) = Template::parse(Parts::get(url));
    assert!(findings.is_empty(), "{findings:?}");
    assert!(template.render(&values, &sending).missing.is_empty());
    criterion.bench_function("template/render/8-macros", |bencher| {
        bencher.iter(|| black_box(&template).render(black_box(&values), &sending));
    });
    criterion.bench_function("template/parse/8-macros", |bencher| {
        bencher.iter(|| Template::parse(Parts::get(black_box(url))));
    });
}

criterion_group!(benches, render);
criterion_main!(benches);
