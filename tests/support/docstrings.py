"""The first words of docstrings: `python -m tests.support.docstrings` fails where a function's is no verb of these.

A function does something, so its docstring begins with what it does; a class is something, so its docstring begins with
what it is. Add a verb here where a better one is missing.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERBS = {
    "Add",
    "Apply",
    "Attach",
    "Average",
    "Bind",
    "Block",
    "Build",
    "Call",
    "Change",
    "Check",
    "Choose",
    "Clean",
    "Clip",
    "Collect",
    "Combine",
    "Compare",
    "Compute",
    "Configure",
    "Connect",
    "Convert",
    "Copy",
    "Count",
    "Create",
    "Crop",
    "Cut",
    "Darken",
    "Decode",
    "Describe",
    "Disable",
    "Discard",
    "Do",
    "Draw",
    "Drop",
    "Encode",
    "End",
    "Enhance",
    "Enlarge",
    "Enter",
    "Escape",
    "Estimate",
    "Examine",
    "Export",
    "Fill",
    "Filter",
    "Find",
    "Fit",
    "Forget",
    "Format",
    "Generate",
    "Give",
    "Group",
    "Halve",
    "Hide",
    "Handle",
    "Hash",
    "Hold",
    "Ignore",
    "Import",
    "Initialise",
    "Inspect",
    "Interpolate",
    "Join",
    "Judge",
    "Keep",
    "Kill",
    "Lift",
    "Limit",
    "List",
    "Load",
    "Log",
    "Make",
    "Map",
    "Mark",
    "Measure",
    "Merge",
    "Move",
    "Name",
    "Note",
    "Open",
    "Parse",
    "Place",
    "Plan",
    "Plot",
    "Prevent",
    "Print",
    "Prove",
    "Raise",
    "Read",
    "Record",
    "Remember",
    "Remove",
    "Repeat",
    "Replace",
    "Report",
    "Return",
    "Round",
    "Run",
    "Save",
    "Scale",
    "Scan",
    "Send",
    "Serve",
    "Set",
    "Settle",
    "Show",
    "Shut",
    "Silence",
    "Skip",
    "Split",
    "Spread",
    "Start",
    "Store",
    "Submit",
    "Swap",
    "Tag",
    "Take",
    "Tell",
    "Time",
    "Train",
    "Try",
    "Turn",
    "Unpack",
    "Update",
    "Upsample",
    "Wait",
    "Watch",
    "Widen",
    "Write",
    "Yield",
}
PRINTED = "Config"  # ends the names of classes whose docstring `--help` prints: it says what the command does


def wrong_beginnings() -> Iterator[str]:
    """Yield file, line and docstring of each that begins otherwise."""
    for top in ("model", "pipeline", "jobs"):
        for path in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    continue
                docstring = ast.get_docstring(node)
                if not docstring:
                    continue
                is_verb = docstring.split()[0].rstrip(".,:;") in VERBS
                is_class = isinstance(node, ast.ClassDef)
                if is_verb == is_class and not (is_class and node.name.endswith(PRINTED)):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}: begins with {docstring.split()[0]!r}"


if __name__ == "__main__":
    found = list(wrong_beginnings())
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
