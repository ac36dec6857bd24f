#!/usr/bin/env python3
"""Training speed of distune and of Transformers + PyTorch, side by side: the table in the README.

    bench/compare.py [--rounds 3] [--steps 16] [--only TEXT] [--python PYTHON] [--sst2 DIR]

Both sides of a line train on the same rows, each in its own random order; a round runs peer and distune in turn. Shown are
medians over `rounds` rounds; the ratio is the median of the ratios of each round. A peer that several lines share runs once a
round. PYTHON needs torch and transformers. Nothing else should run meanwhile.
"""
import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTUNE = ROOT / "target/release/distune"
a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--rounds", type=int, default=3)
a.add_argument("--steps", type=int, default=16, help="steps that count, of each run")
a.add_argument("--only", default="", help="measure only lines that contain this text")
a.add_argument("--python", default=os.environ.get("DISTUNE_PYTHON", sys.executable))
a.add_argument("--sst2", type=Path, default=Path(os.environ.get("DISTUNE_SST2", ROOT / "../shared/sst2")))
a = a.parse_args()

BASE, ENCODER = "DistilBERT-base", "bundled encoder"
# model, what trains, the peer's options, ours, how ours is measured
ALL, B8 = ["--unfreeze", "blocks:6"], ["--batch-size", "8"]
F32, FROZEN = ["--precision", "f32"], ["--freeze-embeddings"]
LONG = ["--max-length", "512", "--batch-size", "8"]
# steps of the long texts, and of all batches that one window of the Trainer's grouping by length has, but two of warm-up
LONG_STEPS, WINDOW_STEPS = 3, 48
LINES = [
    (BASE, "all blocks", "f32, dynamic padding", FROZEN, "bf16", ALL),
    (BASE, "all blocks", "f32, dynamic padding", FROZEN, "f32", [*ALL, *F32]),
    (BASE, "all blocks", "bf16, dynamic padding", [*FROZEN, "--dtype", "bf16"], "bf16", ALL),
    (BASE, "all blocks", "bf16, by length", [*FROZEN, "--dtype", "bf16", "--pad", "bucket"], "bf16", ALL),
    (BASE, "all blocks", "f32, by length", [*FROZEN, "--pad", "bucket"], "f32", [*ALL, *F32]),
    (BASE, "all blocks, batch 8", "f32, padded to 128", [*FROZEN, "--pad", "max", "--batch", "8"], "bf16", [*ALL, *B8]),
    (BASE, "all blocks, batch 8, 512 tokens", "bf16", [*FROZEN, "--dtype", "bf16", "--max-length", "512", "--batch", "8"],
     "bf16", [*ALL, *LONG]),
    (BASE, "blocks:3, later epochs", "bf16, dynamic padding", ["--dtype", "bf16", "--unfreeze", "3"], "bf16",
     ["--unfreeze", "blocks:3"]),
    (BASE, "head, later epochs", "bf16, dynamic padding", ["--dtype", "bf16", "--unfreeze", "0"], "bf16",
     ["--unfreeze", "head"]),
    (BASE, "peak memory, two epochs", "f32, dynamic padding", FROZEN, "bf16", ALL),
    (ENCODER, "all blocks", "f32, dynamic padding", FROZEN, "bf16", ALL),
    (ENCODER, "all blocks", "bf16, dynamic padding", [*FROZEN, "--dtype", "bf16"], "bf16", ALL),
    (ENCODER, "all blocks", "bf16, by length", [*FROZEN, "--dtype", "bf16", "--pad", "bucket"], "bf16", ALL),
]


def run(command):
    """The last line of JSON that a command prints."""
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout.decode().strip().splitlines()


