//! Who calls: the installation's admin token, or an admin key of a workspace.
//!
//! Tokens are 256 random bits, so they are compared as hashes: in constant time for the one that is known, by
//! look-up for the many. Not here: passwords, sessions and roles, which belong to the dashboard.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, header};
use roundtrip_domain::id::WorkspaceNo;
use roundtrip_domain::problem::{Code, Problem};
use roundtrip_domain::settings::{Catalog, KeyKind, KeyScope};
use roundtrip_store::settings::hash_token;
use subtle::ConstantTimeEq as _;

/// How the installation's own admin token is recognised.
#[derive(Clone)]
pub struct AdminToken(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl AdminToken {
    /// By its SHA-256, in constant time.
    pub fn of_hash(hash: [u8; 32]) -> Self {
        Self(Arc::new(move |token| hash_token(token).ct_eq(&hash).into()))
    }

    /// By a function of the server's, for a token that can be replaced while it runs. It has to compare in
    /// constant time.
    pub fn known_by(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(matches))
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

/// Who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Whoever has the installation's token: everything, everywhere.
    Installation,
    /// An admin key: what its scopes say, in its workspace.
    Key {
        /// The key's slug, for the audit log.
        slug: String,
        /// The workspace it belongs to.
        workspace: WorkspaceNo,
        /// What it may do.
        scopes: Vec<KeyScope>,
    },
}

impl Caller {
    /// Reads `Authorization: Bearer …`.
    pub(super) fn of(headers: &HeaderMap, token: &AdminToken, catalog: &Catalog) -> Result<Self, Problem> {
        let missing = || {
            Problem::new(
                Code::KeyMissing,
                "Authorization",
                "the API takes `Authorization: Bearer` and an admin key",
            )
        };
        let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
        let text = value.to_str().map_err(|_| {
            Problem::new(Code::HeaderInvalid, "Authorization", "the header is not printable ASCII")
        })?;
        let (scheme, presented) = text.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        let presented = presented.trim();
        if (token.0)(presented) {
            return Ok(Self::Installation);
        }
        match catalog.key(&hash_token(presented)) {
            None => Err(Problem::new(Code::KeyUnknown, "Authorization", "there is no such key")),
            Some((_, key)) if key.kind != KeyKind::Admin => {
                let message = format!("this is a {} key, and the API takes admin keys", key.kind.name());
                Err(Problem::new(Code::KeyKindWrong, "Authorization", message))
            }
            Some((settings, key)) => Ok(Self::Key {
                slug: key.slug.clone(),
                workspace: settings.workspace,
                scopes: key.scopes.clone(),
            }),
        }
    }

    /// Refuses what the scopes do not name.
    pub(super) fn needs(&self, scope: KeyScope) -> Result<(), Problem> {
        let word = scope.name();
        match self {
            Self::Key { scopes, .. } if !scopes.contains(&scope) => {
                let message = format!("the key does not have the scope `{word}`");
                Err(Problem::new(Code::ScopeMissing, "Authorization", message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses personal data to whoever may only read.
    pub(super) fn sees_whole(&self) -> Result<(), Problem> {
        self.needs(KeyScope::Personal).map_err(|problem| {
            problem.fixed_by(
                "leave `full` away, which shows the same with personal data masked; or use a key with the scopes `read` and `personal`",
            )
        })
    }

    /// Refuses a key where only the installation's own token opens.
    pub(super) fn needs_installation(&self) -> Result<(), Problem> {
        match self {
            Self::Installation => Ok(()),
            Self::Key { .. } => Err(Problem::new(
                Code::ScopeMissing,
                "Authorization",
                "only the installation's own admin token may do this",
            )),
        }
    }

    /// Refuses a key of another workspace.
    pub(super) fn enters(&self, number: WorkspaceNo) -> Result<(), Problem> {
        match self {
            Self::Key { workspace, .. } if *workspace != number => Err(Problem::new(
                Code::NamespaceMismatch,
                "workspace",
                "the key belongs to another workspace",
            )),
            _ => Ok(()),
        }
    }

    /// The word for the audit log.
    pub(super) fn actor(&self) -> String {
        match self {
            Self::Installation => "admin.token".to_owned(),
            Self::Key { slug, .. } => format!("key {slug}"),
        }
    }
}

/// Whether a presented token may read a workspace, and with `full` see personal data whole: the same question that every
/// reading route asks, for the dashboard, whose people bring it another way.
pub(crate) fn may_read(
    presented: &str,
    token: &AdminToken,
    catalog: &Catalog,
    workspace: WorkspaceNo,
    full: bool,
) -> Result<(), Problem> {
    let unusable = |_| Problem::new(Code::HeaderInvalid, "Authorization", "the token is not printable ASCII");
    let value = http::HeaderValue::from_str(&format!("Bearer {presented}")).map_err(unusable)?;
    let caller = Caller::of(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), token, catalog)?;
    caller.needs(KeyScope::Read)?;
    caller.enters(workspace)?;
    if full { caller.sees_whole() } else { Ok(()) }
}
