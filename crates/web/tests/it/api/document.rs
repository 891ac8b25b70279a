//! The OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

use super::World;

#[tokio::test]
async fn it_is_as_reviewed_and_served() {
    let world = World::new();
    let served = world.get("/api/v1/openapi.json").await.expect(200);
    assert_eq!(served, roundtrip_web::api::openapi());
    insta::assert_json_snapshot!("openapi", served);
}

#[test]
fn it_holds_together() {
    let document = roundtrip_web::api::openapi();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').expect("a reference inside the document");
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            assert!(
                ids.insert(operation["operationId"].as_str().expect("an id")),
                "{method} {path} repeats its id"
            );
        }
    }
    assert_eq!(ids.len(), roundtrip_web::api::table().len());
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(reference)) => drop(references.insert(reference.clone())),
                    _ => collect(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
