//! A partner's sheet: what one partner needs to work with this installation. Its links, how its click id travels,
//! which postbacks it gets, what they look like.
//!
//! The cast:
//! - `shape` is the one tree of structs; the API answers it as JSON.
//! - `fill` makes it from the settings as they are now; `rule` has the words for what a rule says, `sample` the
//!   values that stand for real ones.
//! - `markdown` and `html` write it for people; neither adds a fact of its own.
//!
//! Not relied on: a sheet decides nothing and is not a contract, it is true for the settings version that it names. A
//! partner's settings (`cfg.…`) may hold secrets: only their names leave this module, also where a value stands
//! literally in a template.

mod fill;
pub mod html;
pub mod markdown;
mod rule;
mod sample;
mod shape;

pub use self::fill::fill;
pub(crate) use self::fill::is_told;
pub(crate) use self::sample::sample_values;
pub use self::shape::{Example, Field, LinkSheet, Macro, Owner, PostbackSheet, Sheet, System};

use roundtrip_domain::problem::Problem;
use roundtrip_domain::settings::Settings;
use roundtrip_store::ledger::Ledger;

/// Reads the sheet of a partner from the ledger's settings. `Ok(None)`: there is no such partner.
///
/// # Errors
/// When the store cannot be read, or a stored document cannot.
pub async fn read(
    ledger: &Ledger,
    settings: &Settings,
    slug: &str,
    public_url: &str,
    system: Option<&roundtrip_library::Entry>,
) -> Result<Option<Sheet>, Vec<Problem>> {
    let (_, resources) = ledger
        .settings_read(settings.workspace)
        .await
        .map_err(|error| vec![crate::problem::of_store(&error)])?;
    let document = roundtrip_store::settings::document_of(&settings.slug, &resources)?;
    Ok(fill(settings, &document, slug, public_url, system))
}
