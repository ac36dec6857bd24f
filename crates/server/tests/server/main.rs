//! The server as its clients meet it, over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

/// What is waited for and in which order it comes: batches, clients who leave, overload, the drain.
mod batches;
/// Every kind of error.
mod errors;
/// Slow senders, half requests, bodies that are no requests.
mod faults;
/// The schema at `/docs` and what is really answered.
mod openapi;
/// Requests and answers as text-embeddings-inference's and Hugging Face's clients know them.
mod protocol;
/// New versions of models.
mod reload;
mod support;
