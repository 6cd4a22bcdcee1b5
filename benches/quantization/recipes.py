"""Train the networks that recipes are chosen on: they never see the last 10,000 training images.

python benches/quantization/recipes.py FOLDER --data ../shared/mnist
python benches/quantization --weights FOLDER --validation --seeds 3 ablation
"""

import argparse
import pathlib

import numpy as np
from aware import SIZES
from common import Bench

import qcore as qc


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    bench = Bench(options.folder, options.data, options.seeds, validation=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, widths in SIZES.items():
        arrays = {}
        for seed in range(options.seeds):
            kinds = ["relu"] * (len(widths) - 2) + ["softmax"]
            net = qc.nn.Sequential(map(qc.nn.Dense, widths, widths[1:], kinds))
            net.fit(bench.train, bench.train_labels, epochs=10, random_state=100 + seed)
            for k, layer in enumerate(net.layers):
                arrays |= {f"s{seed}_w{k}": layer.weight, f"s{seed}_b{k}": layer.bias}
        np.savez(options.folder / f"{name}.npz", **arrays)


main()
