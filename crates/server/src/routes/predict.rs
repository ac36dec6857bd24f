//! `/predict`: labels with their probabilities, as text-embeddings-inference tells them.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use distune::model::ProblemType;
use distune::predict::probabilities;
use serde::Serialize;

use crate::answer::whole;
use crate::error::{ApiError, PredictionErrors};
use crate::extract::{Chosen, Payload};
use crate::infer::{Truncation, infer};
use crate::metrics::Method;
use crate::model::Version;
use crate::protocol::{PredictInput, PredictRequest, PredictResponse, Prediction, Text};
use crate::state::State;
use crate::times::Times;

/// Predict labels
#[utoipa::path(
    post,
    path = "/predict",
    tag = "text-embeddings-inference",
    request_body = PredictRequest,
    responses(
        (status = 200, description = "All labels of each text, the most probable one first", body = PredictResponse),
        PredictionErrors,
    )
)]
pub(crate) async fn predict(
    Shared(state): Shared<Arc<State>>,
    Chosen(served): Chosen,
    Payload(request, _held): Payload<PredictRequest>,
) -> Result<(HeaderMap, Response), ApiError> {
    let version = served.current();
    let truncate = request.truncate.unwrap_or(state.options.auto_truncate);
    let truncation = Truncation { truncate, direction: request.truncation_direction };
    let function = if request.raw_scores { Function::None } else { Function::of(version.config.problem_type) };
    let (texts, method) = match request.inputs {
        PredictInput::Single(text) => (vec![text], Method::Single),
        PredictInput::Batch(texts) => (texts, Method::Batch),
    };
    let (mut all, times) = predictions(&state, &version, texts, method, truncation, function).await?;
    let response = match (method, all.pop()) {
        (Method::Single, Some(one)) => PredictResponse::Single(one),
        (_, last) => PredictResponse::Batch(all.into_iter().chain(last).collect()),
    };
    answered(&state, method, &times, &response)
}

/// What becomes of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Softmax,
    Sigmoid,
    None,
}

impl Function {
    /// That of a model's kind.
    pub(crate) fn of(problem: ProblemType) -> Self {
        match problem {
            ProblemType::SingleLabel => Self::Softmax,
            ProblemType::MultiLabel => Self::Sigmoid,
        }
    }

    fn scores(self, logits: &[f32], temperature: f64) -> Vec<f64> {
        let calibrated = || logits.iter().map(|z| (f64::from(*z) / temperature) as f32).collect::<Vec<_>>();
        match self {
            Self::Softmax => probabilities(&calibrated(), ProblemType::SingleLabel),
            Self::Sigmoid => probabilities(&calibrated(), ProblemType::MultiLabel),
            Self::None => logits.iter().map(|z| f64::from(*z)).collect(),
        }
    }
}

/// The labels of each text, the highest score first, for a request that is counted.
pub(crate) async fn predictions(
    state: &State,
    version: &Arc<Version>,
    texts: Vec<Text>,
    method: Method,
    truncation: Truncation,
    function: Function,
) -> Result<(Vec<Vec<Prediction>>, Times), ApiError> {
    state.metrics.request(method);
    let _permit = state.permit()?;
    if state.options.log_texts {
        let shown: Vec<_> = texts.iter().map(|text| (&text.text, &text.second)).collect();
        tracing::info!(texts = ?shown);
    }
    let (logits, times) = infer(state, version, texts, truncation).await?;
    let all = logits.iter().map(|row| {
        let scores = function.scores(row, version.temperature).into_iter().map(|score| score as f32);
        let labels = version.config.labels.iter().cloned();
        let mut predictions: Vec<_> = scores.zip(labels).map(|(score, label)| Prediction { score, label }).collect();
        predictions.sort_by(|a, b| b.score.total_cmp(&a.score));
        predictions
    });
    Ok((all.collect(), times))
}

/// The answer to a request that was counted.
pub(crate) fn answered(
    state: &State,
    method: Method,
    times: &Times,
    predictions: &impl Serialize,
) -> Result<(HeaderMap, Response), ApiError> {
    let response = whole(&state.budget, predictions)?;
    state.metrics.success(method, times);
    Ok((times.headers(), response))
}
