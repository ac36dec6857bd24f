//! Answers of JSON that may be large: they hold a share of the budget until they are written or the client has left. Made by the routes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Serialize;

use crate::budget::{Budget, Held, SMALL};
use crate::error::{ApiError, ErrorType};

/// JSON as it goes to the connection, which keeps it until it is written.
struct Written {
    json: Vec<u8>,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// An answer that is made as it is taken.
struct InParts<I> {
    parts: I,
    held: Arc<Held>,
}

impl<I: Iterator<Item = Vec<u8>> + Unpin> HttpBody for InParts<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.next();
        Poll::Ready(part.map(|json| Ok(Frame::data(kept(json, self.held.clone())))))
    }
}

fn kept(json: Vec<u8>, held: Arc<Held>) -> Bytes {
    Bytes::from_owner(Written { json, _held: held })
}

fn of_json(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// A value.
pub(crate) fn whole(budget: &Budget, value: &impl Serialize) -> Result<Response, ApiError> {
    one_piece(budget, serde_json::to_vec(value).map_err(|error| ApiError::new(ErrorType::Backend, error))?)
}

fn one_piece(budget: &Budget, mut json: Vec<u8>) -> Result<Response, ApiError> {
    if json.len() <= SMALL {
        return Ok(of_json(json));
    }
    json.shrink_to_fit();
    let mut held = Held::default();
    budget.hold(&mut held, json.len())?;
    Ok(of_json(kept(json, Arc::new(held))))
}

/// What comes in parts of about [`SMALL`] bytes, made of something that has so many bytes.
pub(crate) fn in_parts(
    budget: &Budget,
    mut parts: impl Iterator<Item = Vec<u8>> + Unpin + Send + 'static,
    bytes: usize,
) -> Result<Response, ApiError> {
    let first = parts.next().unwrap_or_default();
    let Some(second) = parts.next() else {
        return one_piece(budget, first);
    };
    let mut held = Held::default();
    // and the parts that are being written
    budget.hold(&mut held, bytes + 2 * SMALL)?;
    let (parts, held) = ([first, second].into_iter().chain(parts), Arc::new(held));
    Ok(of_json(Body::new(InParts { parts, held })))
}
