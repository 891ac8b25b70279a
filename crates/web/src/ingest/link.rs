//! Tracking links: from a request's query to a recorded click.
//!
//! | form | whose |
//! | --- | --- |
//! | `/c/{link}`, `/?c={link}`, `/{link}` | ours and Linkrunner's |
//! | `/click?campaign_id=…&ref_id=…`, `/{namespace}/click`, host `{namespace}-tracking.…` | Tracknow's |
//! | any address that a link lists | another system's, see `elsewhere` |
//! | the same with `s2s=1`, or the dialect's own word | told by a partner's server: 204, or JSON with `format=json` |
//!
//! A click is recorded first and sent on afterwards: what follows cannot lose it. Its query is kept as received;
//! what is odd about it is flagged, never refused.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::Response;
use roundtrip_domain::click::{Click, Flags, LinkDialect, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::params::{Params, QUERY_BYTES_MAX, decode};
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Catalog, Link, Settings};
use roundtrip_store::click_log::Append;
use serde::Serialize;

use super::allow::Asked;
use super::counters::count;
use super::origin::{self, Origin, host, namespace_of_host};
use super::preview::is_preview;
use super::{Ingest, answer, elsewhere, impression, redirect};

/// Longest `Accept-Language` that is kept, in bytes.
const LANGUAGE_BYTES_MAX: usize = 128;

/// `/c/{link}`, `/{link}`.
pub(super) async fn by_path(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    follow_path(&ingest, &request.into_parts().0).await
}

/// Whether a request is a visit to `/c/{link}`, which needs no router to tell.
pub(super) fn is_visit(method: &Method, path: &str) -> bool {
    let link = path.strip_prefix("/c/").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    method == Method::GET && link.is_some_and(|link| !link.is_empty() && !link.contains('/'))
}

/// The link that the path names.
pub(super) async fn follow_path(ingest: &Ingest, parts: &Parts) -> Response {
    let path = parts.uri.path();
    let id = path.strip_prefix("/c/").unwrap_or_else(|| path.strip_prefix('/').unwrap_or(path));
    let id = text_of(id.strip_suffix('/').unwrap_or(id).as_bytes());
    by_id(ingest, parts, &id).await
}

/// `/?c={link}`.
pub(super) async fn by_query(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let id = text_of(first_value(query(&parts), b"c").unwrap_or_default());
    by_id(&ingest, &parts, &id).await
}

async fn by_id(ingest: &Ingest, parts: &Parts, id: &str) -> Response {
    let catalog = ingest.state.ledger.catalog();
    match catalog.link(id) {
        Some((settings, link)) => follow(ingest, parts, settings, link, link.dialect, TouchKind::Click).await,
        None => match elsewhere::at(ingest, parts, &catalog).await {
            Some(response) => response,
            None => unknown(ingest, parts, "There is no link of that id."),
        },
    }
}

/// `/click?campaign_id=…&ref_id=…`, also inside a namespace.
pub(super) async fn by_campaign(State(ingest): State<Arc<Ingest>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let catalog = ingest.state.ledger.catalog();
    let settings = namespace(&ingest, &parts, &catalog, "/click");
    let Some(settings) = settings else {
        return match elsewhere::at(&ingest, &parts, &catalog).await {
            Some(response) => response,
            None => answer::visitor_problem(&parts.headers, &namespace_unknown()),
        };
    };
    let value = |name: &[u8]| text_of(first_value(query(&parts), name).unwrap_or_default());
    let campaign = settings.campaign_by_public_id(&value(b"campaign_id"));
    let partner = settings.partner_by_ref_id(&value(b"ref_id"));
    let link =
        campaign.zip(partner).and_then(|(campaign, partner)| settings.link_of(campaign.id, partner.id));
    match link {
        Some(link) => follow(&ingest, &parts, settings, link, LinkDialect::Tracknow, TouchKind::Click).await,
        None => match elsewhere::at(&ingest, &parts, &catalog).await {
            Some(response) => response,
            None => unknown(&ingest, &parts, "There is no link for this campaign_id and ref_id."),
        },
    }
}

/// The settings of the namespace that the path or the host names, else of `default`. `suffix` is the path behind
/// the namespace.
pub(super) fn namespace<'c>(
    ingest: &Ingest,
    parts: &Parts,
    catalog: &'c Catalog,
    suffix: &str,
) -> Option<&'c Arc<Settings>> {
    let path = parts.uri.path().strip_suffix(suffix).unwrap_or_default();
    let of_path = path.strip_prefix('/').filter(|slug| !slug.is_empty());
    let of_host = || namespace_of_host(host(parts)?, &ingest.state.options);
    let slug = of_path.or_else(of_host).unwrap_or("default");
    catalog.namespace(slug).or_else(|| catalog.namespace(&text_of(slug.as_bytes()).to_ascii_lowercase()))
}

/// The problem of a namespace that nobody has.
pub(super) fn namespace_unknown() -> Problem {
    Problem::new(Code::NamespaceUnknown, "namespace", "no workspace has the namespace of this path or host")
}

