"""The `codecshards` command, and `python -m codecshards`.

Files beside the user are never run, whatever they are called: the working folder is forgotten
before anything is searched for. It is on the path with `-m`, and where `PYTHONPATH` has an empty
part, as `export PYTHONPATH=$PYTHONPATH:/x` makes one.
"""

import os
import sys


def main() -> int:
    forget_working_folder()
    from codecshards.own import own_packages

    own_packages()
    from pipelines.cli.main import main as run

    return run()


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
