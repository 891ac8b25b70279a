//! The columns of a segment: their names and types, and a touch as a row and back.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::{BinaryBuilder, FixedSizeBinaryBuilder, StringBuilder, UInt32Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use roundtrip_domain::click::{Click, Flags, LinkDialect, Touch, TouchKind};
use roundtrip_domain::click_id::ClickId;
use roundtrip_domain::id::{Id, Kind, WorkspaceNo};
use roundtrip_domain::location::{Country, Location};
use roundtrip_domain::params::Params;
use roundtrip_domain::time::Timestamp;

use super::frame;

/// A column, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in the file.
    pub name: &'static str,
    /// What type it has.
    pub form: Form,
    /// Whether every row has a value.
    pub required: bool,
    /// What it holds.
    pub means: &'static str,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// 16 bytes, Parquet's UUID.
    Uuid,
    /// Milliseconds, UTC.
    Time,
    /// A number without sign, 32 bits.
    Number,
    /// UTF-8.
    Text,
    /// Bytes.
    Bytes,
}

impl Form {
    /// As Parquet calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uuid => "UUID (FIXED_LEN_BYTE_ARRAY 16)",
            Self::Time => "TIMESTAMP (milliseconds, UTC)",
            Self::Number => "UINT_32",
            Self::Text => "STRING",
            Self::Bytes => "BYTE_ARRAY",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Number => DataType::UInt32,
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
        }
    }
}

macro_rules! columns {
    ($($name:ident $form:ident $need:ident $means:literal;)*) => {
        /// Every column, in the file's order. Only added to, at the end.
        pub const COLUMNS: &[Column] = &[
            $(Column { name: stringify!($name), form: Form::$form, required: columns!(@ $need), means: $means },)*
        ];
    };
    (@ required) => { true };
    (@ optional) => { false };
}

columns! {
    click_id Uuid required "ours: the id that the click got";
    received_at Time required "when it reached us; windows count from here";
    workspace Number required "number of the tenant";
    app_id Text required "the app or site that the link promotes";
    campaign_id Text required "the campaign of the link";
    partner_id Text required "whose link it is";
    link_id Text required "the link";
    kind Text required "click, server_click, impression or preview";
    dialect Text required "how the link's parameters are named";
    flags Number required "what was odd about it, as bits";
    ip Text optional "the visitor's address";
    user_agent Text optional "the visitor's browser";
    referer Text optional "where the visitor came from";
    language Text optional "Accept-Language, as it came";
    country Text optional "two letters";
    region Text optional "the first subdivision";
    city Text optional "by its English name";
    asn Number optional "number of the network";
    network Text optional "who runs it";
    partner_click_id Text optional "the partner's own click id, decoded, as are all that follow";
    sub1 Text optional "sub parameter 1";
    sub2 Text optional "sub parameter 2";
    sub3 Text optional "sub parameter 3";
    sub4 Text optional "sub parameter 4";
    sub5 Text optional "sub parameter 5";
    sub6 Text optional "sub parameter 6";
    sub7 Text optional "sub parameter 7";
    sub8 Text optional "sub parameter 8";
    sub9 Text optional "sub parameter 9";
    sub10 Text optional "sub parameter 10";
    site_id Text optional "the publisher";
    sub_site_id Text optional "the publisher's part";
    creative Text optional "the creative";
    keyword Text optional "the keyword";
    cost_value Text optional "what the click cost, as it was said";
    cost_currency Text optional "its currency, as it was said";
    gaid Text optional "Google advertising id, as it came";
    idfa Text optional "Apple advertising id, as it came";
    idfv Text optional "Apple vendor id, as it came";
    oaid Text optional "open advertising id, as it came";
    android_id Text optional "Android's device id, as it came";
    query_frame Bytes required "the query, with the values of the columns before it replaced by 0x01 and a letter";
}

/// The first column that is a link's parameter, and the names by which a link's dialect is asked for them.
const SLOTS_AT: usize = 19;
const SLOTS: [&str; 22] = [
    "click_id",
    "sub1",
    "sub2",
    "sub3",
    "sub4",
    "sub5",
    "sub6",
    "sub7",
    "sub8",
    "sub9",
    "sub10",
    "site_id",
    "sub_site_id",
    "creative",
    "keyword",
    "cost_value",
    "cost_currency",
    "gaid",
    "idfa",
    "idfv",
    "oaid",
    "android_id",
];

/// The file's schema.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |column: &Column| {
        let field = Field::new(column.name, column.form.data_type(), !column.required);
        match column.form {
            Form::Uuid => field.with_extension_type(arrow_schema::extension::Uuid),
            _ => field,
        }
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
});

