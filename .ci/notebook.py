"""Runs a notebook from its first cell to its last and looks at what it shows: python notebook.py NOTEBOOK OUTPUT.

A cell fails when it does not compile; the kernel tells a panic, or an error that `?` has returned, on standard error alone, so a
cell that writes there has failed too. The pictures and tables that the notebook is made for must be there. Called by `.ci/run`.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def told(cell) -> str:
    """What a cell has printed to standard error."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stderr")


def kinds(notebook) -> set[str]:
    """The MIME types of what the cells show."""
    return {kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}


def pictures(notebook) -> list[str]:
    """The SVG that the cells show."""
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    return [data["image/svg+xml"] for data in shown if "image/svg+xml" in data]


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    kept = nbformat.read(source, as_version=4)
    notebook = nbformat.read(source, as_version=4)
    began = time.monotonic()
    failed = []

    def executed(cell, cell_index, **_):
        nonlocal began
        print(f"cell {cell_index}: {time.monotonic() - began:.1f} s", flush=True)
        began = time.monotonic()
        if told(cell):
            failed.append(f"cell {cell_index}: {told(cell)}")

    client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(source.parent)}}, on_cell_executed=executed)
    try:
        client.execute()
    finally:
        nbformat.write(notebook, target)
    for name, of in [("the notebook as it is kept", kept), ("the notebook as it ran", notebook)]:
        missing = {"image/svg+xml", "text/html"} - kinds(of)
        if missing:
            failed.append(f"{name} shows nothing of the type {', '.join(sorted(missing))}")
        failed += [f"{name}: a picture that says nothing to who does not see it" for picture in pictures(of) if "aria-label=" not in picture]
        failed += [f"{name}: {told(cell)}" for cell in of.cells if cell.cell_type == "code" and of is kept and told(cell)]
    if failed:
        sys.exit("\n".join(failed))


main()
