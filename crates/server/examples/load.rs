//! Load on a server over loopback, beside the same engine without one:
//!
//!     cargo run --release -p distune-server --example load -- MODEL TEXTS [PRECISION [SECONDS [CLIENTS [OVERLOAD]]]]
//!
//! MODEL is the directory of a trained model, TEXTS a file whose first column is texts, such as SST-2's dev.tsv, PRECISION f32, bf16 or int8.
//! Each measurement takes SECONDS (5). With CLIENTS (in hundreds, so that more come than the server lets in) there is an overload at the
//! end, ten times OVERLOAD seconds (SECONDS) with the memory after each tenth, in which nothing but 200 and 429 may come.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use distune::data::Batch;
use distune::engine::{Inference, InferencePrecision, LargePages, Predict};
use distune::model::ModelFiles;
use distune::tokenize::Tokenizer;
use distune_server::{Loaded, Options, Source, Stop, Texts, serve};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const MAX_LENGTH: usize = 128;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, texts, rest @ ..] = &args[..] else { panic!("MODEL TEXTS [PRECISION [SECONDS [CLIENTS [OVERLOAD]]]]") };
    let precision = match rest.first().map(String::as_str) {
        None | Some("f32") => InferencePrecision::F32,
        Some("bf16") => InferencePrecision::Bf16,
        Some("int8") => InferencePrecision::Int8,
        other => panic!("{other:?}"),
    };
    let number = |i: usize, default: usize| rest.get(i).map_or(default, |number| number.parse().unwrap());
    let (seconds, crowd) = (Duration::from_secs(number(1, 5) as u64), number(2, 0));
    let tenth = Duration::from_secs(number(3, number(1, 5)) as u64);
    let texts = std::fs::read_to_string(texts).unwrap();
    let texts: Vec<&str> = texts.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();

    let (mut engine, tokenizer) = load(Path::new(model), precision).unwrap();
    let alone = bare(&mut engine, &tokenizer, &texts, seconds);
    let bulk = in_bulk(&mut engine, &tokenizer, &texts, seconds);
    drop(engine);

    let (path, (to, from)) = (PathBuf::from(model), channel());
    let source = Source {
        name: "model".into(),
        id: model.clone(),
        directory: None,
        load: Box::new(move || loaded(&path, precision)),
    };
    let options = Options { port: 0, ..Options::default() };
    let (stop, most) = (Stop::default(), options.limits.max_concurrent_requests);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(options, vec![source], &stop, |address| to.send(address).unwrap()));
        let address = from.recv().unwrap();
        println!("1 text, engine alone: p50 {:.3} ms, p99 {:.3} ms", quantile(&alone, 0.5), quantile(&alone, 0.99));
        println!("bulk, by length: {bulk:.0} texts/s");
        for clients in [1, 64] {
            let mut load = Load::run(address, clients, &texts, seconds);
            load.times.sort_by(f64::total_cmp);
            let rate = load.times.len() as f64 / load.seconds;
            let (p50, p99) = (quantile(&load.times, 0.5), quantile(&load.times, 0.99));
            println!(
                "{clients} clients: {rate:.0} texts/s, p50 {p50:.3} ms, p99 {p99:.3} ms ({:.1}x), {:?}",
                p99 / p50,
                load.statuses
            );
            match clients {
                1 => println!("    p50 {:.2}x that of the engine alone", p50 / quantile(&alone, 0.5)),
                _ => println!("    {:.0} % of bulk", 100.0 * rate / bulk),
            }
        }
        if crowd > 0 {
            println!("overload: {crowd} clients, {most} requests let in at once, {} MB", resident());
            for _ in 0..10 {
                let load = Load::run(address, crowd, &texts, tenth);
                let rate = load.statuses.get(&200).map_or(0.0, |n| *n as f64 / load.seconds);
                println!("    {rate:.0} texts/s answered, {:?}, {} MB", load.statuses, resident());
                assert!(load.statuses.keys().all(|status| [200, 429].contains(status)), "nothing else may come");
            }
        }
        stop.request();
        server.join().unwrap().unwrap();
    });
}

fn load(path: &Path, precision: InferencePrecision) -> distune::Result<(Inference, Tokenizer)> {
    let files = ModelFiles::open(path)?;
    let engine = Inference::load(&files, precision)?;
    let (name, json) = &files.tokenizer[0];
    let max_length = MAX_LENGTH.min(engine.config().max_position_embeddings);
    Ok((engine, Tokenizer::from_bytes(&path.join(name), json, max_length)?))
}

