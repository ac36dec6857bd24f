"""Tells the kernel where the library is that cargo has just built, by cargo's messages on standard input. Called by setup."""

import json
import os
import sys
from pathlib import Path

messages = [json.loads(line) for line in sys.stdin]
libraries = [
    file
    for message in messages
    if message["reason"] == "compiler-artifact" and message["target"]["name"] == "distune" and "lib" in message["target"]["kind"]
    for file in message["filenames"]
    if file.endswith(".rlib")
]
if len(libraries) != 1:
    sys.exit(f"setup: expected one library distune among what cargo has built, found {libraries}")
# the first is evcxr's own; the kernel, when it is updated, writes to the directory that JUPYTER_PATH names
flags = ["-Cprefer-dynamic", "--extern", f"distune={libraries[0]}", f"-Ldependency={os.path.dirname(libraries[0])}"]
path = Path(sys.argv[1], "kernels", "rust", "kernel.json")
kernel = json.loads(path.read_text())
kernel["display_name"] = "Rust (distune)"
kernel["env"] = {"JUPYTER_PATH": sys.argv[1], "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}
path.write_text(json.dumps(kernel, indent=2) + "\n")
