//! The pages, and the door before them.

use axum::body::Body;
use http::{Method, Request};

use super::world::{ADMIN, Answer, READER, WRITER, World, redact};

pub(super) async fn visit(
    world: &World,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8081");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

pub(super) async fn sign_in(world: &World, token: &str) -> Answer {
    let origin = [("origin", "http://127.0.0.1:8081")];
    visit(world, Method::POST, "/login", &origin, &format!("token={token}&next=%2Fconversions%2Fx")).await
}

pub(super) fn cookie(answer: &Answer) -> String {
    let set = answer.headers["set-cookie"].to_str().expect("text");
    set.split(';').next().expect("a cookie").to_owned()
}

#[tokio::test]
async fn the_list_and_the_story_are_as_reviewed() {
    let (world, facts) = World::furnished().await;
    let list = world.get("/").await;
    assert_eq!(list.status, 200);
    insta::assert_snapshot!("home_page", redact(&list.text));
    let story = world.get(&format!("/conversions/{}", facts.install.conversion())).await;
    assert_eq!(story.status, 200);
    insta::assert_snapshot!("story_page", redact(&story.text));
    for answer in [&list, &story] {
        let policy = answer.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(
            !answer.text.contains("http-equiv=\"refresh\" content=\"0") && !answer.text.contains("<script")
        );
    }
}

#[tokio::test]
async fn a_partner_is_a_link_to_its_page() {
    let (world, facts) = World::furnished().await;
    let story = format!("/conversions/{}", facts.install.conversion());
    for path in ["/", story.as_str(), "/partners"] {
        let page = world.get(path).await;
        assert!(page.status == 200 && page.text.contains("href=\"/partners/acme\""), "{path}: {}", page.text);
    }
    assert_eq!(world.get("/partners/acme").await.status, 200);
    let closed = visit(&world, Method::GET, "/partners", &[], "").await;
    assert_eq!(
        (closed.status.as_u16(), &closed.headers["location"]),
        (303, &"/login?next=%2Fpartners".parse().expect("a value"))
    );
}

#[tokio::test]
async fn what_came_from_outside_is_escaped() {
    let (world, facts) = World::furnished().await;
    for path in
        ["/".to_owned(), format!("/conversions/{}", facts.orphan), format!("/conversions/{}", facts.click.id)]
    {
        let page = world.get(&path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!page.text.contains("<script") && !page.text.contains("banner <7>"), "{path}");
    }
    let page = world.get(&format!("/conversions/{}", facts.install)).await.text;
    assert!(page.contains("&lt;html&gt;try later") && page.contains("banner &lt;7&gt;"), "{page}");
}

#[tokio::test]
async fn an_empty_installation_says_what_to_try() {
    let world = World::empty();
    assert!(world.get("/").await.text.contains("roundtrip apply roundtrip.toml"));
    let world = World::set_up().await;
    let page = world.get("/").await.text;
    assert!(
        page.contains("No conversions yet")
            && page.contains("https:&#x2f;&#x2f;go.shop.example&#x2f;c&#x2f;Acme-Summer"),
        "{page}"
    );
}

#[tokio::test]
async fn signing_in_gives_a_cookie_that_is_not_the_token() {
    let (world, facts) = World::furnished().await;
    let closed = visit(&world, Method::GET, "/conversions/x?full=true", &[], "").await;
    assert_eq!(closed.status, 303);
    assert_eq!(closed.headers["location"], "/login?next=%2Fconversions%2Fx%3Ffull%3Dtrue");
    let form = visit(&world, Method::GET, "/login?next=%2Fconversions%2Fx", &[], "").await;
    assert_eq!(form.status, 200);
    assert!(form.text.contains("name=\"next\" value=\"&#x2f;conversions&#x2f;x\""), "{}", form.text);

    let open = sign_in(&world, ADMIN).await;
    assert_eq!(
        (open.status.as_u16(), &open.headers["location"]),
        (303, &"/conversions/x".parse().expect("a value"))
    );
    let set = open.headers["set-cookie"].to_str().expect("text");
    assert!(set.contains("; HttpOnly; SameSite=Strict; ") && !set.contains(ADMIN), "{set}");
    let cookie = cookie(&open);
    let with = [("cookie", cookie.as_str())];
    let story = format!("/conversions/{}", facts.install);
    assert_eq!(visit(&world, Method::GET, &story, &with, "").await.status, 200);
    let found = visit(&world, Method::GET, &format!("/explain?id=+{}+", facts.click.id), &with, "").await;
    assert_eq!(found.headers["location"], format!("/conversions/{}", facts.click.id));
    assert_eq!(visit(&world, Method::GET, "/explain?id=nonsense", &with, "").await.status, 400);

    let out = visit(&world, Method::POST, "/logout", &with, "").await;
    assert_eq!(out.status, 303);
    assert_eq!(
        visit(&world, Method::GET, &story, &with, "").await.status,
        303,
        "the session is over, not only the cookie"
    );
    assert_eq!(visit(&world, Method::GET, "/assets/style.css", &[], "").await.status, 200);
}

#[tokio::test]
async fn sessions_end_with_their_time_and_with_their_key() {
    let world = World::set_up().await;
    let reader = cookie(&sign_in(&world, READER).await);
    let admin = cookie(&sign_in(&world, ADMIN).await);
    let status =
        async |cookie: &str| visit(&world, Method::GET, "/", &[("cookie", cookie)], "").await.status.as_u16();
    assert_eq!((status(&reader).await, status(&admin).await), (200, 200));
    world.call(Method::DELETE, "/api/v1/keys/reader", None).await.json(200);
    assert_eq!((status(&reader).await, status(&admin).await), (303, 200), "a deleted key closes its session");
    world.clock.advance(12 * 3_600_000);
    assert_eq!(status(&admin).await, 303);
}

#[tokio::test]
async fn the_door_is_closed_to_everybody_else() {
    let world = World::set_up().await;
    for token in ["", "wrong", WRITER, &ADMIN[1..]] {
        let refused = sign_in(&world, token).await;
        assert_eq!(refused.status, 401, "{token}");
        assert!(refused.headers.get("set-cookie").is_none() && refused.text.contains("role=\"alert\""));
        let bearer = format!("Bearer {token}");
        assert_ne!(
            visit(&world, Method::GET, "/", &[("authorization", &bearer)], "").await.status,
            200,
            "{token}"
        );
    }
    let bearer = format!("Bearer {READER}");
    assert_eq!(visit(&world, Method::GET, "/", &[("authorization", &bearer)], "").await.status, 200);
    let forged = format!("roundtrip_session={}", "0".repeat(64));
    assert_eq!(visit(&world, Method::GET, "/", &[("cookie", &forged)], "").await.status, 303);
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let body = format!("token={ADMIN}");
        let refused = visit(&world, Method::POST, "/login", &[(name, value)], &body).await;
        assert!(refused.status.is_client_error() && refused.headers.get("set-cookie").is_none(), "{name}");
    }
    let long = format!("token={}", "a".repeat(10_000));
    assert_eq!(visit(&world, Method::POST, "/login", &[], &long).await.status, 413);
}
