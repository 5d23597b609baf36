"""Runs all benchmarks one after the other, records them, and fills the pages: `make bench`, or

python -m benchmarks.all [--quick] [--only NAME …] [--set FIRST.npz --set SECOND.npz]     (pip install -e '.[bench]')

Each is a process of its own, with the arguments of `RUNS`. `--quick` leaves out what takes more than some three minutes
on two cores. The labelled sets of `benchmarks.worth` are files (`--set`); without them it is left out, lest fewer sets
come to the pages. What fails is named at the end, with status 1; the others are recorded all the same.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

#: Results by name: module and arguments, and whether it is quick.
RUNS: dict[str, tuple[str, bool]] = {
    "first_use": ("first_use", True),
    "startup": ("startup", True),
    "local_pipeline": ("local_pipeline", True),
    "defaults": ("defaults --points 1000000 --data clusters --options auto thin=20", True),
    "peers_selection": ("peers_selection", False),
    "peers_graph_clusters": ("peers_graph --data clusters", False),
    "peers_graph_sentences": ("peers_graph --data sentences --repeats 1", False),
    "peers_graph_50000": (
        "peers_graph --data sentences --points 50000 --dimension 384 "
        "--methods subsel pynndescent hnsw ivf hnswlib usearch svs scann "
        "--known subsel=18,1 pynndescent=27 hnsw=96 ivf=60 hnswlib=72 usearch=80 svs=24 scann=36",
        False,
    ),
    "sisap": ("sisap --set probes=16,descent_passes=1", False),
    "sisap_1000000": ("sisap --points 1000000 --set probes=12,descent_passes=1 probes=64,descent_passes=2", False),
    "greedy_kernel": ("greedy_kernel", True),
    "coverage_peers": ("coverage peers", True),
    "coverage_clusters": ("coverage large --data clusters --points 20000 --iterations 0 30 100", True),
    "coverage_sentences": ("coverage large --data sentences --points 20000 --iterations 0 30 100", True),
    "search_lists": ("search lists --data clusters --points 200000 --dimension 128", True),
    "search_lists_sentences": ("search lists --data sentences --points 50000 --dimension 128 --repeats 1", True),
    "search_memory": ("search memory", False),
    "growing": ("growing --points 100000 --batches 5", True),
    "growing_sentences": ("growing --data sentences --points 50000 --batches 5", True),
    "growing_1000000": ("growing --points 1000000", False),
    "growing_spark": ("growing --spark 'local[2]' --points 100000 --part-points 10000 --batches 2", False),
    "near_copies": ("near_copies", True),
    "limits": ("limits", True),
    "limits_finish": ("limits --finish-points 400000", True),
    "documents": ("documents", True),
    "beyond_greedy": ("beyond_greedy", True),
    "beyond_greedy_100000": ("beyond_greedy --points 100000", True),
    "beyond_greedy_500000": ("beyond_greedy --points 500000", False),
    "spectral_bound": ("spectral_bound", True),
    "paper_tables": ("paper_tables", False),
    "spark_pipeline": ("spark_pipeline --points 1000000 --dimension 384 --local", False),
    "spark_greedy": ("spark_greedy", False),
    "spark_superstep": ("spark_superstep", True),
    "spark_identity": ("spark_identity --refine 1", False),
    "visits": ("visits --points 200000 --dimension 128", True),
    "cell_groups": ("cell_groups", True),
    "planned": ("planned --sizes 1000000x64", False),
    "planned_local": ("planned --sizes 5000000x64 --engines local", False),
    "scaling": ("scaling --sizes 5000000x64 10000000x64", False),
}
#: Those of `benchmarks.worth`, with `--set` added.
WORTH = {
    "worth": "worth --per-set",
    "worth_neighbors": (
        'worth --built-in digits --budgets 0.01 --methods default coverage "coverage 200" "coverage 400"'
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without those that take long")
    parser.add_argument("--only", nargs="+", choices=[*RUNS, *WORTH], help="these results")
    parser.add_argument("--set", type=Path, action="append", default=[], help="labelled set of benchmarks.worth, .npz")
    parser.add_argument("--note", default="", help="what else must be known to read the results")
    arguments = parser.parse_args()
    asked = {name: shlex.split(command) for name, (command, quick) in RUNS.items() if quick or not arguments.quick}
    if arguments.set:
        sets = [word for path in arguments.set for word in ("--set", str(path))]
        asked |= {name: [*shlex.split(command), *sets] for name, command in WORTH.items() if not arguments.quick}
    if missing := set(arguments.only or []) - set(asked):
        parser.error(f"{', '.join(sorted(missing))}: needs --set, or no --quick")
    if arguments.only:
        asked = {name: words for name, words in asked.items() if name in arguments.only}
    failed = []
    for name, (module, *words) in asked.items():
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", *words, "--record", name, "--note", arguments.note]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    pages = subprocess.run([sys.executable, "-m", "benchmarks.page"], check=False).returncode
    print(f"failed: {', '.join(failed)}" if failed else "all are recorded")
    sys.exit(bool(failed) or bool(pages))


if __name__ == "__main__":
    main()
