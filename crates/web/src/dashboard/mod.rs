//! The pages on the admin listener: the latest conversions, and the story of each one. Read-only.
//!
//! The cast:
//! - `session` remembers who signed in: a random cookie that stands for a token, which is judged anew, by the
//!   API's own function, on each request. A token that was reset closes its sessions at once.
//! - `pages` has the typed context of each template in `templates/`, and renders it; values are escaped there.
//! - `home` lays out the list, `deliveries`, `endpoints`, `webhooks` and `jobs` theirs, `story` the story, the click and
//!   a delivery by itself.
//!
//! Not relied on: scripts (there are none, and the content security policy allows none), resources from
//! elsewhere, and the browser's good will: forms check where they were sent from, the cookie is not sent across
//! sites, and nothing here changes anything but sessions.

mod deliveries;
mod endpoints;
mod home;
mod jobs;
mod pages;
mod session;
mod story;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use roundtrip_ambient::{Clock, Entropy};
use roundtrip_domain::params::Params;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::Settings;
use roundtrip_domain::time::Timestamp;
use roundtrip_store::click_log::ClickLog;
use roundtrip_store::ledger::Ledger;
use tokio::sync::Mutex;

pub(crate) use self::home::state_badge;
pub(crate) use self::pages::Badge;
use self::pages::PartnerRow;
use self::session::Sessions;
use crate::api::{AdminToken, may_read};
use crate::books::Books;
use crate::problem;
use crate::sheet;
use crate::story::{Finder, Reference, Telling};
use crate::templates::STYLE;

/// The workspace that the pages show.
const WORKSPACE: &str = "default";
/// Longest form, in bytes: a token and a path.
const FORM_BYTES_MAX: usize = 8 * 1024;
/// Nothing is loaded but our own style sheet, nothing is run, nobody frames us.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the pages need.
#[derive(Clone)]
pub struct DashboardState {
    /// The ledger.
    pub ledger: Ledger,
    /// The click log.
    pub clicks: ClickLog,
    /// Tells the time.
    pub clock: Clock,
    /// Randomness for sessions.
    pub entropy: Entropy,
    /// The installation's own admin token.
    pub admin_token: AdminToken,
    /// How the world reaches the public listener; for the commands that an empty page suggests.
    pub public_url: String,
}

/// The state with what the router keeps for itself.
struct Inner {
    state: DashboardState,
    sessions: Sessions,
    /// The books, and when they were counted: counting reads every row, and a page is looked at often.
    books: Mutex<Option<(Timestamp, Books)>>,
}

type Shared = State<Arc<Inner>>;

/// The router of the pages: `/`, `/conversions/{id}`, `/deliveries`, `/endpoints`, `/endpoints/{id}`, `/webhooks`, `/jobs`, `/partners`, `/partners/{slug}`, `/explain`, `/login`, `/logout`, `/assets/style.css`.
pub fn router(state: DashboardState) -> Router {
    let inner = Inner { state, sessions: Sessions::default(), books: Mutex::new(None) };
    Router::new()
        .route("/", get(home))
        .route("/conversions/{id}", get(conversion))
        .route("/deliveries", get(list_deliveries))
        .route("/endpoints", get(list_endpoints))
        .route("/endpoints/{id}", get(endpoint))
        .route("/webhooks", get(list_webhooks))
        .route("/jobs", get(list_jobs))
        .route("/partners", get(partners))
        .route("/partners/{slug}", get(partner))
        .route("/explain", get(explain))
        .route("/login", get(login_form).post(login))
        .route("/logout", post(logout))
        .route("/assets/style.css", get(style))
        .with_state(Arc::new(inner))
}

/// The answer to a path of the admin listener that is none: a page to a browser, unless it asks the API.
pub fn not_found(headers: &HeaderMap, path: &str) -> Response {
    let wants_page = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !wants_page || path.starts_with("/api/") {
        return problem::not_found();
    }
    let told = Problem::new(Code::NotFound, "", "there is no page here");
    page(StatusCode::NOT_FOUND, pages::message(&told.fixed_by("choose one of those above")))
}

/// A page or why there is none.
type Outcome = Result<Response, Refused>;

