//! `/tokenize` and `/decode`, as in text-embeddings-inference.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::response::Response;
use distune::tokenize::Cut;

use crate::answer::{in_parts, whole};
use crate::budget::SMALL;
use crate::error::{ApiError, ErrorResponse, ErrorType};
use crate::extract::{Chosen, Payload};
use crate::infer::{in_time, tokenizing};
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
    Payload(request, _held): Payload<TokenizeRequest>,
) -> Result<Response, ApiError> {
    let _permit = state.permit()?;
    let (texts, special) = (request.inputs.into_vec(), request.add_special_tokens);
    check_size(&state, texts.len())?;
    let (version, bytes) = (served.current(), texts.iter().map(String::len).sum());
    let work = move || texts.into_iter().map(|text| Tokens::of(&version, text, special)).collect();
    let texts: Vec<Tokens> = in_time(&state, tokenizing(&state, bytes, work)).await?;
    let bytes = texts.iter().map(Tokens::bytes).sum();
    in_parts(&state.budget, Parts { texts, next: (0, 0) }, bytes)
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

/// A text and where its tokens are: a fraction of the bytes of their JSON, which is made as it is taken.
struct Tokens {
    text: String,
    /// What the special tokens are called, one after the other.
    special: String,
    tokens: Vec<Place>,
}

/// A token, and where it is in the text, or in `Tokens::special`.
struct Place {
    id: u32,
    special: bool,
    /// In characters.
    start: u32,
    stop: u32,
    /// In bytes.
    from: u32,
    to: u32,
}

impl Tokens {
    fn of(version: &Version, text: String, with_special: bool) -> Result<Self, ApiError> {
        if u32::try_from(text.len()).is_err() {
            return Err(ApiError::too_large("a text has more than 4 GiB"));
        }
        let failed = |error: distune::Error| ApiError::new(ErrorType::Tokenizer, error);
        let traced = version.tokenizer.trace_cutting(&text, None, Cut::Nothing).map_err(failed)?;
        // uncut, it is one window
        let ids = traced.windows.into_iter().flat_map(|window| window.ids);
        // where each character begins, so that a long text is not walked through for each token
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut special = String::new();
        let mut tokens = Vec::with_capacity(traced.tokens.len());
        for (token, id) in traced.tokens.into_iter().zip(ids) {
            let (start, stop, is_special) = (token.place.start, token.place.end, token.text.is_none());
            let [from, to] = match (starts.get(start), starts.get(stop)) {
                _ if is_special => {
                    special += &token.token;
                    [special.len() - token.token.len(), special.len()]
                }
                (Some(from), Some(to)) => [*from, *to],
                _ => [0, 0],
            };
            if with_special || !is_special {
                let [start, stop, from, to] = [start, stop, from, to].map(|n| n as u32);
                tokens.push(Place { id, special: is_special, start, stop, from, to });
            }
        }
        Ok(Self { text, special, tokens })
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.special.capacity() + self.tokens.capacity() * size_of::<Place>()
    }

    fn get(&self, i: usize) -> Option<SimpleToken<'_>> {
        let Place { id, special, start, stop, from, to } = *self.tokens.get(i)?;
        let text = if special { &self.special } else { &self.text };
        let place = |character: u32| (!special).then_some(character as usize);
        let text = text.get(from as usize..to as usize).unwrap_or_default();
        Some(SimpleToken { id, text, special, start: place(start), stop: place(stop) })
    }
}

/// The JSON of the tokens of texts, a list for each.
struct Parts {
    texts: Vec<Tokens>,
    /// The text and the token that come next.
    next: (usize, usize),
}

impl Iterator for Parts {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut json = Vec::new();
        while json.len() < SMALL
            && let Some(text) = self.texts.get(self.next.0)
        {
            let (i, j) = self.next;
            match (i, j) {
                (0, 0) => json.extend_from_slice(b"[["),
                (_, 0) => json.extend_from_slice(b"],["),
                _ => json.push(b','),
            }
            if let Some(token) = text.get(j) {
                // nothing can fail here
                let _ = serde_json::to_writer(&mut json, &token);
            }
            self.next = if j + 1 < text.tokens.len() { (i, j + 1) } else { (i + 1, 0) };
            if self.next.0 == self.texts.len() {
                json.extend_from_slice(b"]]");
            }
        }
        (!json.is_empty()).then_some(json)
    }
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
    Payload(request, _held): Payload<DecodeRequest>,
) -> Result<Response, ApiError> {
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
    let work = move || lists.iter().map(decode).collect::<Result<Vec<String>, _>>();
    let work = move || work().map_err(|error| ApiError::new(ErrorType::Tokenizer, error));
    whole(&state.budget, &in_time(&state, tokenizing(&state, bytes, work)).await?)
}
