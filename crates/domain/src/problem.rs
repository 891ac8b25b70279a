//! What we tell a caller whose input we cannot take: a stable code, the field, the rule and the fix.
//!
//! Every code is declared once, here. `docs/errors.md` is generated from this table (a test compares),
//! and the HTTP status is part of it, so that the same fault answers the same way everywhere.

use std::fmt;

use crate::endpoint::NotAllowed;

/// What the caller should do about a problem; decides the HTTP status's class.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $rule:literal, $fix:literal;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable text, as callers see it.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The HTTP status that it answers with where it ends a request.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The rule that was broken.
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$variant => $rule,)* }
            }

            /// What to do.
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix,)* }
            }
        }
    };
}

codes! {
    /// No such path.
    NotFound = "not_found", 404, "the path names something that exists", "check the path against the API document at /api/v1/openapi.json";
    /// Wrong method.
    MethodNotAllowed = "method_not_allowed", 405, "the path is called with one of its methods", "see the Allow header";
    /// Request body over its limit.
    BodyTooLarge = "body_too_large", 413, "a request body is at most 1 MiB", "send smaller batches";
    /// Request target over its limit.
    UriTooLong = "uri_too_long", 414, "a request target is at most 16 KiB", "send fewer or shorter parameters";
    /// Headers over their limit.
    HeaderTooLarge = "header_too_large", 431, "all headers together are at most 16 KiB, in at most 64 lines", "remove cookies and other headers that Roundtrip does not need";
    /// A header that is not text.
    HeaderInvalid = "header_invalid", 400, "a header that Roundtrip reads is printable ASCII", "correct the header";
    /// The store could not take it.
    StoreUnavailable = "store_unavailable", 503, "an answer of 2xx means that it is on the disk", "send it again later; nothing was recorded";
    /// Another backup is being made.
    BackupRunning = "backup_running", 409, "one backup of a server is made at a time", "wait for the end of the other one";
    /// No room for the copy that a backup is made from.
    BackupNoRoom = "backup_no_room", 503, "beside the data directory's files there is room for a copy of the ledger", "make room on the disk, or stop the server and use roundtrip backup --offline, which needs none";
    /// Too fast.
    RateLimited = "rate_limited", 429, "a client key stays under its rate", "wait as Retry-After says; send batches";
    /// Plain HTTP from outside.
    PlainHttpRefused = "plain_http_refused", 403, "events and postbacks come over HTTPS, unless from loopback or a trusted proxy that says so", "use https, or set server.allow_plain_http = true";

    /// A link that does not exist.
    LinkUnknown = "link_unknown", 404, "a tracking link's id is one of the installation's links", "check the id, case included";
    /// A link with nowhere to send this visitor.
    DestinationMissing = "destination_missing", 404, "a link has a destination for the visitor's platform or a fallback", "set destinations.fallback on the link";
    /// A destination from the request that is not allowed.
    DestinationRefused = "destination_refused", 400, "a destination in the request starts with one of the link's allow_destinations", "add the prefix to the link, or leave the parameter away";

    /// No key at all.
    KeyMissing = "key_missing", 401, "a call carries Authorization: Bearer and a key", "send a client or server key of the app with events, an admin key with the API";
    /// A key nobody knows.
    KeyUnknown = "key_unknown", 401, "the key is one that exists and was not deleted", "make a new key; lost ones cannot be shown again";
    /// A key of another kind.
    KeyKindWrong = "key_kind_wrong", 403, "events take client and server keys, postbacks take postback keys, the API takes admin keys", "use a key of the right kind";
    /// A key without the scope.
    ScopeMissing = "scope_missing", 403, "an admin key does what its scopes name", "use a key with the scope";
    /// A field that client keys may not set.
    FieldNotAllowed = "field_not_allowed", 403, "a client key may not set ip or user_agent", "leave the field away, or send it from a server with a server key";

    /// A namespace nobody knows.
    NamespaceUnknown = "namespace_unknown", 404, "the namespace in the path or host is a workspace's slug", "check the namespace";
    /// A token, campaign or click of another namespace.
    NamespaceMismatch = "namespace_mismatch", 403, "token, campaign and click belong to the namespace of the URL", "use the URL of the right namespace";

    /// Not JSON.
    JsonInvalid = "json_invalid", 400, "the body is one JSON document", "correct the JSON at the place named";
    /// A JSON name that comes twice in one object.
    FieldDuplicate = "field_duplicate", 400, "a name stands once in its object", "remove one of them";
    /// Bytes that are no UTF-8.
    Utf8Invalid = "utf8_invalid", 400, "text is UTF-8", "encode the text as UTF-8";
    /// A bad percent escape.
    PercentEscapeInvalid = "percent_escape_invalid", 400, "a % is followed by two hexadecimal digits", "percent-encode the value once";
    /// A parameter that came twice.
    ParameterRepeated = "parameter_repeated", 400, "a parameter stands once in the query", "remove one of them";
    /// A field that must be there.
    FieldMissing = "field_missing", 400, "the field must be there and not be empty", "send it";
    /// A field of the wrong type.
    FieldType = "field_type", 400, "the field has the type that the API document names", "correct its type";
    /// A field nobody knows.
    FieldUnknown = "field_unknown", 400, "fields are those of the API document; your own go into properties", "check the spelling, or move it into properties";
    /// A text that is too long.
    ValueTooLong = "value_too_long", 400, "the value is within its length limit", "shorten it";
    /// An empty batch.
    BatchEmpty = "batch_empty", 400, "a batch has at least one event", "send at least one";
    /// A batch with too many events.
    BatchTooLarge = "batch_too_large", 413, "a batch has at most 1,000 events", "split it";
    /// An event's name.
    EventNameInvalid = "event_name_invalid", 400, "an event's name is 1 to 128 characters without control characters", "rename it";
    /// An environment that is none.
    EnvironmentInvalid = "environment_invalid", 400, "environment is production or sandbox", "use one of the two, or leave it away";
    /// A time that is none.
    TimestampInvalid = "timestamp_invalid", 400, "a time is RFC 3339 with an offset, or integer seconds or milliseconds since 1970", "correct the time";
    /// A time to come.
    TimestampFuture = "timestamp_future", 400, "a time is at most 24 hours ahead of the server's", "correct the clock of the sender";
    /// A time long gone.
    TimestampTooOld = "timestamp_too_old", 400, "a server key reports at most 400 days back, a client key at most 7 days", "send events sooner; import old data from a server";
    /// A currency that is none.
    CurrencyInvalid = "currency_invalid", 400, "a currency is an active ISO 4217 code of three letters", "use the code, such as EUR";
    /// An amount that is none.
    AmountInvalid = "amount_invalid", 400, "an amount is a decimal number with a point", "send 12.50, as a number or a text";
    /// An amount below zero.
    AmountNegative = "amount_negative", 400, "an amount is not negative", "report refunds as their own event without revenue";
    /// An amount beyond reason.
    AmountTooLarge = "amount_too_large", 400, "an amount is at most 100,000,000,000 units", "check the unit: amounts are in major units";
    /// An address that is none.
    IpInvalid = "ip_invalid", 400, "an address is IPv4 or IPv6", "correct it, or leave it away";
    /// The same key with other content.
    Conflict = "conflict", 409, "the same event_id comes with the same fields", "use a new event_id for a new fact";

    /// A click id that is no id.
    ClickIdMalformed = "click_id_malformed", 400, "our click id is a UUID of 36 or 32 characters", "pass on the click_id that the landing page received, unchanged";
    /// A click id that our keys did not make.
    ClickIdNotOurs = "click_id_not_ours", 400, "the click id was made by this installation", "check that the id was not shortened or changed; ids of another system count after their import";
    /// A click whose record was lost at the time.
    ClickNotStored = "click_not_stored", 400, "the click was on the disk when it was answered", "nothing: the answer said X-Roundtrip-Click: unstored at the time";
    /// A click older than the log.
    ClickExpired = "click_expired", 400, "the click is younger than click_retention", "nothing: its window is long over";
    /// A click of another app.
    ClickOtherApp = "click_other_app", 400, "the click promotes the app that the event is of", "check which key or campaign sends this event";

    /// A postback that names no campaign.
    CampaignMissing = "campaign_missing", 400, "a postback names its campaign_id, or a click that has one", "send campaign_id";
    /// A campaign nobody knows.
    CampaignUnknown = "campaign_unknown", 400, "campaign_id is the public id of one of the namespace's campaigns", "check the id";
    /// A campaign that is not the click's.
    CampaignMismatch = "campaign_mismatch", 400, "campaign_id is the campaign of the click", "leave campaign_id away, or send the click's";
    /// A postback about nobody.
    IdentityMissing = "identity_missing", 400, "a postback carries click_id, coupon, ref_id or customer_id", "send one of them";
    /// A parameter that the campaign demands.
    ParameterMissing = "parameter_missing", 400, "a campaign's, or a call's, mandatory parameters are there", "send the parameter";
    /// A partner nobody knows.
    PartnerUnknown = "partner_unknown", 400, "ref_id is the public id of one of the namespace's partners", "check the id";
    /// No token and no allowed address.
    TokenMissing = "token_missing", 401, "a postback carries token, or comes from an address on the app's allow-list", "append token=…, or add the sender's address to the app";
    /// A token nobody knows.
    TokenInvalid = "token_invalid", 401, "token is a postback key of the namespace", "check the token";

    /// A setting nobody knows.
    ConfigUnknownKey = "config_unknown_key", 422, "the file holds only keys that Roundtrip knows", "check the spelling against docs/configuration.md";
    /// A setting of the wrong type or form.
    ConfigInvalid = "config_invalid", 422, "the setting has its documented type and form", "write it as docs/configuration.md says; the message names what is wrong with it";
    /// A setting that must be there.
    ConfigMissing = "config_missing", 422, "the setting must be there", "add it";
    /// A slug of the wrong form.
    SlugInvalid = "slug_invalid", 422, "a slug is 1 to 64 characters of a-z, 0-9, - and _, and begins with a letter or digit", "rename it";
    /// A link id of the wrong form.
    LinkIdInvalid = "link_id_invalid", 422, "a link's id is 3 to 64 characters of A-Z, a-z, 0-9, - and _", "rename it";
    /// A name that a route needs.
    NameReserved = "name_reserved", 422, "a namespace or link id is not the first segment of a route", "choose another name";
    /// A name that is taken.
    NameTaken = "name_taken", 422, "public ids are unique: links in the installation, campaigns and partners in their workspace", "choose another name";
    /// A reference to nothing.
    ReferenceUnknown = "reference_unknown", 422, "a resource refers to resources that exist", "add the resource, or correct the reference";
    /// A resource that others need.
    ReferenceInUse = "reference_in_use", 422, "a resource that others refer to cannot be deleted", "delete or change the others first";
    /// A change of what cannot change.
    FieldImmutable = "field_immutable", 422, "what facts refer to does not change: an app's platform, a link's campaign and partner", "make a new resource";
    /// A template that cannot be saved.
    TemplateInvalid = "template_invalid", 422, "a template has no findings of severity error", "see the finding; try it with roundtrip template test";
    /// One signature more than a header carries.
    RotationRefused = "rotation_refused", 409, "what signs for a webhook, overlaps included, fits into one header", "rotate after the moment that the message names; an overlap of 0s ends the older ones of the same kind (secrets, or Ed25519 keys) at once";
    /// A secret that is too weak or absent.
    SecretInvalid = "secret_invalid", 422, "a key's own secret has at least 32 characters, a webhook's is base64 of 24 to 64 bytes; env: and file: secrets can be read", "leave `secret` away: Roundtrip makes one and shows it once; or make one, with `openssl rand -hex 32` for a key and `openssl rand -base64 32` for a webhook";
    /// A webhook's secret of before.
    SecretReplaced = "secret_replaced", 422, "a webhook's secret that was replaced does not come back", "put the new secret where env: or file: finds it, or leave secret away: then the webhook keeps the one that it has";
    /// Settings changed meanwhile.
    VersionConflict = "version_conflict", 409, "settings are changed from their current version", "read them again and repeat the change";
    /// A resource that exists.
    AlreadyExists = "already_exists", 409, "a new resource's slug is free", "use PUT to change it";
    /// A query parameter that cannot be read.
    ParameterInvalid = "parameter_invalid", 400, "the parameter has its documented form", "write it as the message says; the API document at /api/v1/openapi.json describes each parameter";
    /// An id that names nothing.
    IdUnknown = "id_unknown", 404, "an id names something that is kept in the workspace", "check the id and the workspace; clicks and sends are deleted after their retention";
    /// A status of something that has none.
    ConversionMissing = "conversion_missing", 409, "a status belongs to an event that makes a conversion", "use the id of the conversion; that of a change is not one";
    /// A replay of what was rejected.
    ConversionRejected = "conversion_rejected", 409, "of a rejected conversion only the rejection is told again", "approve the conversion first, or replay the delivery that tells of the rejection";
    /// A replay that makes no sense.
    ReplayRefused = "replay_refused", 409, "a delivery is replayed while its rule or webhook exists, and into another endpoint where what that one needs is stored", "restore the rule, or ask for other deliveries or another endpoint";
    /// A replay of what waits and cannot go sooner.
    ReplayWaiting = "replay_waiting", 409, "a delivery that waits is told by itself; replaying it has its next send go now, unless its endpoint is stopped or its rule delays it", "let its endpoint go on (roundtrip endpoint resume, or enable), wait for the rule's delay, or end it with roundtrip cancel; roundtrip explain says why it waits";
    /// A wish that a job cannot follow.
    JobRefused = "job_refused", 409, "a job that has ended does not change, and a workspace has at most 100 that have not", "see how they stand with roundtrip jobs; make a new one, or end others";
    /// A link to a delivery that opens no more.
    ShareEnded = "share_ended", 410, "a link that shows a delivery opens until its time is over or it is taken back", "ask whoever sent it for a new one";
    /// What an endpoint's state does not allow.
    EndpointState = "endpoint_state", 409, "a paused endpoint is resumed, a disabled one is enabled", "ask for what the message names";

    /// Nothing that could be imported.
    ImportUrlMissing = "import_url_missing", 400, "what is imported is one whole URL on one line", "paste it from its https:// on";
    /// A scheme that no link or postback has.
    ImportScheme = "import_scheme", 400, "a tracking link or postback is http or https", "paste the URL of the link or postback";
    /// A second query behind the first.
    ImportTwoQueries = "import_two_queries", 400, "a URL has one ?; further parameters follow &, and a URL inside a parameter is percent-encoded", "write the second ? as &";
    /// Encoded once too often.
    ImportEncodedTwice = "import_encoded_twice", 400, "a pasted URL is as its owner uses it, with its values percent-encoded once", "decode it once";
    /// It could be two things.
    ImportAmbiguous = "import_ambiguous", 422, "a URL is a tracking link or a postback, and what it is can be seen or is said", "say as = link or as = postback";
    /// A system that is none.
    ImportSystemUnknown = "import_system_unknown", 422, "a system is named by its word in the list of dialects", "use one of those named, or leave it away";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One thing that is wrong with an input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What it is about: a field's path, a parameter's name, a setting's path. Empty: the whole.
    pub field: String,
    /// What is wrong, for a person; never repeats a secret.
    pub message: String,
    /// What to do here, where more is known than [`Code::fix`] says of all cases.
    pub fix: Option<Box<str>>,
}

