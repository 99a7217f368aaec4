//! gRPC clients: like the HTTP clients, each has its own connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::longrun::v1 as wire;
use proto::longrun::v1::async_operations_service_client::AsyncOperationsServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::load::{Seen, Until, press};

/// A call that is made over and over.
#[derive(Clone, Debug)]
pub enum Call {
    /// One operation.
    Get(wire::GetOperationRequest),
    /// A page.
    List(wire::ListOperationsRequest),
    /// A creation.
    Create(Box<wire::CreateOperationRequest>),
}

impl Call {
    async fn send(
        self,
        client: &mut AsyncOperationsServiceClient<Channel>,
        bearer: MetadataValue<Ascii>,
    ) -> Result<(), tonic::Status> {
        fn with<T>(message: T, bearer: MetadataValue<Ascii>) -> Request<T> {
            let mut request = Request::new(message);
            request.metadata_mut().insert("authorization", bearer);
            request
        }
        match self {
            Call::Get(message) => client.get_operation(with(message, bearer)).await.map(drop),
            Call::List(message) => client.list_operations(with(message, bearer)).await.map(drop),
            Call::Create(message) => client.create_operation(with(*message, bearer)).await.map(drop),
        }
    }
}

/// Puts a server under the load of `clients` clients.
///
/// # Errors
/// When a client cannot connect, or a call fails.
pub async fn load(
    address: SocketAddr,
    clients: u32,
    length: Duration,
    token: &str,
    call: &Call,
) -> anyhow::Result<Seen> {
    let bearer: MetadataValue<Ascii> = format!("Bearer {token}").parse()?;
    let mut channels = Vec::new();
    for _ in 0..clients {
        channels.push(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).connect().await?);
    }
    let channels: Arc<[Channel]> = channels.into();
    press(clients, Until::Time(length), 1, |number| {
        let client = AsyncOperationsServiceClient::new(channels[number as usize].clone());
        let (bearer, call) = (bearer.clone(), call.clone());
        move || {
            let (mut client, bearer, call) = (client.clone(), bearer.clone(), call.clone());
            async move { Ok(call.send(&mut client, bearer).await?) }
        }
    })
    .await
}
