#!/usr/bin/env python3
"""Cold start of `distune serve`: seconds from the start of the process to the first answer, and the memory that it then has.

    bench/cold_start.py MODEL [--precision auto] [--runs 5]

MODEL is the directory of a trained model. Its files are in the system's cache from the second start on: medians are shown.
"""
import argparse
import json
import re
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("model")
a.add_argument("--precision", default="auto")
a.add_argument("--runs", type=int, default=5)
a = a.parse_args()


def memory(pid, name):
    """Megabytes that the kernel says of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status).group(1)) * 1024 / 1e6


def start():
    begin = time.perf_counter()
    command = [str(ROOT / "target/release/distune"), "serve", "--port", "0", "--json"]
    command += ["--model", a.model, "--precision", a.precision]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            address = re.search(r"127\.0\.0\.1:\d+", server.stdout.readline()).group(0)
            body = json.dumps({"inputs": "a charming and often affecting journey"}).encode()
            request = urllib.request.Request(f"http://{address}/predict", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                answer.read()
            return time.perf_counter() - begin, memory(server.pid, "VmRSS"), memory(server.pid, "VmHWM")
        finally:
            server.terminate()


seconds, resident, highest = (statistics.median(values) for values in zip(*(start() for _ in range(a.runs))))
print(f"{a.model}, {a.precision}: first answer after {seconds:.3f} s, {resident:.0f} MB resident, {highest:.0f} MB at most")
