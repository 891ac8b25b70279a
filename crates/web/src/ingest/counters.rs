//! What the public listener counted since the process started.
//!
//! Plain atomics: the server exports them as metrics, and a test reads them. They are not the books; those are
//! recounted from rows. Each counter's doc comment is its help text.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the process started; they only rise.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Every counter: its name, its help text and its value now, in a fixed order.
            pub fn read(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),*).trim_ascii(), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Clicks of visitors.
    clicks,
    /// Clicks told by a partner's server.
    server_clicks,
    /// Impressions.
    impressions,
    /// HEAD, prefetch and link-preview requests on links.
    previews,
    /// Touches that were answered without being known to be stored.
    touches_unstored,
    /// Requests for a link that does not exist.
    links_unknown,
    /// Clicks for which no destination could be made.
    destinations_missing,
    /// Clicks that asked for a destination outside the link's allow-list.
    destinations_refused,
    /// Clicks without a partner click id.
    partner_click_ids_absent,
    /// Clicks whose partner click id is still a macro.
    partner_click_ids_unexpanded,
    /// Touches with a value or query that was cut.
    values_cut,
    /// Touches with callback URLs that their partner may not use, or that cannot be used.
    callbacks_refused,
    /// Events recorded.
    events_accepted,
    /// Events that were recorded before.
    events_duplicate,
    /// Events refused for what they say.
    events_rejected,
    /// Events that the ledger could not take.
    events_unavailable,
    /// Inbound postbacks recorded.
    postbacks_accepted,
    /// Inbound postbacks that were recorded before.
    postbacks_duplicate,
    /// Inbound postbacks refused for what they say.
    postbacks_rejected,
    /// Inbound postbacks that the ledger could not take.
    postbacks_unavailable,
    /// Requests with a missing, unknown or wrong key or token.
    credentials_refused,
    /// Requests over their rate.
    rate_limited,
    /// Events and postbacks over plain HTTP from outside.
    plain_http_refused,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_help_text() {
        let counters = Counters::default();
        count(&counters.previews);
        let all = counters.read();
        assert!(all.iter().all(|(_, help, _)| help.ends_with('.')), "{all:?}");
        assert!(all.contains(&("previews", "HEAD, prefetch and link-preview requests on links.", 1)));
    }
}
