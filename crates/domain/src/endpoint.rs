//! What has a queue of its own: who is told, and by what.

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
