//! Receives files of one commit into the cache: resumed where they were cut, verified before they get their name.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::client::{Client, Described, Failure, interrupted};
use super::{Observer, Repository};
use crate::{Error, Result};

/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// After so many new bytes, failures are counted anew.
const PROGRESS: u64 = 1 << 20;

/// Files of a repository at a commit on their way to the cache.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a Cache,
    pub(super) repository: &'a Repository,
    pub(super) commit: &'a str,
}

/// A file under way.
struct Wanted<'a> {
    name: &'a str,
    url: String,
    described: Described,
    /// Bytes of the files before it, and of all.
    before: u64,
    total: u64,
}

impl Download<'_> {
    /// Fetches those of the files that the commit's directory has not yet, in their order.
    pub(super) fn fetch(&self, names: &[String], observer: &mut dyn Observer) -> Result<()> {
        let directory = self.cache.commit(self.commit);
        let mut wanted = Vec::new();
        for name in names.iter().filter(|name| !directory.join(name).exists()) {
            let url = self.client.file(self.repository, self.commit, name);
            let described = self.client.describe(&url, observer).map_err(|failure| self.error(name, failure))?;
            wanted.push(Wanted { name, url, described, before: 0, total: 0 });
        }
        let total = wanted.iter().map(|file| file.described.size).fold(0, u64::saturating_add);
        let mut before: u64 = 0;
        for mut file in wanted {
            let size = file.described.size;
            (file.before, file.total) = (before, total);
            self.file(&file, observer)?;
            before = before.saturating_add(size);
            observer.received(file.name, before, total);
        }
        Ok(())
    }

    fn error(&self, name: &str, failure: Failure) -> Error {
        self.client.error(self.repository, name, failure)
    }

    /// Brings one file into the cache; a wrong checksum is given a second chance.
    fn file(&self, file: &Wanted, observer: &mut dyn Observer) -> Result<()> {
        let checksum = &file.described.checksum;
        let blob = self.cache.blob(checksum);
        let _lock = self.cache.lock(checksum, observer)?;
        let mut found = String::new();
        for _ in 0..2 {
            if blob.exists() {
                return self.cache.link(checksum, self.commit, file.name);
            }
            let incomplete = blob.with_added_extension("incomplete");
            self.receive(file, &incomplete, observer)?;
            found = measured(&incomplete, checksum).map_err(|e| Error::io(&incomplete, "read", &e))?;
            if found == *checksum {
                fs::rename(&incomplete, &blob).map_err(|e| Error::io(&blob, "write", &e))?;
            } else {
                fs::remove_file(&incomplete).map_err(|e| Error::io(&incomplete, "remove", &e))?;
                observer.note(&format!("{}: wrong checksum; it was removed.", file.name));
            }
        }
        if blob.exists() {
            return self.cache.link(checksum, self.commit, file.name);
        }
        let host = self.client.host();
        let problem =
            format!("wrong checksum, twice: {host} announced {checksum}, what came has {found}; it was removed");
        let name = format!("{}, {}", self.repository, file.name);
        Err(Error::Hub { name, problem, hint: "Try again later, or over another network".into() })
    }

    /// Receives what is missing of a file, as often as connections are cut.
    fn receive(&self, file: &Wanted, path: &Path, observer: &mut dyn Observer) -> Result<()> {
        let error = |e: &io::Error| Error::io(path, "write", e);
        let mut to = File::options().create(true).truncate(false).write(true).open(path).map_err(|e| error(&e))?;
        let size = file.described.size;
        let (mut attempt, mut counted_from) = (1, 0);
        loop {
            let mut there = to.seek(io::SeekFrom::End(0)).map_err(|e| error(&e))?;
            if there > size {
                to.set_len(0).and_then(|()| to.rewind()).map_err(|e| error(&e))?;
                there = 0;
            }
            if there == size {
                return to.sync_all().map_err(|e| error(&e));
            }
            if there > counted_from + PROGRESS {
                (attempt, counted_from) = (1, there);
            }
            match self.receive_from(file, there, &mut to, path, observer) {
                Ok(()) => {}
                Err(failure) => {
                    self.client.wait(failure, attempt, observer).map_err(|failure| self.error(file.name, failure))?;
                    attempt += 1;
                }
            }
        }
    }

    /// One connection: appends what comes.
    fn receive_from(
        &self,
        file: &Wanted,
        from: u64,
        to: &mut File,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let local = |e: &io::Error| Failure::Other(Error::io(path, "write", e));
        let response = match self.client.get(&file.url, from) {
            // as much as the server has, and yet not what it announced
            Err(Failure::Refused { status: 416, .. }) => {
                to.set_len(0).map_err(|e| local(&e))?;
                return Err(Failure::Passing { problem: "the part that was there does not fit".into(), wait: None });
            }
            response => response?,
        };
        let resumes = response.status() == 206 && starts_at(&response, from);
        let mut there = from;
        if from > 0 && !resumes {
            // the server sends the whole file
            to.set_len(0).and_then(|()| to.rewind()).map_err(|e| local(&e))?;
            if response.status() == 206 {
                return Err(Failure::Passing {
                    problem: "the server sent another part than asked for".into(),
                    wait: None,
                });
            }
            there = 0;
        }
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut chunk = vec![0; CHUNK];
        while there < file.described.size {
            if observer.stop_requested() {
                return Err(Failure::Other(interrupted()));
            }
            let n = match body.read(&mut chunk) {
                Ok(0) => return Err(self.cut(file, there, "it ended")),
                Ok(n) => n,
                Err(e) => return Err(self.cut(file, there, e)),
            };
            let n = n.min(usize::try_from(file.described.size - there).unwrap_or(n));
            to.write_all(&chunk[..n]).map_err(|e| local(&e))?;
            there += n as u64;
            observer.received(file.name, file.before.saturating_add(there), file.total);
        }
        Ok(())
    }

    fn cut(&self, file: &Wanted, there: u64, why: impl std::fmt::Display) -> Failure {
        let (host, size) = (self.client.host(), file.described.size);
        let problem =
            format!("the connection to {host} was cut after {there} of {size} bytes of {} ({why})", file.name);
        Failure::Passing { problem, wait: None }
    }
}

/// Whether the part that comes begins where it should.
fn starts_at(response: &ureq::http::Response<ureq::Body>, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

/// The checksum of a file, of the kind that the expected one is: SHA-256, or SHA-1 as git computes it.
fn measured(path: &Path, expected: &str) -> io::Result<String> {
    let mut file = File::open(path)?;
    if expected.len() == 64 {
        return digest(Sha256::new(), &mut file);
    }
    let header = format!("blob {}\0", file.metadata()?.len());
    digest(Sha1::new_with_prefix(header), &mut file)
}

fn digest<D: Digest>(mut digest: D, from: &mut impl Read) -> io::Result<String> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => digest.update(&chunk[..n]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_git_and_sha256sum() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "hello").unwrap();
        // `printf hello | git hash-object --stdin`, `printf hello | sha256sum`
        let expected = [
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ];
        for checksum in expected {
            assert_eq!(measured(&path, checksum).unwrap(), checksum);
        }
    }
}
