"""The `codecshards` command, and `python -m codecshards`.

Files beside the user are never run, whatever they are called: the working folder is forgotten
before anything is searched for. It is on the path with `-m`, and where `PYTHONPATH` has an empty
part, as `export PYTHONPATH=$PYTHONPATH:/x` makes one.
"""

import os
import sys

_USAGE, _INTERRUPTED = 2, 130
"""exit codes, as in `pipelines.cli`"""


def main() -> int:
    try:
        return _main()
    except KeyboardInterrupt:  # while modules are imported, before there is a command to end
        print("codecshards: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _main() -> int:
    if not _has_working_folder():
        print(
            "codecshards: the working folder is not there any more: change to another one, then "
            "run the same command again",
            file=sys.stderr,
        )
        return _USAGE
    forget_working_folder()
    from codecshards.own import own_packages

    own_packages()
    from pipelines.cli.main import main as run

    return run()


def _has_working_folder() -> bool:
    """Without one relative names mean nothing, and PyTorch's library of products ends the
    process."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


def forget_working_folder() -> None:
    """Take the working folder off the search path of this process and of those that it starts,
    unless `PYTHONPATH` has it by its full name."""
    here = os.path.realpath(os.curdir)
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [part for part in parts if part.startswith(os.sep) or os.path.realpath(part) != here]
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    wished = [os.path.realpath(part) for part in kept]
    if here not in wished and not here.endswith(("site-packages", "dist-packages")):
        sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != here]


if __name__ == "__main__":
    sys.exit(main())
