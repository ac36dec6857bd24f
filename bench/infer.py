#!/usr/bin/env python3
"""Speed of predictions with distune and with PyTorch, ONNX Runtime and OpenVINO, side by side: the table in the README.

    bench/infer.py [--rounds 3] [--only TEXT] [--python PYTHON] [--sst2 DIR]

All predict the rows of SST-2's dev set, tokenization included, of DistilBERT-base's shape (random weights) and of the bundled
encoder: sorted by length (of others batches of 32, padded to their longest), in the order of the file, and one text at a time.
A round runs the peers and distune in turn. Shown are medians over the rounds; a ratio is the median of the ratios of each round, to the
fastest peer of that precision. PYTHON needs torch, transformers, onnx, onnxruntime and openvino. Nothing else should run meanwhile.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DISTUNE = ROOT / "target/release/distune"
a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--rounds", type=int, default=3)
a.add_argument("--only", default="", help="measure only models and precisions that contain this text, for instance int8")
a.add_argument("--python", default=os.environ.get("DISTUNE_PYTHON", sys.executable))
a.add_argument("--sst2", type=Path, default=Path(os.environ.get("DISTUNE_SST2", ROOT / "../shared/sst2")))
a.add_argument("--peer", help=argparse.SUPPRESS)
a.add_argument("--model", help=argparse.SUPPRESS)
a.add_argument("--precision", help=argparse.SUPPRESS)
a = a.parse_args()

BASE, ENCODER = "DistilBERT-base", "bundled encoder"
PEERS = {"f32": ["PyTorch", "ONNX Runtime", "OpenVINO"], "bf16": ["PyTorch", "OpenVINO"], "int8": ["ONNX Runtime"]}
FIGURES = ["texts_per_s_sorted", "texts_per_s_file_order", "latency_ms_median", "latency_ms_p99"]
THREADS = len(os.sched_getaffinity(0))


def peer_predictor(model, peer, precision, tokenizer):
    """What computes logits of a batch of arrays. The dtype of a checkpoint is not what is measured: f32 weights."""
    import numpy as np
    import torch
    from transformers import DistilBertConfig, DistilBertForSequenceClassification as Classifier

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    if model == BASE:
        net = Classifier(DistilBertConfig()).eval()
    else:
        net = Classifier.from_pretrained(ROOT / "assets/encoder", num_labels=2, dtype=torch.float32).eval()
    if peer == "PyTorch":
        if precision == "bf16":
            net = net.to(torch.bfloat16)

        def run(batch):
            with torch.inference_mode():
                return net(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits.float().numpy()
        return run
    import tempfile
    path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    example = tokenizer(["a b c", "d"], return_tensors="pt", padding=True)
    names, free = ["input_ids", "attention_mask"], {0: "batch", 1: "length"}
    net.config.return_dict = False
    torch.onnx.export(net, tuple(example[name] for name in names), path, input_names=names, output_names=["logits"],
                      dynamic_axes={name: free for name in names}, opset_version=17, dynamo=False)
    if peer == "ONNX Runtime":
        import onnxruntime
        if precision == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic
            quantize_dynamic(path, path + ".int8", weight_type=QuantType.QInt8)
            path += ".int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda batch: session.run(None, {name: batch[name] for name in names})[0]
    import openvino
    settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda batch: np.array(list(request.infer({name: batch[name] for name in names}).values())[0])


def measure_peer(model, peer, precision):
    """In a process of its own: the same figures as `distune bench --predict --json`."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "assets/encoder")
    texts = [line.rsplit("\t", 1)[0] for line in (a.sst2 / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    run = peer_predictor(model, peer, precision, tokenizer)

    def predict(texts):
        run(dict(tokenizer(texts, return_tensors="np", padding=True, truncation=True, max_length=128)))

    def texts_per_second(texts):
        start = time.perf_counter()
        for first in range(0, len(texts), 32):
            predict(texts[first:first + 32])
        return len(texts) / (time.perf_counter() - start)

    by_length = sorted(texts, key=len)
    texts_per_second(by_length[:256])
    seconds = []
    best = [max(texts_per_second(order) for _ in range(3)) for order in (by_length, texts)]
    for text in texts[:220]:
        start = time.perf_counter()
        predict([text])
        seconds.append(time.perf_counter() - start)
    alone = sorted(seconds[20:])
    values = [*best, 1e3 * statistics.median(alone), 1e3 * alone[len(alone) * 99 // 100 - 1]]
    print(json.dumps(dict(zip(FIGURES, values))))


def last_line(command):
    done = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout.decode().strip().splitlines()[-1])


def measure(model, peer, precision):
    if peer != "distune":
        return last_line([a.python, __file__, "--peer", peer, "--model", model, "--precision", precision, "--sst2", a.sst2])
    name = "distilbert-base" if model == BASE else "bundled"
    return last_line([DISTUNE, "bench", "--predict", "--json", "--quiet", "--model", name, "--data", a.sst2 / "dev.tsv",
                      "--precision", precision])


def cell(results, ours, figure):
    """The median of a figure, and for distune its ratio to the best peer of each round."""
    faster = min if figure.startswith("latency") else max
    peers = [peer for peer in results if peer != "distune"]
    value = statistics.median(run[figure] for run in results[ours])
    text = f"{value:.2f}" if figure.startswith("latency") else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    if ours != "distune":
        return text
    rounds = range(len(results["distune"]))
    best = [faster(results[peer][i][figure] for peer in peers) for i in rounds]
    mine = [results["distune"][i][figure] for i in rounds]
    ratio = statistics.median(b / m if faster is min else m / b for m, b in zip(mine, best))
    return f"{text} ({ratio:.2f}x)"


def main():
    if a.peer:
        return measure_peer(a.model, a.peer, a.precision)
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    lines = [(model, precision) for model in (BASE, ENCODER) for precision in PEERS if a.only in f"{model} {precision}"]
    results = {line: {} for line in lines}
    for round in range(a.rounds):
        for model, precision in lines:
            for peer in [*PEERS[precision], "distune"]:
                run = measure(model, peer, precision)
                results[model, precision].setdefault(peer, []).append(run)
                values = ", ".join(f"{run[figure]:.1f}" for figure in FIGURES)
                print(f"round {round + 1}: {model}, {precision}, {peer}: {values}", file=sys.stderr, flush=True)
    print(f"{time.strftime('%Y-%m-%d')}, {THREADS} cores of an {cpu}, `bench/infer.py --rounds {a.rounds}`, medians; in brackets against the "
          "fastest of the others\n")
    print("| model | precision | | texts/s, sorted | texts/s, in file order | one text, median | 99 of 100 |")
    print("|---|---|---|---|---|---|---|")
    for (model, precision), of_line in results.items():
        for peer in of_line:
            cells = [cell(of_line, peer, figure) + (" ms" if figure.startswith("latency") else "") for figure in FIGURES]
            print(f"| {model} | {precision} | {peer} | {' | '.join(cells)} |")


main()
