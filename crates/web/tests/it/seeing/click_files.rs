//! The files of the click log over the API: listed, verified, sealed, and rewritten without a person's clicks.

use axum::body::Body;
use http::{Method, Request};
use roundtrip_domain::click::Touch;
use roundtrip_store::click_log::faults::Point;
use serde_json::{Value, json};

use super::world::{GAID, IP, WRITER, World};

impl World {
    async fn ask(&self, what: &str, body: Value) -> Value {
        self.call(Method::POST, &format!("/api/v1/click-files/{what}"), Some(&body)).await.json(200)
    }

    async fn refused(&self, what: &str, body: Value) -> (u16, String, String) {
        let answer = self.call(Method::POST, &format!("/api/v1/click-files/{what}"), Some(&body)).await;
        let status = answer.status.as_u16();
        let error = answer.json(status)["error"].clone();
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (status, text("code"), text("field"))
    }

    /// The clicks of these that can still be found.
    async fn still(&self, touches: &[&Touch]) -> Vec<bool> {
        let mut there = Vec::new();
        for touch in touches {
            let answer = self.get(&format!("/api/v1/clicks/{}", touch.id)).await;
            there.push(answer.status == 200);
        }
        there
    }

    async fn audit(&self) -> Vec<String> {
        let audit = self.get("/api/v1/audit").await.json(200);
        let items = audit["items"].as_array().expect("items").iter();
        items.map(|item| item["summary"].as_str().expect("a summary").to_owned()).collect()
    }
}

