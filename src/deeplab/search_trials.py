"""A search by a sweeper such as Optuna's: every job is a trial, the score of one setting of the CRF.

Hydra's own sweeper runs a whole search for each combination of values; any other one asks for one number a job.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from deeplab.config.preflight import to_plain
from deeplab.crf_search.cells import AXES, Cell
from deeplab.crf_search.search import Found, best_of, check_on, compare, score_cells
from deeplab.errors import InputError
from deeplab.reporting.tables import percent
from deeplab.search_session import Session, shared_session
from deeplab.training.run_record import RunRecord

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def asked_for() -> bool:
    """Return whether this job is a trial."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return False
    return not str(HydraConfig.get().sweeper["_target_"]).endswith(".BasicSweeper")


def trial(config: "DictConfig") -> float:
    """Score the setting that `crf` gives on the pictures searched, and return its mIoU.

    All trials share `output`, else the sweep's folder; the last one writes the report and scores the held-out pictures.

    Raises InputError as a search does, and for a sweep that would look for the lowest mIoU or run trials at once.
    """
    hydra = HydraConfig.get()
    number, count = int(hydra.job.num), int(hydra.sweeper.get("n_trials", 0))
    _check(hydra)
    own = to_plain(config)
    target = Path(own["output"] or hydra.sweep.dir).expanduser()
    session = shared_session(config, target)
    cell = _cell(session, own["crf"] or {})
    with RunRecord(target, name="search-crf", trial=number, **session.facts):
        mious = session.mious
        mious |= score_cells(session.scorer, session.searched, [cell], f"trial {number}")
        best = best_of(mious)
        given = number, cell.text(), percent(mious[cell]), best.text(), percent(mious[best])
        log.info("Trial %d: %s gives mIoU %s; the best so far is %s with %s.", *given)
        if number == count - 1:
            session.publish(_found(session, best))
            session.close()
    return mious[cell]


def _check(hydra: Any) -> None:
    direction = str(hydra.sweeper.get("direction", "maximize")).rsplit(".", 1)[-1]
    if direction != "maximize":
        raise InputError(
            f"hydra.sweeper.direction={direction}: the score is mIoU; add hydra.sweeper.direction=maximize, or take "
            "hydra/sweeper=crf_tpe."
        )
    if not str(hydra.launcher["_target_"]).endswith(".BasicLauncher"):
        raise InputError("hydra/launcher: trials share one cache, and each uses all cores; leave it as it is.")


def _cell(session: Session, crf: dict[str, Any]) -> Cell:
    """What the trial gives; else the grid's value if it has only one, such as the paper's w2; else the CRF's own."""
    fixed = session.inputs.fixed
    grid = session.plan.coarse
    single = {axis: grid[axis][0] if len(grid[axis]) == 1 else getattr(fixed, axis) for axis in AXES}
    try:
        cell = Cell(*(float(crf.get(axis, single[axis])) for axis in AXES))
        cell.params(fixed)
    except (TypeError, ValueError) as error:
        raise InputError(f"crf: {error}") from error
    return cell


def _found(session: Session, best: Cell) -> Found:
    plan, scorer = session.plan, session.scorer
    searched = compare(plan, scorer, session.searched, best)
    others = check_on(plan, scorer, session.held_out, best)
    return Found(dict(session.mious), 0, best, best, searched, others)
