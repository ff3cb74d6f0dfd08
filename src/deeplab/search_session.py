"""A search that is open in this process: its pictures, its results so far, and the processes that score."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from deeplab.config.preflight import to_plain
from deeplab.config.processes import worker_count
from deeplab.crf.workers import default_num_workers
from deeplab.crf_search.cells import AXES, Cell
from deeplab.crf_search.report import BEST, sentences, table, write_report
from deeplab.crf_search.scorer import Scorer
from deeplab.crf_search.search import Found, Plan, check, draw
from deeplab.crf_search.store import Results
from deeplab.search_inputs import Inputs, check_same, open_inputs

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

Plain = dict[str, Any]

ON_A_GPU = 3  # took little more than half of one's time (docs/crf.md)


@dataclass
class Session:
    """What a search needs: `searched` and `held_out` are indices of the source's pictures, `facts` are for run.json."""

    inputs: Inputs
    plan: Plan
    searched: list[int]
    held_out: list[int]
    target: Path
    results: Results
    scorer: Scorer
    facts: Plain
    mious: dict[Cell, float] = field(default_factory=dict)
    """Of a sweep's trials."""

    def publish(self, found: Found) -> None:
        """Write the report into the target, print the table, and say what was found and how to use it.

        Raises InputError if a file cannot be written.
        """
        ids = self.inputs.source.ids
        about = {"ids": [ids[i] for i in self.searched], "held_out_ids": [ids[i] for i in self.held_out]}
        write_report(self.target, found, self.inputs.fixed, about)
        Console().print(table(found))
        for sentence in sentences(found):
            log.info("%s", sentence)
        log.info(
            "Everything lies in %s. Its best parameters: deeplab evaluate --config-dir '%s' crf=best ..., or for good, "
            "copy %s to conf/crf/NAME.yaml and give crf=NAME.",
            self.target,
            self.target,
            self.target / BEST,
        )

    def close(self) -> None:
        """End the processes and close the file of results."""
        self.scorer.close()
        self.results.close()


def default_processes(backend: str) -> int:
    """One a core; on a GPU, which they share and where each takes memory for itself, at most `ON_A_GPU`."""
    cores = default_num_workers()
    return min(ON_A_GPU, cores) if backend == "cuda" else cores


def open_session(config: "DictConfig", target: Path) -> Session:
    """Open the inputs of `deeplab search-crf` and what an earlier search left in `target`.

    Raises InputError as their parts do.
    """
    own = to_plain(config)
    chosen = own["search"]
    plan = Plan(chosen["coarse"], chosen["refine"], chosen["refine_rounds"], chosen["bootstrap"], chosen["seed"])
    given = chosen["processes"]
    check(plan, 1 if given is None else given)
    inputs = open_inputs(config)
    processes = worker_count("search.processes", given) or default_processes(inputs.backend)
    searched, held_out = draw(inputs.source.ids, chosen["num_pictures"], chosen["num_held_out"], chosen["seed"])
    check_same(target, inputs.identity)
    results = Results(target / "results.jsonl", inputs.num_classes)
    if results.num_resumed:
        log.info("%d results of an earlier search in %s are taken over.", results.num_resumed, target)
    scorer = Scorer(inputs.source, results, target / "cache", inputs.fixed, inputs.backend, processes)
    facts = {"checkpoint": own["checkpoint"], "probs": own["probs"], "seed": chosen["seed"]}
    return Session(inputs, plan, searched, held_out, target, results, scorer, facts)


_shared: dict[str, Session] = {}


def shared_session(config: "DictConfig", target: Path) -> Session:
    """Return the session of a sweep's trials: the same one for all that differ in the CRF's kernels only.

    So a network is loaded, and its scores are made, once for the whole sweep.
    """
    own = to_plain(config)
    crf = {key: value for key, value in (own["crf"] or {}).items() if key not in AXES}
    key = json.dumps([str(target), {**own, "crf": crf}], sort_keys=True, default=str)
    if key not in _shared:
        for other in _shared.values():
            other.close()
        _shared.clear()
        _shared[key] = open_session(config, target)
    return _shared[key]
