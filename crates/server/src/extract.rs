//! What routes take from a request: the model that its path names, and its body, of bounded size and time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::budget::{Budget, Held, SMALL};
use crate::error::{ApiError, ErrorType};
use crate::model::Served;
use crate::options::Limits;
use crate::state::State;

/// The model of the path, or the default one.
pub(crate) struct Chosen(pub(crate) Arc<Served>);

impl FromRequestParts<Arc<State>> for Chosen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, ApiError> {
        let name = <Path<String> as OptionalFromRequestParts<_>>::from_request_parts(parts, state).await;
        let name = name.map_err(|error| ApiError::new(ErrorType::NotFound, error))?.map(|Path(name)| name);
        let served = state.models.get(name.as_deref()).ok_or_else(|| {
            ApiError::new(
                ErrorType::NotFound,
                format!("no model {:?}; GET /models lists them", name.unwrap_or_default()),
            )
        })?;
        Ok(Self(served))
    }
}

/// Levels of lists and objects in a body, at most; what a route reads has few, and what it passes over may not have more.
const DEEPEST: usize = 128;

/// A body of JSON, and its share of the budget, which a route keeps while it works with what it was sent.
pub(crate) struct Payload<T>(pub(crate) T, pub(crate) Held);

impl<T: DeserializeOwned> FromRequest<Arc<State>> for Payload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            let message = "expected the header Content-Type: application/json";
            return Err(ApiError::validation(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        if let Some(encoding) = compressed(request.headers()) {
            let message = format!("expected an uncompressed body, without the header Content-Encoding: {encoding}");
            return Err(ApiError::validation(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let Limits { payload_limit, read_timeout, .. } = state.options.limits;
        let asks_before = request.headers().contains_key(EXPECT);
        let mut body = request.into_body();
        if body.size_hint().lower() > payload_limit as u64 {
            // who asks before sending need not send
            if !asks_before {
                pass_over(body, read_timeout);
            }
            return Err(too_large(payload_limit));
        }
        let read = timeout(read_timeout, read(&mut body, payload_limit, &state.budget)).await;
        let (body, held) = match read.map_err(|_| ApiError::new(ErrorType::Timeout, "the body did not come in time"))? {
            Ok(read) => read,
            Err(error) => {
                pass_over(body, read_timeout);
                return Err(error);
            }
        };
        if is_deep(&body) {
            let message = format!("the body: lists and objects in more than {DEEPEST} levels");
            return Err(ApiError::validation(message));
        }
        let read = serde_json::from_slice(&body).map_err(|error| ApiError::validation(format!("the body: {error}")))?;
        Ok(Self(read, held))
    }
}

/// A whole body of so many bytes at most. Its share of the budget grows with what has come, whatever the client says will come.
async fn read(body: &mut Body, limit: usize, budget: &Budget) -> Result<(Bytes, Held), ApiError> {
    let mut held = Held::default();
    let first = next(body).await?.unwrap_or_default();
    if body.is_end_stream() && first.len() <= SMALL {
        return Ok((first, held));
    }
    // copied: a part may be a byte in a buffer of thousands
    let mut all = Vec::new();
    let mut part = Some(first);
    while let Some(bytes) = part {
        let len = all.len() + bytes.len();
        if len > limit {
            return Err(too_large(limit));
        }
        if len > all.capacity() {
            let capacity = len.next_power_of_two().min(limit);
            budget.hold(&mut held, capacity)?;
            all.reserve_exact(capacity - all.len());
        }
        all.extend_from_slice(&bytes);
        drop(bytes);
        part = next(body).await?;
    }
    Ok((all.into(), held))
}

/// The next bytes of a body; none at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::validation(format!("the body is cut short: {error}")))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn too_large(limit: usize) -> ApiError {
    ApiError::too_large(format!("the body has more than {limit} bytes"))
}

/// Takes the rest of a refused body, for so long: the connection of a client who is still sending would be reset before it reads why.
fn pass_over(mut body: Body, time: Duration) {
    tokio::spawn(timeout(time, async move { while let Ok(Some(_)) = next(&mut body).await {} }));
}

/// Whether JSON has more levels than [`DEEPEST`]. Of other bytes, parsing says what is wrong.
fn is_deep(json: &[u8]) -> bool {
    let (mut level, mut in_string, mut bytes) = (0_usize, false, json.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => level += 1,
            b']' | b'}' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
        if level > DEEPEST {
            return true;
        }
    }
    false
}

/// How a body is compressed, if it is.
fn compressed(headers: &HeaderMap) -> Option<String> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|encoding| String::from_utf8_lossy(encoding.as_bytes()));
    encodings.find(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")).map(|encoding| encoding.into_owned())
}

/// Whether the type of a body is `application/json` or `application/…+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}
