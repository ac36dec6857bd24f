//! What the server tells of itself: `/info`, `/models`, `/health`, `/ping`, `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorResponse};
use crate::extract::Chosen;
use crate::infer::try_models;
use crate::model::Texts;
use crate::state::{State, tokenization_workers};

/// What is served, and what is refused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    #[schema(example = "runs/reviews-1")]
    model_id: String,
    /// Always nothing: a directory has no commit.
    model_sha: Option<String>,
    #[schema(example = "bfloat16")]
    model_dtype: &'static str,
    model_type: ModelType,
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    /// Always nothing: tokens alone are counted.
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModelType {
    Classifier(Classifier),
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Classifier {
    id2label: BTreeMap<String, String>,
    label2id: BTreeMap<String, usize>,
}

/// Tell what is served
#[utoipa::path(
    get,
    path = "/info",
    tag = "text-embeddings-inference",
    responses(
        (status = 200, description = "The model and the limits", body = Info),
        (status = 401, description = "The key is missing or wrong", body = ErrorResponse),
    )
)]
pub(crate) async fn info(Shared(state): Shared<Arc<State>>, Chosen(served): Chosen) -> Json<Info> {
    let (version, limits) = (served.current(), &state.options.limits);
    let labels = || version.config.labels.iter().enumerate();
    let classifier = Classifier {
        id2label: labels().map(|(id, label)| (id.to_string(), label.clone())).collect(),
        label2id: labels().map(|(id, label)| (label.clone(), id)).collect(),
    };
    Json(Info {
        model_id: served.id.clone(),
        model_sha: None,
        model_dtype: version.dtype,
        model_type: ModelType::Classifier(classifier),
        max_concurrent_requests: limits.max_concurrent_requests,
        max_input_length: version.tokenizer.max_length(),
        max_batch_tokens: limits.max_batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: limits.max_client_batch_size,
        auto_truncate: state.options.auto_truncate,
        tokenization_workers: tokenization_workers(&state.options),
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// A model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelEntry {
    /// Its name in routes.
    name: String,
    model_id: String,
    /// Whether the routes without a name are its own.
    default: bool,
    problem_type: &'static str,
    /// What it takes: `any`, `single` texts or `pairs`.
    #[schema(example = "single")]
    texts: &'static str,
    /// In the order of their ids.
    labels: Vec<String>,
    max_input_length: usize,
    /// Whether probabilities are those of a saved calibration.
    calibrated: bool,
}

/// List the models
#[utoipa::path(
    get,
    path = "/models",
    tag = "distune",
    responses(
        (status = 200, description = "All models, the default one first", body = Vec<ModelEntry>),
        (status = 401, description = "The key is missing or wrong", body = ErrorResponse),
    )
)]
pub(crate) async fn models(Shared(state): Shared<Arc<State>>) -> Json<Vec<ModelEntry>> {
    let entries = state.models.all().iter().enumerate().map(|(i, served)| {
        let version = served.current();
        ModelEntry {
            name: served.name.clone(),
            model_id: served.id.clone(),
            default: i == 0,
            problem_type: version.config.problem_type.name(),
            texts: match version.texts {
                Texts::Any => "any",
                Texts::Single => "single",
                Texts::Pairs => "pairs",
            },
            labels: version.config.labels.clone(),
            max_input_length: version.tokenizer.max_length(),
            calibrated: version.calibrated,
        }
    });
    Json(entries.collect())
}

/// Tell whether requests can be answered
#[utoipa::path(
    get,
    path = "/health",
    tag = "text-embeddings-inference",
    responses(
        (status = 200, description = "They can"),
        (status = 503, description = "The engine failed on its last batch and on a text of its own since, or the server ends", body = ErrorResponse),
    )
)]
pub(crate) async fn health(Shared(state): Shared<Arc<State>>) -> Result<(), ApiError> {
    match (state.queue.healthy(), state.draining()) {
        (_, true) => Err(ApiError::no_answer()),
        (true, false) => Ok(()),
        (false, false) => try_models(&state).await,
    }
}

/// Tell whether requests can be answered, as Amazon SageMaker asks
#[utoipa::path(
    get,
    path = "/ping",
    tag = "text-embeddings-inference",
    responses(
        (status = 200, description = "They can"),
        (status = 503, description = "The engine failed on its last batch and on a text of its own since, or the server ends", body = ErrorResponse),
    )
)]
#[allow(dead_code)] // `health` serves it: this is its documentation
pub(crate) async fn ping() {}

/// Tell counters and times, for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "text-embeddings-inference",
    responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], state.metrics.render(state.budget.held()))
}
