//! The columns of an export of clicks, and what of a click stands in them.
//!
//! They are those of a segment (`click_log::segment`) as people want them: ids are printed, slugs stand beside them, flags
//! are words, and only rows of one workspace come. The query as it came is there only where personal data are asked for.

use roundtrip_domain::click::{Click, Touch};
use roundtrip_domain::location::Country;
use roundtrip_domain::params::Params;
use roundtrip_domain::settings::Settings;

use super::columns::{
    Cell, Column, Field, Form, app, each, fields, joined, number, partner, printed, text, word,
};

/// A click and its query, read once.
pub(super) struct Row {
    touch: Touch,
    params: Params,
}

impl Row {
    fn click(&self) -> &Click {
        &self.touch.click
    }

    fn param(&self, name: &str) -> Cell {
        text(self.params.text(name))
    }
}

/// Gives `take` the cells of each click, in the order of [`super::columns`]. `personal` fills those that could tell who
/// somebody is. Slugs are those of `settings`, empty for what was deleted.
///
/// # Errors
/// What `take` said.
pub fn click_rows<E>(
    touches: Vec<Touch>,
    settings: &Settings,
    personal: bool,
    mut take: impl FnMut(&[Cell]) -> Result<(), E>,
) -> Result<(), E> {
    let row = |touch: Touch| Row { params: touch.click.params(), touch };
    let rows: Vec<Row> = touches.into_iter().map(row).collect();
    each(CLICKS, &rows, settings, personal, &mut take)
}

fields! {
    /// Clicks and impressions.
    CLICKS of Row;
    click_id Text required "ours: the id that the click got" => |c, _| word(&c.touch.id.to_string());
    received_at Time required "when it reached us; windows count from here" => |c, _| Cell::Time(c.click().received_at);
    app_id Text required "the app or site that the link promotes" => |c, _| printed(c.click().app);
    app Text optional "its slug" => |c, s| app(c.click().app, s);
    campaign_id Text required "the campaign of the link" => |c, _| printed(c.click().campaign);
    campaign Text optional "its slug" => |c, s| text(s.campaigns.get(&c.click().campaign).map(|campaign| &campaign.slug));
    partner_id Text required "whose link it is" => |c, _| printed(c.click().partner);
    partner Text optional "its slug" => |c, s| partner(Some(c.click().partner), s);
    link_id Text required "the link" => |c, _| printed(c.click().link);
    link Text optional "its public id" => |c, s| text(s.links.get(&c.click().link).map(|link| &link.public_id));
    kind Text required "click, server_click, impression or preview" => |c, _| word(c.click().kind.name());
    dialect Text required "how the link's parameters are named" => |c, _| word(c.click().dialect.name());
    flags Text optional "what was odd about it: words with commas between them" => |c, _| joined(&c.click().flags.names().collect::<Vec<_>>());
    partner_click_id Text optional "the partner's own click id; it and the link's other parameters stand here decoded" => |c, _| c.param("click_id");
    site_id Text optional "the publisher" => |c, _| c.param("site_id");
    sub_site_id Text optional "the publisher's part" => |c, _| c.param("sub_site_id");
    sub1 Text optional "sub parameter 1" => |c, _| c.param("sub1");
    sub2 Text optional "sub parameter 2" => |c, _| c.param("sub2");
    sub3 Text optional "sub parameter 3" => |c, _| c.param("sub3");
    sub4 Text optional "sub parameter 4" => |c, _| c.param("sub4");
    sub5 Text optional "sub parameter 5" => |c, _| c.param("sub5");
    sub6 Text optional "sub parameter 6" => |c, _| c.param("sub6");
    sub7 Text optional "sub parameter 7" => |c, _| c.param("sub7");
    sub8 Text optional "sub parameter 8" => |c, _| c.param("sub8");
    sub9 Text optional "sub parameter 9" => |c, _| c.param("sub9");
    sub10 Text optional "sub parameter 10" => |c, _| c.param("sub10");
    creative Text optional "the creative" => |c, _| c.param("creative");
    keyword Text optional "the keyword" => |c, _| c.param("keyword");
    cost_value Text optional "what the click cost, as it was said" => |c, _| c.param("cost_value");
    cost_currency Text optional "its currency, as it was said" => |c, _| c.param("cost_currency");
    country Text optional "where its address was, two letters" => |c, _| text(c.click().location.country.as_ref().map(Country::to_string));
    region Text optional "the first subdivision" => |c, _| text(c.click().location.region.as_deref());
    city Text optional "by its English name" => |c, _| text(c.click().location.city.as_deref());
    asn Number optional "number of its network" => |c, _| number(c.click().location.asn);
    network Text optional "who runs it" => |c, _| text(c.click().location.network.as_deref());
    ip Text personal "the visitor's address" => |c, _| text(c.click().ip.map(|ip| ip.to_string()));
    user_agent Text personal "the visitor's browser" => |c, _| text(&c.click().user_agent);
    referer Text personal "where the visitor came from" => |c, _| text(&c.click().referer);
    language Text personal "Accept-Language, as it came" => |c, _| text(&c.click().language);
    gaid Text personal "Google advertising id, as it came" => |c, _| c.param("gaid");
    idfa Text personal "Apple advertising id, as it came" => |c, _| c.param("idfa");
    idfv Text personal "Apple vendor id, as it came" => |c, _| c.param("idfv");
    oaid Text personal "open advertising id, as it came" => |c, _| c.param("oaid");
    android_id Text personal "Android's device id, as it came" => |c, _| c.param("android_id");
    query Text personal "the query as it came; bytes that are no UTF-8 percent-encoded" => |c, _| Cell::Text(readable(&c.click().query));
}

/// Bytes as a text that loses nothing that a query can say: what is no UTF-8 is escaped, as the sender could have done.
fn readable(query: &[u8]) -> String {
    let mut text = String::with_capacity(query.len());
    for chunk in query.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::click_log::segment;

    #[test]
    fn every_column_of_a_segment_is_in_the_export() {
        // The workspace is the export's own, and the frame stands for the query.
        let named = |name: &str| match name {
            "workspace" => None,
            "query_frame" => Some("query".to_owned()),
            name => Some(name.to_owned()),
        };
        for wanted in segment::COLUMNS.iter().filter_map(|column| named(column.name)) {
            assert!(CLICKS.iter().any(|field| field.column.name == wanted), "{wanted}");
        }
    }

    #[test]
    fn a_query_that_is_no_text_is_escaped() {
        assert_eq!(readable(b"a=\xff\xfe&b=%zz"), "a=%FF%FE&b=%zz");
        assert_eq!(readable("a=\u{e9}".as_bytes()), "a=\u{e9}");
    }
}
