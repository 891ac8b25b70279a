//! A sheet as HTML: one page that needs nothing else, to hand to a partner, and the same inside the dashboard's frame.
//! Values are escaped because the templates' names end in `.html`.

use minijinja::Error;
use serde::Serialize;

use super::shape::Sheet;
use crate::templates::{STYLE, Templates};

static TEMPLATES: Templates = Templates::of(&[
    ("layout.html", include_str!("../../templates/layout.html")),
    ("sheet_body.html", include_str!("../../templates/sheet_body.html")),
    ("sheet.html", include_str!("../../templates/sheet.html")),
    ("partner.html", include_str!("../../templates/partner.html")),
]);

#[derive(Serialize)]
struct Context<'a> {
    sheet: &'a Sheet,
    style: &'a str,
}

fn render(name: &str, sheet: &Sheet) -> Result<String, Error> {
    TEMPLATES.render(name, &Context { sheet, style: STYLE })
}

/// A whole page with its style inside: no script, nothing loaded from elsewhere.
///
/// # Errors
/// When a template does not fit the sheet, which a test excludes.
pub fn page(sheet: &Sheet) -> Result<String, Error> {
    render("sheet.html", sheet)
}

/// The same as a page of the dashboard.
///
/// # Errors
/// As [`page`].
pub(crate) fn inside(sheet: &Sheet) -> Result<String, Error> {
    render("partner.html", sheet)
}
