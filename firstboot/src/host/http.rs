//! One HTTP exchange over TCP or TLS, with a deadline.

use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use nodekiln_plan::{Endpoint, Host as EndpointHost};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Larger answers are refused: what is asked for is small.
const LIMIT: usize = 4 << 20;

/// What is asked.
#[derive(Clone)]
pub struct HttpRequest {
    /// GET or POST.
    pub method: Method,
    /// Whom.
    pub endpoint: Endpoint,
    /// Path and query.
    pub path: String,
    /// The body, JSON; empty for none.
    pub body: Vec<u8>,
    /// https with this, else http.
    pub tls: Option<Arc<ClientConfig>>,
    /// For connecting, and once more for the answer.
    pub timeout: Duration,
}

impl HttpRequest {
    /// A GET.
    pub fn get(endpoint: Endpoint, path: &str, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Self {
        Self { method: Method::GET, endpoint, path: path.to_owned(), body: Vec::new(), tls, timeout }
    }

    /// A POST of JSON.
    pub fn post(endpoint: Endpoint, path: &str, body: Vec<u8>, tls: Arc<ClientConfig>, timeout: Duration) -> Self {
        Self { method: Method::POST, endpoint, path: path.to_owned(), body, tls: Some(tls), timeout }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No TCP connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// Nothing in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// TLS failed: not a server of ours, or the clocks differ.
    #[error("no TLS session: {0}")]
    Tls(String),
    /// The connection was made, the exchange failed.
    #[error("no answer: {0}")]
    Exchange(String),
}

/// Makes the exchange.
pub(super) async fn exchange(request: &HttpRequest) -> Result<HttpResponse, HttpError> {
    let address = match &request.endpoint.host {
        EndpointHost::Ip(ip) => ip.to_string(),
        EndpointHost::Name(name) => name.to_string(),
    };
    let connect = TcpStream::connect((address.as_str(), request.endpoint.port));
    let stream = match timeout(request.timeout, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return Err(HttpError::Connect(e)),
        Err(_) => return Err(HttpError::Timeout(request.timeout)),
    };
    let Some(tls) = &request.tls else { return answer(stream, request).await };
    let name = match &request.endpoint.host {
        EndpointHost::Ip(ip) => ServerName::IpAddress((*ip).into()),
        EndpointHost::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|e| HttpError::Tls(e.to_string()))?
        }
    };
    match timeout(request.timeout, TlsConnector::from(Arc::clone(tls)).connect(name, stream)).await {
        Ok(Ok(stream)) => answer(stream, request).await,
        Ok(Err(e)) => Err(HttpError::Tls(e.to_string())),
        Err(_) => Err(HttpError::Timeout(request.timeout)),
    }
}

async fn answer<S>(stream: S, request: &HttpRequest) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |e: &dyn std::fmt::Display| HttpError::Exchange(e.to_string());
    let work = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
        let message = Request::builder()
            .method(request.method.clone())
            .uri(request.path.as_str())
            .header(header::HOST, request.endpoint.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(request.body.clone())))
            .map_err(|e| failed(&e))?;
        let exchange = async {
            let response = sender.send_request(message).await.map_err(|e| failed(&e))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|e| failed(&e))?;
            Ok(HttpResponse { status, body: body.to_bytes().to_vec() })
        };
        tokio::pin!(exchange);
        tokio::pin!(connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            // The connection ends first only when it failed, or when all is read: then the exchange has what it needs.
            _ = &mut connection => exchange.await,
        }
    };
    match timeout(request.timeout, work).await {
        Ok(done) => done,
        Err(_) => Err(HttpError::Exchange(format!("nothing within {:?}", request.timeout))),
    }
}
