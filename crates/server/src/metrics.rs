//! Counters, histograms and gauges for Prometheus, under the names of text-embeddings-inference.

use std::time::Duration;

use distune::{Error, Result};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::error::ErrorType;
use crate::times::Times;

const DURATIONS: [(&str, &str); 4] = [
    ("te_request_duration", "Seconds from the whole request to its answer"),
    ("te_request_tokenization_duration", "Seconds in the tokenizer, mean of the texts of a request"),
    ("te_request_queue_duration", "Seconds in the queue, mean of the texts of a request"),
    ("te_request_inference_duration", "Seconds in the engine, mean of the texts of a request"),
];
const SIZES: [(&str, &str); 3] = [
    ("te_request_input_length", "Tokens of a text"),
    ("te_batch_next_size", "Texts of a batch"),
    ("te_batch_next_tokens", "Tokens of a batch"),
];

/// Of our own.
const HELD: &str = "distune_held_bytes";

/// Which kind of request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    Single,
    Batch,
}

pub(crate) struct Metrics {
    handle: PrometheusHandle,
    count: [Counter; 2],
    success: [Counter; 2],
    failure: [Counter; ErrorType::ALL.len()],
    durations: [Histogram; DURATIONS.len()],
    sizes: [Histogram; SIZES.len()],
    queue: Gauge,
    held: Gauge,
}

impl Metrics {
    /// A recorder of our own: two servers in one process do not count together.
    pub(crate) fn new() -> Result<Self> {
        // 10 us to 84 s, and 1 to 32,768, in steps of two
        let seconds: Vec<f64> = (0..24).map(|i| 1e-5 * f64::from(1 << i)).collect();
        let sizes: Vec<f64> = (0..16).map(|i| f64::from(1 << i)).collect();
        let named =
            DURATIONS.iter().map(|(name, _)| (name, &seconds)).chain(SIZES.iter().map(|(name, _)| (name, &sizes)));
        let recorder = named
            .into_iter()
            .try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
                builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
            })
            .map_err(|error| Error::value("metrics", "buckets", "at least one", error))?
            .build_recorder();
        Ok(Self::of(&recorder))
    }

    fn of(recorder: &PrometheusRecorder) -> Self {
        let metadata = Metadata::new(module_path!(), Level::INFO, None);
        let counter = |name: &'static str, label: &'static str, value: &'static str| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &metadata)
        };
        let by_method = |name| ["single", "batch"].map(|method| counter(name, "method", method));
        let histogram = |(name, about): (&'static str, &'static str)| {
            recorder.describe_histogram(name.into(), None, about.into());
            recorder.register_histogram(&Key::from_name(name), &metadata)
        };
        for (name, about) in [
            ("te_request_count", "Requests to predict"),
            ("te_request_success", "Requests that were answered"),
            ("te_request_failure", "Requests to a model that were refused or failed"),
        ] {
            recorder.describe_counter(name.into(), None, about.into());
        }
        recorder.describe_gauge("te_queue_size".into(), None, "Texts that wait for the engine".into());
        recorder.describe_gauge(HELD.into(), None, "Bytes of large bodies and answers that are held".into());
        Self {
            handle: recorder.handle(),
            count: by_method("te_request_count"),
            success: by_method("te_request_success"),
            failure: ErrorType::ALL.map(|kind| counter("te_request_failure", "err", kind.name())),
            durations: DURATIONS.map(histogram),
            sizes: SIZES.map(histogram),
            queue: recorder.register_gauge(&Key::from_name("te_queue_size"), &metadata),
            held: recorder.register_gauge(&Key::from_name(HELD), &metadata),
        }
    }

    /// All of them, as Prometheus reads them, and how many bytes are held.
    pub(crate) fn render(&self, held: usize) -> String {
        self.held.set(held as f64);
        self.handle.render()
    }

    /// Sums up what was measured; without this, memory would grow between two readers.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(crate) fn request(&self, method: Method) {
        self.count[method as usize].increment(1);
    }

    pub(crate) fn success(&self, method: Method, times: &Times) {
        self.success[method as usize].increment(1);
        let [total, tokenization, queue, inference] = &self.durations;
        let record = |histogram: &Histogram, time: Duration| histogram.record(time.as_secs_f64());
        record(total, times.total);
        record(tokenization, times.tokenization);
        record(queue, times.queue);
        record(inference, times.inference);
    }

    pub(crate) fn failure(&self, kind: ErrorType) {
        let counters = ErrorType::ALL.iter().zip(&self.failure);
        counters.filter(|(of, _)| **of == kind).for_each(|(_, counter)| counter.increment(1));
    }

    pub(crate) fn input_length(&self, tokens: usize) {
        self.sizes[0].record(tokens as f64);
    }

    pub(crate) fn batch(&self, rows: usize, tokens: usize) {
        self.sizes[1].record(rows as f64);
        self.sizes[2].record(tokens as f64);
    }

    pub(crate) fn queue_size(&self, rows: usize) {
        self.queue.set(rows as f64);
    }
}
