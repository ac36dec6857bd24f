use std::time::Duration;

use serde_json::json;

use crate::support::{Client, How, Server, until};

/// Bytes of a body at most in these tests; 64 times as many are held in all.
const LIMIT: usize = 200_000;
const BUDGET: f64 = 64.0 * LIMIT as f64;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn server(payload_limit: usize) -> Server {
    Server::with(How::default(), |options| options.limits.payload_limit = payload_limit)
}

fn held(server: &Server) -> f64 {
    server.metric("distune_held_bytes")
}

fn given_back(server: &Server) {
    until("what was held", || held(server) == 0.0);
}

/// A body of so many bytes, for `/predict` and `/tokenize`, whose text is a word again and again.
fn body(bytes: usize, word: &str) -> Vec<u8> {
    let (head, tail) = (r#"{"truncate": true, "inputs": ""#, r#""}"#);
    let mut text = format!("{word} ").repeat(bytes / word.len());
    text.truncate(bytes - head.len() - tail.len());
    [head, &text, tail].concat().into_bytes()
}

/// The same in few tokens.
fn few_tokens(bytes: usize) -> Vec<u8> {
    body(bytes, &"x".repeat(200))
}

/// The head of a request and the first bytes of its body, which is left unfinished.
fn begin(client: &mut Client, path: &str, body: &[u8], sent: usize) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n");
    let head = format!("{head}content-length: {}\r\n\r\n", body.len());
    client.send(&[head.as_bytes(), &body[..sent]].concat());
}

/// A request whose answer is not taken, but for the status.
fn ask(server: &Server, path: &str, body: &[u8]) -> (Client, String) {
    let mut client = server.client();
    client.send_request("POST", path, &JSON, Some(body));
    let status = client.line().unwrap();
    (client, status)
}

#[test]
fn large_bodies_that_come_slowly() {
    let server = server(LIMIT);
    let body = few_tokens(LIMIT);
    let mut clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| begin(client, "/predict", &body, LIMIT - 50_000));
    until("what is held", || held(&server) > 0.9 * BUDGET);
    assert!(held(&server) <= BUDGET);
    // others are served
    assert_eq!(server.predict(json!("a film")).status, 200);
    let mut statuses = [0; 2];
    for client in &mut clients {
        // also those who were refused while they were sending: they hear it, and may come again
        client.send(&body[LIMIT - 50_000..]);
        let reply = client.reply().unwrap();
        if reply.status == 429 {
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert_eq!(reply.fails(429, "Overloaded"), "Model is overloaded");
        } else {
            reply.ok();
        }
        statuses[usize::from(reply.status == 429)] += 1;
        assert_eq!(client.post("/predict", &json!({"inputs": "a"})).status, 200);
    }
    assert!(statuses[0] >= 60 && statuses[1] >= 30, "{statuses:?}");
    given_back(&server);
    // what is announced is not held
    clients.iter_mut().for_each(|client| begin(client, "/predict", &body, 60_000));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(held(&server), 0.0);
}

#[test]
fn large_answers_that_are_not_taken() {
    let server = server(LIMIT);
    // 5 MB, more than the system keeps for the client
    let body = body(LIMIT, "a");
    let expected = server.client().request("POST", "/tokenize", &JSON, Some(&body));
    assert_eq!(expected.status, 200);
    given_back(&server);
    let mut clients = Vec::new();
    let refused = loop {
        let (client, status) = ask(&server, "/tokenize", &body);
        if !status.contains("200") {
            break status;
        }
        clients.push(client);
        assert!(clients.len() < 20, "all are kept");
    };
    assert!(refused.contains("429"), "{refused}");
    let most = held(&server);
    assert!(clients.len() >= 3 && (0.5..=1.0).contains(&(most / BUDGET)), "{most} bytes for {}", clients.len());
    assert_eq!(server.predict(json!("a film")).status, 200);
    // one leaves, one takes it
    drop(clients.pop());
    until("what was held", || held(&server) < most);
    let less = held(&server);
    assert!(clients[0].rest(200).unwrap().body == expected.body);
    until("what was held", || held(&server) < less);
    drop(clients);
    given_back(&server);
}

