//! `pytorch_model.bin` from someone who means harm, or damaged on the way: one clear error, nothing run, no panic, no memory
//! that the file does not have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Cursor, Read, Write};
use std::path::Path;

use distune::model::weights::Table;
use distune::model::{Model, ModelFiles};
use proptest::prelude::*;
use support::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An archive as `torch.save` writes it.
fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    for (name, bytes) in storages {
        zip.start_file(format!("archive/data/{name}"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What reading such a file says: nothing, or the error.
fn read(bytes: &[u8]) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, contents) in [("config.json", &b"{}"[..]), ("tokenizer.json", b"{}"), ("pytorch_model.bin", bytes)] {
        std::fs::write(directory.path().join(name), contents).unwrap();
    }
    let head = ModelFiles::open(directory.path()).and_then(|files| Model::has_head(&files));
    let path = directory.path().join("pytorch_model.bin").display().to_string();
    head.map(|_| ()).map_err(|e| e.to_string().strip_prefix(&format!("{path}: ")).expect("the file's name").to_owned())
}

#[track_caller]
fn refused(bytes: &[u8], expected: &str) {
    let message = read(bytes).expect_err(expected);
    assert!(message.contains(expected), "{message}");
}

#[track_caller]
fn refused_pickle(pickle: &[u8], expected: &str) {
    refused(&archive(pickle, &[("0", &[0; 64])]), expected);
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn integer(n: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &n.to_le_bytes()].concat()
}

fn tuple(items: &[i64]) -> Vec<u8> {
    [&b"("[..], &items.iter().flat_map(|n| integer(*n)).collect::<Vec<u8>>(), b"t"].concat()
}

/// A tensor of the storage `"0"`, which is said to have `len` numbers.
fn tensor(len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let storage = [&b"("[..], &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &integer(len)];
    let call = [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage.concat(), b"tQ", &integer(offset)];
    [&call.concat()[..], &tuple(shape), &tuple(strides), b"\x89ccollections\nOrderedDict\n)RtR"].concat()
}

/// A state dict of one entry.
fn dict(entry: &[u8]) -> Vec<u8> {
    [&b"\x80\x02}("[..], &text("weight"), entry, b"u."].concat()
}

#[test]
fn what_is_sound_is_read() {
    assert_eq!(read(&archive(&dict(&tensor(16, 0, &[4, 4], &[4, 1])), &[("0", &[0; 64])])), Ok(()));
    assert_eq!(read(&archive(&dict(&tensor(16, 1, &[3, 5], &[1, 3])), &[("0", &[0; 64])])), Ok(()));
    assert_eq!(read(&archive(&dict(&tensor(16, 16, &[0, 5], &[5, 1])), &[("0", &[0; 64])])), Ok(()));
    // a memo is no array
    let far = [&b"\x80\x02}r\xff\xff\xff\xff"[..], b"j\xff\xff\xff\xff0."].concat();
    refused_pickle(&far, "opcode 0x30");
    assert_eq!(read(&archive(b"\x80\x02}r\xff\xff\xff\xff.", &[])), Ok(()));
}

#[test]
fn nothing_is_run() {
    let owned = std::env::temp_dir().join(format!("distune-owned-{}", std::process::id()));
    let command = text(&format!("touch {}", owned.display()));
    for (module, name) in [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("torch", "load")] {
        let expected = format!("it asks for \"{module}.{name}\", which tensors do not need; nothing of it was run");
        let call = |global: &[u8]| [b"\x80\x02", global, &command, b"\x85R."].concat();
        refused_pickle(&call(format!("c{module}\n{name}\n").as_bytes()), &expected);
        refused_pickle(&call(&[&text(module), &text(name), &b"\x93"[..]].concat()), &expected);
    }
    assert!(!owned.exists());
    for opcode in [b'i', b'o', 0x81, 0x82, 0x92, b'P', b'0', b'2', 0xff] {
        refused_pickle(&[0x80, 2, opcode, b'a', b'\n', b'b', b'\n', b'.'], &format!("opcode {opcode:#04x}"));
    }
    refused_pickle(&[&b"\x80\x02"[..], &command, b")R."].concat(), "calls what is no function");
    refused_pickle(b"\x80\x02ctorch\nFloatStorage\n)R.", "with other values than PyTorch does");
    refused_pickle(&dict(b"K\x01"), "its entry \"weight\" is not a tensor");
    refused_pickle(b"\x80\x02}K\x01K\x02s.", "an entry whose name is not a text");
    refused_pickle(b"\x80\x02K\x01.", "no dictionary of tensors");
}

#[test]
fn hostile_pickles() {
    let whole = dict(&tensor(16, 0, &[4, 4], &[4, 1]));
    for end in 0..whole.len() {
        assert!(read(&archive(&whole[..end], &[("0", &[0; 64])])).is_err(), "cut at {end}");
    }
    let deep = [&b"\x80\x02)"[..], &vec![0x85; 1 << 20], b"."].concat();
    refused_pickle(&deep, "no dictionary of tensors");
    let dicts = [&b"\x80\x02"[..], &vec![b'}'; 1 << 20], b"."].concat();
    assert_eq!(read(&archive(&dicts, &[])), Ok(()));
    refused_pickle(&vec![b'}'; (4 << 20) + 1], "more than any model needs");
    refused_pickle(b"\x80\x02X\xff\xff\xff\xffabc", "cut short");
    refused_pickle(b"\x80\x02\x8a\xff", "cut short");
    refused_pickle(&[&[0x80, 2, 0x8a, 9][..], &[1; 9], b"."].concat(), "more than 64 bits");
    refused_pickle(b"\x80\x02u.", "takes more values than it made");
    refused_pickle(b"\x80\x02\x87.", "takes more values than it made");
    refused_pickle(b"\x80\x02h\x07.", "a value that it did not keep");
    refused_pickle(b"\x80\x02}(K\x01u.", "an entry without a value");
    refused_pickle(b"\x80\x02)K\x01K\x02s.", "of what is no dictionary");
    refused_pickle(b"\x80\x02)Q.", "not a storage of numbers");
    refused_pickle(b"\x80\x02X\x01\0\0\0\xff.", "not UTF-8");
}

#[test]
fn tensors_outside_their_storage() {
    for (offset, shape, strides) in [
        (0, &[17][..], &[1][..]),
        (1, &[16], &[1]),
        (17, &[0], &[1]),
        (i64::MAX, &[1], &[1]),
        (i64::MAX, &[2], &[i64::MAX]),
        (0, &[4, 4], &[5, 1]),
        (0, &[i64::MAX, i64::MAX], &[1, 1]),
        (0, &[2, i64::MAX], &[i64::MAX, 2]),
        // a tensor of any size from one number
        (0, &[1 << 20, 1 << 20], &[0, 0]),
    ] {
        refused_pickle(
            &dict(&tensor(16, offset, shape, strides)),
            "tensor weight: expected elements inside its storage of 16",
        );
    }
    refused_pickle(&dict(&tensor(16, -1, &[1], &[1])), "a negative offset");
    refused_pickle(&dict(&tensor(16, 0, &[-1], &[1])), "a negative size");
    refused_pickle(&dict(&tensor(-16, 0, &[1], &[1])), "a negative size");
    refused_pickle(&dict(&tensor(16, 0, &[4, 4], &[1])), "2 dimensions and 1 strides");
    refused_pickle(&dict(&tensor(16, 0, &[1; 9], &[1; 9])), "9 dimensions");
    refused_pickle(
        &dict(&tensor(17, 0, &[1], &[1])),
        "expected a storage of 17 numbers of 4 bytes, found one of 64 bytes",
    );
    refused(&archive(&dict(&tensor(16, 0, &[1], &[1])), &[]), "archive/data/0 in it cannot be read");
}

/// A small file that would fill the memory: a long shape, and long names, written once and referred to again and again. (A copy for
/// each would be 100 GB.)
#[test]
fn what_is_repeated_takes_no_memory() {
    let times = 50_000;
    let storage = |name: &[u8]| {
        let tuple = [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", name, &text("cpu"), b"K\x10tQ"].concat();
        [&tuple[..], b"r\x02\0\0\0"].concat()
    };
    let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\nr\x03\0\0\0";
    let numbers = [b"(", &b"K\x01".repeat(1_000_000)[..], b"tr\x01\0\0\0"].concat();
    let tensors = b"h\x03(h\x02K\0h\x01h\x01\x89NtR".repeat(times);
    refused_pickle(
        &[b"\x80\x02", &numbers[..], &storage(&text("0")), rebuild, &tensors, b"}."].concat(),
        "1000000 dimensions",
    );

    let long = text(&"0".repeat(2_000_000));
    let tensors = b"h\x03(h\x02K\0))\x89NtR".repeat(times);
    let named = [b"\x80\x02", &storage(&long)[..], rebuild, &tensors, b"}."].concat();
    assert_eq!(read(&archive(&named, &[])), Ok(()));
    let entries = [b"(", &b"h\x04h\x05".repeat(times)[..], b"u."].concat();
    let tensor = tensor(16, 0, &[1], &[1]);
    let repeated = [b"\x80\x02", &long[..], b"q\x04", &tensor, b"q\x05}", &entries].concat();
    assert_eq!(read(&archive(&repeated, &[("0", &[0; 64])])), Ok(()));
}

/// A small file that would fill the memory: all tensors of a model in one storage.
#[test]
fn tensors_that_share_everything() {
    let table = Table::new(&small_config([16, 2, 32, 8, 16, 64, 2]));
    let mut pickle = b"\x80\x02}(".to_vec();
    for spec in table.tensors() {
        let shape: Vec<i64> = spec.shape.iter().map(|n| *n as i64).collect();
        let strides = if let [_, columns] = shape[..] { vec![columns, 1] } else { vec![1] };
        pickle.extend([text(&spec.name), tensor(1024, 0, &shape, &strides)].concat());
    }
    pickle.extend(b"u.");
    let directory = model_directory(&fixture("tiny"));
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    write("pytorch_model.bin", &archive(&pickle, &[("0", &[0; 4096])]));
    std::fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    let config = small_config([16, 2, 32, 8, 16, 64, 2]).to_json();
    write("config.json", config.as_bytes());
    let message = Model::load(&ModelFiles::open(directory.path()).unwrap()).unwrap_err().to_string();
    assert!(message.contains("more numbers in its tensors than in the file"), "{message}");
}

#[test]
fn other_files() {
    refused(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "the format of PyTorch before 1.6");
    for bytes in [&b""[..], b"version https://git-lfs.github.com/spec/v1\n", b"PK\x05\x06", &[0; 100]] {
        refused(bytes, "not a file of PyTorch's, or damaged or cut short");
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a.txt", SimpleFileOptions::default()).unwrap();
    refused(&zip.finish().unwrap().into_inner(), "there is no data.pkl in it");

    let whole = std::fs::read(fixture("bert/pytorch_model.bin")).unwrap();
    assert_eq!(read(&whole), Ok(()));
    for end in [100, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..end], "cut short");
    }
    // a number in the middle: its checksum is another one
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    refused(&damaged, "damaged or cut short");
    // said to be compressed
    let mut compressed = archive(b"\x80\x02}.", &[]);
    let central = compressed.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    (compressed[8], compressed[central + 10]) = (8, 8);
    assert!(read(&compressed).is_err());
}

/// A file's pickle and its storages.
fn parts(path: &Path) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut zip = ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let (mut pickle, mut storages) = (Vec::new(), Vec::new());
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        let (name, mut bytes) = (entry.name().unwrap().to_string(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        if name.ends_with("/data.pkl") {
            pickle = bytes;
        } else if let Some((_, name)) = name.split_once("/data/") {
            storages.push((name.to_owned(), bytes));
        }
    }
    (pickle, storages)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let path = fixture("bert/old.bin");
        let (mut pickle, storages) = parts(&path);
        let mut whole = std::fs::read(&path).unwrap();
        for bytes in [&mut pickle, &mut whole] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
        }
        let storages: Vec<(&str, &[u8])> = storages.iter().map(|(n, b)| (n.as_str(), b.as_slice())).collect();
        // an error that names the file, or tensors: `read` checks it
        let _ = read(&archive(&pickle, &storages));
        let _ = read(&whole);
    }
}
