"""Draw which module of aelib imports which, into CONTRIBUTING.md."""

import re
from pathlib import Path

import grimp
import networkx

PAGE = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"
BEGIN, END = "```mermaid\n", "```\n"


def drawn() -> str:
    """The picture, as Mermaid has it; of two ways from one module to another only the longer."""
    imports, graph = grimp.build_graph("aelib", cache_dir=None), networkx.DiGraph()
    for module in imports.modules:
        for below in imports.find_modules_directly_imported_by(module):
            one, other = (f"{name}.".split(".")[1] for name in (module, below))
            if one and other and one != other:
                graph.add_edge(one, other)
    edges = sorted(networkx.transitive_reduction(graph).edges)
    return f"{BEGIN}graph TD\n" + "".join(f"  {one} --> {other}\n" for one, other in edges) + END


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"{BEGIN}.*?\n{END}", lambda _: drawn(), text, flags=re.S), encoding="utf-8")
