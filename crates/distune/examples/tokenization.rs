//! Tokenization beside the `tokenizers` crate's own batches, on all cores:
//! `cargo run --release --example tokenization -- [TSV] [ROUNDS]`.
//!
//! The texts are the first column of the file (default: the bundled reviews), its header left out.

use std::path::PathBuf;
use std::time::Instant;

use distune::data::{Columns, Labels, read_file};
use distune::tokenize::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let assets = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets"));
    let mut arguments = std::env::args().skip(1);
    let data = arguments.next().map_or_else(|| assets.join("reviews/train.tsv"), PathBuf::from);
    let rounds: usize = arguments.next().as_deref().unwrap_or("5").parse()?;
    let texts = read_file(&data, &Columns::default(), Labels::Required)?.texts;

    let path = assets.join("encoder/tokenizer.json");
    let json = std::fs::read(&path)?;
    let ours = Tokenizer::from_bytes(&path, &json, 128)?;
    let mut theirs = tokenizers::Tokenizer::from_bytes(&json).map_err(|e| e.to_string())?;
    theirs.with_padding(None);
    theirs
        .with_truncation(Some(tokenizers::TruncationParams { max_length: 128, ..Default::default() }))
        .map_err(|e| e.to_string())?;

    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let expected =
            theirs.encode_batch_fast(texts.iter().map(String::as_str).collect(), true).map_err(|e| e.to_string())?;
        let their_rate = texts.len() as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        let encoded = ours.encode(&texts)?;
        let our_rate = texts.len() as f64 / start.elapsed().as_secs_f64();
        assert!(
            expected.iter().zip(&encoded).all(|(theirs, ours)| theirs.get_ids() == ours.ids),
            "different token ids"
        );
        println!(
            "tokenizers {their_rate:>9.0} texts/s   distune {our_rate:>9.0} texts/s   {:.2}x",
            our_rate / their_rate
        );
        ratios.push(our_rate / their_rate);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2}x of {} texts", ratios[ratios.len() / 2], texts.len());
    Ok(())
}
