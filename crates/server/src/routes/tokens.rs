//! `/tokenize` and `/decode`, as in text-embeddings-inference.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Shared;
use distune::tokenize::Cut;

use crate::error::{ApiError, ErrorResponse, ErrorType};
use crate::extract::{Chosen, Payload};
use crate::infer::tokenizing;
use crate::model::Version;
use crate::protocol::{DecodeRequest, Ids, SimpleToken, TokenizeRequest};
use crate::state::State;

/// Show the tokens of texts, uncut
#[utoipa::path(
    post,
    path = "/tokenize",
    tag = "text-embeddings-inference",
    request_body = TokenizeRequest,
    responses(
        (status = 200, description = "The tokens of each text", body = Vec<Vec<SimpleToken>>),
        (status = 400, description = "No text", body = ErrorResponse),
        (status = 401, description = "The key is missing or wrong", body = ErrorResponse),
        (status = 408, description = "The body did not come in time", body = ErrorResponse),
        (status = 413, description = "Too many bytes or texts", body = ErrorResponse),
        (status = 415, description = "The body is not JSON by its Content-Type, or is compressed", body = ErrorResponse),
        (status = 422, description = "A body of another form, a failing tokenizer", body = ErrorResponse),
        (status = 429, description = "Too many requests: try again after Retry-After", body = ErrorResponse),
    )
)]
pub(crate) async fn tokenize(
    Shared(state): Shared<Arc<State>>,
    Chosen(served): Chosen,
    Payload(request): Payload<TokenizeRequest>,
) -> Result<Json<Vec<Vec<SimpleToken>>>, ApiError> {
    let _permit = state.permit()?;
    let (texts, special) = (request.inputs.into_vec(), request.add_special_tokens);
    check_size(&state, texts.len())?;
    let (version, bytes) = (served.current(), texts.iter().map(String::len).sum());
    let work = move || texts.iter().map(|text| tokens(&version, text, special)).collect();
    tokenizing(&state, bytes, work).await.map(Json)
}

/// Checks the number of texts, or of lists of ids.
fn check_size(state: &State, n: usize) -> Result<(), ApiError> {
    let most = state.options.limits.max_client_batch_size;
    match n {
        0 => Err(ApiError::new(ErrorType::Empty, "the batch cannot be empty")),
        n if n > most => Err(ApiError::too_large(format!("batch size {n} > maximum allowed batch size {most}"))),
        _ => Ok(()),
    }
}

fn tokens(version: &Version, text: &str, with_special: bool) -> Result<Vec<SimpleToken>, ApiError> {
    let traced = version.tokenizer.trace_cutting(text, None, Cut::Nothing);
    let traced = traced.map_err(|error| ApiError::new(ErrorType::Tokenizer, error))?;
    // uncut, it is one window
    let ids = traced.windows.into_iter().flat_map(|window| window.ids);
    // where each character begins, so that a long text is not walked through for each token
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let tokens = traced.tokens.into_iter().zip(ids).map(|(token, id)| {
        let bytes = || Some(*starts.get(token.place.start)?..*starts.get(token.place.end)?);
        match token.text {
            None => SimpleToken { id, text: token.token, special: true, start: None, stop: None },
            Some(_) => {
                let text = bytes().and_then(|bytes| text.get(bytes)).unwrap_or_default().to_owned();
                SimpleToken { id, text, special: false, start: Some(token.place.start), stop: Some(token.place.end) }
            }
        }
    });
    Ok(tokens.filter(|token| with_special || !token.special).collect())
}

/// Put token ids together to texts
#[utoipa::path(
    post,
    path = "/decode",
    tag = "text-embeddings-inference",
    request_body = DecodeRequest,
    responses(
        (status = 200, description = "The text of each list of ids", body = Vec<String>),
        (status = 400, description = "No ids", body = ErrorResponse),
        (status = 401, description = "The key is missing or wrong", body = ErrorResponse),
        (status = 408, description = "The body did not come in time", body = ErrorResponse),
        (status = 413, description = "Too many bytes or lists", body = ErrorResponse),
        (status = 415, description = "The body is not JSON by its Content-Type, or is compressed", body = ErrorResponse),
        (status = 422, description = "A body of another form, a failing tokenizer", body = ErrorResponse),
        (status = 429, description = "Too many requests: try again after Retry-After", body = ErrorResponse),
    )
)]
pub(crate) async fn decode(
    Shared(state): Shared<Arc<State>>,
    Chosen(served): Chosen,
    Payload(request): Payload<DecodeRequest>,
) -> Result<Json<Vec<String>>, ApiError> {
    let _permit = state.permit()?;
    let lists = match request.ids {
        Ids::Single(ids) => vec![ids],
        Ids::Batch(lists) => lists,
    };
    check_size(&state, lists.len())?;
    if lists.iter().any(Vec::is_empty) {
        return Err(ApiError::new(ErrorType::Empty, "`ids` cannot be empty"));
    }
    let (version, skip) = (served.current(), request.skip_special_tokens);
    let bytes = lists.iter().map(|ids| ids.len() * size_of::<u32>()).sum();
    let decode = move |ids: &Vec<u32>| version.tokenizer.decode(ids, skip);
    let work = move || lists.iter().map(decode).collect::<Result<_, _>>();
    tokenizing(&state, bytes, move || work().map_err(|error| ApiError::new(ErrorType::Tokenizer, error)))
        .await
        .map(Json)
}
