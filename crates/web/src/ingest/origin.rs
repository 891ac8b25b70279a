//! Where a request came from: the client's address, whether it came over TLS, and the namespace of its host.
//!
//! `X-Forwarded-For` and `X-Forwarded-Proto` count only when the connection comes from a trusted proxy, and the
//! list of addresses is read from its right end, where our own proxies write: what a client put in front
//! of it is never reached. Nothing here is authorisation, but for the address that an app's postback
//! allow-list is compared with, which is why this reading is strict.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use ipnet::IpNet;

use super::Options;

/// Most hops that are read from `X-Forwarded-For`.
const HOPS_MAX: usize = 16;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The client's address, as far as it is known.
    pub(super) client: Option<IpAddr>,
    /// Whether nobody on the way could read it: TLS up to a trusted proxy, or loopback.
    pub(super) is_private: bool,
}

impl Origin {
    /// Reads the connection and, from trusted proxies, the forwarding headers.
    pub(super) fn of(parts: &Parts, options: &Options) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        Self::read(peer, &parts.headers, &options.trusted_proxies)
    }

    fn read(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
        let Some(peer) = peer else { return Self { client: None, is_private: false } };
        if !is_trusted(&peer) {
            return Self { client: Some(peer), is_private: peer.is_loopback() };
        }
        let mut client = peer;
        let hops = headers.get_all("x-forwarded-for").iter().rev();
        let hops = hops.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let Some(ip) = address(hop) else { break };
            client = ip;
            if !is_trusted(&ip) {
                break;
            }
        }
        let scheme = headers.get_all("x-forwarded-proto").iter().next_back();
        let scheme = scheme.and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit(',').next()).map(str::trim);
        let is_https = scheme.is_some_and(|s| s.eq_ignore_ascii_case("https"));
        Self { client: Some(client), is_private: is_https || client.is_loopback() }
    }
}

/// The visitor's address as a server tells it in one of these headers. It counts only from a trusted proxy:
/// anybody else could blame any address.
pub(super) fn told_address(parts: &Parts, options: &Options, names: &[&str]) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    if !options.trusted_proxies.iter().any(|net| net.contains(&peer)) {
        return None;
    }
    names.iter().find_map(|name| address(parts.headers.get(*name)?.to_str().ok()?))
}

/// An address with or without a port, in brackets or not.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let ip = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|s| s.ip()));
    let ip = ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    ip.map(|ip| ip.to_canonical())
}

/// The host that the request names, without its port.
pub(super) fn host(parts: &Parts) -> Option<&str> {
    let named = parts.headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let host = named.or_else(|| parts.uri.authority().map(|a| a.as_str()))?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    Some(match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    })
}

/// The namespace in a host of the form `{namespace}-tracking.…`. The installation's own public host names
/// none, whatever it is called.
pub(super) fn namespace_of_host<'h>(host: &'h str, options: &Options) -> Option<&'h str> {
    let own = options.public_url.as_ref().and_then(|url| url.host_str());
    if own.is_some_and(|own| own.eq_ignore_ascii_case(host)) {
        return None;
    }
    let (label, _) = host.split_once('.')?;
    label.strip_suffix("-tracking").filter(|namespace| !namespace.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(peer: &str, lines: &[(&'static str, &str)], client: &str, is_private: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let origin = Origin::read(Some(peer.parse().unwrap()), &headers, &trusted);
        assert_eq!(origin, Origin { client: Some(client.parse().unwrap()), is_private }, "{peer} {lines:?}");
    }

    #[test]
    fn forwarding_headers_count_from_trusted_proxies_only() {
        check(
            "203.0.113.5",
            &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")],
            "203.0.113.5",
            false,
        );
        check("10.0.0.1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")], "1.2.3.4", true);
        check("10.0.0.1", &[("x-forwarded-for", "1.2.3.4")], "1.2.3.4", false);
        check("10.0.0.1", &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "http")], "1.2.3.4", false);
        check("::1", &[], "::1", true);
        check("127.0.0.1", &[], "127.0.0.1", true);
        check("127.0.0.1", &[("x-forwarded-for", "1.2.3.4")], "1.2.3.4", false);
    }

    #[test]
    fn what_the_client_wrote_in_front_is_never_reached() {
        check("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.9")], "1.2.3.4", false);
        check(
            "10.0.0.1",
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")],
            "1.2.3.4",
            false,
        );
        check("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, garbage, 10.0.0.9")], "10.0.0.9", false);
        check("10.0.0.1", &[("x-forwarded-for", "127.0.0.1, 1.2.3.4")], "1.2.3.4", false);
        check("10.0.0.1", &[("x-forwarded-for", "1.2.3.4:5678")], "1.2.3.4", false);
        check("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:443")], "2001:db8::1", false);
        check("10.0.0.1", &[("x-forwarded-for", "::ffff:1.2.3.4")], "1.2.3.4", false);
        check(
            "10.0.0.1",
            &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https, http")],
            "1.2.3.4",
            false,
        );
    }

    #[test]
    fn a_host_names_a_namespace() {
        let options = Options {
            public_url: Some("https://go-tracking.example.com".parse().unwrap()),
            ..Options::default()
        };
        for (host, namespace) in [
            ("acme-tracking.example.com", Some("acme")),
            ("go-tracking.example.com", None),
            ("GO-tracking.example.com", None),
            ("track.example.com", None),
            ("-tracking.example.com", None),
            ("acme-tracking", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(namespace_of_host(host, &options), namespace, "{host}");
        }
    }
}