/// Rows on their way into a file.
#[derive(Default)]
pub(super) struct Rows {
    ids: Vec<[u8; 16]>,
    received: Vec<i64>,
    workspaces: UInt32Builder,
    /// App, campaign, partner, link, kind, dialect.
    names: [StringBuilder; 6],
    flags: UInt32Builder,
    /// Address, browser, referrer, language, country, region, city.
    seen: [StringBuilder; 7],
    asns: UInt32Builder,
    networks: StringBuilder,
    slots: [StringBuilder; SLOTS.len()],
    frames: BinaryBuilder,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn push(&mut self, touch: &Touch, params: &Params) {
        let click = &touch.click;
        self.ids.push(touch.id.bytes());
        self.received.push(click.received_at.ms());
        self.workspaces.append_value(click.workspace.0);
        let ids = [
            click.app.to_string(),
            click.campaign.to_string(),
            click.partner.to_string(),
            click.link.to_string(),
        ];
        let words = [click.kind.name(), click.dialect.name()];
        for (column, text) in self.names.iter_mut().zip(ids.iter().map(String::as_str).chain(words)) {
            column.append_value(text);
        }
        self.flags.append_value(click.flags.0);
        let Location { country, region, city, asn, network } = &click.location;
        let ip = click.ip.map(|ip| ip.to_string());
        let seen = [
            ip.as_deref(),
            click.user_agent.as_deref(),
            click.referer.as_deref(),
            click.language.as_deref(),
            country.as_ref().map(Country::as_str),
            region.as_deref(),
            city.as_deref(),
        ];
        for (column, text) in self.seen.iter_mut().zip(seen) {
            column.append_option(text);
        }
        self.asns.append_option(*asn);
        self.networks.append_option(network.as_deref());
        let texts = SLOTS.map(|name| params.filled(name));
        let slots = texts.each_ref().map(Option::as_deref);
        for (column, text) in self.slots.iter_mut().zip(slots) {
            column.append_option(text);
        }
        self.frames.append_value(frame::take_out(&click.query, &slots));
    }

    /// What was pushed, as a batch in the file's schema; nothing is left.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let mut ids = FixedSizeBinaryBuilder::with_capacity(self.ids.len(), 16);
        for id in self.ids.drain(..) {
            ids.append_value(id)?;
        }
        let received =
            TimestampMillisecondArray::from(std::mem::take(&mut self.received)).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(ids.finish()), Arc::new(received), Arc::new(self.workspaces.finish())];
        columns.extend(self.names.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.flags.finish()));
        columns.extend(self.seen.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.asns.finish()));
        columns.push(Arc::new(self.networks.finish()));
        columns.extend(self.slots.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
        columns.push(Arc::new(self.frames.finish()));
        RecordBatch::try_new(SCHEMA.clone(), columns)
    }
}

/// A row, wherever it stands. `Some(None)` is a value that is not there, `None` one that makes no sense.
pub(super) trait Cells {
    /// A text. A column that the file does not have yet holds nothing.
    fn text(&self, name: &str) -> Option<Option<&str>>;
    /// A number.
    fn number(&self, name: &str) -> Option<Option<u32>>;
    /// A moment in milliseconds.
    fn time(&self, name: &str) -> Option<i64>;
    /// Bytes.
    fn bytes(&self, name: &str) -> Option<&[u8]>;
}

/// A row of a batch.
pub(super) struct BatchRow<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) row: usize,
}

impl Cells for BatchRow<'_> {
    fn text(&self, name: &str) -> Option<Option<&str>> {
        let Some(column) = self.batch.column_by_name(name) else { return Some(None) };
        let column = column.as_string_opt::<i32>()?;
        Some((!column.is_null(self.row)).then(|| column.value(self.row)))
    }

    fn number(&self, name: &str) -> Option<Option<u32>> {
        let column = self.batch.column_by_name(name)?.as_primitive_opt::<UInt32Type>()?;
        Some((!column.is_null(self.row)).then(|| column.value(self.row)))
    }

    fn time(&self, name: &str) -> Option<i64> {
        let column = self.batch.column_by_name(name)?.as_primitive_opt::<TimestampMillisecondType>()?;
        Some(column.value(self.row))
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        let column = self.batch.column_by_name(name)?;
        if let Some(fixed) = column.as_fixed_size_binary_opt() {
            return Some(fixed.value(self.row));
        }
        Some(column.as_binary_opt::<i32>()?.value(self.row))
    }
}

/// Reads a row back. `None` when it makes no sense.
pub(super) fn touch(cells: &impl Cells) -> Option<Touch> {
    let text = |name: &str| cells.text(name);
    let number = |name: &str| cells.number(name);
    let owned = |name: &str| Some(text(name)?.map(str::to_owned));
    let boxed = |name: &str| Some(text(name)?.map(Box::from));
    let mut slots = [None; SLOTS.len()];
    for (slot, column) in slots.iter_mut().zip(&COLUMNS[SLOTS_AT..]) {
        *slot = text(column.name)?;
    }
    let click = Click {
        workspace: WorkspaceNo(number("workspace")??),
        app: id(text("app_id")??)?,
        campaign: id(text("campaign_id")??)?,
        partner: id(text("partner_id")??)?,
        link: id(text("link_id")??)?,
        kind: kind(text("kind")??)?,
        dialect: LinkDialect::from_name(text("dialect")??)?,
        flags: Flags(number("flags")??),
        received_at: Timestamp::from_ms(cells.time("received_at")?),
        query: frame::put_back(cells.bytes("query_frame")?, &slots)?,
        ip: match text("ip")? {
            Some(ip) => Some(ip.parse::<IpAddr>().ok()?),
            None => None,
        },
        user_agent: owned("user_agent")?,
        referer: owned("referer")?,
        language: owned("language")?,
        location: Location {
            country: match text("country")? {
                Some(country) => Some(Country::parse(country)?),
                None => None,
            },
            region: boxed("region")?,
            city: boxed("city")?,
            asn: number("asn")?,
            network: boxed("network")?,
        },
    };
    Some(Touch { id: ClickId::from_slice(cells.bytes("click_id")?)?, click })
}

fn id<K: Kind>(text: &str) -> Option<Id<K>> {
    Id::from_str(text).ok()
}

fn kind(name: &str) -> Option<TouchKind> {
    (1..=4).filter_map(TouchKind::from_number).find(|kind| kind.name() == name)
}
