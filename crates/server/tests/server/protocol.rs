use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::support::{How, MAX_LENGTH, Server};

fn scores(predictions: &Value) -> Vec<f64> {
    predictions.as_array().unwrap().iter().map(|p| p["score"].as_f64().unwrap()).collect()
}

#[test]
fn four_shapes_of_inputs() {
    let server = Server::new();
    let one = server.predict(json!("a good film")).ok();
    let labels: Vec<&str> = one.as_array().unwrap().iter().map(|p| p["label"].as_str().unwrap()).collect();
    let mut sorted = labels.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["negative", "other", "positive"]);
    let found = scores(&one);
    assert!(found.is_sorted_by(|a, b| a >= b) && (found.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert_eq!(one[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["score", "label"]);
    assert_eq!(server.predict(json!(["a good film"])).ok(), one);
    let pair = server.predict(json!(["a good film", "a bad film"])).ok();
    assert_ne!(pair, one);
    assert_eq!(pair.as_array().unwrap().len(), 3, "a pair is one text");
    assert_eq!(server.predict(json!([["a good film"]])).ok(), json!([one]));
    let batch = server.predict(json!([["a good film"], ["a good film", "a bad film"], ["bad"]])).ok();
    assert_eq!((&batch[0], &batch[1]), (&one, &pair), "a row in a batch equals the row alone");
}

#[test]
fn raw_scores_are_logits() {
    let server = Server::new();
    let raw = server.post("/predict", &json!({"inputs": "a film", "raw_scores": true})).ok();
    let (raw, found) = (scores(&raw), scores(&server.predict(json!("a film")).ok()));
    let powers: Vec<f64> = raw.iter().map(|z| z.exp()).collect();
    let softmax = powers.iter().map(|p| p / powers.iter().sum::<f64>());
    assert!(found.iter().zip(softmax).all(|(p, want)| (p - want).abs() < 1e-6));
}

#[test]
fn several_labels_have_sigmoids() {
    let server = Server::of(How::default(), json!({"problem_type": "multi_label_classification"}), |_| {});
    let raw = server.post("/predict", &json!({"inputs": "a film", "raw_scores": true})).ok();
    let found = scores(&server.predict(json!("a film")).ok());
    for (p, z) in found.iter().zip(scores(&raw)) {
        assert!((p - 1.0 / (1.0 + (-z).exp())).abs() < 1e-6);
    }
    assert_eq!(server.get("/models").ok()[0]["problem_type"], "multi_label_classification");
}

#[test]
fn calibrated_scores_are_after_the_temperature() {
    let server = Server::with(How { temperature: Some(4.0), ..How::default() }, |_| {});
    let raw = scores(&server.post("/predict", &json!({"inputs": "a film", "raw_scores": true})).ok());
    let found = scores(&server.predict(json!("a film")).ok());
    let powers: Vec<f64> = raw.iter().map(|z| (z / 4.0).exp()).collect();
    assert!((found[0] - powers[0] / powers.iter().sum::<f64>()).abs() < 1e-6);
    assert_eq!(server.get("/models").ok()[0]["calibrated"], true);
}

#[test]
fn truncation() {
    let server = Server::new();
    let long = "good ".repeat(30) + &"bad ".repeat(30);
    let message = server.predict(json!(long)).fails(422, "Validation");
    assert_eq!(message, "`inputs` must have less than 17 tokens. Given: 62");
    let cut = |direction: &str| {
        let body = json!({"inputs": long, "truncate": true, "truncation_direction": direction});
        let reply = server.post("/predict", &body);
        assert_eq!(reply.header("x-compute-truncated"), Some("1"));
        assert_eq!(reply.header("x-compute-truncated-texts"), Some("0"));
        reply.ok()
    };
    let batch = server.post("/predict", &json!({"inputs": [["a"], [long], ["bad"], ["a", long]], "truncate": true}));
    assert_eq!(batch.header("x-compute-truncated"), Some("2"));
    assert_eq!(batch.header("x-compute-truncated-texts"), Some("1,3"));
    let whole = server.predict(json!([["a"], ["bad"]]));
    assert_eq!(whole.header("x-compute-truncated"), Some("0"));
    assert_eq!(whole.header("x-compute-truncated-texts"), None);
    assert_eq!(cut("Right"), server.predict(json!("good ".repeat(14))).ok());
    assert_eq!(cut("left"), server.predict(json!("bad ".repeat(14))).ok());
    let by_itself = Server::with(How::default(), |options| options.auto_truncate = true);
    assert_eq!(by_itself.predict(json!(long)).status, 200);
    let refused = by_itself.post("/predict", &json!({"inputs": long, "truncate": false}));
    refused.fails(422, "Validation");
}

#[test]
fn headers_tell_where_the_time_went() {
    let server = Server::new();
    let reply = server.predict(json!([["a film"], ["bad"]]));
    for (name, value) in [("x-compute-type", "cpu"), ("x-compute-characters", "9"), ("x-compute-tokens", "7")] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    for name in ["x-compute-time", "x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"] {
        assert!(reply.header(name).unwrap().parse::<u64>().unwrap() < 10_000, "{name}");
    }
}

#[test]
fn request_ids() {
    let server = Server::new();
    let ids = [(); 2].map(|()| server.get("/health").header("x-request-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
    let with = |id: &str| server.client().request("GET", "/nothing", &[("x-request-id", id)], None);
    assert_eq!(with("of-mine").header("x-request-id"), Some("of-mine"));
    assert_ne!(with("with space").header("x-request-id"), Some("with space"));
    let long = "x".repeat(1000);
    assert_ne!(with(&long).header("x-request-id"), Some(long.as_str()));
}

#[test]
fn info() {
    let server = Server::new();
    let want = json!({
        "model_id": "runs/first", "model_sha": null, "model_dtype": "float32",
        "model_type": {"classifier": {
            "id2label": {"0": "negative", "1": "positive", "2": "other"},
            "label2id": {"negative": 0, "positive": 1, "other": 2},
        }},
        "max_concurrent_requests": 512, "max_input_length": MAX_LENGTH, "max_batch_tokens": 16384,
        "max_batch_requests": null, "max_client_batch_size": 32, "auto_truncate": false, "tokenization_workers": 1,
        "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(server.get("/info").ok(), want);
    assert_eq!(server.get("/models/second/info").ok()["model_id"], "runs/second");
    for path in ["/health", "/ping"] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn models_by_name() {
    let server = Server::new();
    let models = server.get("/models").ok();
    let names: Vec<_> = models.as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!((&models[0]["default"], &models[1]["default"]), (&json!(true), &json!(false)));
    let body = json!({"inputs": "a good film"});
    let [default, first, second] =
        ["/predict", "/models/first/predict", "/models/second/predict"].map(|path| server.post(path, &body).ok());
    assert_eq!(default, first);
    assert_ne!(first, second);
}

#[test]
fn tokenize_and_decode() {
    let server = Server::new();
    let tokens = server.post("/tokenize", &json!({"inputs": "A goodish film"})).ok();
    let want = json!([[
        {"id": 2, "text": "[CLS]", "special": true, "start": null, "stop": null},
        {"id": 5, "text": "A", "special": false, "start": 0, "stop": 1},
        {"id": 7, "text": "good", "special": false, "start": 2, "stop": 6},
        {"id": 10, "text": "ish", "special": false, "start": 6, "stop": 9},
        {"id": 6, "text": "film", "special": false, "start": 10, "stop": 14},
        {"id": 3, "text": "[SEP]", "special": true, "start": null, "stop": null},
    ]]);
    assert_eq!(tokens, want);
    let bare = server.post("/tokenize", &json!({"inputs": ["film", "bad"], "add_special_tokens": false})).ok();
    assert_eq!(bare[1], json!([{"id": 8, "text": "bad", "special": false, "start": 0, "stop": 3}]));
    let long = server.post("/tokenize", &json!({"inputs": "bad ".repeat(100)})).ok();
    assert_eq!(long[0].as_array().unwrap().len(), 102, "nothing is cut");
    assert_eq!(server.post("/decode", &json!({"ids": [2, 5, 6, 3]})).ok(), json!(["a film"]));
    let with = json!({"ids": [[2, 5], [6]], "skip_special_tokens": false});
    assert_eq!(server.post("/decode", &with).ok(), json!(["[CLS] a", "film"]));
}

#[test]
fn hugging_face_inference() {
    let server = Server::new();
    let post = |body: Value| server.post("/models/first", &body).ok();
    let one = server.predict(json!("a film")).ok();
    assert_eq!(post(json!({"inputs": "a film"})), json!([one]));
    let top = post(json!({"inputs": ["a film", "bad"], "parameters": {"top_k": 1}}));
    assert_eq!((top.as_array().unwrap().len(), &top[0]), (2, &json!([one[0]])));
    let raw = server.post("/predict", &json!({"inputs": "a film", "raw_scores": true})).ok();
    assert_eq!(post(json!({"inputs": "a film", "parameters": {"function_to_apply": "none"}})), json!([raw]));
    let sigmoid = post(json!({"inputs": "a film", "parameters": {"function_to_apply": "sigmoid"}}));
    let want = 1.0 / (1.0 + (-raw[0]["score"].as_f64().unwrap()).exp());
    assert!((sigmoid[0][0]["score"].as_f64().unwrap() - want).abs() < 1e-6);
}

#[test]
fn explanations_sum_up() {
    let server = Server::new();
    let found = server.post("/explain", &json!({"inputs": "a very goodish film"})).ok();
    assert_eq!(found["label"], server.predict(json!("a very goodish film")).ok()[0]["label"]);
    let sum = |list: &Value| list.as_array().unwrap().iter().map(|t| t["score"].as_f64().unwrap()).sum::<f64>();
    let number = |key: &str| found[key].as_f64().unwrap();
    for list in ["tokens", "words"] {
        assert!((sum(&found[list]) - number("sum")).abs() < 1e-6, "{list}");
    }
    let difference = number("logit") - number("baseline_logit");
    assert!((number("sum") - difference).abs() <= 0.01 * difference.abs().max(0.1), "{found}");
    let words: Vec<_> = found["words"].as_array().unwrap().iter().map(|word| word["word"].as_str().unwrap()).collect();
    assert_eq!(words, ["a", "very", "goodish", "film"]);
    let other = server.post("/models/second/explain", &json!({"inputs": ["a", "film"], "label": "other"})).ok();
    assert_eq!(other["label"], "other");
}

#[test]
fn metrics_have_the_known_names() {
    let server = Server::new();
    server.predict(json!("a film")).ok();
    server.predict(json!([["a"], ["film"]])).ok();
    server.predict(json!([])).fails(400, "Empty");
    for (name, value) in [
        ("te_request_count{method=\"single\"}", 1.0),
        ("te_request_count{method=\"batch\"}", 2.0),
        ("te_request_success{method=\"single\"}", 1.0),
        ("te_request_success{method=\"batch\"}", 1.0),
        ("te_request_failure{err=\"empty\"}", 1.0),
        ("te_request_duration_count", 2.0),
        ("te_request_queue_duration_count", 2.0),
        ("te_request_inference_duration_count", 2.0),
        ("te_request_tokenization_duration_count", 2.0),
        ("te_request_input_length_sum", 10.0),
        ("te_batch_next_tokens_sum", 10.0),
        ("te_batch_next_size_sum", 3.0),
        ("te_queue_size", 0.0),
    ] {
        assert_eq!(server.metric(name), value, "{name}");
    }
}

/// Refused requests to a model are failures; wrong routes and methods, and what looks at the server, are not.
#[test]
fn failures_are_those_of_requests_to_models() {
    let server = Server::with(How { panics: true, ..How::default() }, |options| options.api_key = Some("key".into()));
    let ask = |method: &str, path: &str, key: bool, body: Option<Value>| {
        let authorization = ("authorization", if key { "Bearer key" } else { "Bearer none" });
        let headers = [authorization, ("content-type", "application/json")];
        server.client().request(method, path, &headers, body.map(|body| body.to_string()).as_deref().map(str::as_bytes))
    };
    let failures = || {
        let text = String::from_utf8(server.get("/metrics").body).unwrap();
        let counts = text.lines().filter_map(|line| line.strip_prefix("te_request_failure{err=\"")?.split_once("\"} "));
        let counts = counts.filter(|(_, n)| *n != "0");
        counts
            .map(|(kind, n)| (kind.to_owned(), n.parse::<u32>().unwrap()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    ask("GET", "/nothing", true, None).fails(404, "NotFound");
    ask("POST", "/predictions", true, Some(json!({"inputs": "a"}))).fails(404, "NotFound");
    ask("GET", "/predict", true, None).fails(405, "Validation");
    ask("PUT", "/models/first/predict", true, None).fails(405, "Validation");
    ask("POST", "/health", true, None).fails(405, "Validation");
    ask("GET", "/info", false, None).fails(401, "Unauthorized");
    ask("GET", "/models/third/info", true, None).fails(404, "NotFound");
    assert!(failures().is_empty(), "{:?}", failures());
    ask("POST", "/models/third/predict", true, Some(json!({"inputs": "a"}))).fails(404, "NotFound");
    ask("POST", "/models/first", false, Some(json!({"inputs": "a"}))).fails(401, "Unauthorized");
    ask("POST", "/explain", true, Some(json!({}))).fails(422, "Validation");
    ask("POST", "/predict", true, Some(json!({"inputs": "unknown"}))).fails(424, "Backend");
    server.gate.broken.store(true, Ordering::Relaxed);
    ask("GET", "/health", true, None).fails(503, "Unhealthy");
    let want = [("inference", 1), ("not_found", 1), ("unauthorized", 1), ("validation", 1)];
    assert_eq!(failures(), want.map(|(kind, n)| (kind.to_owned(), n)).into());
}

#[test]
fn the_page_asks_for_nothing_elsewhere() {
    let server = Server::new();
    for (route, kind) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let reply = server.get(route);
        assert_eq!(reply.header("content-type").unwrap(), format!("{kind}; charset=utf-8"));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; connect-src 'self'") && !policy.contains("unsafe"), "{policy}");
    }
    let page = String::from_utf8(server.get("/").body).unwrap();
    assert!(page.starts_with("<!doctype html>") && !page.contains("src=\"http") && !page.contains("url(http"));
}
