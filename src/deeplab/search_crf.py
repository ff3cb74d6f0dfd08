"""`deeplab search-crf`: find the CRF's best parameters for a network, or for scores that one left in files."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig


def search_crf(config: "DictConfig", folder: Path) -> float:
    """Write search.json, cells.csv, heatmap.png, results.jsonl and crf/best.yaml into `output`, or into `folder`.

    Returns the best mIoU on the pictures searched; a sweeper's trial, its own (search_trials.py).
    """
    from deeplab import search_trials
    from deeplab.config.preflight import to_plain
    from deeplab.crf_search.search import search
    from deeplab.search_session import open_session
    from deeplab.training.run_record import RunRecord

    if search_trials.asked_for():
        return search_trials.trial(config)
    output = to_plain(config)["output"]
    session = open_session(config, Path(output).expanduser() if output else folder)
    with RunRecord(session.target, name="search-crf", **session.facts):
        try:
            found = search(session.plan, session.scorer, session.searched, session.held_out)
        finally:
            session.close()
        session.publish(found)
    return found.searched.miou_crf


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("search-crf", search_crf)


if __name__ == "__main__":
    main()
