//! Where requests leave from.

use super::*;

#[tokio::test]
async fn receivers_can_be_told_where_requests_come_from() {
    let egress = Egress {
        addresses: vec!["198.51.100.7".to_owned(), "2001:db8:1::/48".to_owned()],
        bind_v4: Some("10.0.0.7".to_owned()),
        proxy: Some("proxy.example:3128".to_owned()),
        user_agent: "Roundtrip/1".to_owned(),
        private_ranges: vec!["10.0.0.0/8".to_owned()],
        ports: vec![587],
        ..Egress::default()
    };
    let told = World::leaving(egress);
    let answer = told.get("/api/v1/egress").await.expect(200);
    assert_eq!(
        answer,
        json!({
            "addresses": ["198.51.100.7", "2001:db8:1::/48"], "bind_v4": "10.0.0.7", "bind_v6": null,
            "proxy": "proxy.example:3128", "user_agent": "Roundtrip/1", "plain_http": false,
            "private_ranges": ["10.0.0.0/8"], "ports": [587]
        })
    );
    let nobody = told.call(Method::GET, "/api/v1/egress", None, &[("authorization", "Bearer x")]).await;
    assert_eq!(nobody.status, 401);
}
