"""A working directory full of files that have the names of packages, ours among them, and tell when they are run."""

from pathlib import Path

PACKAGES = "model", "jobs", "pipeline"
MODULES = "pandas", "pyarrow", "numpy", "torch", "ray", "numba", "PIL", "simplejpeg", "yaml", "fsspec", "tqdm", "csv"


def shadows(folder: Path) -> Path:
    """Fill the folder with them. Returns the file that lists those that were run: none, as long as it is not there."""
    ran = folder / "ran"
    for name in PACKAGES:
        (folder / name).mkdir()
    for path in [f"{name}/__init__.py" for name in PACKAGES] + [f"{name}.py" for name in MODULES]:
        (folder / path).write_text(f"open({str(ran)!r}, 'a').write('{path} ')\nraise RuntimeError('{path} was run')\n")
    return ran
