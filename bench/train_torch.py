#!/usr/bin/env python3
"""Fine-tuning speed of Transformers + PyTorch on this machine's CPU: the peer that bench/compare.py measures against.

    bench/train_torch.py --data train.tsv --model assets/encoder     the bundled encoder
    bench/train_torch.py --data train.tsv --base                     the shape of DistilBERT-base, random weights

Prints one JSON line: seconds a step (median), samples and real tokens a second, peak memory.
"""
import argparse
import json
import random
import resource
import statistics
import time

import torch
import transformers
from transformers import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification

a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--data", required=True, help="a .tsv file of sentence and label, with a header")
a.add_argument("--model", required=True, help="directory with the tokenizer, and the weights unless --base")
a.add_argument("--base", action="store_true")
a.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
a.add_argument("--pad", default="dynamic", choices=["dynamic", "bucket", "max"])
a.add_argument("--batch", type=int, default=32)
a.add_argument("--steps", type=int, default=12)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--max-length", type=int, default=128)
a.add_argument("--freeze-embeddings", action="store_true")
a.add_argument("--unfreeze", type=int, default=6, help="train only the last N blocks and the head")
a = a.parse_args()

torch.set_num_threads(a.threads)
torch.manual_seed(0)
random.seed(0)
tokenizer = AutoTokenizer.from_pretrained(a.model)
with open(a.data, encoding="utf-8") as f:
    rows = [line.rstrip("\n").split("\t") for line in f][1:]
random.shuffle(rows)
n = a.batch
if a.pad == "bucket":  # as Trainer's group_by_length: shuffled, then sorted inside windows of 50 batches
    window = sorted(rows[: n * 50], key=lambda row: len(row[0]))
    batches = [window[i : i + n] for i in range(0, len(window), n)]
    random.shuffle(batches)
else:
    batches = [rows[i : i + n] for i in range(0, n * (a.steps + 2), n)]
if a.base:
    model = DistilBertForSequenceClassification(DistilBertConfig())
else:
    model = DistilBertForSequenceClassification.from_pretrained(a.model, num_labels=2, dtype=torch.float32)
if a.freeze_embeddings or a.unfreeze < 6:
    model.distilbert.embeddings.requires_grad_(False)
for block in list(model.distilbert.transformer.layer)[: 6 - a.unfreeze]:
    block.requires_grad_(False)
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=4e-5, fused=True)
seconds, samples, tokens = [], 0, 0
for i in range(a.steps + 2):
    batch = batches[i % len(batches)]
    start = time.perf_counter()
    padding = "max_length" if a.pad == "max" else True
    texts = [row[0] for row in batch]
    x = tokenizer(texts, return_tensors="pt", truncation=True, max_length=a.max_length, padding=padding)
    y = torch.tensor([int(row[1]) for row in batch])
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.dtype == "bf16"):
        loss = model(input_ids=x["input_ids"], attention_mask=x["attention_mask"], labels=y).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if i >= 2:
        seconds.append(time.perf_counter() - start)
        samples += len(batch)
        tokens += int(x["attention_mask"].sum())
print(json.dumps({
    "versions": f"PyTorch {torch.__version__}, Transformers {transformers.__version__}",
    "step_s": statistics.median(seconds),
    "samples_per_s": samples / sum(seconds),
    "tokens_per_s": tokens / sum(seconds),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
}))