/// The states of all files, by number.
fn states(list: &Value) -> Vec<&str> {
    list["files"].as_array().expect("files").iter().filter_map(|file| file["state"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_listed_sealed_and_verified() {
    let world = World::set_up().await;
    world.click("Acme-Summer", "click_id=a1").await;
    let list = world.get("/api/v1/click-files").await.json(200);
    assert_eq!((states(&list), &list["clicks"]), (vec!["active"], &json!(1)), "{list}");

    let sealed = world.ask("seal", json!({})).await;
    assert_eq!(sealed["done"][0]["what"], "sealed", "{sealed}");
    assert_eq!((&sealed["more"], &sealed["waiting"]), (&json!(false), &json!(0)), "{sealed}");
    world.click("Acme-Summer", "click_id=a2").await;
    assert_eq!(world.ask("seal", json!({})).await["more"], false);
    let report = world.get("/api/v1/report").await.json(200);
    assert_eq!(report["total"]["clicks"], 2, "each is counted once, and in the ledger: {report}");

    let list = world.get("/api/v1/click-files").await.json(200);
    let files = list["files"].as_array().expect("files");
    assert!(states(&list).iter().all(|state| ["active", "sealed"].contains(state)), "{list}");
    let sealed: Vec<&Value> = files.iter().filter(|file| file["state"] == "sealed").collect();
    assert_eq!(sealed.iter().filter_map(|file| file["clicks"].as_u64()).sum::<u64>(), 2, "{list}");
    assert!(list["side_bytes"].as_u64() > Some(0) && list["set_aside"] == json!([]), "{list}");

    let verified = world.ask("verify", json!({})).await;
    let results = |answer: &Value| -> Vec<String> {
        let files = answer["files"].as_array().expect("files").iter();
        files.map(|file| file["result"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(results(&verified), vec!["sound"; sealed.len()], "{verified}");
    assert!(verified.get("next").is_none() && verified["of"] == json!(sealed.len()), "{verified}");
    let last = verified["files"][sealed.len() - 1]["number"].clone();
    assert_eq!(results(&world.ask("verify", json!({ "after": last })).await), Vec::<String>::new());

    // A byte in the middle changes.
    let name = sealed[0]["file"].as_str().expect("a name");
    let path = world.dir.path().join("clicks").join(name);
    let mut bytes = std::fs::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("it can be changed");
    let verified = world.ask("verify", json!({ "file": name })).await;
    assert_eq!(results(&verified), ["damaged"], "{verified}");
    assert_eq!(verified["files"][0]["damaged"], name);
    assert_eq!(verified["files"][0]["set_aside"].as_array().map(Vec::len), Some(1), "{verified}");
    let list = world.get("/api/v1/click-files").await.json(200);
    assert_eq!(list["set_aside"], verified["files"][0]["set_aside"]);

    // A file is taken away.
    world.click("Acme-Summer", "click_id=a3").await;
    world.ask("seal", json!({})).await;
    let list = world.get("/api/v1/click-files").await.json(200);
    let name = list["files"].as_array().and_then(|files| files.iter().rfind(|f| f["state"] == "sealed"));
    let name = name.expect("a segment")["file"].as_str().expect("a name");
    std::fs::remove_file(world.dir.path().join("clicks").join(name)).expect("it was there");
    let verified = world.ask("verify", json!({ "file": name })).await;
    assert_eq!(results(&verified), ["missing"], "{verified}");
    let list = world.get("/api/v1/click-files").await.json(200);
    assert!(states(&list).contains(&"missing"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_clicks_are_erased_everywhere_with_a_proof() {
    let world = World::set_up().await;
    let gone = world.click("Acme-Summer", &format!("click_id=a1&gaid={}", GAID.to_uppercase())).await;
    let elsewhere = world.click("Zen-Summer", &format!("click_id=a2&my_own_name={GAID}")).await;
    let stays = world.click("Acme-Summer", "click_id=a3&gaid=other").await;
    world.ask("seal", json!({})).await;
    let late = world.click("Acme-Summer", &format!("click_id=a4&gaid={GAID}")).await;
    let all = [&gone, &elsewhere, &stays, &late];
    let before = world.audit().await.len();

    let dry = world.ask("erase", json!({ "device_id": GAID, "dry_run": true })).await;
    assert_eq!((&dry["erased"], dry.get("next")), (&json!(3), None), "{dry}");
    assert_eq!(world.still(&all).await, [true; 4]);
    assert_eq!(world.audit().await.len(), before, "what only counts leaves no line");

    let done = world.ask("erase", json!({ "device_id": GAID })).await;
    assert_eq!((&done["erased"], done.get("next")), (&json!(3), None), "{done}");
    assert_eq!(world.still(&all).await, [false, false, true, false]);
    let audit = world.audit().await;
    assert_eq!(audit.len(), before + 2, "{audit:?}");
    let hash = done["fingerprint"].as_str().expect("a hash");
    assert_eq!(hash.len(), 32);
    assert_eq!(audit[1], format!("erasure of clicks by device_id (keyed hash {hash}) began"));
    assert!(
        audit[0].starts_with(&format!("erasure of clicks by device_id (keyed hash {hash}): 3 clicks of "))
    );
    assert!(
        audit[0].ends_with("not reached: backups, the ledger's records, and 0 files set aside as damaged")
    );
    assert!(!audit.iter().any(|line| line.contains(GAID)), "{audit:?}");
    let settings = world.get("/api/v1/settings").await;
    assert_eq!(settings.status, 200, "settings go on at the new version: {}", settings.text);

    // Again, and from behind the last file: nothing is left.
    let again = world.ask("erase", json!({ "device_id": GAID.to_uppercase() })).await;
    assert_eq!((&again["erased"], &again["fingerprint"]), (&json!(0), &json!(hash)), "{again}");
    let behind = world.ask("erase", json!({ "device_id": GAID, "after": 1_000_000 })).await;
    assert_eq!(behind["looked_through"], 0, "{behind}");
}

/// What was taken out is in the proof, and the proof does not end before the last old file is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_counts_what_it_took_out_and_is_not_done_before_all_is_deleted() {
    let world = World::set_up().await;
    let gone = world.click("Acme-Summer", &format!("click_id=a1&gaid={GAID}")).await;
    world.click("Acme-Summer", "click_id=a2&gaid=other").await;
    world.ask("seal", json!({})).await;
    let list = world.get("/api/v1/click-files").await.json(200);
    let name = list["files"].as_array().and_then(|files| files.iter().rfind(|f| f["state"] == "sealed"));
    let name = name.expect("a segment")["file"].as_str().expect("a name");
    let path = world.dir.path().join("clicks").join(name);
    world.faults.hold(Point::BeforeDelete);
    let in_the_way = async {
        let faults = world.faults.clone();
        let held = tokio::task::spawn_blocking(move || faults.wait_held(Point::BeforeDelete)).await;
        assert!(held.expect("it waits"));
        // In its place stands something that cannot be deleted as a file.
        std::fs::remove_file(&path).expect("it is there");
        std::fs::create_dir_all(path.join("in the way")).expect("a directory");
        world.faults.release(Point::BeforeDelete);
    };
    let (done, ()) = tokio::join!(world.ask("erase", json!({ "device_id": GAID })), in_the_way);
    let waits: Vec<&Value> =
        done["files"].as_array().expect("files").iter().map(|f| &f["deletion_waits"]).collect();
    assert_eq!((&done["erased"], waits), (&json!(1), vec![&json!(true)]), "{done}");
    assert_eq!(world.still(&[&gone]).await, [false]);
    let audit = world.audit().await;
    assert!(audit[0].contains(": 1 click of 1 file is gone, "), "{audit:?}");
    assert!(
        audit[0].contains("; 1 old file cannot be deleted yet, and it goes on behind file "),
        "{audit:?}"
    );
    // As long as it stands there, the end is not said.
    let next = done["next"].clone();
    let (status, code, _) = world.refused("erase", json!({ "device_id": GAID, "after": next })).await;
    assert_eq!((status, code.as_str()), (503, "store_unavailable"));
    assert_eq!(world.audit().await, audit);
    std::fs::remove_dir_all(&path).expect("it is there");
    let end = world.ask("erase", json!({ "device_id": GAID, "after": next })).await;
    assert_eq!((&end["erased"], end.get("next")), (&json!(0), None), "{end}");
    assert!(world.audit().await[0].contains("; all files are done; "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_identifier_erases_its_own_clicks_in_its_own_workspace() {
    let world = World::set_up().await;
    let one = world.click("Acme-Summer", "click_id=a1").await;
    let two = world.click("Acme-Summer", "click_id=a2").await;
    let three = world.click("Zen-Summer", "click_id=a3").await;
    let all = [&one, &two, &three];
    world.call(Method::POST, "/api/v1/workspaces", Some(&json!({ "slug": "other" }))).await;
    let other = world.ask("erase?workspace=other", json!({ "ip": IP })).await;
    assert_eq!(other["erased"], 0, "{other}");
    assert_eq!(world.ask("erase", json!({ "click_id": two.id.to_string() })).await["erased"], 1);
    assert_eq!(world.still(&all).await, [true, false, true]);
    assert_eq!(world.ask("erase", json!({ "partner_click_id": "a1" })).await["erased"], 1);
    assert_eq!(world.still(&all).await, [false, false, true]);
    let mapped = format!("::ffff:{IP}");
    assert_eq!(world.ask("erase", json!({ "ip": mapped })).await["erased"], 1);
    assert_eq!(world.still(&all).await, [false; 3]);
    let list = world.get("/api/v1/click-files").await.json(200);
    assert_eq!(list["clicks"], 0, "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_refused() {
    let world = World::set_up().await;
    world.click("Acme-Summer", "click_id=a1").await;
    let before = world.audit().await;
    for (body, status, code, field) in [
        (json!({}), 400, "field_missing", ""),
        (json!({ "ip": IP, "click_id": "x" }), 400, "field_missing", ""),
        (json!({ "ip": "nowhere" }), 400, "ip_invalid", "ip"),
        (json!({ "click_id": "nope" }), 400, "click_id_malformed", "click_id"),
        (json!({ "device_id": "00000000-0000" }), 400, "field_type", "device_id"),
        (json!({ "partner_click_id": " " }), 400, "field_missing", "partner_click_id"),
        (json!({ "partner_click_id": "x".repeat(2_049) }), 400, "value_too_long", "partner_click_id"),
        (json!({ "ip": IP, "after": -1 }), 400, "field_type", "after"),
        (json!({ "ip": IP, "dry_run": "yes" }), 400, "field_type", "dry_run"),
        (json!({ "ip": IP, "email": "x" }), 400, "field_unknown", "email"),
    ] {
        let got = world.refused("erase", body.clone()).await;
        assert_eq!(got, (status, code.to_owned(), field.to_owned()), "{body}");
    }
    let nowhere = world.refused("erase?workspace=nowhere", json!({ "ip": IP })).await;
    assert_eq!(nowhere, (404, "namespace_unknown".to_owned(), "workspace".to_owned()));
    assert_eq!(world.audit().await, before, "a refusal leaves no line");
    for (body, status, code, field) in [
        (json!({ "file": "nope.parquet" }), 404, "id_unknown", "file"),
        (json!({ "after": "x" }), 400, "field_type", "after"),
        (json!({ "all": true }), 400, "field_unknown", "all"),
    ] {
        let got = world.refused("verify", body.clone()).await;
        assert_eq!(got, (status, code.to_owned(), field.to_owned()), "{body}");
    }
    // Files hold the clicks of all workspaces: a workspace's key opens none of this.
    for (method, path) in [("GET", ""), ("POST", "/verify"), ("POST", "/seal"), ("POST", "/erase")] {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/click-files{path}"))
            .header("authorization", format!("Bearer {WRITER}"));
        let answer = world.send(request.body(Body::from("{}")).expect("a request")).await;
        assert_eq!(answer.json(403)["error"]["code"], "scope_missing", "{method} {path}");
    }
}
