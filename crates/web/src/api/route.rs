//! One route: what the router, the document and the reader need to know about it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{FromRequestParts as _, Path, Request};
use axum::response::Response;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::KeyScope;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::auth::Caller;
use super::call::{Answer, Call, Failure};
use super::{ApiState, BODY_BYTES_MAX, json};

type Handler =
    Box<dyn Fn(Call) -> Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>> + Send + Sync>;
type SchemaOf = Box<dyn Fn(&mut SchemaGenerator) -> Schema + Send + Sync>;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anyone who reaches the admin listener.
    Nobody,
    /// The admin token, or an admin key with the scope.
    Scope(KeyScope),
    /// The admin token.
    Installation,
}

/// A query parameter.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: serde_json::Value,
}

/// A route. Built with [`Route::get`] and its kin, then the methods below in any order, then [`Route::does`].
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: String,
    /// The operation's stable name, noun first.
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) needs: Needs,
    pub(super) query: Vec<Query>,
    /// Whether `If-Match` is read.
    pub(super) is_versioned: bool,
    pub(super) takes: Option<SchemaOf>,
    pub(super) answers: Vec<(u16, &'static str, Option<SchemaOf>)>,
    /// The media type of its success, where that is not JSON.
    pub(super) media: &'static str,
    /// Codes beyond those that every route has.
    pub(super) codes: Vec<Code>,
    act: Handler,
}

impl Route {
    fn new(
        method: Method,
        path: impl Into<String>,
        id: impl Into<String>,
        summary: impl Into<String>,
    ) -> Self {
        let needs = if method == Method::GET { KeyScope::Read } else { KeyScope::Write };
        Self {
            method,
            path: path.into(),
            id: id.into(),
            summary: summary.into(),
            needs: Needs::Scope(needs),
            query: Vec::new(),
            is_versioned: false,
            takes: None,
            answers: Vec::new(),
            media: "application/json",
            codes: Vec::new(),
            act: Box::new(|_| {
                Box::pin(async { Err(Problem::new(Code::NotFound, "", "nothing answers here").into()) })
            }),
        }
    }

    /// Reads; needs the scope `read`.
    pub(super) fn get(path: impl Into<String>, id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(Method::GET, path, id, summary)
    }

    /// Makes or does something; needs the scope `write`.
    pub(super) fn post(path: impl Into<String>, id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(Method::POST, path, id, summary)
    }

    /// Puts something in its place; needs the scope `write`.
    pub(super) fn put(path: impl Into<String>, id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(Method::PUT, path, id, summary)
    }

    /// Takes something away; needs the scope `write`.
    pub(super) fn delete(path: impl Into<String>, id: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, id, summary)
    }

    /// Says who may call it, where that is not the method's usual.
    pub(super) fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// Adds a query parameter. The schema is JSON Schema.
    pub(super) fn query(
        mut self,
        name: &'static str,
        about: &'static str,
        schema: serde_json::Value,
    ) -> Self {
        self.query.push(Query { name, about, schema });
        self
    }

    /// Adds `workspace`; the handler asks [`Call::workspace`].
    pub(super) fn in_workspace(self) -> Self {
        let schema = serde_json::json!({ "type": "string", "default": "default" });
        self.query("workspace", "The workspace's slug.", schema)
            .codes(&[Code::NamespaceUnknown, Code::NamespaceMismatch])
    }

    /// Adds `limit`; the handler asks [`Call::limit`].
    pub(super) fn limited(self) -> Self {
        let schema = serde_json::json!({
            "type": "integer", "minimum": 1, "maximum": super::call::LIMIT_MAX, "default": 100
        });
        self.query("limit", "Most items to answer.", schema)
    }

    /// Reads `If-Match`; the handler asks [`Call::check_version`].
    pub(super) fn versioned(self) -> Self {
        Self { is_versioned: true, ..self }.codes(&[Code::VersionConflict])
    }

    /// Takes a JSON body.
    pub(super) fn takes(
        self,
        schema: impl Fn(&mut SchemaGenerator) -> Schema + Send + Sync + 'static,
    ) -> Self {
        Self { takes: Some(Box::new(schema)), ..self }
    }

    /// Adds a successful answer.
    pub(super) fn answers(
        mut self,
        status: u16,
        about: &'static str,
        schema: impl Fn(&mut SchemaGenerator) -> Schema + Send + Sync + 'static,
    ) -> Self {
        self.answers.push((status, about, Some(Box::new(schema))));
        self
    }

    /// Says what its success is, where that is not JSON.
    pub(super) fn media(self, media: &'static str) -> Self {
        Self { media, ..self }
    }

    /// Adds codes that it can answer with.
    pub(super) fn codes(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// Says what it does.
    pub(super) fn does<F, T>(self, act: F) -> Self
    where
        F: Fn(Call) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        Self { act: Box::new(move |call| Box::pin(act(call))), ..self }
    }
}

