"""What `make gpu` calls: every test that needs a GPU, then figures, within nine minutes, into one report.

python tests/gpu/run.py [--dry] [--output DIR] [--data DIR] [--budget SECONDS] [--only PARTS] [--carry DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gpurun.budget import run_part, run_parts
from gpurun.carry import carry
from gpurun.environment import ROOT
from gpurun.parts import PARTS


def main() -> int:
    """Run what the command line says; the exit code is 0 if nothing failed, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="tiny sizes, and a stand-in for the GPU")
    default = os.environ.get("OUT") or ROOT / "build/gpu-report"
    parser.add_argument("--output", type=Path, default=Path(default), metavar="DIR")
    parser.add_argument("--data", type=Path, default=os.environ.get("BENCHSUITE_DATA") or None, metavar="DIR")
    parser.add_argument("--budget", type=float, default=525.0, metavar="SECONDS", help="(default: 525)")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help="names with commas between")
    parser.add_argument("--wheels", type=Path, default=ROOT / "build/gpu-wheels", metavar="DIR")
    parser.add_argument(
        "--carry", type=Path, metavar="DIR", help="only unpack small libraries there, to be taken along"
    )
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--for-python", default=here, metavar="VERSIONS", help="of --carry: 3.11,3.12")
    parser.add_argument("--commit", default="", help="of the checkout, where git cannot tell it")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.carry is not None:
        return carry(options.carry, options.for_python.split(","))
    if options.part is not None:
        return run_part(options)
    unknown = sorted(set(options.only.split(",")) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="benchsuite-gpu-") as scratch:
        return run_parts(options, Path(scratch))


if __name__ == "__main__":
    sys.exit(main())
