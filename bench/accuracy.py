#!/usr/bin/env python3
"""Accuracy and time of a training over several seeds.

    bench/accuracy.py [--seeds 1,2,3] [options of distune train]

Builds the program, trains once a seed, and prints a table: the epoch that validation chose, validation accuracy after the last
epoch and after the chosen one (the latter is optimistic: validation chose it), test accuracy,
seconds in training steps and seconds in all. Without options, the bundled encoder on the bundled reviews.
"""
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
arguments = sys.argv[1:]
seeds = [1, 2, 3]
if "--seeds" in arguments:
    at = arguments.index("--seeds")
    seeds = [int(seed) for seed in arguments[at + 1].split(",")]
    del arguments[at:at + 2]

subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
model = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).split(":")[1].strip()
print(f"{time.strftime('%Y-%m-%d')}, {model}; distune train {' '.join(arguments)}\n")
test = lambda accuracy: "" if math.isnan(accuracy) else f"{accuracy:.2%}"
print("| seed | best epoch | validation, last epoch | best epoch | test | training | in all |")
print("|---|---|---|---|---|---|---|")
rows = []
for seed in seeds:
    with tempfile.TemporaryDirectory() as directory:
        start = time.time()
        command = [ROOT / "target/release/distune", "train", "--json", "--quiet", "--seed", str(seed)]
        done = subprocess.run([*command, "--output", f"{directory}/run", *arguments], check=True, stdout=subprocess.PIPE)
        seconds = time.time() - start
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    result, last = lines[-1], [line for line in lines if line["event"] == "evaluation"][-1]
    row = [last["validation"]["metrics"]["accuracy"], result["eval_accuracy"], result.get("test_accuracy", float("nan")), result["train_seconds"], seconds]
    rows.append(row)
    print(f"| {seed} | {result['best_epoch']:g} | {row[0]:.2%} | {row[1]:.2%} | {test(row[2])} | {row[3]:.0f} s | {row[4]:.0f} s |", flush=True)
mean = [statistics.mean(column) for column in zip(*rows)]
print(f"| mean | | {mean[0]:.2%} | {mean[1]:.2%} | {test(mean[2])} | {mean[3]:.0f} s | {mean[4]:.0f} s |")
