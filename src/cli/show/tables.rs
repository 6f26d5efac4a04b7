//! A table for each kind of object.

use super::super::output::columns::{Column, How, table};
use super::super::output::style::Style;
use super::super::output::units::{self, counted};
use milvus_meta::catalog::{
    Alias, Catalog, Channel, Collection, Database, Field, Form, Index, IndexStates, Load, Origin,
    Pairs, Partition, Segment, Session, Time,
};

pub(super) fn collections(rows: &[Collection], how: How) -> Vec<String> {
    type Of = Column<Collection>;
    let database = Of::fixed("DATABASE", |it| it.database.clone());
    let has_several = rows
        .windows(2)
        .any(|pair| pair[0].database != pair[1].database);
    let columns = [
        Of::text("NAME", |it| it.name.clone()),
        Of::fixed("ID", |it| it.id.to_string()),
        match has_several {
            true => database,
            false => database.wide(),
        },
        Of::fixed("STATE", |it| it.state.to_owned()).wide(),
        Of::fixed("FORM", |it| form(it.form).to_owned()).wide(),
        Of::number("FIELDS", |it| it.fields.len().to_string()).wide(),
        Of::number("PARTITIONS", |it| units::count(it.partitions)).roomy(),
        Of::number("INDEXES", |it| units::count(it.indexes)).roomy(),
        Of::number("SEGMENTS", |it| units::count(it.segments)).roomy(),
        Of::number("ROWS", |it| rows_of(it.rows)),
        Of::number("SIZE", |it| size(it.bytes, it.rows)).roomy(),
        Of::fixed("LOADED", |it| it.loaded.unwrap_or_default().to_owned()),
        Of::number("SHARDS", |it| it.shards.to_string()).wide(),
        Of::fixed("CONSISTENCY", |it| it.consistency.to_owned()).wide(),
        Of::fixed("CREATED", |it| day(it.created)),
        Of::text("ALIASES", |it| it.aliases.join(", ")).wide(),
        Of::text("DESCRIPTION", |it| it.description.clone()).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn partitions(rows: &[Partition], how: How) -> Vec<String> {
    type Of = Column<Partition>;
    let columns = [
        Of::text("COLLECTION", |it| {
            name(it.collection.as_ref(), it.collection_id)
        }),
        Of::text("NAME", |it| it.name.clone()),
        Of::fixed("ID", |it| it.id.to_string()),
        Of::fixed("COLLECTION ID", |it| it.collection_id.to_string()).wide(),
        Of::fixed("STATE", |it| it.state.to_owned()).wide(),
        Of::number("SEGMENTS", |it| units::count(it.segments)),
        Of::number("ROWS", |it| rows_of(it.rows)),
        Of::number("SIZE", |it| size(it.bytes, it.rows)).roomy(),
        Of::fixed("CREATED", |it| second(it.created)).roomy(),
    ];
    table(rows, &columns, how)
}

pub(super) fn fields(rows: &[Field], how: How) -> Vec<String> {
    type Of = Column<Field>;
    let columns = [
        Of::text("FIELD", |it| it.name.clone()),
        Of::number("ID", |it| it.id.to_string()),
        Of::fixed("TYPE", |it| it.data_type.clone()),
        Of::text("PARAMETERS", |it| params(&it.params)),
        Of::text("NOTES", field_marks),
        Of::text("DESCRIPTION", |it| it.description.clone()).roomy(),
    ];
    table(rows, &columns, how)
}

fn field_marks(field: &Field) -> String {
    let marks = [
        (field.primary_key, "primary key"),
        (field.auto_id, "auto id"),
        (field.partition_key, "partition key"),
        (field.dynamic, "dynamic"),
        // Milvus adds the fields 0 and 1 to every schema.
        (field.id.0 < 100, "system"),
    ];
    let marks = marks.into_iter().filter(|(is_so, _)| *is_so);
    marks.map(|(_, mark)| mark).collect::<Vec<_>>().join(", ")
}

pub(super) fn indexes(rows: &[Index], how: How) -> Vec<String> {
    type Of = Column<Index>;
    let columns = [
        Of::text("COLLECTION", |it| {
            name(it.collection.as_ref(), it.collection_id)
        }),
        Of::text("NAME", |it| {
            let mark = if it.dropped { " (dropped)" } else { "" };
            format!("{}{mark}", it.name)
        }),
        Of::fixed("ID", |it| it.id.to_string()).roomy(),
        Of::text("FIELD", |it| match (&it.field, it.field_id) {
            (Some(name), _) => name.clone(),
            (None, Some(id)) => id.to_string(),
            (None, None) => String::new(),
        }),
        Of::fixed("TYPE", |it| it.index_type.clone()),
        Of::fixed("METRIC", |it| it.metric.clone()),
        Of::text("PARAMETERS", |it| params(&it.params)).roomy(),
        Of::fixed("SEGMENTS", |it| built(&it.builds)),
        Of::number("ROWS", |it| rows_of(it.indexed_rows)).roomy(),
        Of::number("SIZE", |it| units::bytes(it.bytes)).wide(),
        Of::fixed("LAYOUT", |it| origin(it.origin)).wide(),
        Of::fixed("CREATED", |it| second(it.created)).wide(),
    ];
    table(rows, &columns, how)
}

/// `4/5 finished, 1 failed`
fn built(states: &IndexStates) -> String {
    let all: u64 = states.values().sum();
    let finished = states.get("finished").copied().unwrap_or_default();
    let others = states.iter().filter(|(state, _)| **state != "finished");
    let others = others.map(|(state, count)| format!(", {count} {state}"));
    format!("{finished}/{all}{}", others.collect::<String>())
}

pub(super) fn segments(rows: &[Segment], how: How) -> Vec<String> {
    type Of = Column<Segment>;
    let columns = [
        Of::text("COLLECTION", |it| {
            name(it.collection.as_ref(), it.collection_id)
        }),
        Of::text("PARTITION", |it| {
            name(it.partition.as_ref(), it.partition_id)
        }),
        Of::fixed("ID", |it| it.id.to_string()),
        Of::fixed("STATE", |it| it.state.to_owned()),
        Of::number("ROWS", |it| rows_of(it.rows)),
        Of::number("MAX ROWS", |it| rows_of(it.max_rows)).wide(),
        Of::number("SIZE", |it| size(it.sizes.bytes(), it.rows)),
        Of::number("FILES", |it| units::count(it.sizes.files)).wide(),
        Of::number("DELETES", |it| rows_of(it.sizes.deletes)).roomy(),
        Of::fixed("INDEXED", |it| format!("{}/{}", it.indexed, it.indexes)).roomy(),
        Of::fixed("COMPACTED", |it| yes(it.compacted)).wide(),
        Of::fixed("POSITION", |it| second(it.position)).roomy(),
        Of::fixed("DROPPED", |it| second(it.dropped_at)).wide(),
        Of::text("CHANNEL", |it| it.channel.clone()).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn aliases(rows: &[Alias], how: How) -> Vec<String> {
    type Of = Column<Alias>;
    let columns = [
        Of::text("ALIAS", |it| it.name.clone()),
        Of::text("COLLECTION", |it| it.collection.clone().unwrap_or_default()),
        Of::fixed("COLLECTION ID", |it| it.collection_id.to_string()),
        Of::fixed("DATABASE", |it| it.database.clone()).roomy(),
        Of::fixed("CREATED", |it| second(it.created)).roomy(),
        Of::fixed("LAYOUT", |it| origin(it.origin)).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn loads(rows: &[Load], how: How) -> Vec<String> {
    type Of = Column<Load>;
    let columns = [
        Of::text("COLLECTION", |it| it.collection.clone().unwrap_or_default()),
        Of::fixed("COLLECTION ID", |it| it.collection_id.to_string()),
        Of::text("LOADED", |it| match it.kind {
            "partitions" => counted(it.partitions.len() as u64, "partition"),
            kind => kind.to_owned(),
        }),
        Of::fixed("STATUS", |it| it.status.clone()),
        Of::number("REPLICAS", |it| {
            format!("{}/{}", it.replicas.len(), it.replica_number)
        }),
        Of::text("NODES", |it| {
            let nodes = it.replicas.iter().map(|it| it.nodes.join(","));
            let nodes = nodes.filter(|nodes| !nodes.is_empty());
            nodes.collect::<Vec<_>>().join("; ")
        })
        .roomy(),
        Of::text("REPLICA IDS", |it| {
            let ids = it.replicas.iter().map(|it| it.id.to_string());
            ids.collect::<Vec<_>>().join(", ")
        })
        .wide(),
        Of::fixed("LAYOUT", |it| origin(it.origin)).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn channels(rows: &[Channel], how: How) -> Vec<String> {
    type Of = Column<Channel>;
    let columns = [
        Of::text("CHANNEL", |it| it.name.clone()),
        Of::text("COLLECTION", |it| {
            match (&it.collection, it.collection_id) {
                (Some(name), _) => name.clone(),
                (None, Some(id)) => id.to_string(),
                (None, None) => String::new(),
            }
        }),
        Of::fixed("STATE", |it| match (it.removed, it.state) {
            (true, _) => "removed".to_owned(),
            (false, state) => state.unwrap_or_default().to_owned(),
        }),
        Of::fixed("DATA NODE", |it| it.data_node.clone().unwrap_or_default()),
        Of::fixed("CHECKPOINT", |it| second(it.checkpoint)).roomy(),
        Of::text("PHYSICAL CHANNEL", |it| it.physical.clone()).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn sessions(rows: &[Session], how: How) -> Vec<String> {
    type Of = Column<Session>;
    let columns = [
        Of::text("COMPONENT", |it| it.role.clone()),
        Of::number("SERVER ID", |it| it.server_id.clone().unwrap_or_default()),
        Of::text("ADDRESS", |it| it.address.clone()),
        Of::fixed("VERSION", |it| it.version.clone()),
        Of::fixed("LEASE", |it| it.lease.clone()),
        Of::text("KEY", |it| it.key.clone()).wide(),
    ];
    table(rows, &columns, how)
}

pub(super) fn databases(rows: &[Database], how: How) -> Vec<String> {
    type Of = Column<Database>;
    let columns = [
        Of::text("DATABASE", |it| it.name.clone()),
        Of::fixed("ID", |it| it.id.to_string()),
        Of::fixed("STATE", |it| it.state.to_owned()),
        Of::fixed("CREATED", |it| second(it.created)),
    ];
    table(rows, &columns, how)
}

/// Says how many collections are not listed because they are dropped.
pub(super) fn dropped(is_shown: bool, catalog: &Catalog, style: Style) -> Option<String> {
    let count = catalog.dropped_collections;
    (is_shown && count > 0).then(|| {
        let text = counted(count, "dropped collection");
        let verb = if count == 1 { "is" } else { "are" };
        style.faint(&format!("{text} {verb} not shown"))
    })
}

/// Returns the name, or the id of an object without a record.
fn name(name: Option<&String>, id: impl ToString) -> String {
    name.cloned().unwrap_or_else(|| id.to_string())
}

pub(super) fn params(pairs: &Pairs) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

pub(super) fn form(form: Form) -> &'static str {
    match form {
        Form::Embedded => "embedded",
        Form::Split => "split",
        Form::Database => "database",
    }
}

fn origin(origin: Origin) -> String {
    match origin {
        Origin::V2_1 => "2.1",
        Origin::V2_2 => "2.2",
    }
    .to_owned()
}

/// Formats a number of rows. A negative number in the metadata is shown unchanged.
pub(super) fn rows_of(rows: i64) -> String {
    u64::try_from(rows).map_or_else(|_| rows.to_string(), units::count)
}

/// Formats the size of the files with these rows; empty if the metadata does not say it.
pub(super) fn size(bytes: i64, rows: i64) -> String {
    if bytes == 0 && rows > 0 {
        return String::new();
    }
    u64::try_from(bytes).map_or_else(|_| bytes.to_string(), units::bytes)
}

fn yes(is_so: bool) -> String {
    String::from(if is_so { "yes" } else { "" })
}

fn day(time: Option<Time>) -> String {
    time.map(Time::day).unwrap_or_default()
}

pub(super) fn second(time: Option<Time>) -> String {
    time.map(Time::second).unwrap_or_default()
}
