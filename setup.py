"""What pyproject.toml cannot say: an installed copy of aelib has the runs that the report is about, of seed 0."""

import json
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RESULTS = Path(__file__).parent / "results"


def published() -> list[Path]:
    """The folders of the study and of the runs of seed 0 that keep their weights: 26 MB."""
    configs = {path.parent: json.loads(path.read_text()) for path in RESULTS.glob("report/[!.]*/config.json")}
    return sorted(
        path
        for path, config in configs.items()
        if config["seed"] == 0 and not config.get("summary") and not (path / "weights-left-out").exists()
    )


class WithRuns(build_py):
    """Copies them into the package, where `aelib.runs.PUBLISHED` is; an editable install has the checkout's."""

    def run(self) -> None:
        """As setuptools does, and the runs."""
        super().run()
        for path in published() if not self.editable_mode else ():
            target = Path(self.build_lib, "aelib", "published", "report", path.name)
            target.mkdir(parents=True, exist_ok=True)
            for file in path.iterdir():
                if file.is_file():
                    shutil.copyfile(file, target / file.name)


setup(cmdclass={"build_py": WithRuns})