/// Why there is no page.
enum Refused {
    /// Nobody is signed in.
    SignIn,
    /// A token was presented with the request and does not open.
    Token(Problem),
    /// A problem, said on a page.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Refused {
    fn answer(self, path: &str) -> Response {
        match self {
            Self::SignIn => {
                let next = utf8_percent_encode(path, NON_ALPHANUMERIC);
                redirect(&format!("/login?next={next}"))
            }
            Self::Token(problem) => problem::answer(&problem),
            Self::Problem(problem) => {
                let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
                page(status, pages::message(&problem))
            }
        }
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    fn settings(&self) -> Result<Arc<Settings>, Problem> {
        let catalog = self.state.ledger.catalog();
        let settings = catalog.namespace(WORKSPACE).cloned();
        settings.ok_or_else(|| Problem::new(Code::NamespaceUnknown, "", "the default workspace is missing"))
    }

    /// Lets a request in that brings a token, or a session that stands for one.
    fn admit(&self, headers: &HeaderMap) -> Result<Arc<Settings>, Refused> {
        self.admit_to(headers, false)
    }

    /// The same, and with `full` only whoever may see personal data whole.
    fn admit_to(&self, headers: &HeaderMap, full: bool) -> Result<Arc<Settings>, Refused> {
        let settings = self.settings()?;
        let catalog = self.state.ledger.catalog();
        let judge =
            |token: &str, full| may_read(token, &self.state.admin_token, &catalog, settings.workspace, full);
        let may = |token: &str| judge(token, false);
        // Who may read and not see all of it is signed in nevertheless, and is told why on a page.
        let whole = |token: &str| if full { judge(token, true) } else { Ok(()) };
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let text = value.to_str().unwrap_or_default();
            let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = token.map_or("", |(_, token)| token.trim());
            may(token).and_then(|()| whole(token)).map_err(Refused::Token)?;
            return Ok(settings);
        }
        let id = session::id_of(headers).ok_or(Refused::SignIn)?;
        let token = self.sessions.token(&id, self.now()).ok_or(Refused::SignIn)?;
        if may(&token).is_err() {
            self.sessions.close(&id);
            return Err(Refused::SignIn);
        }
        whole(&token)?;
        Ok(settings)
    }

    fn finder<'a>(&'a self, settings: &'a Settings, telling: Telling) -> Finder<'a> {
        Finder { ledger: &self.state.ledger, clicks: &self.state.clicks, settings, telling }
    }
}

async fn home(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, home::render(&inner, &settings, &query(&parts)).await?))
    };
    finish(outcome.await, &parts)
}

async fn conversion(State(inner): Shared, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let full = query(&parts).text("full").as_deref() == Some("true");
        let settings = inner.admit_to(&parts.headers, full)?;
        let reference = Reference::parse(&id)?;
        let telling = Telling { now: inner.now(), full };
        let explained = inner.finder(&settings, telling).explain(reference).await?;
        Ok(page(StatusCode::OK, story::render(explained, &id, telling)))
    };
    finish(outcome.await, &parts)
}

async fn list_deliveries(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, deliveries::render(&inner, &settings, &query(&parts)).await?))
    };
    finish(outcome.await, &parts)
}

async fn list_jobs(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, jobs::render(&inner, &settings, &query(&parts)).await?))
    };
    finish(outcome.await, &parts)
}

async fn list_endpoints(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, endpoints::render(&inner, &settings, &query(&parts)).await?))
    };
    finish(outcome.await, &parts)
}

async fn endpoint(State(inner): Shared, Path(id): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, endpoints::render_one(&inner, &settings, &id).await?))
    };
    finish(outcome.await, &parts)
}

async fn list_webhooks(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        Ok(page(StatusCode::OK, webhooks::render(&inner, &settings).await?))
    };
    finish(outcome.await, &parts)
}

/// All partners, by slug.
async fn partners(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = inner.admit(&parts.headers).map(|settings| {
        let mut rows: Vec<PartnerRow> = settings
            .partners
            .values()
            .map(|partner| PartnerRow {
                slug: partner.slug.clone(),
                name: partner.name.clone(),
                links: settings.links.values().filter(|link| link.partner == partner.id).count(),
                rules: settings
                    .rules
                    .values()
                    .flatten()
                    .filter(|rule| sheet::is_told(&settings, rule, partner))
                    .count(),
            })
            .collect();
        rows.sort_by(|a, b| a.slug.cmp(&b.slug));
        page(StatusCode::OK, pages::partners(&rows))
    });
    finish(outcome, &parts)
}

