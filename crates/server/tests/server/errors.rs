use std::sync::atomic::Ordering;

use distune_server::{Source, Stop, Texts, serve};
use serde_json::json;

use crate::support::{How, Server, source, write_model};

#[test]
fn empty() {
    let server = Server::new();
    for inputs in [json!(""), json!("  \n"), json!([]), json!([["a"], [" "]])] {
        assert_eq!(server.predict(inputs).fails(400, "Empty"), "`inputs` cannot be empty");
    }
    server.post("/tokenize", &json!({"inputs": []})).fails(400, "Empty");
    server.post("/explain", &json!({"inputs": ""})).fails(400, "Empty");
    server.post("/models/first", &json!({"inputs": []})).fails(400, "Empty");
}

#[test]
fn bodies_of_another_form() {
    let server = Server::new();
    let headers = [("content-type", "application/json; charset=utf-8")];
    let mut client = server.client();
    let mut post = |body: &[u8]| client.request("POST", "/predict", &headers, Some(body));
    assert_eq!(post(br#"{"inputs": "a film"}"#).status, 200);
    for body in [&b""[..], b"{", b"[]", b"{}", b"null", b"\xff", br#"{"inputs": 1}"#, br#"{"inputs": ["a", "b", "c"]}"#]
    {
        let message = post(body).fails(422, "Validation");
        assert!(message.starts_with("the body: "), "{message}");
    }
    assert!(post(b"{}").fails(422, "Validation").contains("missing field `inputs`"));
    let deep = format!("{{\"inputs\": {}", "[".repeat(100_000));
    assert!(post(deep.as_bytes()).fails(422, "Validation").contains("128 levels"));
    // what is not known is passed over, but not however deep it is, and brackets in texts are no levels
    let other =
        |n: usize| format!("{{\"inputs\": \"{}a\", \"other\": {}{}}}", r#"\"[\\"#, "[".repeat(n), "]".repeat(n));
    assert_eq!(post(other(127).as_bytes()).status, 200);
    for n in [128, 100_000] {
        assert!(post(other(n).as_bytes()).fails(422, "Validation").contains("128 levels"));
    }
    let brackets = json!({"inputs": "[{".repeat(1000), "truncate": true}).to_string();
    assert_eq!(post(brackets.as_bytes()).status, 200);
    let reply = client.request("POST", "/predict", &[], Some(br#"{"inputs": "a"}"#));
    reply.fails(415, "Validation");
    let options = json!({"inputs": "a", "truncation_direction": "up"});
    server.post("/predict", &options).fails(422, "Validation");
    server.post("/models/first", &json!({"inputs": "a", "parameters": {"top_k": 0}})).fails(422, "Validation");
    server.post("/explain", &json!({"inputs": [["a"]]})).fails(422, "Validation");
    let message = server.post("/explain", &json!({"inputs": "a", "label": "great"})).fails(422, "Validation");
    assert!(message.contains("\"great\""));
}

#[test]
fn too_much() {
    let server = Server::with(How::default(), |options| options.limits.payload_limit = 10_000);
    let many = vec![["a"]; 33];
    let message = server.predict(json!(many)).fails(413, "Validation");
    assert_eq!(message, "batch size 33 > maximum allowed batch size 32");
    assert_eq!(server.predict(json!(vec![["a"]; 32])).ok().as_array().unwrap().len(), 32);
    server.post("/tokenize", &json!({"inputs": vec!["a"; 33]})).fails(413, "Validation");
    server.post("/decode", &json!({"ids": vec![[5]; 33]})).fails(413, "Validation");
    let large = json!({"inputs": "a ".repeat(5000)}).to_string();
    let headers = [("content-type", "application/json")];
    let reply = server.client().request("POST", "/predict", &headers, Some(large.as_bytes()));
    assert_eq!(reply.fails(413, "Validation"), "the body has more than 10000 bytes");
    // a body that does not say its length
    let mut client = server.client();
    client.send(
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    client.send(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes());
    client.reply().unwrap().fails(413, "Validation");
}

/// Nothing is decompressed, so that no few bytes become many.
#[test]
fn compressed_bodies() {
    let server = Server::new();
    let post = |path: &str, encoding: &str, body: &[u8]| {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        server.client().request("POST", path, &headers, Some(body))
    };
    for (path, encoding) in [("/predict", "gzip"), ("/models/first", "br"), ("/explain", "identity, zstd")] {
        let message = post(path, encoding, b"\x1f\x8b\x08").fails(415, "Validation");
        assert!(message.contains(encoding) && message.contains("uncompressed"), "{message}");
    }
    for encoding in ["identity", "Identity"] {
        post("/predict", encoding, br#"{"inputs": "a"}"#).ok();
    }
}

#[test]
fn wrong_places() {
    let server = Server::new();
    server.get("/nothing").fails(404, "NotFound");
    let message = server.post("/models/third/predict", &json!({"inputs": "a"})).fails(404, "NotFound");
    assert!(message.contains("\"third\""));
    server.post("/models/third", &json!({"inputs": "a"})).fails(404, "NotFound");
    server.get("/models/%ff/info").fails(404, "NotFound");
    let reply = server.get("/predict");
    assert_eq!(reply.header("allow"), Some("POST"));
    reply.fails(405, "Validation");
}

#[test]
fn texts_are_those_of_the_training() {
    let pairs = Server::with(How { texts: Texts::Pairs, ..How::default() }, |_| {});
    assert!(pairs.predict(json!("a")).fails(422, "Validation").contains("pairs of texts"));
    assert_eq!(pairs.predict(json!(["a", "film"])).status, 200);
    let single = Server::with(How { texts: Texts::Single, ..How::default() }, |_| {});
    assert!(single.predict(json!([["a"], ["a", "film"]])).fails(422, "Validation").contains("single texts"));
    assert_eq!(single.get("/models").ok()[0]["texts"], "single");
}

#[test]
fn an_engine_that_fails_goes_on() {
    let server = Server::with(How { panics: true, ..How::default() }, |_| {});
    server.predict(json!("unknown")).fails(424, "Backend");
    assert_eq!(server.predict(json!("a film")).status, 200);
    assert_eq!(server.get("/health").status, 200);
}

/// Who is told that a server is unhealthy sends it nothing that could show the contrary: it finds out itself.
#[test]
fn health_after_a_failure() {
    let server = Server::with(How { panics: true, ..How::default() }, |_| {});
    server.predict(json!("unknown")).fails(424, "Backend");
    assert_eq!(server.get("/health").status, 200);
    server.gate.broken.store(true, Ordering::Relaxed);
    server.predict(json!("a film")).fails(424, "Backend");
    for _ in 0..3 {
        server.get("/health").fails(503, "Unhealthy");
        server.get("/ping").fails(503, "Unhealthy");
    }
    server.gate.broken.store(false, Ordering::Relaxed);
    assert_eq!(server.get("/health").status, 200);
    let pairs = Server::with(How { texts: Texts::Pairs, panics: true, ..How::default() }, |_| {});
    pairs.predict(json!(["a", "unknown"])).fails(424, "Backend");
    assert_eq!(pairs.get("/health").status, 200);
}

#[test]
fn keys() {
    let server = Server::with(How::default(), |options| options.api_key = Some("secret-1".into()));
    let with = |key: Option<&str>, path: &str| {
        let headers: Vec<_> = key.map(|key| ("authorization", key)).into_iter().collect();
        server.client().request("GET", path, &headers, None)
    };
    for key in [
        None,
        Some("secret-1"),
        Some("Bearer secret-2"),
        Some("Bearer secret-"),
        Some("Bearer "),
        Some("Basic secret-1"),
        Some("Bearer secret-11"),
    ] {
        for path in ["/info", "/models", "/models/first/info"] {
            let reply = with(key, path);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            reply.fails(401, "Unauthorized");
        }
    }
    assert_eq!(with(Some("Bearer secret-1"), "/info").status, 200);
    for path in ["/", "/health", "/ping", "/metrics", "/api-doc/openapi.json"] {
        assert_eq!(with(None, path).status, 200, "{path}");
    }
    server.predict(json!("a")).fails(401, "Unauthorized");
}

#[test]
fn pages_of_other_origins() {
    let ask = |server: &Server| {
        let headers = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
        let reply = server.client().request("OPTIONS", "/predict", &headers, None);
        reply.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(ask(&Server::new()), None);
    let origins = |origin: &str| {
        let origin = origin.to_owned();
        Server::with(How::default(), |options| options.cors_allow_origin = vec![origin])
    };
    assert_eq!(ask(&origins("https://a.example")).as_deref(), Some("https://a.example"));
    assert_eq!(ask(&origins("https://b.example")), None);
    assert_eq!(ask(&origins("*")).as_deref(), Some("*"));
}

/// What is wrong from the beginning.
#[test]
fn servers_that_cannot_start() {
    let directory = tempfile::tempdir().unwrap();
    write_model(directory.path(), 1, json!({}));
    let start = |sources: Vec<Source>, change: &dyn Fn(&mut distune_server::Options)| {
        let mut options = distune_server::Options { port: 0, ..Default::default() };
        change(&mut options);
        serve(options, sources, &Stop::default(), |_| panic!("it has started")).unwrap_err().to_string()
    };
    let model = |name: &str| source(name, directory.path(), &How::default());
    assert!(start(vec![], &|_| {}).contains("--model: expected at least one"));
    assert!(start(vec![model("a"), model("a")], &|_| {}).contains("found \"a\" twice"));
    let missing = source("a", &directory.path().join("missing"), &How::default());
    assert!(start(vec![missing], &|_| {}).contains("missing: no such model directory"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let message = start(vec![model("a")], &|options| options.port = port);
    assert!(
        message.contains("--host and --port: expected an address that is free") && message.contains(&port.to_string()),
        "{message}"
    );
    let none = |options: &mut distune_server::Options| options.tls = Some(("no.pem".into(), "no.key".into()));
    assert!(start(vec![model("a")], &none).starts_with("no.pem: cannot be used"));
}
