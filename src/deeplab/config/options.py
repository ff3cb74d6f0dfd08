"""The options of a command line, which begin with a dash, apart from its overrides."""

from difflib import get_close_matches

from deeplab.errors import InputError

# Hydra's options that take the next argument as their value.
VALUED = {
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--experimental-rerun", "--info", "-i"),
}
# All that Hydra's parser knows; it would take the beginning of a name for the name.
OPTIONS = {
    *(each for each in VALUED if each.startswith("--")),
    *("--", "--help", "--hydra-help", "--version", "--resolve", "--run", "--multirun", "--shell-completion"),
}


def apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return options with their values, and overrides, each in their order."""
    options: list[str] = []
    overrides: list[str] = []
    takes_value = False
    for argument in arguments:
        (options if takes_value or argument.startswith("-") else overrides).append(argument)
        takes_value = not takes_value and argument in VALUED
    return options, overrides


def check_options(arguments: list[str]) -> None:
    """Raise InputError for an option that there is not, with what to write in its place."""
    takes_value = False
    for argument, following in zip(arguments, [*arguments, "-"][1:], strict=True):
        name, _, value = argument.partition("=")
        if name.startswith("--") and name not in OPTIONS and not takes_value:
            if near := get_close_matches(name, sorted(OPTIONS), 1, 0.78):
                raise InputError(f"There is no option {name}; did you mean {near[0]}?")
            value = value or ("VALUE" if following.startswith("-") or "=" in following else following)
            raise InputError(f"There is no option {name}; write {name[2:].replace('-', '_')}={value}.")
        takes_value = not takes_value and argument in VALUED