fn loaded(path: &Path, precision: InferencePrecision) -> distune::Result<Loaded> {
    let (engine, tokenizer) = load(path, precision)?;
    Ok(Loaded {
        engine: Box::new(engine),
        tokenizer,
        texts: Texts::Any,
        temperature: None,
        dtype: "",
        files: ModelFiles::open(path)?,
    })
}

/// Milliseconds of each text, tokenization included, sorted.
fn bare(engine: &mut Inference, tokenizer: &Tokenizer, texts: &[&str], most: Duration) -> Vec<f64> {
    let (mut times, start) = (Vec::new(), Instant::now());
    for text in texts.iter().cycle() {
        let one = Instant::now();
        let encoded = tokenizer.encode_one(text).unwrap();
        engine.logits(&Batch::new([&encoded.ids[..]]));
        times.push(one.elapsed().as_secs_f64() * 1e3);
        if start.elapsed() > most {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Texts a second, sorted by length, tokenization included.
fn in_bulk(engine: &mut Inference, tokenizer: &Tokenizer, texts: &[&str], most: Duration) -> f64 {
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < most {
        let mut sequences: Vec<_> = tokenizer.encode(texts).unwrap().into_iter().map(|encoded| encoded.ids).collect();
        sequences.sort_by_key(Vec::len);
        distune::predict::logits(engine, &sequences, |rows| {
            done += rows.len();
            Ok::<_, ()>(())
        })
        .unwrap();
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}

/// Memory of this process in MB, where the system tells it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// What some clients found who asked one thing after the other.
struct Load {
    /// Milliseconds of each answer of status 200.
    times: Vec<f64>,
    statuses: BTreeMap<u16, usize>,
    seconds: f64,
}

impl Load {
    fn run(address: SocketAddr, clients: usize, texts: &[&str], most: Duration) -> Self {
        let all = Mutex::new(Self { times: Vec::new(), statuses: BTreeMap::new(), seconds: 0.0 });
        let (going, start) = (AtomicBool::new(true), Instant::now());
        std::thread::scope(|scope| {
            for client in 0..clients {
                let (all, going) = (&all, &going);
                let work = move || {
                    let (mut stream, mut times, mut statuses) = (None, Vec::new(), BTreeMap::new());
                    for text in texts.iter().cycle().skip(client * 37) {
                        let one = Instant::now();
                        let status = ask(&mut stream, address, text);
                        if status == 200 {
                            times.push(one.elapsed().as_secs_f64() * 1e3);
                        }
                        *statuses.entry(status).or_insert(0) += 1;
                        if !going.load(Ordering::Relaxed) {
                            break;
                        }
                        if status == 429 {
                            // as it is told, but not that long
                            std::thread::sleep(Duration::from_millis(50));
                        }
                    }
                    let mut all = all.lock().unwrap();
                    all.times.extend(times);
                    statuses.into_iter().for_each(|(status, n)| *all.statuses.entry(status).or_insert(0) += n);
                };
                std::thread::Builder::new().stack_size(128 << 10).spawn_scoped(scope, work).unwrap();
            }
            std::thread::sleep(most);
            going.store(false, Ordering::Relaxed);
        });
        let mut all = all.into_inner().unwrap();
        all.seconds = start.elapsed().as_secs_f64();
        all
    }
}

/// The status of the answer; 0 for none.
fn ask(stream: &mut Option<BufReader<TcpStream>>, address: SocketAddr, text: &str) -> u16 {
    let mut answer = || -> std::io::Result<u16> {
        if stream.is_none() {
            let new = TcpStream::connect(address)?;
            new.set_nodelay(true)?;
            *stream = Some(BufReader::new(new));
        }
        let Some(stream) = stream else { return Ok(0) };
        let body = json!({"inputs": text, "truncate": true}).to_string();
        let head = "POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: ";
        stream.get_mut().write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.trim().split_once(' ') {
                Some((first, rest)) if first.starts_with("HTTP/") => status = rest[..3].parse().unwrap_or(0),
                Some(("content-length:", n)) => length = n.parse().unwrap_or(0),
                None => break,
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        Ok(status)
    };
    let status = answer().unwrap_or(0);
    if status == 0 {
        *stream = None;
    }
    status
}
