//! What routes take from a request: the model that its path names, and its body, of bounded size and time.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Path, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::{ApiError, ErrorType};
use crate::model::Served;
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

/// A body of JSON.
pub(crate) struct Payload<T>(pub(crate) T);

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
        let limits = &state.options.limits;
        let too_large = || ApiError::too_large(format!("the body has more than {} bytes", limits.payload_limit));
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > limits.payload_limit as u64) {
            return Err(too_large());
        }
        let body = Limited::new(request.into_body(), limits.payload_limit).collect();
        let body = timeout(limits.read_timeout, body)
            .await
            .map_err(|_| ApiError::new(ErrorType::Timeout, "the body did not come in time"))?
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => too_large(),
                None => ApiError::validation(format!("the body is cut short: {error}")),
            })?;
        let body = body.to_bytes();
        if is_deep(&body) {
            let message = format!("the body: lists and objects in more than {DEEPEST} levels");
            return Err(ApiError::validation(message));
        }
        serde_json::from_slice(&body).map(Self).map_err(|error| ApiError::validation(format!("the body: {error}")))
    }
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
