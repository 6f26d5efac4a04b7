//! Real Milvus servers: 2.1.0 creates metadata and data, the program migrates the metadata, and
//! later releases must show the same objects and answers on the same etcd and storage.
//!
//! The tests are ignored by default because they need servers: `make test-milvus` fetches the
//! servers and runs the tests.

mod bed;
mod chain;
mod compare;
mod direct;
mod kubernetes;
mod repair;
mod rollback;
