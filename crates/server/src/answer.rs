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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt;

    use super::*;

    /// A share is held until the last bytes are gone, however much of the body was taken; there is none for a small answer.
    #[tokio::test]
    async fn shares() {
        let budget = Budget::new(2 * SMALL);
        let large = "a".repeat(20 * SMALL);
        let text = |n: usize| serde_json::to_vec(&large[..n]).unwrap();
        let small = whole(&budget, &&large[..100]).unwrap();
        assert_eq!((small.into_body().collect().await.unwrap().to_bytes(), budget.held()), (text(100).into(), 0));
        let mut body = whole(&budget, &large).unwrap().into_body();
        assert_eq!(body.size_hint().exact(), Some(large.len() as u64 + 2));
        let written = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert!(written == text(large.len()) && budget.held() > large.len());
        drop(written);
        assert_eq!(budget.held(), 0);
        let parts = || std::iter::repeat_n(vec![b' '; SMALL], 5);
        let mut body = in_parts(&budget, parts(), 3 * SMALL).unwrap().into_body();
        let written = body.frame().await.unwrap().unwrap();
        assert_eq!(budget.held(), 5 * SMALL);
        drop(body);
        assert_eq!(budget.held(), 5 * SMALL);
        drop(written);
        assert_eq!(budget.held(), 0);
        // six of them fit, and what is larger than all there is, alone
        let all: Vec<_> = (0..6).map(|_| whole(&budget, &large).unwrap()).collect();
        assert_eq!(whole(&budget, &large).unwrap_err().kind, ErrorType::Overloaded);
        assert!(in_parts(&budget, parts(), 20 * SMALL).is_err() && in_parts(&budget, parts().take(1), 1).is_ok());
        drop(all);
        let alone = in_parts(&budget, parts(), 1000 * SMALL).unwrap();
        assert_eq!(budget.held(), 128 * SMALL);
        drop(alone);
        assert_eq!(budget.held(), 0);
    }
}
