//! Apps, campaigns, partners, links, groups, rules and keys: the same five routes for each.

use roundtrip_domain::problem::{Code, Problem};
use roundtrip_store::settings::{Edit, Resource, ResourceKind, Warning, document, stored};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::change::{Done, TRIES, change};
use super::fields::Fields;
use super::route::Route;

/// Codes that a document can be refused with.
pub(super) const DOCUMENT_CODES: &[Code] = &[
    Code::ConfigUnknownKey,
    Code::ConfigInvalid,
    Code::ConfigMissing,
    Code::SlugInvalid,
    Code::LinkIdInvalid,
    Code::NameReserved,
    Code::NameTaken,
    Code::ReferenceUnknown,
    Code::ReferenceInUse,
    Code::FieldImmutable,
    Code::TemplateInvalid,
    Code::SecretInvalid,
    Code::RotationRefused,
];

pub(super) fn routes() -> Vec<Route> {
    ResourceKind::ALL.into_iter().flat_map(of_kind).collect()
}

fn of_kind(kind: ResourceKind) -> [Route; 5] {
    let (one, all) = (kind.name(), kind.table());
    let (base, item) = (format!("/api/v1/{all}"), format!("/api/v1/{all}/{{slug}}"));
    [
        Route::get(&base, format!("{one}_list"), format!("Lists {all}, in the order of their slugs"))
            .in_workspace()
            .limited()
            .query("after", "The slug behind which the page begins: `next` of the page before.", json!({ "type": "string" }))
            .answers(200, "A page.", move |g| page(kind, g))
            .does(move |call| list(kind, call)),
        Route::post(&base, format!("{one}_create"), format!("Makes one of the {all}"))
            .in_workspace()
            .takes(move |g| new(kind, g))
            .answers(201, "It was made.", move |g| written(kind, g))
            .codes(&[Code::AlreadyExists, Code::VersionConflict])
            .codes(DOCUMENT_CODES)
            .does(move |call| create(kind, call)),
        Route::get(&item, format!("{one}_read"), format!("Shows one of the {all}"))
            .in_workspace()
            .answers(200, "It.", move |g| resource(kind, g))
            .does(move |call| read(kind, call)),
        Route::put(&item, format!("{one}_put"), format!("Makes or replaces one of the {all}"))
            .in_workspace()
            .versioned()
            .takes(move |g| document::schema_of(kind, g))
            .answers(200, "It was replaced, or was like that.", move |g| written(kind, g))
            .answers(201, "It was made.", move |g| written(kind, g))
            .codes(DOCUMENT_CODES)
            .does(move |call| put(kind, call)),
        Route::delete(&item, format!("{one}_delete"), format!("Deletes one of the {all}"))
            .in_workspace()
            .versioned()
            .answers(200, "It was deleted.", |_| {
                json_schema!({
                    "type": "object", "required": ["version"],
                    "properties": { "version": { "type": "integer", "description": "The settings version that no longer has it." } }
                })
            })
            .codes(&[Code::ReferenceInUse])
            .does(move |call| delete(kind, call)),
    ]
}

async fn list(kind: ResourceKind, call: Call) -> Result<Answer, Failure> {
    let limit = call.limit()? as usize;
    let after = call.query.text("after").unwrap_or_default();
    let workspace = call.workspace()?;
    let (version, mut resources) = call.state.ledger.settings_read(workspace.workspace).await?;
    resources.retain(|resource| resource.kind == kind && resource.slug > after);
    resources.sort_by(|a, b| a.slug.cmp(&b.slug));
    let has_more = resources.len() > limit;
    resources.truncate(limit);
    let items = resources.iter().map(show).collect::<Result<Vec<_>, _>>()?;
    let next = resources.last().filter(|_| has_more).map(|resource| &resource.slug);
    Ok(Answer::ok(json!({ "items": items, "next": next })).at(version))
}

async fn read(kind: ResourceKind, call: Call) -> Result<Answer, Failure> {
    let workspace = call.workspace()?;
    let (_, resources) = call.state.ledger.settings_read(workspace.workspace).await?;
    let resource =
        find(&resources, kind, call.path("slug")).ok_or_else(|| unknown(kind, call.path("slug")))?;
    Ok(Answer::ok(show(resource)?).at(resource.version))
}

async fn create(kind: ResourceKind, mut call: Call) -> Result<Answer, Failure> {
    let mut fields = Fields::of(call.body.take())?;
    let slug =
        fields.text("slug")?.ok_or_else(|| Problem::new(Code::FieldMissing, "slug", "`slug` is missing"))?;
    let settings = fields.must("settings")?;
    fields.done()?;
    let workspace = call.workspace()?;
    let done = change(&call, &workspace, TRIES, false, |_, resources| {
        if find(resources, kind, &slug).is_some() {
            let message = format!("there is a {} `{slug}`", kind.name());
            return Err(Problem::new(Code::AlreadyExists, "slug", message).into());
        }
        Ok(vec![Edit { kind, slug: slug.clone(), document: Some(settings.clone()) }])
    })
    .await?;
    answer(&call, kind, &slug, done, true).await
}

async fn put(kind: ResourceKind, mut call: Call) -> Result<Answer, Failure> {
    let slug = call.path("slug").to_owned();
    let settings = call.body.take();
    let workspace = call.workspace()?;
    let done = change(&call, &workspace, TRIES, false, |_, resources| {
        match find(resources, kind, &slug) {
            Some(resource) => call.check_version(resource.version)?,
            // Nothing is at version 0: a condition on something that is gone is not met.
            None => call.check_version(0)?,
        }
        Ok(vec![Edit { kind, slug: slug.clone(), document: Some(settings.clone()) }])
    })
    .await?;
    let is_new =
        done.plan.changes.iter().any(|c| c.action == roundtrip_store::settings::diff::Action::Create);
    answer(&call, kind, &slug, done, is_new).await
}