impl Problem {
    /// A problem with one field.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into(), fix: None }
    }

    /// The same problem with what to do in this case, in place of what its code says of all cases.
    #[must_use]
    pub fn fixed_by(self, fix: impl Into<Box<str>>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// What to do.
    pub fn fix(&self) -> &str {
        self.fix.as_deref().unwrap_or_else(|| self.code.fix())
    }

    /// The same problem one level further in: `revenue` in `events[3]` is `events[3].revenue`.
    #[must_use]
    pub fn inside(mut self, outer: &str) -> Self {
        self.field = match (outer.is_empty(), self.field.is_empty()) {
            (true, _) => self.field,
            (_, true) => outer.to_owned(),
            _ => format!("{outer}.{}", self.field),
        };
        self
    }
}

/// The page of all codes, in Markdown; `docs/errors.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Error codes\n\nEvery error that Roundtrip answers has the shape \
         `{\"error\":{\"code\",\"message\",\"field\",\"rule\",\"fix\"}}`. Codes are stable: branch on them, never on the \
         message. This page is generated from the code (`crates/domain/src/problem.rs`); a test compares.\n\n\
         | code | HTTP | rule | fix |\n| --- | --- | --- | --- |\n",
    );
    for code in Code::ALL {
        page.push_str(&format!(
            "| <a id=\"{0}\"></a>`{0}` | {1} | {2} | {3} |\n",
            code.text(),
            code.status(),
            code.rule(),
            code.fix()
        ));
    }
    page.push_str(
        "\n## What a send comes to that the server's settings do not allow\n\n\
         These words stand with deliveries (what the last send came to, and why it waits), never in an answer of the API; \
         `plain_http_refused` is also the code of a request to Roundtrip, above, which another switch allows. Nothing was \
         sent, no send of the schedule is used up, and the delivery is held until the server is started with the switch: \
         see [delivery.md](delivery.md#what-the-servers-settings-do-not-allow).\n\n\
         | outcome | not allowed | `roundtrip serve` allows it with |\n| --- | --- | --- |\n",
    );
    for what in NotAllowed::ALL {
        page.push_str(&format!("| `{}` | {} | `{}` |\n", what.code(), what.what(), what.switch()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_complete() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|c| c.text()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(
                (400..=503).contains(&code.status()) && !code.rule().is_empty() && !code.fix().is_empty()
            );
        }
    }

    #[test]
    fn the_page_in_docs_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/errors.md is stale: run UPDATE_DOCS=1 cargo test -p roundtrip-domain problem"
        );
    }
}
