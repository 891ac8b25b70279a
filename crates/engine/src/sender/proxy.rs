//! The operator's proxy: connections are asked of it with `CONNECT` instead of being made here.
//!
//! The name of a destination is resolved and all its addresses are checked here as without a proxy, and the proxy is
//! asked for the checked address, never for the name: it has nothing to look up, so a name server that answers it
//! otherwise gains nothing. TLS is spoken through the tunnel with the destination's own name. Plain http goes through
//! a tunnel too, so the proxy reads no more of it than anyone on the way.
//!
//! Not relied on: the proxy's own address is the operator's word and is not checked; that this machine is not reached
//! through the proxy at an address that only the proxy knows is for the proxy's rules.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use base64::Engine as _;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::{Host, Url};

use super::outcome::{Failure, Fault};

/// The most bytes read of a proxy's answer before its end.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// An HTTP proxy that requests leave through. It prints as host and port; user and password are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The address, when the URL names one instead of a host name.
    pub(super) address: Option<IpAddr>,
    /// The value of `proxy-authorization`.
    authorization: Option<String>,
}

/// Why a text is not a [`Proxy`]. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It is no URL with a host.
    #[error("read the proxy: it is no URL such as http://user:password@proxy.example:3128")]
    Url,
    /// It does not begin with `http://`. A proxy that is itself spoken to over TLS is not supported.
    #[error("read the proxy: it does not begin with http://")]
    Scheme,
    /// There is a path, query or fragment, which a proxy has none of.
    #[error("read the proxy: it is more than user, password, host and port")]
    More,
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_| ProxyError::Url)?;
        if url.scheme() != "http" {
            return Err(ProxyError::Scheme);
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyError::More);
        }
        let host = url.host().ok_or(ProxyError::Url)?;
        let address = match &host {
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
            Host::Domain(_) => None,
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        let authorization = has_user.then(|| {
            let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
            pair.push(b':');
            pair.extend(percent_decode_str(url.password().unwrap_or_default()));
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        let port = url.port_or_known_default().ok_or(ProxyError::Url)?;
        Ok(Self { host: host.to_string(), port, address, authorization })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl Proxy {
    /// Asks for a tunnel to `target` on a connection to the proxy. The caller bounds the wait.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, target: SocketAddr) -> Result<(), Fault> {
        let fault = |detail: String| Fault::new(Failure::Proxy, detail);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        let broken = |error: std::io::Error| fault(format!("the connection to the proxy ended: {error}"));
        stream.write_all(request.as_bytes()).await.map_err(broken)?;

        let mut read = Vec::new();
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if read.len() >= HEAD_BYTES_MAX {
                return Err(fault("the proxy's answer is longer than is read".to_owned()));
            }
            if stream.read_buf(&mut read).await.map_err(broken)? == 0 {
                return Err(fault("the proxy closed the connection without an answer".to_owned()));
            }
        };
        match status(&read) {
            Some(200..=299) => {}
            Some(407) => return Err(fault("the proxy wants other credentials (407)".to_owned())),
            Some(status) => {
                return Err(fault(format!("the proxy would not connect to {target} ({status})")));
            }
            None => return Err(fault("what the proxy answered is not HTTP".to_owned())),
        }
        // Neither TLS nor HTTP lets the other side speak first, so this is the proxy's own.
        if read.len() > end {
            return Err(fault("the proxy answered more than a tunnel has".to_owned()));
        }
        Ok(())
    }
}

/// The status of an answer, `HTTP/1.1 200 …`.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, after) = rest.split_at_checked(3)?;
    if !matches!(after.first(), Some(b' ' | b'\r')) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..=999).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_host_and_port_and_its_password_is_not_shown() {
        let proxy: Proxy = "http://us%65r:p%40ss@Proxy.example:3128".parse().unwrap();
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.example:3128 Proxy(proxy.example:3128)");
        // `user:p@ss`
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNlcjpwQHNz"));
        let proxy: Proxy = "http://[::1]".parse().unwrap();
        assert_eq!((proxy.to_string().as_str(), proxy.authorization), ("[::1]:80", None));
        for (bad, error) in [
            ("", ProxyError::Url),
            ("proxy.example:3128", ProxyError::Scheme),
            ("http://", ProxyError::Url),
            ("https://proxy.example", ProxyError::Scheme),
            ("socks5://proxy.example", ProxyError::Scheme),
            ("http://proxy.example/pac", ProxyError::More),
            ("http://proxy.example/?x", ProxyError::More),
        ] {
            assert_eq!(bad.parse::<Proxy>(), Err(error), "{bad}");
        }
        let secret = "http://user:s3cr3t@h o/".parse::<Proxy>().unwrap_err();
        assert!(!secret.to_string().contains("s3cr3t"));
    }

    #[test]
    fn answers_have_a_status_or_are_none() {
        for (head, wanted) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 200\r\n\r\n", Some(200)),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Some(407)),
            (b"HTTP/1.1 2000 x\r\n\r\n", None),
            (b"HTTP/1.1 20", None),
            (b"HTTP/1.1 +20 x\r\n", None),
            (b"SSH-2.0\r\n\r\n", None),
            (b"\r\n\r\n", None),
        ] {
            assert_eq!(status(head), wanted, "{}", String::from_utf8_lossy(head));
        }
    }
}