async fn delete(kind: ResourceKind, call: Call) -> Result<Answer, Failure> {
    let slug = call.path("slug").to_owned();
    let workspace = call.workspace()?;
    let done = change(&call, &workspace, TRIES, false, |_, resources| {
        let resource = find(resources, kind, &slug).ok_or_else(|| unknown(kind, &slug))?;
        call.check_version(resource.version)?;
        Ok(vec![Edit { kind, slug: slug.clone(), document: None }])
    })
    .await?;
    Ok(Answer::ok(json!({ "version": done.version })).at(done.version))
}

/// What a write answers: the resource as it is now, what is odd about it, and a new key's token.
async fn answer(
    call: &Call,
    kind: ResourceKind,
    slug: &str,
    done: Done,
    is_new: bool,
) -> Result<Answer, Failure> {
    let workspace = call.workspace()?;
    let (_, resources) = call.state.ledger.settings_read(workspace.workspace).await?;
    let resource = find(&resources, kind, slug).ok_or_else(|| unknown(kind, slug))?;
    let mut body = json!({
        "version": done.version,
        "resource": show(resource)?,
        "warnings": done.plan.warnings,
    });
    if let (Some(key), Some(fields)) = (done.plan.keys.first(), body.as_object_mut())
        && !done.plan.writes.is_empty()
    {
        fields.insert("token".into(), key.token.as_str().into());
    }
    let answer = if is_new { Answer::created(body) } else { Answer::ok(body) };
    Ok(answer.at(resource.version))
}

fn find<'a>(resources: &'a [Resource], kind: ResourceKind, slug: &str) -> Option<&'a Resource> {
    resources.iter().find(|resource| resource.kind == kind && resource.slug == slug)
}

fn unknown(kind: ResourceKind, slug: &str) -> Problem {
    Problem::new(Code::NotFound, "slug", format!("there is no {} `{slug}`", kind.name()))
        .advise("check the slug and the workspace; the path without the slug lists those that there are")
}

fn show(resource: &Resource) -> Result<Value, Problem> {
    let stored = stored::decode(resource.kind, &resource.body).map_err(|why| {
        let path = format!("{}.{}", resource.kind.table(), resource.slug);
        Problem::new(Code::ConfigInvalid, path, format!("the stored document cannot be read: {why}"))
    })?;
    Ok(json!({
        "id": resource.kind.print_id(resource.id),
        "slug": resource.slug,
        "version": resource.version,
        "settings": stored::masked(&stored.document),
    }))
}

/// Makes a schema a component of its own, `App` and `Page` for instance, and refers to it.
fn named(
    kind: ResourceKind,
    name: &str,
    generator: &mut SchemaGenerator,
    make: impl FnOnce(&mut SchemaGenerator) -> Schema,
) -> Schema {
    let word = match kind {
        ResourceKind::App => "App",
        ResourceKind::Campaign => "Campaign",
        ResourceKind::Partner => "Partner",
        ResourceKind::Link => "Link",
        ResourceKind::PartnerGroup => "PartnerGroup",
        ResourceKind::Rule => "Rule",
        ResourceKind::Webhook => "Webhook",
        ResourceKind::Key => "Key",
    };
    let name = format!("{word}{name}");
    if !generator.definitions().contains_key(&name) {
        let schema = make(generator).to_value();
        generator.definitions_mut().insert(name.clone(), schema);
    }
    Schema::new_ref(format!("#/components/schemas/{name}"))
}

fn resource(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    named(kind, "Resource", generator, |generator| resource_schema(kind, generator))
}

fn page(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    named(kind, "Page", generator, |generator| page_schema(kind, generator))
}

fn new(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    named(kind, "New", generator, |generator| new_schema(kind, generator))
}

fn written(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    named(kind, "Written", generator, |generator| written_schema(kind, generator))
}

fn resource_schema(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    let settings = document::schema_of(kind, generator);
    json_schema!({
        "type": "object",
        "required": ["id", "slug", "version", "settings"],
        "properties": {
            "id": { "type": "string", "description": format!("Its id: `{}_` and 26 letters and digits.", kind.prefix()) },
            "slug": { "type": "string" },
            "version": { "type": "integer", "description": "The settings version that last changed it; also the ETag." },
            "settings": settings,
        }
    })
}

fn page_schema(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    let item = resource(kind, generator);
    json_schema!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": item },
            "next": { "type": ["string", "null"], "description": "What `after` is for the next page; null on the last." },
        }
    })
}

fn new_schema(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    let settings = document::schema_of(kind, generator);
    json_schema!({
        "type": "object",
        "required": ["slug", "settings"],
        "additionalProperties": false,
        "properties": { "slug": { "type": "string" }, "settings": settings }
    })
}

fn written_schema(kind: ResourceKind, generator: &mut SchemaGenerator) -> Schema {
    let resource = resource(kind, generator);
    let warnings = Vec::<Warning>::json_schema(generator);
    let mut schema = json_schema!({
        "type": "object",
        "required": ["version", "resource", "warnings"],
        "properties": {
            "version": { "type": "integer", "description": "The settings version that holds now." },
            "resource": resource,
            "warnings": warnings,
        }
    });
    if matches!(kind, ResourceKind::Key | ResourceKind::Webhook)
        && let Some(Value::Object(properties)) = schema.get_mut("properties")
    {
        let about = match kind {
            ResourceKind::Webhook => "A new webhook's secret, if it was made here. It is not shown again.",
            _ => "A new key's token, if it was made here. It is not shown again.",
        };
        properties.insert("token".into(), json!({ "type": "string", "description": about }));
    }
    schema
}
