use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{How, Reply, Server};

fn document(server: &Server) -> Value {
    server.get("/api-doc/openapi.json").ok()
}

#[test]
fn the_documents_need_no_network() {
    let server = Server::new();
    let page = server.get("/docs/");
    let html = String::from_utf8(page.body).unwrap();
    assert!(page.status == 200 && html.contains("swagger-ui") && !html.contains("src=\"http"));
    for file in ["swagger-ui-bundle.js", "swagger-ui.css", "swagger-initializer.js"] {
        assert_eq!(server.get(&format!("/docs/{file}")).status, 200, "{file}");
    }
    let initializer = String::from_utf8(server.get("/docs/swagger-initializer.js").body).unwrap();
    assert!(initializer.contains("/api-doc/openapi.json"));
}

/// Checks a value by a schema, as far as ours go: an error says what differs.
fn check(value: &Value, schema: &Value, document: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return check(value, document.pointer(pointer).unwrap_or_else(|| panic!("no {reference}")), document, at);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(options) = schema[key].as_array() {
            let results: Vec<_> = options.iter().map(|option| check(value, option, document, at)).collect();
            return if results.iter().any(Result::is_ok) { Ok(()) } else { Err(format!("{at}: {results:?}")) };
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return if values.contains(value) { Ok(()) } else { Err(format!("{at}: {value} is none of {values:?}")) };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        _ => return Err(format!("{at}: a schema without a type: {schema}")),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    if !fits {
        return Err(format!("{at}: {value} is not {kinds:?}"));
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        check(item, &schema["items"], document, &format!("{at}[{i}]"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for required in schema["required"].as_array().into_iter().flatten() {
        object.get(required.as_str().unwrap()).ok_or_else(|| format!("{at}: no {required}"))?;
    }
    for (name, field) in object {
        let of_field = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        check(
            field,
            of_field.ok_or_else(|| format!("{at}: {name} is not documented"))?,
            document,
            &format!("{at}.{name}"),
        )?;
    }
    Ok(())
}

/// Checks that the status of an answer is documented for its route, and its body of the form that is documented.
fn agrees(document: &Value, method: &str, route: &str, reply: &Reply, seen: &mut BTreeSet<(String, u16)>) {
    let response = &document["paths"][route][method]["responses"][reply.status.to_string()];
    assert!(response.is_object(), "{method} {route}: status {} is not documented", reply.status);
    seen.insert((route.to_owned(), reply.status));
    match response["content"].get("application/json") {
        Some(content) => check(&reply.json(), &content["schema"], document, route).unwrap(),
        None => assert!(reply.header("content-type").is_none_or(|kind| kind.starts_with("text/plain"))),
    }
}

/// The schema says what is really answered: every status and body here is documented, and every documented status but those of a server
/// that is overloaded, ends or fails comes.
#[test]
fn answers_are_as_documented() {
    let server = Server::new();
    let document = document(&server);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut seen = BTreeSet::new();
    for route in ["/info", "/models", "/health", "/ping", "/metrics"] {
        agrees(&document, "get", route, &server.get(route), &mut seen);
    }
    agrees(&document, "get", "/models/{name}/info", &server.get("/models/first/info"), &mut seen);
    agrees(&document, "get", "/models/{name}/info", &server.get("/models/third/info"), &mut seen);
    let many = || json!(vec!["a"; 33]);
    let posts = [
        (
            "/predict",
            vec![
                json!({"inputs": "a film"}),
                json!({"inputs": [["a"]]}),
                json!({"inputs": []}),
                json!({"inputs": vec![["a"]; 33]}),
                json!({}),
            ],
        ),
        (
            "/explain",
            vec![
                json!({"inputs": "a film"}),
                json!({"inputs": ["a", "b"], "label": "other"}),
                json!({"inputs": ""}),
                json!({}),
            ],
        ),
        ("/tokenize", vec![json!({"inputs": "a film"}), json!({"inputs": []}), json!({"inputs": many()}), json!({})]),
        ("/decode", vec![json!({"ids": [5]}), json!({"ids": []}), json!({"ids": vec![[5]; 33]}), json!({})]),
    ];
    let mut requests: Vec<(String, String, Value)> = Vec::new();
    for (route, bodies) in posts {
        for body in bodies {
            requests.push((route.into(), route.into(), body.clone()));
            requests.push((format!("/models/{{name}}{route}"), format!("/models/second{route}"), body.clone()));
            requests.push((format!("/models/{{name}}{route}"), format!("/models/third{route}"), body));
        }
    }
    for body in [json!({"inputs": "a"}), json!({"inputs": []}), json!({"inputs": many()}), json!({})] {
        requests.push(("/models/{name}".into(), "/models/first".into(), body.clone()));
        requests.push(("/models/{name}".into(), "/models/third".into(), body));
    }
    for (route, path, body) in &requests {
        agrees(&document, "post", route, &server.post(path, body), &mut seen);
        let untyped = server.client().request("POST", path, &[], Some(b"{}"));
        agrees(&document, "post", route, &untyped, &mut seen);
    }
    let guarded = Server::with(How::default(), |options| options.api_key = Some("key".into()));
    assert!(!document.to_string().contains("security"), "a server without a key asks for none");
    let document = self::document(&guarded);
    for (route, operations) in document["paths"].as_object().unwrap() {
        let path = route.replace("{name}", "first");
        for method in operations.as_object().unwrap().keys() {
            let reply = guarded.client().request(&method.to_uppercase(), &path, &[], None);
            agrees(&document, method, route, &reply, &mut seen);
            let keyed = operations[method]["security"].is_array();
            assert_eq!(reply.status == 401, keyed, "{route}: the key");
        }
    }
    let rare = ["408", "424", "429", "503"];
    for (route, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            for status in
                operation["responses"].as_object().unwrap().keys().filter(|status| !rare.contains(&status.as_str()))
            {
                let number: u16 = status.parse().unwrap();
                // of an explanation, only its bytes can be too many
                let large = number == 413 && route.ends_with("/explain");
                assert!(large || seen.contains(&(route.clone(), number)), "{method} {route}: {status} never came");
            }
        }
    }
}
