//! The tables of `docs/export.md`: every column of every export.

use super::What;
use super::columns::columns;

/// Markdown: a table for each export.
pub fn page() -> String {
    let mut page = String::new();
    for what in What::ALL {
        page.push_str(&format!(
            "\n### {}\n\n| column | type | empty | holds |\n| --- | --- | --- | --- |\n",
            what.name()
        ));
        for column in columns(what) {
            let empty = match (column.required, column.personal) {
                (true, _) => "never",
                (_, true) => "unless `--full`",
                _ => "where there is none",
            };
            page.push_str(&format!(
                "| `{}` | {} | {empty} | {} |\n",
                column.name,
                column.form.name(),
                column.means
            ));
        }
    }
    page.push('\n');
    page
}
