//! The requests that carry metadata, straight on the connection of the etcd client.
//!
//! That client copies each key and each value twice on its way: where they come by the hundred
//! thousand, that is a third of what reading costs on this side. So `Range` and `Txn` are sent from
//! here, in messages whose keys and values share memory; everything else goes through the client.

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

/// The largest reply that is taken. Pages are far smaller; a single value can hardly be larger.
const MAX_REPLY_BYTES: usize = 128 << 20;

/// The client of etcd's `KV` service.
#[derive(Clone)]
pub(super) struct Kv {
    grpc: Grpc<Channel>,
    login: Option<Login>,
    token: Arc<RwLock<Option<AsciiMetadataValue>>>,
}

impl Kv {
    /// Shares a connection with `client`, and logs in where there is a user.
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

    /// Gets a new token where there is a user.
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
        // A member without a leader says so instead of keeping a request waiting.
        headers.insert("hasleader", AsciiMetadataValue::from_static("true"));
        if let Some(token) = self.token() {
            headers.insert("token", token);
        }
        let mut grpc = self.grpc.clone();
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let codec = Shared(PhantomData);
        let reply = grpc
            .unary(request, PathAndQuery::from_static(path), codec)
            .await?;
        Ok(reply.into_inner())
    }
}

/// Sends what is encoded already, so that it need not be encoded again to be sent again, and decodes a
/// reply out of the buffer it was received in, without copying its parts.
struct Shared<Reply>(PhantomData<fn() -> Reply>);

impl<Reply: Message + Default + 'static> Codec for Shared<Reply> {
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

impl<Reply> Encoder for Shared<Reply> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, encoded: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(encoded);
        Ok(())
    }
}

impl<Reply: Message + Default> Decoder for Shared<Reply> {
    type Item = Reply;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Reply>, Status> {
        let whole = buffer.copy_to_bytes(buffer.remaining());
        let message = Reply::decode(whole);
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
