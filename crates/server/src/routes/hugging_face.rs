//! `POST /models/{name}`: text classification in the form of Hugging Face Inference, as its clients ask for it when
//! `http://HOST/models/NAME` is their model.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorResponse, PredictionErrors};
use crate::extract::{Chosen, Payload};
use crate::infer::Truncation;
use crate::metrics::Method;
use crate::protocol::{Prediction, Text, Texts, TruncationDirection};
use crate::routes::predict::{Function, answered, predictions};
use crate::state::State;

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClassifyRequest {
    inputs: Texts,
    #[serde(default)]
    parameters: Option<ClassifyParameters>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct ClassifyParameters {
    /// Without it, softmax, or sigmoid where a text may have several labels.
    #[serde(default)]
    function_to_apply: Option<FunctionToApply>,
    /// So many labels of each text; all without it.
    #[serde(default)]
    #[schema(minimum = 1)]
    top_k: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FunctionToApply {
    Sigmoid,
    Softmax,
    None,
}

/// Predict labels, in the form of Hugging Face Inference
#[utoipa::path(
    post,
    path = "/models/{name}",
    tag = "Hugging Face Inference",
    params(("name" = String, Path, description = "A model that GET /models lists")),
    request_body = ClassifyRequest,
    responses(
        (status = 200, description = "The labels of each text, the most probable one first", body = Vec<Vec<Prediction>>),
        (status = 404, description = "No such model", body = ErrorResponse),
        PredictionErrors,
    )
)]
pub(crate) async fn classify(
    Shared(state): Shared<Arc<State>>,
    Chosen(served): Chosen,
    Payload(request, _held): Payload<ClassifyRequest>,
) -> Result<(HeaderMap, Response), ApiError> {
    let version = served.current();
    let ClassifyParameters { function_to_apply, top_k } = request.parameters.unwrap_or_default();
    if top_k == Some(0) {
        return Err(ApiError::validation("`top_k` must be 1 or more"));
    }
    let function = match function_to_apply {
        Some(FunctionToApply::Sigmoid) => Function::Sigmoid,
        Some(FunctionToApply::Softmax) => Function::Softmax,
        Some(FunctionToApply::None) => Function::None,
        None => Function::of(version.config.problem_type),
    };
    let truncation = Truncation { truncate: state.options.auto_truncate, direction: TruncationDirection::Right };
    let method = match request.inputs {
        Texts::Single(_) => Method::Single,
        Texts::Batch(_) => Method::Batch,
    };
    let texts = request.inputs.into_vec().into_iter().map(|text| Text { text, second: None }).collect();
    let (mut all, times) = predictions(&state, &version, texts, method, truncation, function).await?;
    all.iter_mut().for_each(|predictions| predictions.truncate(top_k.unwrap_or(usize::MAX)));
    answered(&state, method, &times, &all)
}