/// The schema of a type, for [`Route::takes`] and [`Route::answers`].
pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Answers one request: who calls, what with, then the route's own function.
pub(super) async fn dispatch(state: ApiState, route: Arc<Route>, request: Request) -> Response {
    match admit(state, &route, request).await {
        Ok(call) => match (route.act)(call).await {
            Ok(answer) => answer.into_response(),
            Err(failure) => failure.into_response(),
        },
        Err(problem) => crate::problem::answer(&problem),
    }
}

async fn admit(state: ApiState, route: &Route, request: Request) -> Result<Call, Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = match route.needs {
        // Whoever reads the document is nobody in particular, and may do nothing else with the call.
        Needs::Nobody => Caller::Key {
            slug: String::new(),
            workspace: roundtrip_domain::id::WorkspaceNo(0),
            scopes: Vec::new(),
        },
        Needs::Scope(scope) => {
            let caller = Caller::of(&parts.headers, &state.admin_token, &state.ledger.catalog())?;
            caller.needs(scope)?;
            caller
        }
        Needs::Installation => {
            let caller = Caller::of(&parts.headers, &state.admin_token, &state.ledger.catalog())?;
            caller.needs_installation()?;
            caller
        }
    };
    let Path(path) = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &())
        .await
        .map_err(|_| Problem::new(Code::PercentEscapeInvalid, "", "the path is not percent-encoded UTF-8"))?;
    let query = query(route, parts.uri.query().unwrap_or_default())?;
    let if_match = if route.is_versioned { if_match(&parts.headers)? } else { None };
    let body = match route.takes {
        None => serde_json::Value::Null,
        Some(_) => {
            let collected = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    Problem::new(
                        Code::BodyTooLarge,
                        "",
                        format!("the body is larger than {BODY_BYTES_MAX} bytes"),
                    )
                } else {
                    Problem::new(Code::JsonInvalid, "", "the body did not arrive whole")
                }
            })?;
            json::read(&collected.to_bytes())?
        }
    };
    Ok(Call { state, caller, path, query, if_match, body })
}

fn query(route: &Route, raw: &str) -> Result<Params, Problem> {
    let query = Params::parse(raw.as_bytes());
    let wrong = |name: &str, message: &str| Err(Problem::new(Code::ParameterInvalid, name, message));
    for param in query.iter() {
        if !route.query.iter().any(|known| known.name == param.name) {
            let names: Vec<_> = route.query.iter().map(|known| known.name).collect();
            let message = match names.as_slice() {
                [] => "this route has no parameters".to_owned(),
                names => format!("this route has {}", names.join(", ")),
            };
            return wrong(param.name, &message);
        }
    }
    let odd = query.oddities;
    if odd.repeated {
        return Err(Problem::new(Code::ParameterRepeated, "", "a parameter stands there twice"));
    }
    if odd.cut || odd.bad_escape || odd.bad_utf8 {
        return wrong("", "the query is too long, or is not percent-encoded UTF-8");
    }
    Ok(query)
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).and_then(|t| t.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::new(Code::HeaderInvalid, "If-Match", "it is one ETag of this API, such as \"17\", or *")
    })
}
