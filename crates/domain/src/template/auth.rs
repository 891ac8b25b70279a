//! How a request proves who sends it: `auth` beside a template.
//!
//! A secret is never written into a rule: it is the name of one of the partner's own settings (`cfg.token`), as the
//! key of a signature is. What is no secret (a user's name, a client's id) is a text, or such a name too, so that one
//! rule tells partners that each have their own.
//!
//! Basic and bearer authentication are filled in here, with the rest of the request. For OAuth2 [`TokenAsk`] says what
//! to ask a token for and of whom; fetching it is the sender's. A request whose credentials are missing is marked
//! ([`super::Rendered::lacks_auth`]) and better not sent: the receiver would refuse it, and that would be its end.
//!
//! Not relied on: nothing here says that a host may be given the credential. That a rule's URL is the partner's is for
//! whoever wrote the rule.

use super::fill::{Context, Report};
use super::finding::Findings;
use super::request::Use;
use super::secret::Form;
use super::sign::is_setting_name;
use super::{Code, Finding, Place};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;
use std::fmt;

/// Longest text of one field, in bytes; also of a credential that is sent in a header.
const FIELD_BYTES_MAX: usize = 4 * 1024;

/// How a request proves who sends it, as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `authorization: Basic`, a user and a password (RFC 7617).
    Basic {
        /// The user: a text, or a setting as `cfg.user`.
        user: String,
        /// The setting that holds the password, as `cfg.password`.
        password: String,
    },
    /// `authorization: Bearer` with a token that does not change (RFC 6750).
    Bearer {
        /// The setting that holds the token, as `cfg.token`.
        token: String,
    },
    /// `authorization: Bearer` with a token that is fetched: OAuth2's client credentials (RFC 6749, 4.4).
    OAuth2(Box<OAuth2>),
}

/// What OAuth2's client credentials need, as their author wrote it. Each but the secret is a text, or a setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OAuth2 {
    /// Where a token is asked for.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The setting that holds the client's secret, as `cfg.secret`.
    pub client_secret: String,
    /// The scopes that are asked for, with a space between two.
    pub scope: Option<String>,
    /// Whom the token is for; some servers want it.
    pub audience: Option<String>,
    /// How the client proves itself to the token's server.
    pub style: ClientStyle,
}

/// How an OAuth2 client proves itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClientStyle {
    /// By basic authentication, which every server must take.
    #[default]
    Basic,
    /// By `client_id` and `client_secret` in the body.
    Body,
}

/// What to ask a token for, filled in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenAsk {
    /// Where.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The scopes.
    pub scope: Option<String>,
    /// Whom it is for.
    pub audience: Option<String>,
    /// How the client proves itself.
    pub style: ClientStyle,
}

/// Leaves everything out but the style: ids and secrets are nobody's to read in a log.
impl fmt::Debug for TokenAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAsk").field("style", &self.style).finish_non_exhaustive()
    }
}

/// What filling an [`Auth`] in came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    /// The value of the `authorization` header.
    pub(super) header: Option<Vec<u8>>,
    /// The token to fetch.
    pub(super) token: Option<TokenAsk>,
}

