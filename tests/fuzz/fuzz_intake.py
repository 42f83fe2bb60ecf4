"""Fuzz the image reader with damaged, mislabelled and malicious files, and count the outcomes.

    .venv/bin/python -m tests.fuzz.fuzz_intake --count 2000

Every file must end in an error that names it or in a valid image. A crash or a hang ends the run with the file's name;
any other exception and more than ``MEMORY_LIMIT_MIB`` of memory are counted, and the exit code is 1. Linux only.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from condseg_monai.data.images import image_reader
from tests.fuzz.fuzz_files import LARGEST_SIDE, make_file
from tests.fuzz.outcomes import Outcomes

MEMORY_LIMIT_MIB = 2048
GOOD = ("image", "error")


def read_as_user(path: Path) -> str:
    """Read a file as an image and as a mask.

    Returns:
        ``"image"``, ``"error"`` for a clean one, or what was wrong with the reader.
    """
    outcomes = []
    for mode, shape in (("RGB", 3), ("L", 2)):
        try:
            array = image_reader.read_natural_image(path, mode)
        except image_reader.UnreadableImageError as error:
            if isinstance(error.__cause__, MemoryError):
                return "out of memory"
            if str(path) not in str(error) or str(error).endswith(": "):
                return f"unclear error {error}"
            outcomes.append("error")
            continue
        except Exception as error:
            return f"unexpected {type(error).__name__}"
        if array.ndim != shape or array.dtype.name not in ("uint8", "float32") or not array.size:
            return f"unexpected array {array.shape} {array.dtype}"
        if not (array.min() >= 0 and array.max() <= 255):
            return "values out of range"
        outcomes.append("image")
    return outcomes[0] if len(set(outcomes)) == 1 else "readable in one mode only"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print the count of each outcome; 1 if any file did worse than a clean error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000, help="files [2000]")
    parser.add_argument("--seed", type=int, default=0, help="of the files [0]")
    parser.add_argument("--timeout_s", type=float, default=120, help="for one file [120]")
    parser.add_argument("--largest_side", type=int, default=LARGEST_SIDE, help="of pictures that are really decoded")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    outcomes = Outcomes(GOOD, options.seed, options.timeout_s)
    with tempfile.TemporaryDirectory(prefix="fuzz_intake_") as folder:
        for index in range(options.count):
            file = make_file(options.seed, index, options.largest_side)
            path = Path(folder, file.name)
            path.write_bytes(file.content)
            outcomes.note(file.kind, file.name, partial(read_as_user, path))
            path.unlink()
    return outcomes.report()


def limit_memory() -> None:
    """Give this process ``MEMORY_LIMIT_MIB`` more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_LIMIT_MIB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    limit_memory()
    sys.exit(main())
