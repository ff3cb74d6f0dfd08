"""The multiplier of all channel numbers that a backbone can be built with."""

LARGEST = 16  # a larger network takes more memory than machines have


def check_width(width: float) -> None:
    """Raise ValueError for a width above 16."""
    if width > LARGEST:
        raise ValueError(f"width={width}: choose a number of at most {LARGEST}.")
