//! What the real binary does when its disk is full, its files are damaged, or the world sends it rubbish.

mod damage;
mod disk_full;
mod rubbish;
mod storm;

use serde_json::{Value, json};

use crate::house::{ANDROID, Answer, Call, House, Line, our_click_id, until};

/// One app, one partner, one link.
fn document() -> Value {
    json!({
        "apps": { "app": { "platform": "android", "bundle_id": "com.example.app", "currency": "EUR" } },
        "campaigns": { "app": { "app": "app" } },
        "partners": { "acme": {} },
        "links": { "link": { "campaign": "app", "partner": "acme" } },
        "keys": { "app-server": { "kind": "server", "app": "app" } },
    })
}

/// A visitor's click.
fn click(more: &str) -> Call {
    Call::get(&format!("/c/link?click_id=x{more}")).browser(ANDROID)
}

/// Clicks; the answer has to be a redirect, stored or not. Returns our id.
async fn redirected(line: &mut Line, call: &Call) -> (String, Answer) {
    let answer = line.call_again(call).await.unwrap_or_else(|why| panic!("the visitor is stranded: {why}"));
    assert_eq!(answer.status, 302, "the visitor is stranded: {}", answer.text());
    let id =
        our_click_id(answer.location()).unwrap_or_else(|| panic!("no click id in {}", answer.location()));
    (id, answer)
}

/// Clicks until the click is stored: a loaded machine may take longer than a visitor waits. Returns our id.
async fn stored_click(line: &mut Line) -> String {
    for _ in 0..100 {
        let (id, answer) = redirected(line, &click("")).await;
        if !answer.is_unstored() {
            return id;
        }
    }
    panic!("a hundred clicks in a row were not stored");
}

/// So many stored clicks, one commit each.
async fn stored_clicks(house: &House, n: usize) -> Vec<String> {
    let mut line = Line::to(&house.public());
    let mut ids = Vec::with_capacity(n);
    for _ in 0..n {
        ids.push(stored_click(&mut line).await);
    }
    ids
}

/// Of these clicks, how many the server has. It must answer for each of them, with a 503 only for the moment in
/// which a damaged file is replaced by what could be read of it.
async fn found(house: &House, ids: &[String]) -> usize {
    let mut admin = house.admin();
    let mut found = 0;
    for id in ids {
        found += until("the click is answered for", async || {
            let answer = admin.ask(&format!("/api/v1/clicks/{id}")).await;
            match answer.status {
                200 => Some(1),
                404 => {
                    assert_eq!(answer.json()["error"]["code"], "id_unknown", "{}", answer.text());
                    Some(0)
                }
                503 => None,
                status => panic!("{id} was answered {status}: {}", answer.text()),
            }
        })
        .await;
    }
    found
}
