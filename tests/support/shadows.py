"""A project's directory full of files that have the names of packages, ours among them, and tell when they are run."""

import sys
from pathlib import Path

from tests.support.ray_head import BIN

UV_RUN = BIN / "uv", "run", "--no-sync", "--offline", "--python", sys.executable
PACKAGES = "model", "jobs", "pipeline"
MODULES = "pandas", "pyarrow", "numpy", "torch", "ray", "numba", "PIL", "simplejpeg", "yaml", "fsspec", "tqdm", "csv"


def shadows(folder: Path) -> Path:
    """Fill the folder with them. Returns the file that lists those that were run: none, as long as it is not there."""
    ran = folder / "ran"
    for name in PACKAGES:
        (folder / name).mkdir()
    for path in [f"{name}/__init__.py" for name in PACKAGES] + [f"{name}.py" for name in MODULES]:
        (folder / path).write_text(f"open({str(ran)!r}, 'a').write('{path} ')\nraise RuntimeError('{path} was run')\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\n')
    return ran
