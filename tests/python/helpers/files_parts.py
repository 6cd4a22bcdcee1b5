"""What the tests of files share."""

from pathlib import Path

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.safetensors"))
