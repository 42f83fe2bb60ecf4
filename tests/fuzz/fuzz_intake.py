#!/usr/bin/env python
"""Feed damaged, mislabelled and malicious files to the image reader and count what becomes of them.

    .venv/bin/python -m tests.fuzz.fuzz_intake --count 2000

Every file must end in an error that names it or in a valid image. A crash, a hang, an exception of another kind and
more than ``MEMORY_LIMIT_MIB`` of memory are failures: the exit code is then 1, and ``--keep DIR`` gets the files. The
reader runs in a process of its own, which is started again behind a file that ends it. Seconds are the processor's, so
that a busy machine makes no hang. Linux only.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.fuzz_files import LARGEST_SIDE, FuzzFile, make_file

MEMORY_LIMIT_MIB = 2048
GOOD = ("image", "error")


class Result(NamedTuple):
    """What became of one file: ``outcome`` is one of ``GOOD`` or says what went wrong; ``seconds`` of CPU time."""

    number: int
    outcome: str
    seconds: float = 0.0
    memory_mib: float = 0.0


def read_as_user(path: Path) -> str:
    """Read a file as an image and as a mask.

    Returns:
        ``"image"``, ``"error"`` for a clean one, or what was wrong with the reader.
    """
    from condseg_monai.data.images.image_reader import UnreadableImageError, read_natural_image

    outcomes = []
    for mode, shape in (("RGB", 3), ("L", 2)):
        try:
            array = read_natural_image(path, mode)
        except UnreadableImageError as error:
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


def work(folder: Path, start: int, stop: int) -> None:
    """The process that reads: prints a line for each file, ``index outcome seconds memory``, separated by tabs."""
    import resource

    import condseg_monai.data  # noqa: F401  # before memory is measured

    warnings.simplefilter("ignore")
    limit = int((_memory_mib("VmSize") + MEMORY_LIMIT_MIB + 1024) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    paths = sorted(folder.iterdir())
    print("ready", flush=True)
    for index in range(start, stop):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, begin = _memory_mib("VmRSS"), time.process_time()
        outcome = read_as_user(paths[index])
        seconds, memory = time.process_time() - begin, _memory_mib("VmHWM") - before
        if memory > MEMORY_LIMIT_MIB:
            outcome = "too much memory"
        print(f"{index}\t{outcome}\t{seconds:.3f}\t{memory:.0f}", flush=True)


def _memory_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def supervise(command: Sequence[str], start: int, stop: int, timeout_s: float, start_timeout_s: float) -> list[Result]:
    """Run the reading process over some files, and again behind each file that ends it.

    Args:
        command: of the process; the numbers of the first file and behind the last are added to it.
        start: first file.
        stop: behind the last file.
        timeout_s: of CPU time for one file, and of the clock's for a process that does nothing.
        start_timeout_s: until the process says it is ready.
    """
    results: list[Result] = []
    while (first := start + len(results)) < stop:
        process = subprocess.Popen(
            [*command, str(first), str(stop)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_forward, args=(process, lines), daemon=True).start()
        try:
            if lines.get(timeout=start_timeout_s) is None:
                raise RuntimeError(f"the reading process did not start: {' '.join(command)}")
            results += _collect(process, lines, first, stop, timeout_s)
        finally:
            process.kill()
            process.wait()
    return results


def _forward(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _collect(
    process: subprocess.Popen[str], lines: queue.Queue[str | None], first: int, stop: int, timeout_s: float
) -> Iterator[Result]:
    for index in range(first, stop):
        try:
            line = _next_line(process.pid, lines, timeout_s)
        except queue.Empty:
            yield Result(index, "hang", timeout_s)
            return
        if line is None:
            yield Result(index, f"crash (exit code {process.wait()})")
            return
        _, outcome, seconds, memory = line.rstrip("\n").split("\t")
        yield Result(index, outcome, float(seconds), float(memory))


def _next_line(pid: int, lines: queue.Queue[str | None], timeout_s: float) -> str | None:
    """Wait for a line; ``queue.Empty`` if the process hangs: it works for longer, or does nothing for as long."""
    start = before = _cpu_seconds(pid)
    while True:
        try:
            return lines.get(timeout=timeout_s)
        except queue.Empty:
            now = _cpu_seconds(pid)
            if now - start >= timeout_s or now == before:
                raise
            before = now


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process; what it had at its end where it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print the count of each outcome; 1 if any file did worse than a clean error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000, help="files [2000]")
    parser.add_argument("--seed", type=int, default=0, help="of the files [0]")
    parser.add_argument("--timeout_s", type=float, default=60, help="of CPU time, for one file [60]")
    parser.add_argument("--largest_side", type=int, default=LARGEST_SIDE, help="of pictures that are really decoded")
    parser.add_argument("--keep", type=Path, help="folder for the files that did worse than a clean error")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fuzz_intake_") as folder:
        files = [make_file(options.seed, index, options.largest_side) for index in range(options.count)]
        for file in files:
            Path(folder, file.name).write_bytes(file.content)
        worker = [sys.executable, "-m", "tests.fuzz.fuzz_intake", "--worker", folder]
        results = supervise(worker, 0, options.count, options.timeout_s, start_timeout_s=600)
        bad = [result for result in results if result.outcome not in GOOD]
        for result in bad if options.keep else ():
            options.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder, files[result.number].name), options.keep)
    _print_summary(files, results)
    for result in bad:
        print(f"FAILED {files[result.number].name}: {result.outcome}")
    return 1 if bad else 0


def _print_summary(files: Sequence[FuzzFile], results: Sequence[Result]) -> None:
    outcomes = {kind: Counter[str]() for kind in (*sorted({file.kind for file in files}), "all")}
    for result in results:
        for kind in (files[result.number].kind, "all"):
            outcomes[kind][result.outcome] += 1
    for kind, counts in outcomes.items():
        print(f"{kind:20}{counts.total():6}:", ", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    seconds, memory = max(r.seconds for r in results), max(r.memory_mib for r in results)
    print(f"slowest file {seconds:.1f} s of CPU time, most memory for one file {memory:.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        sys.exit(0)
    sys.exit(main())
