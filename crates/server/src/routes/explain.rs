//! `/explain`, of our own: what a prediction rests on.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::Response;
use distune::data::check_ids;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::whole;
use crate::error::{ApiError, ErrorType, PredictionErrors};
use crate::extract::{Chosen, Payload};
use crate::infer::{Truncation, check, check_windows, in_time, tokenizing, too_long};
use crate::model::Version;
use crate::protocol::{PredictInput, Text, TruncationDirection};
use crate::state::State;

#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ExplainRequest {
    /// A text, or a pair of texts.
    inputs: PredictInput,
    /// The label in question; without it, the most probable one.
    #[serde(default)]
    label: Option<String>,
    /// Whether a text that is too long is cut; without this, as the server was started.
    #[serde(default)]
    truncate: Option<bool>,
    #[serde(default)]
    truncation_direction: TruncationDirection,
}

/// What the logit of a label rests on (integrated gradients).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainResponse {
    label: String,
    /// Every token, special ones included.
    tokens: Vec<TokenScore>,
    /// The words of the text, or of both texts, each with the sum of its tokens' scores.
    words: Vec<WordScore>,
    /// The sum of all scores.
    sum: f64,
    /// The label's logit of the text.
    logit: f64,
    /// The label's logit of as many padding tokens.
    baseline_logit: f64,
    /// By how much `sum` differs from `logit - baseline_logit`.
    completeness_gap: f64,
    /// Whether that gap is small.
    complete: bool,
    /// Points at which the gradient was taken.
    steps: usize,
    /// Whether the text was cut.
    truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenScore {
    token: String,
    /// Which text it is of: 0, or 1 for the second of a pair; none for a special token.
    text: Option<usize>,
    /// Where it begins in that text, in characters.
    start: usize,
    end: usize,
    /// Above 0 where it speaks for the label.
    score: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WordScore {
    word: String,
    /// Which text it is of: 0, or 1 for the second of a pair.
    text: usize,
    /// Where it begins in that text, in characters.
    start: usize,
    end: usize,
    score: f64,
}

/// Show which words a prediction rests on
#[utoipa::path(
    post,
    path = "/explain",
    tag = "distune",
    request_body = ExplainRequest,
    responses(
        (status = 200, description = "The score of each token and word", body = ExplainResponse),
        PredictionErrors,
    )
)]
pub(crate) async fn explain(
    Shared(state): Shared<Arc<State>>,
    Chosen(served): Chosen,
    Payload(request, _held): Payload<ExplainRequest>,
) -> Result<Response, ApiError> {
    let (_place, _permit) = (state.explanations.place()?, state.permit()?);
    let PredictInput::Single(text) = request.inputs else {
        return Err(ApiError::validation("`inputs` must be a text or a pair of texts, not a batch"));
    };
    let version = served.current();
    check(&version, std::slice::from_ref(&text), 1)?;
    let class = request.label.map(|label| class(&version, &label)).transpose()?;
    let truncate = request.truncate.unwrap_or(state.options.auto_truncate);
    let truncation = Truncation { truncate, direction: request.truncation_direction };
    let work = async {
        let (of, bytes, most) = (version.clone(), text.bytes(), state.options.limits.max_batch_tokens);
        let traced = tokenizing(&state, bytes, move || trace(&of, &text, truncation, most)).await?;
        state.explanations.explain(version, traced, class).await
    };
    whole(&state.budget, &ExplainResponse::from(in_time(&state, work).await?))
}

fn class(version: &Version, label: &str) -> Result<usize, ApiError> {
    let labels = &version.config.labels;
    labels.iter().position(|known| known == label).ok_or_else(|| {
        ApiError::validation(format!("`label` must be one of the model's labels, which /info lists, not {label:?}"))
    })
}

fn trace(
    version: &Version,
    text: &Text,
    truncation: Truncation,
    most: usize,
) -> Result<distune::tokenize::Traced, ApiError> {
    let failed = |error| ApiError::new(ErrorType::Tokenizer, error);
    let (first, second) = (&text.text, text.second.as_deref());
    let traced = version.tokenizer.trace_cutting(first, second, truncation.cut()).map_err(failed)?;
    if traced.truncated && !truncation.truncate {
        let (_, length) = version.tokenizer.encode_cutting(first, second, truncation.cut()).map_err(failed)?;
        return Err(too_long(version, length));
    }
    check_windows(traced.windows.iter().map(|window| window.ids.len()), most)?;
    let checked = traced.windows.iter().try_for_each(|window| check_ids(&window.ids, &version.config));
    checked.map_err(|problem| ApiError::new(ErrorType::Tokenizer, problem))?;
    Ok(traced)
}

impl From<distune::attribution::Attribution> for ExplainResponse {
    fn from(found: distune::attribution::Attribution) -> Self {
        let token = |of: distune::attribution::TokenScore| {
            let distune::attribution::TokenScore { token, text, start, end, score } = of;
            TokenScore { token, text, start, end, score }
        };
        let word = |of: distune::attribution::WordScore| {
            let distune::attribution::WordScore { word, text, start, end, score } = of;
            WordScore { word, text, start, end, score }
        };
        Self {
            label: found.label,
            tokens: found.tokens.into_iter().map(token).collect(),
            words: found.words.into_iter().map(word).collect(),
            sum: found.sum,
            logit: found.logit,
            baseline_logit: found.baseline_logit,
            completeness_gap: found.completeness_gap,
            complete: found.complete,
            steps: found.steps,
            truncated: found.truncated,
        }
    }
}
