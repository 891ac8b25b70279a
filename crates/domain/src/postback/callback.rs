//! What a rule asks to be sent: its own request, or the callback that the winning click's link carries.
//!
//! Not relied on for who is told: it is asked about the click that won, once the rule is known to tell its partner.

use std::sync::Arc;

use super::{Detail, Suppressed};
use crate::attribution::Winner;
use crate::event::ConversionKind;
use crate::link_dialect::{CallbackFault, CallbackKind, callback_template};
use crate::settings::{Request, Rule, Settings};
use crate::template::Template;

/// What is to be sent.
pub(super) struct Asked {
    /// The request.
    pub(super) template: Arc<Template>,
    /// The URL it was read from, when it is the click's own callback.
    pub(super) callback: Option<String>,
}

/// What a callback would tell of.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) kind: &'a ConversionKind,
    /// The name of the event, as partners hear of it.
    pub(super) name: &'a str,
    /// Whether it is, or changes, the birth of an installation.
    pub(super) is_install: bool,
}

impl About<'_> {
    /// The callbacks that would tell of it: the first that the link has is taken. A rejection of anything but an
    /// install has none.
    fn wanted(&self, rule: &Rule) -> Vec<CallbackKind> {
        match self.kind {
            ConversionKind::Install => vec![CallbackKind::Install, CallbackKind::Conversion],
            ConversionKind::Event | ConversionKind::Signup | ConversionKind::Purchase => {
                let token = rule.rename.get(self.name).map_or(self.name, String::as_str);
                vec![CallbackKind::Event(token.to_owned())]
            }
            ConversionKind::Rejected if self.is_install => vec![CallbackKind::RejectedInstall],
            ConversionKind::Rejected | ConversionKind::StatusChange => Vec::new(),
        }
    }
}

impl Asked {
    /// What a rule asks for, told to the partner of `winner`; `None` when the one who is told did not win.
    pub(super) fn by(
        rule: &Rule,
        about: About<'_>,
        winner: Option<&Winner>,
        settings: &Settings,
    ) -> Result<Self, (Suppressed, Option<Detail>)> {
        if let Request::Template(template) = &rule.request {
            return Ok(Self { template: template.clone(), callback: None });
        }
        let wanted = about.wanted(rule);
        let Some(first) = wanted.first() else { return Err((Suppressed::NoCallback, None)) };
        let params = winner.map(|winner| winner.touch.click.params()).unwrap_or_default();
        let found = wanted.iter().find_map(|kind| Some((kind, params.callback(kind)?)));
        let Some((kind, callback)) = found else {
            let detail = Detail::Callback { parameter: first.parameter(), fault: None };
            return Err((Suppressed::NoCallback, Some(detail)));
        };
        let partner = winner.and_then(|winner| settings.partners.get(&winner.touch.click.partner));
        let read = match partner.is_some_and(|partner| partner.in_link_callbacks) {
            true => callback.and_then(|callback| Ok((callback_template(&callback.url)?, callback.url))),
            false => Err(CallbackFault::NotAllowed),
        };
        match read {
            Ok((template, url)) => Ok(Self { template: Arc::new(template), callback: Some(url) }),
            Err(fault) => {
                let detail = Detail::Callback { parameter: kind.parameter(), fault: Some(fault) };
                Err((Suppressed::CallbackRefused, Some(detail)))
            }
        }
    }
}
