//! Reads `auth` of a rule's document as the template's.

use roundtrip_domain::template::auth::{self, ClientStyle};

use super::document::{Auth, TokenStyle};

/// What a document says, unless it says nothing or two things. What stands in its fields is left to the template's
/// findings.
pub(super) fn auth(doc: &Auth) -> Option<auth::Auth> {
    match (&doc.basic, &doc.bearer, &doc.oauth2) {
        (Some(basic), None, None) => {
            Some(auth::Auth::Basic { user: basic.user.clone(), password: basic.password.clone() })
        }
        (None, Some(token), None) => Some(auth::Auth::Bearer { token: token.clone() }),
        (None, None, Some(oauth2)) => Some(auth::Auth::OAuth2(Box::new(auth::OAuth2 {
            token_url: oauth2.token_url.clone(),
            client_id: oauth2.client_id.clone(),
            client_secret: oauth2.client_secret.clone(),
            scope: oauth2.scope.clone(),
            audience: oauth2.audience.clone(),
            style: match oauth2.style {
                TokenStyle::Basic => ClientStyle::Basic,
                TokenStyle::Body => ClientStyle::Body,
            },
        }))),
        _ => None,
    }
}
