//! HTTP/1.1 and HTTP/2 on every `[http] listen`, and what holds for all requests.
//!
//! Limits: connections, time and bytes for a request's head; bodies are limited by who reads them. Answers are compressed when the client asks for it.
//! A panic in a handler is one answer of status 500, and counted.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::middleware::{self, Next};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use rhythmite_env::Clock;

use super::busy_poll::Attention;
use crate::config::Http;
use crate::counters::Counters;

/// Pause after a failed accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a request's head, HTTP/1.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What a request waits for the routes of an open server; then it is told that the server is starting.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The listeners' tasks.
pub(super) struct Server {
    tasks: TaskTracker,
    app: App,
    /// Cancelled when the routes are those of an open server.
    opened: CancellationToken,
    counters: Arc<Counters>,
}

/// The routes, as of the next request.
type App = Arc<ArcSwap<Router>>;

impl Server {
    /// Serves `router` on the sockets until `stop`; most requests wait a while for [`Server::route`].
    pub(super) fn start(
        router: Router,
        room: &Http,
        counters: &Arc<Counters>,
        clock: &Arc<dyn Clock>,
        sockets: Vec<TcpListener>,
        stop: &CancellationToken,
    ) -> Self {
        let tasks = TaskTracker::new();
        let app = Arc::new(ArcSwap::from_pointee(layers(router, counters.clone())));
        let opened = CancellationToken::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(room.header_timeout.0)
            .max_buf_size(HEAD_BYTES_MAX);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(room.header_timeout.0);
        let slots = Arc::new(Semaphore::new(room.connections));
        let attention = Attention::new(clock.clone(), counters.clone(), room.busy_poll);
        for socket in sockets {
            let listener = Listener {
                socket,
                app: app.clone(),
                opened: opened.clone(),
                builder: builder.clone(),
                first_request: room.header_timeout.0,
                counters: counters.clone(),
                attention: attention.clone(),
                slots: slots.clone(),
                tasks: tasks.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(listener.run());
        }
        Self { tasks, app, opened, counters: counters.clone() }
    }

    /// Serves other routes from now on, also to those who are connected.
    pub(super) fn route(&self, router: Router) {
        self.app.store(Arc::new(layers(router, self.counters.clone())));
        self.opened.cancel();
    }

    /// Waits for requests that are being answered, `limit` at most.
    pub(super) async fn finish(self, limit: Duration) {
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!("{} HTTP connections are cut", self.tasks.len());
        }
    }
}

struct Listener {
    socket: TcpListener,
    app: App,
    opened: CancellationToken,
    builder: auto::Builder<TokioExecutor>,
    /// Time until the head of the first request is there.
    first_request: Duration,
    counters: Arc<Counters>,
    attention: Arc<Attention>,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Listener {
    async fn run(self) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let _ = stream.set_nodelay(true);
                    self.tasks.spawn(self.serve(stream, slot));
                }
                Err(e) => {
                    self.counters.accept_errors.one();
                    tracing::debug!("[http] listen: cannot accept a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, once there is a slot for it; until then it waits in the kernel.
    async fn accept(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        if self.slots.available_permits() == 0 {
            self.counters.http_connections_waited.one();
        }
        let slot = self.slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.socket.accept().await?;
        Ok((stream, slot))
    }

    fn serve(&self, stream: TcpStream, slot: OwnedSemaphorePermit) -> impl Future<Output = ()> + use<> {
        let (builder, counters, stop, limit) =
            (self.builder.clone(), self.counters.clone(), self.stop.clone(), self.first_request);
        let begun = Arc::new(AtomicBool::new(false));
        let service = Watched { app: self.app.clone(), opened: self.opened.clone(), begun: begun.clone() };
        let stream = self.attention.watch(stream);
        async move {
            let _slot = slot;
            let _open = Open::new(counters.clone());
            let mut serving = pin!(async {
                // With upgrades, since a WebSocket or h2c client may ask for one.
                let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
                tokio::select! {
                    served = serving.as_mut() => served,
                    () = stop.cancelled() => {
                        serving.as_mut().graceful_shutdown();
                        serving.await
                    }
                }
            });
            // Hyper's own timeout begins when it knows the version of HTTP: a client that says nothing, or only the
            // first letters, would have a connection for ever.
            let served = match tokio::time::timeout(limit, serving.as_mut()).await {
                Ok(served) => served,
                Err(_) if !begun.load(Ordering::Relaxed) => {
                    counters.http_timeouts.one();
                    return;
                }
                Err(_) => serving.await,
            };
            if let Err(e) = served {
                if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout) {
                    counters.http_timeouts.one();
                }
                tracing::debug!("HTTP connection ended: {e}");
            }
        }
    }
}

/// The routes, and whether anything was ever asked of them on this connection.
struct Watched {
    app: App,
    opened: CancellationToken,
    begun: Arc<AtomicBool>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Watched {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        let (app, opened) = (self.app.clone(), self.opened.clone());
        Box::pin(async move {
            // Whoever writes or asks just after the start is served a little later; who asks about the start is told.
            if !opened.is_cancelled() && !matches!(request.uri().path(), "/ready" | "/health") {
                let _ = tokio::time::timeout(START_PATIENCE, opened.cancelled()).await;
            }
            TowerToHyperService::new(Router::clone(&app.load())).call(request).await
        })
    }
}

/// Counts a connection as open while it lives.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.http_connections.one();
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http_connections.back();
    }
}

fn layers(router: Router, counters: Arc<Counters>) -> Router {
    let panics = counters.clone();
    let on_panic = move |panic: Box<dyn Any + Send>| {
        panics.http_panics.one();
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        tracing::error!("a request ended in a panic, which is a bug: {}", text.unwrap_or("no message"));
        let mut response = Response::new(Body::from("{\"error\":\"internal error\"}\n"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        response
    };
    // PERF: one layer of three, from the outside in. Each layer of its own would box the service and its future once more
    // for every request.
    router.layer(
        ServiceBuilder::new()
            .layer(middleware::from_fn_with_state(counters, count))
            .layer(CompressionLayer::new())
            .layer(CatchPanicLayer::custom(on_panic)),
    )
}

async fn count(State(counters): State<Arc<Counters>>, request: Request, next: Next) -> axum::response::Response {
    let response = next.run(request).await;
    counters.http_requests.one();
    let status = response.status();
    if status.is_client_error() {
        counters.http_client_errors.one();
    } else if status.is_server_error() {
        counters.http_server_errors.one();
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        counters.http_too_large.one();
    }
    response
}
