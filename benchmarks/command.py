"""What the lists of the command cost: CPU seconds and memory of a process each.

python -m benchmarks.command [RUNS]
"""

import os
import statistics
import subprocess
import sys

COMMANDS = (("--help",), ("--version",), ("algorithms",), ("models",), ("simulate", "--help"))


def cost(words: tuple[str, ...]) -> tuple[float, float]:
    """Run the command once.

    Returns:
        its CPU time in seconds, and the most memory that it held, in MB (10^6 bytes).
    """
    program = "import sys; from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6  # KiB on Linux


def main() -> None:
    """Print a row a command: the median of several runs, and the slowest."""
    runs = int(sys.argv[1]) if sys.argv[1:] else 5
    print("| command | CPU s (median, most) | MB |\n| --- | --- | --- |")
    for words in COMMANDS:
        costs = [cost(words) for _ in range(runs)]
        seconds = [each[0] for each in costs]
        memory = max(each[1] for each in costs)
        shown = f"{statistics.median(seconds):.2f}, {max(seconds):.2f}"
        print(f"| `edgeloop {' '.join(words)}` | {shown} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
