"""`deeplab data validate`: refuse what a test server would refuse."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

_SHOWN = 20


def validate_archive(config: "DictConfig", folder: Path) -> None:
    """Print what is wrong with an archive of predictions; ends with status 1 if anything is."""
    from rich.console import Console
    from rich.markup import escape

    from deeplab.config.preflight import to_plain
    from deeplab.errors import InputError
    from deeplab.submission.formats import server_format
    from deeplab.submission.validate import expected, validate

    own = to_plain(config)
    if own["count"] is not None and own["count"] < 1:
        raise InputError(f"count={own['count']}: it must be at least 1, or null for what the server expects.")
    server = server_format(own["format"], "format")
    ids, images = (None if own[key] is None else Path(own[key]).expanduser() for key in ("ids", "images"))
    archive = Path(own["archive"]).expanduser()
    wanted = expected(server, ids, images, own["count"])
    problems = validate(archive, server, wanted)
    console = Console()
    for problem in problems[:_SHOWN]:
        console.print(f"[red]Problem:[/] {escape(problem)}", soft_wrap=True, highlight=False)
    if len(problems) > _SHOWN:
        console.print(f"... and {len(problems) - _SHOWN} more.")
    if problems:
        sys.exit(1)
    unknown = [] if wanted.sizes or server.size else ["their sizes (images=...)"]
    unknown += [] if wanted.ids is not None else ["that they are the right ones (ids=... or images=...)"]
    rest = f" Not checked: {' and '.join(unknown)}." if unknown else ""
    console.print(f"{archive}: {wanted.count} pictures, as {server.name} takes them.{rest}", soft_wrap=True)


def main() -> None:
    """Entry point."""
    from deeplab.config.launch import run

    run("data validate", validate_archive)


if __name__ == "__main__":
    main()
