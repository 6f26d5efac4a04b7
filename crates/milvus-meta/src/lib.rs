//! Decodes the metadata that Milvus 2.1 and 2.2 keep in etcd, and transforms 2.1 metadata to the 2.2 layout.
//!
//! The crate is pure: no I/O, no clock, no threads. It takes entries as keys and values and returns
//! data. The same input gives the same bytes.
//!
//! | to | use |
//! | --- | --- |
//! | classify a key | [`keys::Family`], [`keys::Key`] |
//! | show a value as JSON | [`codec::describe()`] |
//! | read a 2.1 record, write a 2.2 record | [`codec::v2_1`], [`codec::v2_2`] |
//! | detect the layout of an instance | [`layout::LayoutDetector`] |
//! | list the objects of an instance | [`catalog::Reader`] |
//! | plan and build the 2.2 metadata | [`transform::Source`], [`transform::Migration`] |
//! | check 2.2 metadata | [`verify::Checker`] |
//!
//! # Example
//! ```
//! use milvus_meta::codec::describe;
//! use milvus_meta::keys::{Family, Key, MetaRoot};
//! use milvus_meta::proto::v2_1::etcd::IndexInfo;
//! use prost::Message as _;
//!
//! let root = MetaRoot::new("by-dev", "meta", "kv")?;
//! let key = b"by-dev/meta/root-coord/index/445/7";
//! let value = IndexInfo { index_id: 7, index_name: "by_vector".to_owned(), ..IndexInfo::default() }.encode_to_vec();
//!
//! let relative = root.strip(key).ok_or("a key of another instance")?;
//! assert_eq!(Family::of(relative).name(), "root-coord/index");
//! assert!(matches!(Key::parse(relative), Key::LegacyIndex(collection, _) if collection.0 == 445));
//! assert_eq!(describe(relative, &value)["index_name"], "by_vector");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/plan_in_memory.rs` plans a complete migration.

pub mod catalog;
pub mod codec;
pub mod entry;
pub mod finding;
pub mod keys;
pub mod layout;
pub mod model;
pub mod plural;
pub mod proto;
pub mod release;
pub mod transform;
pub mod verify;