fn unknown(ingest: &Ingest, parts: &Parts, message: &str) -> Response {
    count(&ingest.state.counters.links_unknown);
    answer::visitor_problem(&parts.headers, &Problem::new(Code::LinkUnknown, "link", message))
}

/// Records a touch and answers it: a click's visitor is sent on, an impression gets its picture.
pub(super) async fn follow(
    ingest: &Ingest,
    parts: &Parts,
    settings: &Settings,
    link: &Link,
    dialect: LinkDialect,
    kind: TouchKind,
) -> Response {
    let (mut click, params) = touch(ingest, parts, settings, link, dialect, kind);
    let is_told_by_server = is_told_by_server(parts, &params);
    if kind == TouchKind::Impression || params.says_view() {
        return impression::answer(ingest, &click, &params, is_told_by_server).await;
    }
    let asked = Asked::read(&params, &link.allow_destinations);
    if asked.is_refused {
        click.flags.set(Flags::DESTINATION_REFUSED);
    }
    count_click(ingest, &click);
    if is_told_by_server {
        let append = ingest.state.clicks.append_read(&click, &params).await;
        return told(ingest, append, &params);
    }
    let append = ingest.state.clicks.append_read(&click, &params).await;
    let is_stored = stored(ingest, &append);
    redirect::answer(
        ingest,
        parts,
        &redirect::Followed {
            id: append.id(),
            is_stored,
            click: &click,
            params: &params,
            settings,
            link,
            asked: &asked,
        },
    )
}

/// A touch as this request makes it, its flags set, and its query read.
fn touch(
    ingest: &Ingest,
    parts: &Parts,
    settings: &Settings,
    link: &Link,
    dialect: LinkDialect,
    kind: TouchKind,
) -> (Click, Params) {
    let mut flags = Flags::default();
    let mut click = Click {
        workspace: settings.workspace,
        app: link.app,
        campaign: link.campaign,
        partner: link.partner,
        link: link.id,
        kind,
        dialect,
        flags: Flags::default(),
        received_at: ingest.state.clock.now(),
        query: kept_query(query(parts), &mut flags),
        ip: None,
        user_agent: None,
        referer: None,
        language: None,
        location: Default::default(),
    };
    let params = click.flag();
    if kind == TouchKind::Click && params.says_view() {
        click.kind = TouchKind::Impression;
    }
    if params.has_callbacks() && !may_call_back(settings, link, &params) {
        flags.set(Flags::CALLBACK_REFUSED);
    }
    if is_told_by_server(parts, &params) {
        // The connection is the partner's server's, and says nothing about the visitor.
        if click.kind == TouchKind::Click {
            click.kind = TouchKind::ServerClick;
        }
        let ip = params.text("ip").and_then(|ip| ip.trim().parse::<IpAddr>().ok());
        let told = || origin::told_address(parts, &ingest.state.options, dialect.address_headers());
        click.ip = ip.map(|ip| ip.to_canonical()).or_else(told);
        let filled = |name: &str| params.text(name).filter(|_| !is_macro(&params, name));
        click.user_agent = filled("user_agent").map(|text| cut(&text, Click::HEADER_BYTES_MAX, &mut flags));
        click.language = filled("lang").map(|text| cut(&text, LANGUAGE_BYTES_MAX, &mut flags));
    } else {
        let mut text = |name: &HeaderName, max| kept_header(&parts.headers, name, max, &mut flags);
        click.user_agent = text(&header::USER_AGENT, Click::HEADER_BYTES_MAX);
        click.referer = text(&header::REFERER, Click::HEADER_BYTES_MAX);
        click.language = text(&header::ACCEPT_LANGUAGE, LANGUAGE_BYTES_MAX);
        click.ip = Origin::of(parts, &ingest.state.options).client;
    }
    if let Some(ip) = click.ip {
        click.location = ingest.state.geo.look_up(ip);
    }
    if is_preview(&parts.method, &parts.headers) {
        click.kind = TouchKind::Preview;
    }
    click.flags.set(flags);
    (click, params)
}

fn is_macro(params: &Params, name: &str) -> bool {
    params.get(name).is_some_and(|param| roundtrip_domain::params::unexpanded(param.raw))
}

/// Whether the request comes from a partner's server, and not from the visitor.
fn is_told_by_server(parts: &Parts, params: &Params) -> bool {
    params.says_server_to_server() || params.dialect().is_for_servers(parts.uri.path())
}

/// Whether the callbacks in the link are its partner's to bring, and each of them one that could be sent.
fn may_call_back(settings: &Settings, link: &Link, params: &Params) -> bool {
    settings.partners.get(&link.partner).is_some_and(|partner| partner.in_link_callbacks)
        && params.callbacks().iter().all(Result::is_ok)
}

#[derive(Serialize)]
struct Told {
    click_id: String,
}

