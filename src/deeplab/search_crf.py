"""`deeplab search-crf`: find the CRF's best parameters for a network, or for scores that one left in files."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def search_crf(config: "DictConfig", folder: Path) -> None:
    """Write search.json, cells.csv, heatmap.png, results.jsonl and crf/best.yaml into `output`, or into `folder`."""
    from rich.console import Console

    from deeplab.config.preflight import to_plain
    from deeplab.crf.workers import default_num_workers
    from deeplab.crf_search.report import BEST, sentences, table, write_report
    from deeplab.crf_search.scorer import Scorer
    from deeplab.crf_search.search import Plan, check, draw, search
    from deeplab.crf_search.store import Results
    from deeplab.search_inputs import check_same, open_inputs
    from deeplab.training.run_record import RunRecord

    own = to_plain(config)
    chosen = own["search"]
    plan = Plan(chosen["coarse"], chosen["refine"], chosen["refine_rounds"], chosen["bootstrap"], chosen["seed"])
    processes = default_num_workers() if chosen["processes"] is None else chosen["processes"]
    check(plan, processes)
    inputs = open_inputs(config)
    searched, held_out = draw(inputs.source.ids, chosen["num_pictures"], chosen["num_held_out"], chosen["seed"])
    target = Path(own["output"]).expanduser() if own["output"] else folder
    check_same(target, inputs.identity)
    facts = {"checkpoint": own["checkpoint"], "probs": own["probs"], "seed": chosen["seed"]}
    with RunRecord(target, name="search-crf", **facts):
        results = Results(target / "results.jsonl", inputs.num_classes)
        if results.num_resumed:
            log.info("%d results of an earlier search in %s are taken over.", results.num_resumed, target)
        with Scorer(inputs.source, results, target / "cache", inputs.fixed, inputs.backend, processes) as scorer:
            found = search(plan, scorer, searched, held_out)
        results.close()
        ids = inputs.source.ids
        about = {"ids": [ids[i] for i in searched], "held_out_ids": [ids[i] for i in held_out]}
        write_report(target, found, inputs.fixed, about)
    Console().print(table(found))
    for sentence in sentences(found):
        log.info("%s", sentence)
    log.info(
        "Everything lies in %s. Its best parameters: deeplab evaluate ... 'hydra.searchpath=[\"file://%s\"]' crf=best, "
        "or for good, copy %s to conf/crf/NAME.yaml and give crf=NAME.",
        target,
        target.resolve(),
        target / BEST,
    )


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("search-crf", search_crf)


if __name__ == "__main__":
    main()
