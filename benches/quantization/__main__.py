"""Rows that show what quantization costs, on trained digit networks: five seeds each.

    python benches/quantization --weights ../shared/weights --data ../shared/mnist ROW...

Each row is read from the test images once, and stands beside the float network of the same seed.
Recipes were chosen on other networks, trained without the validation images; see `recipes.py`.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import ablation
import adaptive
import aware
import calibration
import mixed
import outliers
import posttraining
from common import NAMES, Bench

ROWS = {
    "posttraining": posttraining.rows,
    "ablation": ablation.rows,
    "hqq": ablation.norms,
    "layers": posttraining.layers,
    "aware": aware.rows,
    "aware-rates": aware.rates,
    "mixed": mixed.rows,
    "outlier-layer": mixed.outlier_layer,
    "nested": adaptive.rows,
    "outliers": outliers.rows,
    "calibration": calibration.rows,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which rows; all without")
    parser.add_argument("--weights", type=pathlib.Path, default=pathlib.Path("../shared/weights"))
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--validation", action="store_true",
        help="use the last 10,000 training images in place of the test images",
    )  # fmt: skip
    options = parser.parse_args()
    bench = Bench(
        options.weights, options.data, options.seeds, options.validation, options.networks
    )
    for row in options.rows or ROWS:
        ROWS[row](bench)
        print()


main()