def prepare(directory):
    """A DistilBERT-base of random weights, and short and long training texts."""
    make = "import sys; from transformers import DistilBertConfig as C, DistilBertForSequenceClassification as M;" \
           "M(C()).save_pretrained(sys.argv[1])"
    subprocess.run([a.python, "-c", make, directory / "base"], check=True, stderr=subprocess.DEVNULL)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        (directory / "base" / name).write_bytes((ROOT / "assets/encoder" / name).read_bytes())
    header, *rows = (a.sst2 / "train.tsv").read_text(encoding="utf-8").splitlines()
    random.Random(0).shuffle(rows)

    def write(name, rows):
        for split, part in [("train", rows), ("dev", rows[:64])]:
            (directory / name).mkdir(exist_ok=True)
            (directory / name / f"{split}.tsv").write_text("\n".join([header, *part]) + "\n")

    # exactly as many rows as the steps take, those of the warm-up included
    write("short", rows[: (a.steps + 2) * 32])
    write("small batches", rows[: (a.steps + 2) * 8])
    write("window", rows[: (WINDOW_STEPS + 2) * 32])
    # 60 phrases a row: more than 512 tokens
    texts = [line.rsplit("\t", 1)[0] for line in rows]
    count = (LONG_STEPS + 2) * 8
    write("long", [" ".join(texts[i * 60 : (i + 1) * 60]) + f"\t{i % 2}" for i in range(count)])


def data(what, padding):
    """The rows of a line, and its steps."""
    if "512" in what:
        return "long", LONG_STEPS
    if padding.endswith("by length"):
        return "window", WINDOW_STEPS
    return ("small batches" if "batch 8" in what else "short"), a.steps


def peer(directory, model, name, steps, options):
    model = ["--model", directory / "base", "--base"] if model == BASE else ["--model", ROOT / "assets/encoder"]
    command = [a.python, ROOT / "bench/train_torch.py", "--data", directory / name / "train.tsv", *model, "--steps", steps]
    return json.loads(run([*command, *options])[-1])


def ours(directory, model, what, name, steps, options):
    model = directory / "base" if model == BASE else "bundled"
    if "epochs" not in what:
        command = [DISTUNE, "bench", "--json", "--quiet", "--model", model, "--data", directory / name, "--steps", steps]
        return json.loads(run([*command, *options])[-1])
    # a whole training, as a user has it
    epochs = 2 if "memory" in what else 4
    command = [DISTUNE, "train", "--json", "--quiet", "--model", model, "--data", directory / name, "--select-on", "dev", "--new-head",
               "--overwrite", "--output", directory / "run", "--epochs", epochs, *options]
    lines = [json.loads(line) for line in run([sys.executable, "-c", MEASURE, *command])]
    seconds = [line["seconds"] for line in lines if line.get("event") == "evaluation"]
    return {"samples_per_s": (steps + 2) * 32 / statistics.median(seconds[1:]), "peak_mb": lines[-1]["peak_mb"]}


# runs a command and adds a line with its peak memory
MEASURE = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}))
"""


def main():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    lines = [line for line in LINES if a.only in " ".join(map(str, line))]
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        prepare(directory)
        results = {i: [] for i in range(len(lines))}
        for round in range(a.rounds):
            peers = {}
            for i, (model, what, padding, theirs, _, mine) in enumerate(lines):
                rows = data(what, padding)
                key = str((model, theirs, rows))
                peers[key] = peers.get(key) or peer(directory, model, *rows, theirs)
                pair = peers[key], ours(directory, model, what, *rows, mine)
                results[i].append(pair)
                key = "peak_mb" if "memory" in what else "samples_per_s"
                note = f"round {round + 1}: {model}, {what}, {theirs} : {mine}"
                print(note, f"{pair[0][key]:.1f}, {pair[1][key]:.1f}", sep=": ", file=sys.stderr, flush=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores of an {cpu}, {results[0][0][0]['versions']}, "
          f"`bench/compare.py --rounds {a.rounds} --steps {a.steps}`, medians\n")
    print("| model | work | Transformers | | distune | | ratio |")
    print("|---|---|---|---|---|---|---|")
    for i, (model, what, theirs, _, mine, _) in enumerate(lines):
        key, unit = ("peak_mb", "MB") if "memory" in what else ("samples_per_s", "samples/s")
        pairs = [(p[key], m[key]) for p, m in results[i]]
        ratio = statistics.median(p / m if unit == "MB" else m / p for p, m in pairs)
        p, m = (statistics.median(values) for values in zip(*pairs))
        number = lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.1f}"
        print(f"| {model} | {what} | {theirs} | {number(p)} {unit} | {mine} | {number(m)} {unit} | {ratio:.1f}x |")


main()
