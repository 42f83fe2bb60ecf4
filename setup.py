"""Build of condseg_monai: a wheel carries ``bundle/`` as ``condseg_monai/bundle``; setup.cfg has all the rest."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithBundle(build_py):
    """Build of the package with the bundle in it; an editable install finds it in the repository."""

    def run(self) -> None:
        """Copy the modules, then the bundle."""
        super().run()
        if not self.editable_mode:
            copy_bundle = runpy.run_path(str(ROOT / "condseg_monai" / "utils" / "bundle_path.py"))["copy_bundle"]
            copy_bundle(ROOT / "bundle", Path(self.build_lib) / "condseg_monai" / "bundle")


setup(cmdclass={"build_py": BuildWithBundle})
