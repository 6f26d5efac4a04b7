//! Real Milvus servers: 2.1.0 makes metadata and data, the program migrates the metadata, and later releases
//! must show and answer the same on the same etcd and storage.
//!
//! The tests are ignored unless asked for, because they need servers: `make test-milvus` fetches them and
//! runs the group.

mod bed;
mod chain;
mod compare;
mod direct;
mod kubernetes;
mod repair;
mod rollback;
