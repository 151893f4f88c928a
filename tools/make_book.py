"""What `jupyter-book build` loads first in this project: it says which command executes the chapters, too."""

import sys


def setup(app: object) -> None:
    """Stop before anything is written; where `aelib book` renders, the configuration is without this."""
    sys.exit("The pages are rendered from executed chapters: run `make book`, or `aelib book`")
