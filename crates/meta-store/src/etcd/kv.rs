//! `Range` and `Txn` requests, sent directly on the connection of the etcd client.
//!
//! The client copies each key and each value twice, which costs a third of the client-side time of
//! a large read. The messages here share the memory of their buffer instead. All other requests go
//! through the client.

use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::{Buf as _, BufMut as _, Bytes};
use etcd_client::{Client, Error as EtcdError};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::message::{RangeReply, TxnReply};
use super::options::Login;

/// Maximum size of a reply. Pages are far smaller; this leaves space for a large single value.
const MAX_REPLY_BYTES: usize = 128 << 20;

/// The client of etcd's `KV` service.
#[derive(Clone)]
pub(super) struct Kv {
    grpc: Grpc<Channel>,
    login: Option<Login>,
    token: Arc<RwLock<Option<AsciiMetadataValue>>>,
}

impl Kv {
    /// Shares the connection of `client`, and logs in if a user is configured.
    pub(super) async fn new(
        channel: Channel,
        client: &Client,
        login: Option<Login>,
    ) -> Result<Self, EtcdError> {
        let kv = Self {
            grpc: Grpc::new(channel).max_decoding_message_size(MAX_REPLY_BYTES),
            login,
            token: Arc::default(),
        };
        kv.log_in(client).await?;
        Ok(kv)
    }

    pub(super) async fn log_in(&self, client: &Client) -> Result<(), EtcdError> {
        let Some(login) = &self.login else {
            return Ok(());
        };
        let (user, password) = (login.user.clone(), login.password.expose().to_owned());
        let reply = client.auth_client().authenticate(user, password).await?;
        let mut token: AsciiMetadataValue = reply.token().parse()?;
        token.set_sensitive(true);
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    fn token(&self) -> Option<AsciiMetadataValue> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        token.clone()
    }

    /// Sends an encoded [`RangeMessage`](super::message::RangeMessage).
    pub(super) async fn range(&self, request: Bytes) -> Result<RangeReply, EtcdError> {
        self.send("/etcdserverpb.KV/Range", request).await
    }

    /// Sends an encoded [`TxnMessage`](super::message::TxnMessage).
    pub(super) async fn txn(&self, request: Bytes) -> Result<TxnReply, EtcdError> {
        self.send("/etcdserverpb.KV/Txn", request).await
    }

    async fn send<Reply>(&self, path: &'static str, encoded: Bytes) -> Result<Reply, EtcdError>
    where
        Reply: Message + Default + 'static,
    {
        let mut request = Request::new(encoded);
        let headers = request.metadata_mut();
        // A member without a leader then fails the request at once.
        headers.insert("hasleader", AsciiMetadataValue::from_static("true"));
        if let Some(token) = self.token() {
            headers.insert("token", token);
        }
        let mut grpc = self.grpc.clone();
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let codec = KvCodec(PhantomData);
        let reply = grpc
            .unary(request, PathAndQuery::from_static(path), codec)
            .await?;
        Ok(reply.into_inner())
    }
}

/// Sends a request that is already encoded (so that retries need no encoding) and decodes the reply
/// without copying keys and values out of the receive buffer.
struct KvCodec<Reply>(PhantomData<fn() -> Reply>);

impl<Reply: Message + Default + 'static> Codec for KvCodec<Reply> {
    type Encode = Bytes;
    type Decode = Reply;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<Reply> Encoder for KvCodec<Reply> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, encoded: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(encoded);
        Ok(())
    }
}

impl<Reply: Message + Default> Decoder for KvCodec<Reply> {
    type Item = Reply;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Reply>, Status> {
        let encoded = buffer.copy_to_bytes(buffer.remaining());
        let message = Reply::decode(encoded);
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
