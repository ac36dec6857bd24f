//! The routes. Those of a model are there twice: at the root for the default model, and below `/models/{name}`.

mod explain;
mod hugging_face;
mod info;
mod openapi;
mod predict;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use distune::{Error, Result};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_swagger_ui::SwaggerUi;

use crate::error::{ApiError, ErrorType};
use crate::observe::{count_failures, key_required, observe};
use crate::page;
use crate::state::State;

/// All of them.
pub(crate) fn router(state: &Arc<State>) -> Result<Router> {
    let of_a_model = || {
        Router::new()
            .route("/predict", post(predict::predict))
            .route("/explain", post(explain::explain))
            .route("/tokenize", post(tokens::tokenize))
            .route("/decode", post(tokens::decode))
    };
    let key = || from_fn_with_state(state.clone(), key_required);
    let asked = of_a_model()
        .route("/models/{name}", post(hugging_face::classify))
        .nest("/models/{name}", of_a_model())
        .route_layer(key())
        .route_layer(from_fn_with_state(state.clone(), count_failures));
    let told = Router::new()
        .route("/info", get(info::info))
        .route("/models", get(info::models))
        .route("/models/{name}/info", get(info::info))
        .route_layer(key());
    let open = Router::new()
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/health", get(info::health))
        .route("/ping", get(info::health))
        .route("/metrics", get(info::metrics));
    let documents =
        SwaggerUi::new("/docs").url("/api-doc/openapi.json", openapi::document(state.options.api_key.is_some()));
    // the default one answers without a body
    let no_method =
        || async { ApiError::validation("no such method here").with_status(StatusCode::METHOD_NOT_ALLOWED) };
    let no_route = || async { ApiError::new(ErrorType::NotFound, "no such route; GET /docs lists them") };
    let all = asked.merge(told).merge(open).merge(documents).method_not_allowed_fallback(no_method).fallback(no_route);
    let all = match cors(&state.options.cors_allow_origin)? {
        Some(cors) => all.layer(cors),
        None => all,
    };
    Ok(all.layer(from_fn_with_state(state.clone(), observe)).with_state(state.clone()))
}

/// What lets pages of other origins in, where there are such.
fn cors(origins: &[String]) -> Result<Option<CorsLayer>> {
    let origin = |origin: &String| {
        let expected = "an origin, as https://example.org, or *";
        origin.parse::<HeaderValue>().map_err(|_| Error::value("command line", "--cors-allow-origin", expected, origin))
    };
    let allowed = match origins {
        [] => return Ok(None),
        all if all.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        all => AllowOrigin::list(all.iter().map(origin).collect::<Result<Vec<_>>>()?),
    };
    let headers = [header::CONTENT_TYPE, header::AUTHORIZATION];
    Ok(Some(CorsLayer::new().allow_methods([Method::GET, Method::POST]).allow_headers(headers).allow_origin(allowed)))
}