/// Answers a server. It can send again, which a visitor cannot: so a click that is not known to be stored
/// is no success here.
pub(super) fn told(ingest: &Ingest, append: Append, params: &Params) -> Response {
    if !stored(ingest, &append) {
        let mut response = answer::problem(&Problem::new(
            Code::StoreUnavailable,
            "",
            "the click log could not take the click in time",
        ));
        let (name, value) = answer::UNSTORED;
        response.headers_mut().insert(name, value);
        return response;
    }
    match params.get("format") {
        Some(format) if format.raw == b"json" => {
            answer::json(StatusCode::OK, &Told { click_id: append.id().to_string() })
        }
        _ => answer::empty(StatusCode::NO_CONTENT),
    }
}

/// Whether the log has it; what it has not is counted.
pub(super) fn stored(ingest: &Ingest, append: &Append) -> bool {
    let is_stored = matches!(append, Append::Stored(ClickId { .. }));
    if !is_stored {
        count(&ingest.state.counters.touches_unstored);
    }
    is_stored
}

/// Counts a touch by its kind and its flags.
pub(super) fn count_click(ingest: &Ingest, click: &Click) {
    let counters = &ingest.state.counters;
    count(match click.kind {
        TouchKind::Click => &counters.clicks,
        TouchKind::ServerClick => &counters.server_clicks,
        TouchKind::Impression => &counters.impressions,
        TouchKind::Preview => &counters.previews,
    });
    for (flag, counter) in [
        (Flags::DESTINATION_REFUSED, &counters.destinations_refused),
        (Flags::PARTNER_CLICK_ID_ABSENT, &counters.partner_click_ids_absent),
        (Flags::PARTNER_CLICK_ID_UNEXPANDED, &counters.partner_click_ids_unexpanded),
        (Flags::CUT, &counters.values_cut),
        (Flags::CALLBACK_REFUSED, &counters.callbacks_refused),
    ] {
        if click.flags.has(flag) {
            count(counter);
        }
    }
}

pub(super) fn query(parts: &Parts) -> &[u8] {
    parts.uri.query().unwrap_or_default().as_bytes()
}

/// The query as it is kept: cut at a parameter's boundary when it is too long.
fn kept_query(query: &[u8], flags: &mut Flags) -> Vec<u8> {
    if query.len() <= QUERY_BYTES_MAX {
        return query.to_vec();
    }
    flags.set(Flags::CUT);
    let head = &query[..QUERY_BYTES_MAX];
    let end = head.iter().rposition(|b| matches!(b, b'&' | b'?')).unwrap_or(QUERY_BYTES_MAX);
    head[..end].to_vec()
}

/// The received bytes of the first parameter of a plain name. Saves a reading of the whole query where only the
/// link is wanted.
fn first_value<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    query.split(|b| matches!(b, b'&' | b'?')).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

fn text_of(raw: &[u8]) -> String {
    String::from_utf8_lossy(&decode(raw)).into_owned()
}

fn kept_header(headers: &HeaderMap, name: &HeaderName, max: usize, flags: &mut Flags) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes());
    (!text.is_empty()).then(|| cut(&text, max, flags))
}

/// At most `max` bytes of a text, ending with a character.
fn cut(text: &str, max: usize, flags: &mut Flags) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    flags.set(Flags::CUT);
    text[..text.floor_char_boundary(max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_told_from_what_the_router_is_for() {
        for (method, path, is) in [
            (Method::GET, "/c/lnk", true),
            (Method::GET, "/c/lnk/", true),
            (Method::GET, "/c/%2f", true),
            (Method::HEAD, "/c/lnk", false),
            (Method::POST, "/c/lnk", false),
            (Method::GET, "/c/", false),
            (Method::GET, "/c//", false),
            (Method::GET, "/c/lnk/x", false),
            (Method::GET, "/c/click/", true),
            (Method::GET, "/lnk", false),
            (Method::GET, "/i/lnk", false),
        ] {
            assert_eq!(is_visit(&method, path), is, "{method} {path}");
        }
    }

    #[test]
    fn the_link_is_found_without_reading_the_whole_query() {
        for (query, want) in [
            ("c=abc", Some("abc")),
            ("cc=1&c=abc&c=def", Some("abc")),
            ("click_id=1?c=abc", Some("abc")),
            ("c", None),
            ("xc=1", None),
            ("", None),
        ] {
            assert_eq!(first_value(query.as_bytes(), b"c"), want.map(str::as_bytes), "{query}");
        }
    }

    #[test]
    fn what_is_over_long_is_cut_and_flagged() {
        let mut flags = Flags::default();
        assert_eq!(cut("äöü", 5, &mut flags), "äö");
        assert!(flags.has(Flags::CUT));
        let mut flags = Flags::default();
        let long = [b"a=1&".repeat(QUERY_BYTES_MAX / 4), b"b=2".to_vec()].concat();
        let kept = kept_query(&long, &mut flags);
        assert!(kept.len() < QUERY_BYTES_MAX && kept.ends_with(b"a=1") && flags.has(Flags::CUT));
        let mut flags = Flags::default();
        assert_eq!(kept_query(b"a=1", &mut flags), b"a=1");
        assert_eq!(flags, Flags::default());
    }
}
