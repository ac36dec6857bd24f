#!/usr/bin/env python3
"""How the speed of training changes with the length of texts, the number of threads and the number of rows.

    bench/scaling.py [--rounds 3] [--sst2 DIR]

All by `distune bench` and `distune train` on SST-2's training texts; medians of `rounds` alternating runs.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTUNE = ROOT / "target/release/distune"
a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--rounds", type=int, default=3)
a.add_argument("--sst2", type=Path, default=Path(os.environ.get("DISTUNE_SST2", ROOT / "../shared/sst2")))
a = a.parse_args()


def run(*command):
    done = subprocess.run([str(part) for part in (DISTUNE, *command, "--json", "--quiet")], check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in done.stdout.splitlines()]


def median(results, key):
    return statistics.median(result[key] for result in results)


def lengths():
    print("\n| tokens a text | texts a step | bundled encoder, tokens/s | of peak | DistilBERT-base, tokens/s | of peak |")
    print("|---|---|---|---|---|---|")
    for length in [16, 64, 128, 256, 512]:
        cells = [str(length), str(4096 // length)]
        for model, steps in [("bundled", 6), ("distilbert-base", 2)]:
            options = ["--model", model, "--length", length, "--batch-size", 4096 // length, "--steps", steps]
            results = [run("bench", "--data", a.sst2, *options)[-1] for _ in range(a.rounds)]
            cells += [f"{median(results, 'tokens_per_s'):,.0f}", f"{median(results, 'share_of_peak'):.0%}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def threads():
    print("\n| model | precision | 1 thread, samples/s | 2 threads, samples/s | ratio |\n|---|---|---|---|---|")
    for model, steps in [("bundled", 20), ("distilbert-base", 6)]:
        for precision in ["bf16", "f32"]:
            rounds = []
            for _ in range(a.rounds):
                options = ["--model", model, "--steps", steps, "--precision", precision]
                rounds.append([run("bench", "--data", a.sst2, *options, "--threads", n)[-1]["samples_per_s"] for n in (1, 2)])
            one, two = (statistics.median(speeds) for speeds in zip(*rounds))
            ratio = statistics.median(two / one for one, two in rounds)
            print(f"| {model} | {precision} | {one:.1f} | {two:.1f} | {ratio:.2f} |", flush=True)


def rows():
    header, *lines = (a.sst2 / "train.tsv").read_text(encoding="utf-8").splitlines()
    random.Random(0).shuffle(lines)
    dev = (a.sst2 / "dev.tsv").read_text(encoding="utf-8").splitlines()[:33]
    print("\n| rows | samples/s in training steps |\n|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        speeds = {1000: [], 10000: [], 60000: []}
        # the short ones before and after: the machine changes from minute to minute
        for n in [1000, 10000, 60000, 10000, 1000]:
            (directory / "data").mkdir(exist_ok=True)
            (directory / "data/train.tsv").write_text("\n".join([header, *lines[:n]]) + "\n")
            (directory / "data/dev.tsv").write_text("\n".join(dev) + "\n")
            out = ["--output", directory / "run", "--overwrite", "--epochs", "1"]
            seconds = run("train", "--data", directory / "data", "--select-on", "dev", *out)[-1]["train_seconds"]
            speeds[n].append(n / seconds)
        for n, values in speeds.items():
            print(f"| {n:,} | {', '.join(f'{value:.0f}' for value in values)} |", flush=True)


subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
cpu = next(line for line in open("/proc/cpuinfo") if line.startswith("model name")).split(":")[1].strip()
print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of an {cpu}, `bench/scaling.py`, medians of {a.rounds} runs")
lengths()
threads()
rows()
