//! Whose address is looked up: the visitor's and the person's, never that of a server that speaks for them.

use roundtrip_testkit::Mmdb;

use super::*;

/// A network of visitors and one of servers.
pub(super) fn database() -> Mmdb {
    Mmdb::new("Test-Country", 6)
        .network("203.0.113.0/24", &json!({ "country_code": "DE", "city": "Berlin" }))
        .network("198.51.100.0/24", &json!({ "country_code": "US" }))
        .network("2001:db8::/32", &json!({ "country_code": "FR" }))
}

const SERVERS: &str = "198.51.100.4";

impl World {
    /// A GET that a trusted proxy passes on.
    async fn from(&self, client: &str, uri: &str) -> Answer {
        let headers = [("x-forwarded-for", client), ("x-forwarded-proto", "https")];
        self.call(Method::GET, "10.0.0.1", uri, &headers, Body::empty()).await
    }

    /// The country of the touch that a server was told the id of.
    async fn country_of_told(&self, uri: &str) -> Option<String> {
        let body = self.from(SERVERS, uri).await.expect(200);
        let id = ClickId::parse(body["click_id"].as_str().expect("an id").as_bytes()).expect("an id");
        self.click(id).await.location.country.map(|country| country.to_string())
    }
}

fn country(location: &roundtrip_domain::location::Location) -> Option<String> {
    location.country.map(|country| country.to_string())
}

#[tokio::test]
async fn a_touch_has_the_place_of_its_visitor() {
    let world = World::new().await;
    for (client, want) in [("203.0.113.9", Some("DE")), ("2001:db8::7", Some("FR")), ("192.0.2.1", None)] {
        let id = world.from(client, "/c/web-link?click_id=x").await.click_id();
        assert_eq!(country(&world.click(id).await.location).as_deref(), want, "{client}");
    }
    let id = world.from("203.0.113.9", "/c/web-link?click_id=x").await.click_id();
    assert_eq!(world.click(id).await.location.city.as_deref(), Some("Berlin"));
    // Not from a trusted proxy, the header says nothing.
    let headers = [("x-forwarded-for", "203.0.113.9")];
    let answer = world.call(Method::GET, SERVERS, "/c/web-link?click_id=x", &headers, Body::empty()).await;
    assert_eq!(country(&world.click(answer.click_id()).await.location).as_deref(), Some("US"));
}

#[tokio::test]
async fn a_server_that_speaks_for_a_visitor_is_not_looked_up() {
    let world = World::new().await;
    for path in ["/c/web-link?click_id=x&s2s=1&format=json", "/i/web-link?click_id=x&s2s=1&format=json"] {
        assert_eq!(world.country_of_told(path).await, None, "{path}");
        let named = format!("{path}&ip=203.0.113.77");
        assert_eq!(world.country_of_told(&named).await.as_deref(), Some("DE"), "{named}");
    }
}

#[tokio::test]
async fn an_event_has_the_place_of_its_own_address() {
    let world = World::new().await;
    let event = async |key: &str, body: Value| {
        let authorization = format!("Bearer {key}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-forwarded-for", SERVERS),
            ("x-forwarded-proto", "https"),
        ];
        let answer = world.call(Method::POST, "10.0.0.1", "/v1/events", &headers, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        country(&world.event(&answer).await.location)
    };
    let plain = json!({ "event_name": "signup", "install_id": "i" });
    assert_eq!(event(CLIENT, plain.clone()).await.as_deref(), Some("US"), "an app's own connection");
    assert_eq!(event(SERVER, plain).await, None, "a server's connection is not the person's");
    let named = json!({ "event_name": "signup", "install_id": "i", "ip": "203.0.113.77" });
    assert_eq!(event(SERVER, named).await.as_deref(), Some("DE"));
}

#[tokio::test]
async fn a_postback_has_no_place_of_its_own() {
    let world = World::new().await;
    let answer = world
        .from(SERVERS, &format!("/postback?token={TOKEN}&campaign_id=4711&coupon=c&amount=5&ip=203.0.113.9"))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(world.event(&answer).await.location.is_empty());
}
