//! Serves text classifiers over HTTP: the protocol of text-embeddings-inference, Hugging Face Inference's, and a page.
//!
//! The way of a request: [`http`](self) accepts a connection, `observe` gives the request its id, a file of `routes` reads it, `infer` makes
//! token ids of its texts and puts them in the `queue`, the engine takes as many of them as fit into a batch when it is free, and the route
//! answers. `explain` has a queue of its own; `watch` puts new versions of the models in place.

mod answer;
mod budget;
mod error;
mod explain;
mod extract;
mod http;
mod infer;
mod logs;
mod metrics;
mod model;
mod observe;
mod options;
mod page;
mod protocol;
mod queue;
mod routes;
mod serve;
mod state;
mod times;
mod watch;

pub use logs::{LogFormat, log};
pub use model::{Load, Loaded, Source, Texts};
pub use options::{Limits, Options};
pub use serve::{Stop, serve};
