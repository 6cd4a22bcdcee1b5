"""What quantization costs the reference networks of MLPerf Tiny, and LeNet-5.

    python -m benches.tiny [--data ../shared] [ROW ...]

Rows: keywords (DS-CNN), images (ResNet8), digits (LeNet-5), observers, pruned, sparse, onnx,
tflite, hashes. Networks are calibrated on samples that they are not judged on; nothing is trained.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from benches.tiny import exactness, exported, hashes, rows, sparse

ROWS = {
    "keywords": rows.keywords,
    "images": rows.images,
    "digits": rows.digits,
    "observers": rows.observers,
    "pruned": rows.pruned,
    "sparse": sparse.rows,
    "onnx": exported.rows,
    "tflite": exactness.rows,
    "hashes": hashes.rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="which rows; all without")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for row in options.rows or ROWS:
        ROWS[row](options.data)
        print(flush=True)


if __name__ == "__main__":
    main()
