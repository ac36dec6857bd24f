"""A selection split for SST-2, taken from its training rows, so that a recipe can be chosen without a look at dev.

python bench/sst2_split.py --output DIR [--sst2 ../shared/sst2] [--sentences 1500] [--seed 0]

SST-2 trains on phrases of parse trees, dev has whole sentences. Holding out random rows would leave other phrases of the
same sentences in training. So whole sentences are held out (rows that are part of no longer row, at least 8 words), and every
row that is a part of one of them leaves the training rows. Writes DIR/train.tsv and DIR/validation.tsv.
"""
import argparse, os, random

a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
a.add_argument("--output", required=True)
a.add_argument("--sst2", default=os.environ.get("DISTUNE_SST2", "../shared/sst2"))
a.add_argument("--sentences", type=int, default=1500)
a.add_argument("--seed", type=int, default=0)
a = a.parse_args()

with open(os.path.join(a.sst2, "train.tsv"), encoding="utf-8") as f:
    header, *lines = f.read().splitlines()
rows = [(line, tuple(line.split("\t")[0].split())) for line in lines]


def parts(words):
    return {words[i:j] for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


covered, sentences = set(), []
for line, words in sorted(rows, key=lambda row: -len(row[1])):
    if words not in covered:
        covered |= parts(words)
        if len(words) >= 8:
            sentences.append((line, words))
random.Random(a.seed).shuffle(sentences)
held = sentences[:a.sentences]
held_parts = set().union(*(parts(words) for _, words in held))
train = [line for line, words in rows if words not in held_parts]

os.makedirs(a.output, exist_ok=True)
for name, part in [("train", train), ("validation", [line for line, _ in held])]:
    with open(os.path.join(a.output, name + ".tsv"), "w", encoding="utf-8") as f:
        f.write("\n".join([header, *part]) + "\n")
print(f"{len(rows)} rows, {len(sentences)} whole sentences; {len(train)} rows to train, {len(held)} to select")