/// A partner's sheet.
async fn partner(State(inner): Shared, Path(slug): Path<String>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        let settings = inner.admit(&parts.headers)?;
        let state = &inner.state;
        let sheet = sheet::read(&state.ledger, &settings, &slug, &state.public_url, None)
            .await
            .map_err(|problems| {
                let first = problems.into_iter().next();
                first.unwrap_or_else(|| {
                    Problem::new(Code::StoreUnavailable, "", "the settings cannot be read")
                })
            })?
            .ok_or_else(|| {
                let message = format!("there is no partner `{slug}`");
                Problem::new(Code::NotFound, "", message).fixed_by("choose one of those at /partners")
            })?;
        Ok(page(StatusCode::OK, sheet::html::inside(&sheet)))
    };
    finish(outcome.await, &parts)
}

/// The search box: any id that somebody has in hand leads to its story's page.
async fn explain(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let outcome = async {
        inner.admit(&parts.headers)?;
        let id = query(&parts).text("id").unwrap_or_default();
        Reference::parse(&id)?;
        Ok(redirect(&format!("/conversions/{}", utf8_percent_encode(id.trim(), PATH_SEGMENT))))
    };
    finish(outcome.await, &parts)
}

/// What ids are made of stays readable.
const PATH_SEGMENT: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

async fn login_form(State(inner): Shared, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if inner.admit(&parts.headers).is_ok() {
        return redirect("/");
    }
    page(StatusCode::OK, pages::login(None, &session::local(query(&parts).text("next"))))
}

async fn login(State(inner): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !session::is_same_origin(&parts.headers) {
        let problem = Problem::new(Code::HeaderInvalid, "Origin", "the form was sent from another site");
        return Refused::Problem(problem).answer("/login");
    }
    let Ok(body) = Limited::new(body, FORM_BYTES_MAX).collect().await else {
        let problem =
            Problem::new(Code::BodyTooLarge, "", format!("a form has at most {FORM_BYTES_MAX} bytes"));
        return Refused::Problem(problem).answer("/login");
    };
    let form = Params::parse(&body.to_bytes());
    let next = session::local(form.text("next"));
    let token = form.text("token").unwrap_or_default();
    let token = token.trim();
    let judged = inner.settings().and_then(|settings| {
        may_read(token, &inner.state.admin_token, &inner.state.ledger.catalog(), settings.workspace, false)
    });
    if let Err(problem) = judged {
        tracing::info!(code = problem.code.text(), "somebody could not sign in");
        return page(StatusCode::UNAUTHORIZED, pages::login(Some(&problem), &next));
    }
    let cookie =
        inner.sessions.open(token, &inner.state.entropy, inner.now(), session::is_https(&parts.headers));
    let mut response = redirect(&next);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

async fn logout(State(inner): Shared, headers: HeaderMap) -> Response {
    if !session::is_same_origin(&headers) {
        let problem = Problem::new(Code::HeaderInvalid, "Origin", "the form was sent from another site");
        return Refused::Problem(problem).answer("/");
    }
    if let Some(id) = session::id_of(&headers) {
        inner.sessions.close(&id);
    }
    let mut response = redirect("/login");
    response.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static(session::COOKIE_GONE));
    response
}

async fn style() -> Response {
    let mut response = STYLE.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    harden(headers);
    response
}

fn query(parts: &Parts) -> Params {
    Params::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

fn finish(outcome: Outcome, parts: &Parts) -> Response {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    outcome.unwrap_or_else(|refused| refused.answer(path))
}

fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A page, or the plain words for one that could not be rendered.
fn page(status: StatusCode, rendered: Result<String, minijinja::Error>) -> Response {
    let (status, kind, body) = match rendered {
        Ok(body) => (status, "text/html; charset=utf-8", body),
        Err(error) => {
            tracing::error!(error = %error, "a page could not be rendered");
            let body = "this page could not be rendered; the log says why\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", body)
        }
    };
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    harden(response.headers_mut());
    response
}

/// Goes on with a GET of a path of ours.
fn redirect(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    harden(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_is_lost_gets_a_page_and_programs_get_json() {
        let asked = |accept: &'static str, path: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            let answer = not_found(&headers, path);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned()
        };
        assert_eq!(asked("text/html,application/xhtml+xml", "/nosuch"), "text/html; charset=utf-8");
        assert_eq!(asked("text/html", "/api/v1/nosuch"), "application/json");
        assert_eq!(asked("application/json", "/nosuch"), "application/json");
    }
}
