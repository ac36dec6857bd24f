//! What goes wrong with a request, as text-embeddings-inference says it: a status and `{"error", "error_type"}`.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorResponse {
    /// What is wrong.
    #[schema(example = "Model is overloaded")]
    error: String,
    error_type: ErrorType,
}

/// What a prediction or an explanation may answer beside 200, for the OpenAPI schema.
#[allow(dead_code)] // the schema is all that it is for
#[derive(IntoResponses)]
pub(crate) enum PredictionErrors {
    /// No text
    #[response(status = 400)]
    Empty(ErrorResponse),
    /// The key is missing or wrong
    #[response(status = 401)]
    Unauthorized(ErrorResponse),
    /// The body did not come in time
    #[response(status = 408)]
    Timeout(ErrorResponse),
    /// Too many bytes or texts
    #[response(status = 413)]
    TooLarge(ErrorResponse),
    /// The body is not JSON by its Content-Type, or is compressed
    #[response(status = 415)]
    NotJson(ErrorResponse),
    /// A body of another form, a text that is too long, a failing tokenizer
    #[response(status = 422)]
    Validation(ErrorResponse),
    /// The model failed
    #[response(status = 424)]
    Backend(ErrorResponse),
    /// Too many requests: try again after Retry-After
    #[response(status = 429)]
    Overloaded(ErrorResponse),
    /// The server ends
    #[response(status = 503)]
    Unhealthy(ErrorResponse),
}

/// The kinds of errors: those of text-embeddings-inference, and three of what it answers without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum ErrorType {
    /// 503: the server cannot compute, or is about to end.
    Unhealthy,
    /// 424: the model failed on this input.
    Backend,
    /// 429: too many requests; try again later.
    Overloaded,
    /// 422, and 413 for too much of it, 415 for a body that is not JSON or is compressed, 405 for a method that a route has not got.
    Validation,
    /// 422: the tokenizer failed on this input.
    Tokenizer,
    /// 400: nothing to work on.
    Empty,
    /// 401: the key is missing or wrong.
    Unauthorized,
    /// 404: no such route or model.
    NotFound,
    /// 408: the body did not come in time.
    Timeout,
}

impl ErrorType {
    pub(crate) const ALL: [Self; 9] = [
        Self::Unhealthy,
        Self::Backend,
        Self::Overloaded,
        Self::Validation,
        Self::Tokenizer,
        Self::Empty,
        Self::Unauthorized,
        Self::NotFound,
        Self::Timeout,
    ];

    /// As label of a counter.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Backend => "inference",
            Self::Overloaded => "overloaded",
            Self::Validation => "validation",
            Self::Tokenizer => "tokenization",
            Self::Empty => "empty",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Backend => StatusCode::FAILED_DEPENDENCY,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Validation | Self::Tokenizer => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Empty => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorType,
    status: StatusCode,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorType, message: impl ToString) -> Self {
        Self { kind, status: kind.status(), message: message.to_string() }
    }

    pub(crate) fn validation(message: impl ToString) -> Self {
        Self::new(ErrorType::Validation, message)
    }

    /// Too much of something: 413.
    pub(crate) fn too_large(message: impl ToString) -> Self {
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..Self::validation(message) }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(ErrorType::Overloaded, "Model is overloaded")
    }

    /// What computes has ended without an answer.
    pub(crate) fn no_answer() -> Self {
        Self::new(ErrorType::Unhealthy, "the server ends")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorResponse { error: self.message, error_type: self.kind };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.kind {
            ErrorType::Overloaded => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            ErrorType::Unauthorized => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            _ => {}
        }
        // for the counters
        response.extensions_mut().insert(self.kind);
        response
    }
}
