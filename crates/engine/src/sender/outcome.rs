//! What an attempt came to. A partner that answers 500 is not an error of ours: it is an outcome, and
//! policy reads it. Whether an outcome is a success, or worth another try, is NOT decided here.

use roundtrip_domain::endpoint::NotAllowed;

/// How an exchange ended. `send` never returns an error instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The status line and headers of an answer arrived. Redirects (3xx) are answers like any other: they
    /// are never followed. How the body ended is in [`super::Answer::body_end`]; the status counts even
    /// when the body stalled or broke off, and a pattern over the body is judged on what was read.
    Answered {
        /// The HTTP status code, 100–999.
        status: u16,
    },
    /// No answer's head arrived.
    Failed(Failure),
}

/// Why there is no answer. The codes are stable: they stand in the attempt table and in the docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The URL does not parse, is not http(s), or has no host.
    BadUrl,
    /// The request cannot be written as HTTP: a header name or value that would break the framing, a
    /// header that belongs to the sender, or a method that is not a plain request.
    BadRequest,
    /// `http://` while the operator allows only `https://`.
    PlainHttpRefused,
    /// A port outside 80, 443, 1024 and up, and the operator's list.
    PortRefused,
    /// The name resolved to at least one address that is connected to only where the operator allows it.
    RefusedAddress,
    /// It would have reached one of this server's own listeners, which nothing allows.
    OwnListener,
    /// All connections of the sender are in use until the deadline. Ours, never the endpoint's fault.
    PoolFull,
    /// The name did not resolve, or not within the connect budget.
    Dns,
    /// Every checked address refused or failed the TCP connection.
    Connect,
    /// TCP or the TLS handshake did not finish within the connect budget. Nothing was sent.
    ConnectTimeout,
    /// The TLS handshake failed: certificate, name, version, or an alert from the other side.
    Tls,
    /// The connection ended before a whole answer head had arrived.
    Reset,
    /// The deadline passed before a whole answer head had arrived.
    Timeout,
    /// What came back is not HTTP/1.1, or its head is larger than the sender reads.
    Protocol,
    /// The token that the request needs could not be had from its server. Nothing was sent.
    TokenUnavailable,
    /// The operator's proxy could not be reached, or would not connect to the address. Ours, never the endpoint's
    /// fault: what lies behind a proxy that says no cannot be known.
    Proxy,
    /// No socket could be opened here: the address to send from is not this machine's, or there are no file
    /// descriptors left. Ours, never the endpoint's fault.
    Local,
}

impl Failure {
    /// Every failure, for tables in the docs and tests.
    pub const ALL: [Failure; 17] = [
        Self::BadUrl,
        Self::BadRequest,
        Self::PlainHttpRefused,
        Self::PortRefused,
        Self::RefusedAddress,
        Self::OwnListener,
        Self::PoolFull,
        Self::Dns,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Reset,
        Self::Timeout,
        Self::Protocol,
        Self::TokenUnavailable,
        Self::Proxy,
        Self::Local,
    ];

    /// The stable code, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadUrl => "bad_url",
            Self::BadRequest => "bad_request",
            Self::PlainHttpRefused => NotAllowed::PlainHttp.code(),
            Self::PortRefused => NotAllowed::Port.code(),
            Self::RefusedAddress => NotAllowed::Address.code(),
            Self::OwnListener => "own_listener",
            Self::PoolFull => "pool_full",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::TokenUnavailable => "token_unavailable",
            Self::Proxy => "proxy",
            Self::Local => "local",
        }
    }

    /// Whether the endpoint or the way to it is in trouble, as opposed to a refusal or shortage of ours.
    /// Only trouble is charged to the endpoint (breaker, concurrency).
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        match self {
            Self::Dns
            | Self::Connect
            | Self::ConnectTimeout
            | Self::Tls
            | Self::Reset
            | Self::Timeout
            | Self::Protocol
            | Self::TokenUnavailable => true,
            Self::BadUrl
            | Self::BadRequest
            | Self::PlainHttpRefused
            | Self::PortRefused
            | Self::RefusedAddress
            | Self::OwnListener
            | Self::PoolFull
            | Self::Proxy
            | Self::Local => false,
        }
    }

    /// What of it the operator's settings would have to allow, if they can.
    #[must_use]
    pub const fn not_allowed(self) -> Option<NotAllowed> {
        match self {
            Self::PlainHttpRefused => Some(NotAllowed::PlainHttp),
            Self::PortRefused => Some(NotAllowed::Port),
            Self::RefusedAddress => Some(NotAllowed::Address),
            _ => None,
        }
    }

    /// Whether it is a shortage or fault of ours that passes: worth another try, and nothing that the endpoint is
    /// charged for.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::PoolFull | Self::Proxy | Self::Local)
    }
}

/// A failure on its way up, with the sentence that goes into the evidence.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) failure: Failure,
    pub(super) detail: String,
}

impl Fault {
    pub(super) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }
}