/// What a field of an [`Auth`] holds.
#[derive(Clone, Copy)]
enum Field<'a> {
    /// A text or a setting.
    Open(&'a str),
    /// A setting and nothing else.
    Secret(&'a str),
}

impl Auth {
    /// Its fields with their names in the document, in its order.
    fn fields(&self) -> Vec<(&'static str, Field<'_>)> {
        match self {
            Self::Basic { user, password } => {
                vec![("basic.user", Field::Open(user)), ("basic.password", Field::Secret(password))]
            }
            Self::Bearer { token } => vec![("bearer", Field::Secret(token))],
            Self::OAuth2(oauth2) => {
                let mut fields = vec![
                    ("oauth2.token_url", Field::Open(&oauth2.token_url)),
                    ("oauth2.client_id", Field::Open(&oauth2.client_id)),
                    ("oauth2.client_secret", Field::Secret(&oauth2.client_secret)),
                ];
                fields.extend(oauth2.scope.iter().map(|text| ("oauth2.scope", Field::Open(text))));
                fields.extend(oauth2.audience.iter().map(|text| ("oauth2.audience", Field::Open(text))));
                fields
            }
        }
    }

    /// Says what is wrong with it, whatever request it stands beside. A finding's name is the field.
    pub(super) fn check(&self, findings: &mut Findings) {
        for (name, field) in self.fields() {
            if let Some(message) = fault(name, field) {
                findings.add(Finding::new(Code::AuthInvalid, Place::Auth, 0, message).about(name));
            }
        }
        if let Self::OAuth2(oauth2) = self
            && oauth2.token_url.starts_with("http:")
        {
            let message =
                "the token's server is asked over plain http, where anyone on the way can read the secret";
            let finding = Finding::new(Code::UrlPlainHttp, Place::Auth, 0, message);
            findings.add(finding.about("oauth2.token_url"));
        }
    }

    /// The settings that it needs.
    pub(super) fn uses(&self) -> impl Iterator<Item = Use> {
        self.fields().into_iter().filter_map(|(_, field)| {
            let (Field::Open(text) | Field::Secret(text)) = field;
            is_setting(text).then(|| Use::setting(text, Place::Auth))
        })
    }

    /// Fills it in; `None` when a setting is missing or cannot be used, which `report` then names.
    pub(super) fn fill(&self, values: Context<'_>, report: &mut Report) -> Option<Proof> {
        let text = |text: &str, report: &mut Report| value(text, values, report);
        match self {
            Self::Basic { user, password } => {
                let name = text(user, report);
                let secret = text(password, report);
                let (name, secret) = (name?, secret?);
                if name.contains(':') {
                    report.missing(user);
                    return None;
                }
                let pair = STANDARD.encode(format!("{name}:{secret}"));
                let header = format!("Basic {pair}").into_bytes();
                report.secrets.push(Form { key: String::new(), bytes: pair.into_bytes() });
                Some(Proof { header: Some(header), token: None })
            }
            Self::Bearer { token } => {
                let secret = text(token, report)?;
                if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                    report.missing(token);
                    return None;
                }
                Some(Proof { header: Some(format!("Bearer {secret}").into_bytes()), token: None })
            }
            Self::OAuth2(oauth2) => {
                let token_url = text(&oauth2.token_url, report);
                let client_id = text(&oauth2.client_id, report);
                let client_secret = text(&oauth2.client_secret, report);
                // One that is not set is left out only where the author left it out.
                let optional = |field: &Option<String>, report: &mut Report| match field {
                    None => Some(None),
                    Some(written) => text(written, report).map(Some),
                };
                let scope = optional(&oauth2.scope, report);
                let audience = optional(&oauth2.audience, report);
                let ask = TokenAsk {
                    token_url: token_url?,
                    client_id: client_id?,
                    client_secret: client_secret?,
                    scope: scope?,
                    audience: audience?,
                    style: oauth2.style,
                };
                Some(Proof { header: None, token: Some(ask) })
            }
        }
    }
}

/// Whether a text is the name of a setting, as `cfg.token`.
fn is_setting(text: &str) -> bool {
    text.strip_prefix("cfg.").is_some_and(is_setting_name)
}

/// A text's own value, or the setting's that it names.
fn value(text: &str, values: Context<'_>, report: &mut Report) -> Option<String> {
    if !is_setting(text) {
        return Some(text.to_owned());
    }
    let found = values.setting(text).and_then(|value| String::from_utf8(value.decoded.into_owned()).ok());
    let usable = |value: &String| {
        !value.is_empty() && value.len() <= FIELD_BYTES_MAX && !value.chars().any(char::is_control)
    };
    let found = found.filter(usable);
    if found.is_none() {
        report.missing(text);
    }
    found
}

fn fault(name: &str, field: Field<'_>) -> Option<String> {
    let text = match field {
        Field::Secret(text) if is_setting(text) => return None,
        Field::Secret(text) => {
            // What stands here may be the secret itself, so it is not repeated.
            let hint = if text.contains('{') { ", without braces" } else { "" };
            return Some(format!(
                "`{name}` is the name of a setting of the partner{hint}, as `cfg.secret`; a secret is never written \
                 into a rule"
            ));
        }
        Field::Open(text) if is_setting(text) => return None,
        Field::Open(text) => text,
    };
    let shown: Cow<'_, str> = text.escape_debug().collect::<String>().into();
    if text.is_empty() || text.len() > FIELD_BYTES_MAX {
        return Some(format!("`{name}` is 1 to {FIELD_BYTES_MAX} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Some(format!("`{name}` holds a line break or control character"));
    }
    if text.contains(['{', '}']) {
        return Some(format!("`{name}` takes no macros; a setting is written `cfg.NAME`, without braces"));
    }
    if name == "basic.user" && text.contains(':') {
        return Some(format!("a user of basic authentication has no colon in it, and `{shown}` has"));
    }
    if name == "oauth2.token_url" {
        return match url::Url::parse(text) {
            Ok(url) if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() => {
                Some(format!("`{shown}` is no https URL"))
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => Some(
                "user and password do not belong into the token's URL; they are client_id and client_secret"
                    .into(),
            ),
            Ok(url) if url.fragment().is_some() => {
                Some("the token's URL has a fragment, which is never sent".into())
            }
            Ok(_) => None,
            Err(error) => Some(format!("`{shown}` is no URL: {error}")),
        };
    }
    None
}
