#!/usr/bin/env python3
"""Training speed of distune and of Transformers + PyTorch, side by side: the table in the README.

    bench/compare.py [--rounds 3] [--steps 10] [--only TEXT] [--python PYTHON] [--sst2 DIR]

Every line of the table runs the peer and distune in turn, `rounds` times over, and shows medians; the ratio is the median of
the ratios of each round, whose two halves ran in the same minute. PYTHON needs torch and transformers. Nothing else should
run meanwhile.
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
a.add_argument("--steps", type=int, default=10, help="steps that count, of each run")
a.add_argument("--only", default="", help="measure only lines that contain this text")
a.add_argument("--python", default=os.environ.get("DISTUNE_PYTHON", sys.executable))
a.add_argument("--sst2", type=Path, default=Path(os.environ.get("DISTUNE_SST2", ROOT / "../shared/sst2")))
a = a.parse_args()

BASE, ENCODER = "DistilBERT-base", "bundled encoder"
# model, what trains, the peer's options, ours, how ours is measured
ALL, B8 = ["--unfreeze", "blocks:6"], ["--batch-size", "8"]
F32, FROZEN = ["--precision", "f32"], ["--freeze-embeddings"]
LONG = ["--max-length", "512", "--batch-size", "8"]
LINES = [
    (BASE, "all blocks", "f32, dynamic padding", FROZEN, "bf16", ALL),
    (BASE, "all blocks", "f32, dynamic padding", FROZEN, "f32", [*ALL, *F32]),
    (BASE, "all blocks", "bf16, dynamic padding", [*FROZEN, "--dtype", "bf16"], "bf16", ALL),
    (BASE, "all blocks", "bf16, by length", [*FROZEN, "--dtype", "bf16", "--pad", "bucket"], "bf16", ALL),
    (BASE, "all blocks", "f32, by length", [*FROZEN, "--pad", "bucket"], "f32", [*ALL, *F32]),
    (BASE, "all blocks, batch 8", "f32, padded to 128", [*FROZEN, "--pad", "max", "--batch", "8"], "bf16", [*ALL, *B8]),
    (BASE, "all blocks, batch 8, 512 tokens", "bf16", [*FROZEN, "--dtype", "bf16", "--max-length", "512", "--batch", "8"],
     "bf16", [*ALL, *LONG]),
    (BASE, "blocks:3, second epoch", "bf16, dynamic padding", ["--dtype", "bf16", "--unfreeze", "3"], "bf16",
     ["--unfreeze", "blocks:3"]),
    (BASE, "head, second epoch", "bf16, dynamic padding", ["--dtype", "bf16", "--unfreeze", "0"], "bf16",
     ["--unfreeze", "head"]),
    (BASE, "peak memory, one epoch", "f32, dynamic padding", FROZEN, "bf16", ALL),
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
    write = lambda path, rows: (path.parent.mkdir(exist_ok=True), path.write_text("\n".join([header, *rows]) + "\n"))
    write(directory / "short/train.tsv", rows[:1920])
    write(directory / "short/dev.tsv", rows[1920:1984])
    # 60 phrases a row: far more than 512 tokens
    texts = [line.rsplit("\t", 1)[0] for line in rows]
    long = [" ".join(texts[i : i + 60]) + f"\t{i // 60 % 2}" for i in range(0, 60 * 200, 60)]
    write(directory / "long/train.tsv", long[:160])
    write(directory / "long/dev.tsv", long[160:])


def peer(directory, model, what, options):
    data = directory / ("long" if "512" in what else "short") / "train.tsv"
    model = ["--model", directory / "base", "--base"] if model == BASE else ["--model", ROOT / "assets/encoder"]
    steps = 3 if "512" in what else a.steps
    return json.loads(run([a.python, ROOT / "bench/train_torch.py", "--data", data, *model, "--steps", steps, *options])[-1])


def ours(directory, model, what, options):
    model = directory / "base" if model == BASE else "bundled"
    if "epoch" in what:
        # a whole training, as a user has it
        out = directory / "run"
        epochs = 1 if "memory" in what else 2
        command = [DISTUNE, "train", "--json", "--quiet", "--model", model, "--data", directory / "short", "--new-head",
                   "--overwrite", "--output", out, "--epochs", epochs, *options]
        lines = [json.loads(line) for line in run(["/usr/bin/env", "python3", "-c", MEASURE, *command])]
        epoch = [line for line in lines if line.get("event") == "epoch"][-1]
        return {"samples_per_s": 1920 / epoch["seconds"], "peak_mb": lines[-1]["peak_mb"]}
    data = directory / ("long" if "512" in what else "short")
    steps = 3 if "512" in what else a.steps
    return json.loads(run([DISTUNE, "bench", "--json", "--quiet", "--model", model, "--data", data, "--steps", steps, *options])[-1])


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
            for i, (model, what, _, theirs, _, mine) in enumerate(lines):
                pair = peer(directory, model, what, theirs), ours(directory, model, what, mine)
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
