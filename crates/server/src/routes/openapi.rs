//! The schema of all routes, from the same types that they read and write.

use utoipa::OpenApi;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ResponseBuilder};
use utoipa::openapi::{OpenApi as Document, RefOr, Required};

/// Routes that are there twice: at the root, and below `/models/{name}`.
const OF_A_MODEL: [&str; 5] = ["/predict", "/explain", "/tokenize", "/decode", "/info"];
const KEY: &str = "api_key";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "distune",
        description = "Text classification, in the protocol of text-embeddings-inference. Routes of a model serve the default one; \
                       below /models/{name} they serve that of the name.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        super::predict::predict,
        super::explain::explain,
        super::tokens::tokenize,
        super::tokens::decode,
        super::info::info,
        super::info::models,
        super::hugging_face::classify,
        super::info::health,
        super::info::ping,
        super::info::metrics,
    )
)]
struct Root;

/// The whole document, of a server that wants a key or of one that does not.
pub(crate) fn document(keyed: bool) -> Document {
    let mut document = Root::openapi();
    let paths = &mut document.paths.paths;
    for route in OF_A_MODEL {
        if let Some(item) = paths.get(route) {
            let named = named(item.clone());
            paths.insert(format!("/models/{{name}}{route}"), named);
        }
    }
    if !keyed {
        return document;
    }
    let with_key =
        paths.iter_mut().filter(|(path, _)| path.starts_with("/models") || OF_A_MODEL.contains(&path.as_str()));
    for operation in with_key.flat_map(|(_, item)| [&mut item.get, &mut item.post]).flatten() {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(KEY, [])]);
    }
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().security_schemes.insert(KEY.into(), bearer.into());
    document
}

/// The same for the model of a name.
fn named(mut item: PathItem) -> PathItem {
    let name = ParameterBuilder::new()
        .name("name")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("A model that GET /models lists"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build();
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorResponse"))).build();
    let missing = ResponseBuilder::new().description("No such model").content("application/json", body).build();
    for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
        operation.parameters.get_or_insert_default().push(RefOr::T(name.clone()));
        operation.responses.responses.insert("404".into(), RefOr::T(missing.clone()));
        operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_named"));
    }
    item
}
