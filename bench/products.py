#!/usr/bin/env python3
"""Matrix products of a linear layer, distune's against PyTorch's (oneDNN), one thread, in turn.

    bench/products.py [--rounds 3] [--python PYTHON]

GFLOP/s for y = x · wᵀ + b, dx = dy · w and dw = dyᵀ · x with M rows, N outputs and K inputs. distune is given f32 and rounds and
rearranges it in the call, in large pages, as in a training step; PyTorch gets operands in bf16 or f32 as they are.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--rounds", type=int, default=3)
a.add_argument("--python", default=os.environ.get("DISTUNE_PYTHON", sys.executable))
a = a.parse_args()

TORCH = """
import json, sys, time, torch
torch.set_num_threads(1)
m, n, k = map(int, sys.argv[1].split("x"))
out = {}
for name, dtype in [("bf16", torch.bfloat16), ("f32", torch.float32)]:
    x, dy, w, b = (torch.randn(s, dtype=dtype) for s in [(m, k), (m, n), (n, k), (n,)])
    for use, f in [("forward", lambda: torch.nn.functional.linear(x, w, b)), ("input", lambda: dy @ w), ("weight", lambda: dy.T @ x)]:
        f(); f()
        calls, best = max(1, int(3e9 / (2 * m * n * k))), 1e9
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(calls): f()
            best = min(best, (time.perf_counter() - start) / calls)
        out[use + " " + name] = 2e-9 * m * n * k / best
print(json.dumps(out))
"""


def distune(shape):
    command = ["cargo", "run", "--release", "--quiet", "-p", "distune-kernels", "--example", "gemm_bench", "--", "1", shape]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    # use, precision, shape, peak, GFLOP/s and %
    found = (re.match(r"(\w+) (\w+) (\S+) +(\S+) +(\S+) +\d+%", line) for line in lines)
    return {f"{m[1]} {m[2]}": (float(m[5]), float(m[4])) for m in found if m and m[3] == shape}


def torch(shape):
    done = subprocess.run([a.python, "-c", TORCH, shape], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


print(f"{time.strftime('%Y-%m-%d')}, `bench/products.py`, one thread, GFLOP/s, medians of {a.rounds} rounds: distune / PyTorch, "
      "and distune's share of the peak\n")
uses = [f"{use} {precision}" for precision in ("bf16", "f32") for use in ("forward", "input", "weight")]
print("| M x N x K | " + " | ".join(uses) + " |\n|" + "---|" * (len(uses) + 1))
for shape in ["440x768x768", "440x3072x768", "440x768x3072", "2048x768x768", "2048x3072x768", "2048x768x3072",
              "870x384x384", "870x1152x384", "870x1536x384", "870x384x1536", "32x768x768"]:
    rounds = [(distune(shape), torch(shape)) for _ in range(a.rounds)]
    cells = []
    for use in uses:
        ours, peak = (statistics.median(r[0][use][i] for r in rounds) for i in (0, 1))
        theirs = statistics.median(r[1][use] for r in rounds)
        cells.append(f"{ours:.0f} / {theirs:.0f}, {ours / peak:.0%}")
    print(f"| {shape} | " + " | ".join(cells) + " |", flush=True)
