//! The server as its clients meet it, over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

/// What is waited for and in which order it comes: batches, clients who leave, overload, the drain.
mod batches;
/// The program of `examples/` that has a server in it.
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/embed.rs"]
mod embed;
/// Every kind of error.
mod errors;
/// Slow senders, half requests, bodies that are no requests.
mod faults;
/// What clients can make the server keep: large bodies that come slowly, large answers that are not taken.
mod memory;
/// The schema at `/docs` and what is really answered.
mod openapi;
/// Requests and answers as text-embeddings-inference's and Hugging Face's clients know them.
mod protocol;
/// New versions of models.
mod reload;
mod support;
/// A handshake.
mod tls;

#[test]
fn a_server_in_another_program() {
    let directory = tempfile::tempdir().unwrap();
    support::write_model(&directory.path().join("model"), 1, serde_json::json!({}));
    let answer = embed::run(&directory.path().join("model"), "a very good film").unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let scores: Vec<f64> = answer.as_array().unwrap().iter().map(|class| class["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 3 && (scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{answer}");
    let missing = embed::run(&directory.path().join("none"), "a").unwrap_err().to_string();
    assert!(missing.contains("none"), "{missing}");
}
