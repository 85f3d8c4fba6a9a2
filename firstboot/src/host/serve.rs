//! A small HTTPS server in a thread of its own, which answers while the main thread waits for a program.

use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};
use tokio_rustls::TlsAcceptor;

/// The body for a path, or `None`: 404. Called in another thread.
pub type Answer = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A connection that takes longer is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn spawn(listener: TcpListener, tls: Arc<rustls::ServerConfig>, answer: Answer) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("statement".to_owned()).stack_size(256 << 10).spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let acceptor = TlsAcceptor::from(tls);
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // Out of file descriptors, or a peer that hung up at once.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                tokio::spawn(tokio::time::timeout(PATIENCE, async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let response = reply(&answer, &request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }));
            }
        });
    })?;
    Ok(())
}

fn reply(answer: &Answer, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let body = (request.method() == http::Method::GET).then(|| answer(request.uri().path())).flatten();
    let mut response = Response::new(Full::new(Bytes::new()));
    match body {
        Some(body) => {
            *response.body_mut() = Full::new(Bytes::from(body));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
