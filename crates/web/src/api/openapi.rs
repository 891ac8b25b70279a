//! The OpenAPI 3.1 document, made from the list of routes that also makes the router.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use roundtrip_domain::problem::Code;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Failure};
use super::route::{Needs, Route};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/openapi.json", "openapi_read", "Shows this document")
            .needs(Needs::Nobody)
            .answers(200, "The OpenAPI document.", |_| schemars::json_schema!({ "type": "object" }))
            .does(read),
    ]
}

async fn read(_: Call) -> Result<Answer, Failure> {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    Ok(Answer::ok(DOCUMENT.get_or_init(super::openapi).clone()))
}

/// Writes the document. Operations are in the order of the routes, schemas by name.
pub(super) fn document(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = path {
            methods.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas: BTreeMap<String, Value> = generator.take_definitions(true).into_iter().collect();
    schemas.insert("Error".into(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Roundtrip admin API",
            "version": "1",
            "summary": "Settings, stories and figures of a Roundtrip installation",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "An error.",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
                },
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The installation's admin token, or an admin key of the workspace.",
                },
            },
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), route.id.as_str().into());
    operation.insert("summary".into(), route.summary.as_str().into());
    let tag = route.id.split('_').next().unwrap_or_default();
    operation.insert("tags".into(), json!([tag]));
    let needs = match route.needs {
        Needs::Nobody => "No key is needed.".to_owned(),
        Needs::Installation => "Needs the installation's admin token.".to_owned(),
        Needs::Scope(scope) => format!("Needs the scope `{}`.", scope.name()),
    };
    operation.insert("description".into(), needs.into());
    let security = if route.needs == Needs::Nobody { json!([]) } else { json!([{ "key": [] }]) };
    operation.insert("security".into(), security);
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if let Some(takes) = &route.takes {
        let schema = takes(generator).to_value();
        let content = json!({ "application/json": { "schema": schema } });
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for (status, about, schema) in &route.answers {
        let mut response = json!({ "description": about });
        if let Some(schema) = schema {
            response["content"] = json!({ route.media: { "schema": schema(generator).to_value() } });
        }
        responses.insert(status.to_string(), response);
    }
    responses.extend(errors(route));
    operation.insert("responses".into(), json!(responses));
    Value::Object(operation)
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in route.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for query in &route.query {
        parameters.push(json!({
            "name": query.name, "in": "query", "description": query.about, "schema": query.schema,
        }));
    }
    if route.is_versioned {
        let about = "The ETag that the change was made from; another version answers version_conflict.";
        parameters.push(json!({
            "name": "If-Match", "in": "header", "description": about, "schema": { "type": "string" },
        }));
    }
    parameters
}

/// The errors of a route, by status, with their codes.
fn errors(route: &Route) -> BTreeMap<String, Value> {
    let mut codes = vec![Code::ParameterInvalid, Code::ParameterRepeated, Code::StoreUnavailable];
    if route.needs != Needs::Nobody {
        let auth =
            [Code::KeyMissing, Code::KeyUnknown, Code::KeyKindWrong, Code::ScopeMissing, Code::HeaderInvalid];
        codes.extend(auth);
    }
    if route.path.contains('{') {
        codes.extend([Code::NotFound, Code::PercentEscapeInvalid]);
    }
    if route.takes.is_some() {
        codes.extend([Code::JsonInvalid, Code::Utf8Invalid, Code::FieldDuplicate, Code::BodyTooLarge]);
        codes.extend([Code::FieldMissing, Code::FieldType, Code::FieldUnknown]);
    }
    codes.extend_from_slice(&route.codes);
    codes.sort_unstable();
    codes.dedup();
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status()).or_default().push(code.text());
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            // OpenAPI 3.1 lets a reference carry its own description: here, the codes.
            (
                status.to_string(),
                json!({ "$ref": "#/components/responses/Error", "description": codes.join(", ") }),
            )
        })
        .collect()
}

fn error_schema() -> Value {
    let problem = json!({
        "type": "object",
        "required": ["code", "message", "field", "rule", "fix"],
        "properties": {
            "code": { "type": "string", "description": "Stable; branch on it." },
            "message": { "type": "string", "description": "What is wrong, for a person." },
            "field": { "type": "string", "description": "The dotted path of what it is about; empty: the whole." },
            "rule": { "type": "string", "description": "The rule that was broken." },
            "fix": { "type": "string", "description": "What to do." },
        },
    });
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": problem,
            "problems": {
                "type": "array",
                "description": "Everything that is wrong with a document; the first is `error`.",
                "items": problem,
            },
        },
    })
}
