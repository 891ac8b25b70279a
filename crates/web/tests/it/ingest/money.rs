//! Money is what was written, never a float.

use serde_json::json;

use super::{SERVER, TOKEN, World};

#[tokio::test]
async fn an_event_s_revenue_is_exact() {
    let world = World::new().await;
    for (sent, micros, text) in [
        ("12.10", 12_100_000, "12.10"),
        ("0.1", 100_000, "0.1"),
        ("\"0.30\"", 300_000, "0.30"),
        ("1e3", 1_000_000_000, "1e3"),
        ("99999999999.999999", 99_999_999_999_999_999, "99999999999.999999"),
        ("9007199254.740993", 9_007_199_254_740_993, "9007199254.740993"),
        ("0.0000005", 0, "0.0000005"),
        ("0.0000015", 2, "0.0000015"),
        ("0", 0, "0"),
    ] {
        let body = format!(
            r#"{{"event_id":{},"event_name":"purchase","install_id":"i","currency":"JPY","revenue":{sent}}}"#,
            json!(sent)
        );
        let answer = world.events(SERVER, body).await;
        assert_eq!(answer.status, 202, "{sent}: {}", answer.text());
        let revenue = world.event(&answer).await.revenue.unwrap();
        assert_eq!((revenue.amount.micros, revenue.amount.text.as_str()), (micros, text), "{sent}");
        assert_eq!(answer.warnings().contains(&"amount_rounded"), text.len() > 8 && micros < 10, "{sent}");
    }
}

#[tokio::test]
async fn a_postback_s_amount_is_exact_and_has_the_app_s_currency() {
    let world = World::new().await;
    for (sent, currency, micros, code) in [
        ("19.99", "", 19_990_000, "EUR"),
        ("19.99", "&currency=usd", 19_990_000, "USD"),
        ("0.1", "&currency=BHD", 100_000, "BHD"),
        ("9007199254.740993", "", 9_007_199_254_740_993, "EUR"),
    ] {
        let order = format!("{sent}-{}", currency.len());
        let uri = format!(
            "/postback?token={TOKEN}&campaign_id=4711&coupon=c&order_id={order}&amount={sent}{currency}&commission=1.5"
        );
        let answer = world.get(&uri).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let event = world.event(&answer).await;
        let revenue = event.revenue.unwrap();
        assert_eq!(
            (revenue.amount.micros, revenue.currency.unwrap().as_str(), revenue.verified),
            (micros, code, true)
        );
        assert_eq!(event.postback.unwrap().commission.unwrap().micros, 1_500_000);
    }
    let answer =
        world.get(&format!("/postback?token={TOKEN}&campaign_id=4713&coupon=c&order_id=1&amount=5")).await;
    assert_eq!(answer.warnings(), ["currency_missing"], "the game has no currency");
}
