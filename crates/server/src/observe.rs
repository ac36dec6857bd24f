//! What is done around every request: its id, its line in the log, its key.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State as Shared};
use axum::http::header::{AUTHORIZATION, CONNECTION};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;
use tracing::Instrument;

use crate::error::{ApiError, ErrorType};
use crate::state::State;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ids of clients give way to our own.
const LONGEST_ID: usize = 128;

/// Gives a request its id, that of the client if it has one, and logs how it ended.
pub(crate) async fn observe(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).filter(|id| is_id(id)).cloned().unwrap_or_else(new_id);
    let shown = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", id = shown, method = %request.method(), path = request.uri().path());
    let mut logged = Logged { span: span.clone(), start: Instant::now(), ended: false };
    let mut response = next.run(request).instrument(span).await;
    logged.end(&response);
    response.headers_mut().insert(REQUEST_ID, id);
    if state.draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Counts a request to a model that is refused or fails.
pub(crate) async fn count_failures(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(kind) = response.extensions().get::<ErrorType>() {
        state.metrics.failure(*kind);
    }
    response
}

/// The line of a request in the log, also of one whose client leaves before it is answered.
struct Logged {
    span: tracing::Span,
    start: Instant,
    ended: bool,
}

impl Logged {
    fn end(&mut self, response: &Response) {
        self.ended = true;
        let (status, ms) = (response.status().as_u16(), self.start.elapsed().as_secs_f64() * 1e3);
        self.span.in_scope(|| tracing::info!(status, ms));
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if !self.ended {
            let ms = self.start.elapsed().as_secs_f64() * 1e3;
            self.span.in_scope(|| tracing::info!(ms, "the client has left"));
        }
    }
}

fn is_id(id: &HeaderValue) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// An id that no other request has: a counter, behind what differs from server to server.
fn new_id() -> HeaderValue {
    static SERVER: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let id = format!("{:016x}-{:x}", *SERVER, COUNTER.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Refuses who does not show the key.
pub(crate) async fn key_required(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match &state.options.api_key {
        Some(key) if !shows(request.headers(), key) => Err(ApiError::new(
            ErrorType::Unauthorized,
            "expected the header Authorization: Bearer KEY with the key of this server",
        )),
        _ => Ok(next.run(request).await),
    }
}

/// Whether the headers have the key; how long this takes tells nothing of it but its length.
fn shows(headers: &HeaderMap, key: &str) -> bool {
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((scheme, shown)) = shown.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(shown.ct_eq(key.as_bytes()))
}