/// What is held is given back whatever becomes of a request.
#[test]
fn nothing_is_lost() {
    let server = Server::with(How::default(), |options| {
        options.limits.payload_limit = LIMIT;
        options.limits.read_timeout = Duration::from_millis(300);
    });
    let good = few_tokens(LIMIT / 2);
    let ids = json!({"ids": vec![9; LIMIT / 8]}).to_string().into_bytes();
    let mut wrong = good.clone();
    wrong.truncate(LIMIT / 2 - 1);
    let chunked =
        "POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut late = Vec::new();
    for i in 0..1000 {
        let mut client = server.client();
        match i % 20 {
            0 => {
                begin(&mut client, "/predict", &good, LIMIT / 2 - 1);
                late.push(client);
            }
            1 => assert_eq!(client.request("POST", "/tokenize", &JSON, Some(&good)).status, 200),
            2 => assert!(ask(&server, "/tokenize", &good).1.contains("200")),
            3 => assert!(ask(&server, "/decode", &ids).1.contains("200")),
            4 => assert_eq!(client.request("POST", "/predict", &JSON, Some(&good)).status, 200),
            5..10 => assert_eq!(client.request("POST", "/predict", &JSON, Some(&wrong)).status, 422),
            10..15 => {
                client.send(format!("{chunked}{:x}\r\n", 2 * LIMIT).as_bytes());
                client.send(&vec![b' '; 2 * LIMIT]);
                assert_eq!(client.reply().unwrap().status, 413);
            }
            _ => begin(&mut client, "/predict", &good, LIMIT / 3),
        }
    }
    for client in &mut late {
        client.reply().unwrap().fails(408, "Timeout");
    }
    given_back(&server);
}

/// The answer of `/tokenize`, which is made in parts, to the byte.
#[test]
fn parts_of_an_answer() {
    let server = Server::new();
    let ask = |body: serde_json::Value| server.post("/tokenize", &body);
    let token =
        |i: usize| format!(r#"{{"id":8,"text":"b\u00e4d","special":false,"start":{},"stop":{}}}"#, 4 * i, 4 * i + 3);
    let (cls, sep) = (
        r#"{"id":2,"text":"[CLS]","special":true,"start":null,"stop":null}"#,
        r#"{"id":3,"text":"[SEP]","special":true,"start":null,"stop":null}"#,
    );
    for n in [1, 10, 1000, 50_000] {
        let list = (0..n).map(token).collect::<Vec<_>>().join(",").replace("\\u00e4", "ä");
        let reply = ask(json!({"inputs": ["bäd ".repeat(n), "bäd"]}));
        let expected = format!("[[{cls},{list},{sep}],[{cls},{},{sep}]]", token(0).replace("\\u00e4", "ä"));
        assert!(reply.body == expected.as_bytes(), "{n}: {}", &String::from_utf8_lossy(&reply.body)[..300]);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("content-length").is_some(), n <= 10.max(1000 * usize::from(expected.len() < 65_536)));
    }
    let bare = ask(json!({"inputs": ["", "a", ""], "add_special_tokens": false}));
    assert_eq!(bare.body, br#"[[],[{"id":5,"text":"a","special":false,"start":0,"stop":1}],[]]"#);
    // one token of many bytes
    let long = "x".repeat(150_000);
    let reply = ask(json!({"inputs": long, "add_special_tokens": false}));
    assert_eq!(reply.json()[0][0]["text"], json!(long));
    given_back(&server);
}

/// Kilobytes of this process in memory.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In a process where nothing else is done meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn resident_memory() {
    let test = std::env::current_exe().unwrap();
    let ended =
        std::process::Command::new(test).args(["--exact", "memory::resident_alone", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "resident_memory runs it"]
fn resident_alone() {
    let server = Server::new();
    let body = few_tokens(2_000_000);
    server.client().request("POST", "/predict", &JSON, Some(&body));
    // a byte at a time, each of which hyper reads into thousands
    let mut clients: Vec<_> = (0..100).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| begin(client, "/predict", &body, 0));
    let before = resident();
    let grown = || resident().saturating_sub(before) / 1024;
    for _ in 0..500 {
        clients.iter_mut().for_each(|client| client.send(b" "));
        // so that each byte is read alone
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(grown() < 50, "{} MB for 50 kB", grown());
    drop(clients);
    // 285 MB
    let before = resident();
    let grown = || resident().saturating_sub(before) / 1024;
    let mut clients: Vec<_> = (0..150).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| begin(client, "/predict", &body, 1_900_000));
    until("what is held", || held(&server) > 0.9 * 128e6);
    assert!(grown() < 190, "{} MB for bodies", grown());
}
