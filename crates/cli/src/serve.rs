//! `distune serve`: trained models over HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use distune::Error;
use distune::calibration::Calibration;
use distune::engine::Predict;
use distune_server::{Limits, Loaded, LogFormat, Options, Source, Stop, log, serve};
use serde_json::json;

use crate::length::LengthArgs;
use crate::output::line;
use crate::{Common, sources, stop};

/// Serve models over HTTP: text-embeddings-inference's protocol, Hugging Face Inference's, and a page to try them on
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub; several as NAME=DIR each, of which the first one is the
    /// default. A directory that is replaced while the server runs is loaded anew
    #[arg(long, short, required = true, value_name = "[NAME=]MODEL")]
    model: Vec<String>,
    /// Name or address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 for any free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    #[command(flatten)]
    length: LengthArgs,
    /// Cut texts that are too long where a request does not say; otherwise they are refused
    #[arg(long)]
    auto_truncate: bool,
    /// Tell probabilities after the temperature that is saved with each model, in calibration.json (see distune calibrate)
    #[arg(long)]
    calibrated: bool,
    /// Key that clients must show as "Authorization: Bearer KEY"; better given as DISTUNE_API_KEY, as others can see command lines
    #[arg(long, value_name = "KEY", env = "DISTUNE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Origin whose pages may use the server, or "*"; may be given several times [default: none]
    #[arg(long, value_name = "ORIGIN")]
    cors_allow_origin: Vec<String>,
    /// PEM file with the certificate and its chain, to speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormatChoice,
    /// Let the log have the texts of requests
    #[arg(long)]
    log_texts: bool,
}

/// What is refused.
#[derive(Args, Debug)]
struct LimitArgs {
    /// Requests that are worked on or wait; more are refused with status 429
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_concurrent_requests, value_parser = positive)]
    max_concurrent_requests: usize,
    /// Tokens of texts that are computed at once, at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_batch_tokens, value_parser = positive)]
    max_batch_tokens: usize,
    /// Texts of one request, at most
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_client_batch_size, value_parser = positive)]
    max_client_batch_size: usize,
    /// Bytes of a request's body, at most; of large bodies and answers, 64 times as many are held in memory, and more are refused with status 429
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().payload_limit, value_parser = positive)]
    payload_limit: usize,
    /// Seconds for the head of a request, again for its body, and without a byte of an answer taken
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().read_timeout.as_secs(), value_parser = seconds)]
    read_timeout: u64,
    /// Seconds from then on to the answer
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().request_timeout.as_secs(), value_parser = seconds)]
    request_timeout: u64,
}

/// What `--log-format` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatChoice {
    Text,
    Json,
}

/// More of anything than this is a mistake, and a semaphore takes no more.
const MOST: u64 = 1 << 30;

fn positive(said: &str) -> Result<usize, String> {
    let number = said.parse().ok().filter(|n| (1..=MOST as usize).contains(n));
    number.ok_or_else(|| format!("expected a whole number from 1 to {MOST}"))
}

fn seconds(said: &str) -> Result<u64, String> {
    let day = 24 * 60 * 60;
    said.parse()
        .ok()
        .filter(|n| (1..=day).contains(n))
        .ok_or_else(|| format!("expected a whole number from 1 to {day}"))
}

pub(crate) fn run(args: &ServeArgs, common: &Common) -> anyhow::Result<()> {
    let format = match args.log_format {
        LogFormatChoice::Text => LogFormat::Text,
        LogFormatChoice::Json => LogFormat::Json,
    };
    log(format, common.quiet);
    let options = args.options(common)?;
    let (how, scheme) = (Arc::new(args.how(common)), if options.tls.is_some() { "https" } else { "http" });
    let sources = args.model.iter().map(|model| source(model, &how)).collect::<distune::Result<_>>()?;
    let stopping = Stop::default();
    let handle = stopping.clone();
    stop::then(move || handle.request());
    serve(options, sources, &stopping, |address| {
        let address = format!("{scheme}://{address}");
        let said = match common.json {
            true => json!({"event": "listening", "address": address}).to_string(),
            false => format!("Listening on {address}"),
        };
        // a closed standard output is no reason to stop
        let _ = line(said);
    })?;
    Ok(())
}

impl ServeArgs {
    fn options(&self, common: &Common) -> distune::Result<Options> {
        if self.api_key.as_ref().is_some_and(|key| key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            let expected = "letters, digits and signs of ASCII, without spaces";
            return Err(Error::value("command line", "--api-key", expected, "another key"));
        }
        let defaults = Options::default();
        Ok(Options {
            host: self.host.clone(),
            port: self.port,
            api_key: self.api_key.clone(),
            cors_allow_origin: self.cors_allow_origin.clone(),
            tls: self.tls_cert.clone().zip(self.tls_key.clone()),
            auto_truncate: self.auto_truncate,
            log_texts: self.log_texts,
            threads: common.threads.map_or(defaults.threads, usize::from),
            limits: Limits {
                max_concurrent_requests: self.limits.max_concurrent_requests,
                max_batch_tokens: self.limits.max_batch_tokens,
                max_client_batch_size: self.limits.max_client_batch_size,
                payload_limit: self.limits.payload_limit,
                read_timeout: Duration::from_secs(self.limits.read_timeout),
                request_timeout: Duration::from_secs(self.limits.request_timeout),
            },
            ..defaults
        })
    }

    fn how(&self, common: &Common) -> How {
        How { length: self.length.clone(), calibrated: self.calibrated, common: common.clone() }
    }
}

/// How every model is loaded.
struct How {
    length: LengthArgs,
    calibrated: bool,
    common: Common,
}

/// The model that `[NAME=]MODEL` says. Without a name, it has the last part of its path.
fn source(said: &str, how: &Arc<How>) -> distune::Result<Source> {
    let (name, id) = match said.split_once('=') {
        Some((name, id)) if is_name(name) => (name.to_owned(), id.to_owned()),
        _ => (last_part(said), said.to_owned()),
    };
    let (watched, how, model) = (Path::new(&id).is_dir().then(|| PathBuf::from(&id)), how.clone(), id.clone());
    Ok(Source { name, id, directory: watched, load: Box::new(move || load(&model, &how)) })
}

/// Whether something can stand in a route as it is.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn last_part(path: &str) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let last = absolute.file_name().unwrap_or_default().to_string_lossy();
    let name: String = last.chars().map(|c| if is_name(c.encode_utf8(&mut [0; 4])) { c } else { '-' }).collect();
    if name.is_empty() { "default".into() } else { name }
}

fn load(model: &str, how: &How) -> distune::Result<Loaded> {
    let files = sources::model(model, &how.common)?;
    let classifier = sources::classifier(&files, &how.length, &how.common)?;
    let config = classifier.engine.config();
    let calibration = how.calibrated.then(|| Calibration::read(&files.path, &config.labels, config.problem_type));
    let temperature = calibration.transpose()?.map(|calibration| calibration.temperature);
    Ok(Loaded::new(classifier, temperature, files))
}
