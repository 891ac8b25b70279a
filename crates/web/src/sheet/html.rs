//! A sheet as HTML: one page that needs nothing else, to hand to a partner, and the same inside the dashboard's frame.
//! Values are escaped because the templates' names end in `.html`.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, UndefinedBehavior};
use serde::Serialize;

use super::shape::Sheet;

const TEMPLATES: [(&str, &str); 4] = [
    ("layout.html", include_str!("../../templates/layout.html")),
    ("sheet_body.html", include_str!("../../templates/sheet_body.html")),
    ("sheet.html", include_str!("../../templates/sheet.html")),
    ("partner.html", include_str!("../../templates/partner.html")),
];
const STYLE: &str = include_str!("../../templates/style.css");

fn environment() -> Result<&'static Environment<'static>, Error> {
    static ENVIRONMENT: OnceLock<Result<Environment<'static>, Error>> = OnceLock::new();
    let made = ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        for (name, text) in TEMPLATES {
            environment.add_template(name, text)?;
        }
        Ok(environment)
    });
    made.as_ref().map_err(|error| Error::new(error.kind(), error.to_string()))
}

#[derive(Serialize)]
struct Context<'a> {
    sheet: &'a Sheet,
    style: &'a str,
}

fn render(name: &str, sheet: &Sheet) -> Result<String, Error> {
    environment()?.get_template(name)?.render(minijinja::value::Serde(&Context { sheet, style: STYLE }))
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
