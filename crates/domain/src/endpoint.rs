//! What has a queue of its own: who is told, and by what.

pub mod health;

use crate::id::{Id, kind};

/// A rule and the partner that it tells, or a webhook of the owner's.
///
/// Stores keep it as two ids of 16 bytes, the *teller* and the partner; a webhook has no partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// A partner is told, as a rule says.
    Postback {
        /// The rule.
        rule: Id<kind::Rule>,
        /// The partner.
        partner: Id<kind::Partner>,
    },
    /// The owner is told.
    Webhook(Id<kind::Webhook>),
}

impl Endpoint {
    /// The bytes of the rule or webhook.
    pub const fn teller(self) -> [u8; 16] {
        match self {
            Self::Postback { rule, .. } => rule.bytes(),
            Self::Webhook(webhook) => webhook.bytes(),
        }
    }

    /// The bytes of the partner; zeros for a webhook.
    pub const fn partner(self) -> [u8; 16] {
        match self {
            Self::Postback { partner, .. } => partner.bytes(),
            Self::Webhook(_) => [0; 16],
        }
    }

    /// Reads what [`Self::teller`] and [`Self::partner`] gave. No id is all zeros, so a partner of zeros is none.
    pub const fn from_bytes(teller: [u8; 16], partner: [u8; 16]) -> Self {
        let (teller, partner) = (u128::from_be_bytes(teller), u128::from_be_bytes(partner));
        if partner == 0 {
            return Self::Webhook(Id::from_bits(teller));
        }
        Self::Postback { rule: Id::from_bits(teller), partner: Id::from_bits(partner) }
    }

    /// The rule and the partner, if it is a partner that is told.
    pub const fn postback(self) -> Option<(Id<kind::Rule>, Id<kind::Partner>)> {
        match self {
            Self::Postback { rule, partner } => Some((rule, partner)),
            Self::Webhook(_) => None,
        }
    }
}

/// Whether an endpoint is told. Numbers are stored: append only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// It is.
    #[default]
    Active = 0,
    /// Somebody stopped it for a while: what is planned for it is held.
    Paused = 1,
    /// It failed for days, is gone, or somebody switched it off: what is planned for it is held.
    Disabled = 2,
}

impl State {
    /// The state with that number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Active,
            1 => Self::Paused,
            2 => Self::Disabled,
            _ => return None,
        })
    }

    /// Its word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Whether what is planned for it is held instead of sent.
    pub const fn holds(self) -> bool {
        !matches!(self, Self::Active)
    }
}

/// What the operator's settings do not allow of a request, so that it is not sent. Not the receiver's trouble: what is
/// planned waits until the settings allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotAllowed {
    /// The URL is plain HTTP.
    PlainHttp,
    /// The port is below 1024, and neither 80 nor 443.
    Port,
    /// The address is private, loopback or of another special range.
    Address,
}

impl NotAllowed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PlainHttp, Self::Port, Self::Address];

    /// Its stable word: what such a send came to, and why its delivery waits.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http_refused",
            Self::Port => "port_refused",
            Self::Address => "refused_address",
        }
    }

    /// The one of that word, if it is one of these.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.code() == code)
    }

    /// What of the request it is, as the end of "the server's settings do not allow".
    pub const fn what(self) -> &'static str {
        match self {
            Self::PlainHttp => "plain http URLs",
            Self::Port => "its port",
            Self::Address => "its address",
        }
    }

    /// The switch of `roundtrip serve` that allows it.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::PlainHttp => "--allow-plain-http-out",
            Self::Port => "--outbound-port N",
            Self::Address => "--allow-private CIDR",
        }
    }
}

/// Why a delivery waits now. Of several reasons the one that lasts longest, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Its rule's delay is not over.
    Delayed,
    /// It is due later: it is tried again.
    DueAt,
    /// Its endpoint is paused.
    Paused,
    /// Its endpoint is disabled.
    Disabled,
    /// Its endpoint was in trouble; a probe is sent now and then.
    BreakerOpen,
    /// The operator's settings do not allow its endpoint's requests; one is tried now and then.
    NotAllowed(NotAllowed),
    /// The receiver asked for a rest with `Retry-After`.
    RetryAfter,
    /// Its endpoint or its partner takes only so many a second.
    RateLimited,
    /// As many as its host is given at once are under way there.
    HostFull,
    /// As many as its endpoint is given at once are under way.
    ConcurrencyFull,
    /// First attempts go before retries, four to one.
    RetryBudget,
    /// Its workspace has sent as many as it may today, or has as many under way as it may.
    Quota,
    /// As many as fit are under way in all, or other endpoints have used less and go first.
    TotalFull,
    /// The ledger does not keep up with what was sent: nothing new begins.
    LedgerBusy,
    /// It is being sent.
    Sending,
    /// Nothing holds it back: it is next.
    Next,
}

impl Wait {
    /// Its stable word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::DueAt => "due_at",
            Self::Paused => "endpoint_paused",
            Self::Disabled => "endpoint_disabled",
            Self::BreakerOpen => "breaker_open",
            Self::NotAllowed(what) => what.code(),
            Self::RetryAfter => "retry_after",
            Self::RateLimited => "rate_limited",
            Self::HostFull => "host_full",
            Self::ConcurrencyFull => "concurrency_full",
            Self::RetryBudget => "retry_budget",
            Self::Quota => "quota",
            Self::TotalFull => "total_full",
            Self::LedgerBusy => "ledger_busy",
            Self::Sending => "sending",
            Self::Next => "next",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_kept_as_two_ids() {
        let postback = Endpoint::Postback { rule: Id::from_bits(1), partner: Id::from_bits(2) };
        let webhook = Endpoint::Webhook(Id::from_bits(3));
        for endpoint in [postback, webhook] {
            assert_eq!(Endpoint::from_bytes(endpoint.teller(), endpoint.partner()), endpoint);
        }
        assert_eq!(webhook.postback(), None);
    }
}
