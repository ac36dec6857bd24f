//! A server from its start to its end. Called by the command line and by tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use distune::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::explain::explanations;
use crate::metrics::Metrics;
use crate::model::{Models, Source};
use crate::options::Options;
use crate::queue::Queue;
use crate::state::State;
use crate::{http, routes, watch as directories};

/// Tokens that the engine computes at once; more would leave its caches, and the first ones would wait for the last ones.
const ENGINE_TOKENS: usize = 1024;
/// Of so many requests one may be for an explanation.
const EXPLANATIONS: usize = 4;
/// Time between two sums of what was measured.
const UPKEEP: Duration = Duration::from_secs(5);

/// Asks a server to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Stop {
    /// Asks: no new connection is accepted, and what has come is answered.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Waits until someone asks.
    pub(crate) async fn requested(&self) {
        // the other end is here
        let _ = self.0.subscribe().wait_for(|stop| *stop).await;
    }
}

/// Serves models until it is asked to stop and every request that has come is answered. `listening` is told the address.
///
/// The calling thread speaks HTTP. A pool of `threads` computes, one of its threads taking the batches; others explain, and look for new
/// versions of the models.
///
/// # Errors
/// A model that cannot be loaded, two of one name; an address that cannot be listened on; files that TLS cannot use.
pub fn serve(options: Options, sources: Vec<Source>, stop: &Stop, listening: impl FnOnce(SocketAddr)) -> Result<()> {
    let tls = http::acceptor(options.tls.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::value("server", "runtime", "threads and files of the system", error))?;
    // before the models are loaded, which takes longer
    let listener = runtime.block_on(listen(&options))?;
    let models = Arc::new(Models::load(sources)?);
    let metrics = Arc::new(Metrics::new()?);
    let queue = Arc::new(Queue::new(metrics.clone()));
    let (to_explain, explaining) = explanations(options.limits.max_concurrent_requests.div_ceil(EXPLANATIONS));
    let [engine_pool, explaining_pool] =
        [("engine", options.threads), ("explain", options.threads.div_ceil(2))].map(pool);
    let (engine_pool, explaining_pool) = (engine_pool?, explaining_pool?);
    let tokens = options.limits.max_batch_tokens.min(ENGINE_TOKENS);
    let every = options.reload_every;
    let state = Arc::new(State::new(options, models.clone(), queue.clone(), to_explain, metrics));
    let router = routes::router(&state)?;
    let (watching, ends) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| engine_pool.install(|| queue.work(tokens)));
        scope.spawn(|| explaining_pool.install(|| explaining.work()));
        scope.spawn(move || directories::watch(&models, every, &ends));
        runtime.block_on(async {
            if let Ok(address) = listener.local_addr() {
                listening(address);
            }
            let metrics = state.metrics.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    metrics.upkeep();
                }
            });
            http::serve(listener, tls, router, &state, stop).await;
        });
        drop(watching);
        queue.close();
        state.explanations.close();
    });
    Ok(())
}

async fn listen(options: &Options) -> Result<TcpListener> {
    let Options { host, port, .. } = options;
    TcpListener::bind((host.as_str(), *port)).await.map_err(|error| {
        let found = format!("{host}:{port}: {error}");
        Error::value("command line", "--host and --port", "an address that is free to listen on", found)
    })
}

fn pool((name, threads): (&'static str, usize)) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.max(1))
        .thread_name(move |i| format!("{name}-{i}"))
        .build()
        .map_err(|error| Error::value("server", "threads", "as many as --threads says", error))
}
