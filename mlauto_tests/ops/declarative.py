"""Declarative Jenkins, as far as Jenkins itself would refuse a file that is sound Groovy.

Jenkins' own validator needs a running controller. The sections and conditions below are those of its documentation.
"""

import re
from dataclasses import dataclass, field

__all__ = ["Block", "faults", "pipeline", "stage_names"]

TOP = {"agent", "environment", "libraries", "options", "parameters", "post", "stages", "tools", "triggers"}
STAGE = {"agent", "environment", "input", "options", "post", "tools", "when"}
BODIES = {"matrix", "parallel", "stages", "steps"}
POST = {"aborted", "always", "changed", "cleanup", "failure", "fixed", "regression", "success", "unstable"} | {
    "notBuilt",
    "unsuccessful",
}
STEPS = {"echo", "make", "script", "sh", "withCredentials", "withEnv"}


@dataclass
class Block:
    """`name argument { ... }`: its blocks, and what else is written in it, one statement a line."""

    name: str
    argument: str = ""
    blocks: list["Block"] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    def block(self, name: str) -> "Block | None":
        return next((block for block in self.blocks if block.name == name), None)


def _bare(text: str) -> str:
    """Groovy with its comments gone and its strings as `S1`, `S2`, ... so that braces are braces."""
    pattern = r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|//[^\n]*|/\*.*?\*/"
    strings: list[str] = []

    def kept(match: re.Match[str]) -> str:
        if match[0].startswith("/"):
            return ""
        strings.append(match[0].strip("'\""))
        return f"<{re.sub(r'[^A-Za-z0-9 _.-]', '_', strings[-1]).strip()}>"

    return re.sub(pattern, kept, text, flags=re.DOTALL)


def pipeline(text: str) -> Block:
    """The `pipeline` block of a Jenkinsfile. Raises `ValueError` when braces do not match or there are not one."""
    root, bare = Block("file"), _bare(text)
    open_blocks, said = [root], ""
    for sign in bare:
        if sign == "{":
            lines = said.strip().splitlines() or [""]
            open_blocks[-1].statements += [line.strip() for line in lines[:-1] if line.strip()]
            name, _, argument = re.sub(r"[()\[\]]", " ", lines[-1].strip()).partition(" ")
            block = Block(name, argument.strip())
            open_blocks[-1].blocks.append(block)
            open_blocks.append(block)
            said = ""
        elif sign == "}":
            open_blocks[-1].statements += [line.strip() for line in said.splitlines() if line.strip()]
            said = ""
            open_blocks.pop()
            if not open_blocks:
                raise ValueError("a brace too many")
        else:
            said += sign
    found = [block for block in root.blocks if block.name == "pipeline"]
    if len(open_blocks) != 1 or len(found) != 1:
        raise ValueError(f"{len(open_blocks) - 1} braces are open, {len(found)} pipelines")
    return found[0]


def stage_names(block: Block) -> list[str]:
    """All stages, outer before inner, in the order in which they run."""
    found = []
    for inner in block.blocks:
        found += [inner.argument.strip("<>")] if inner.name == "stage" else []
        found += stage_names(inner)
    return found


def faults(of: Block) -> list[str]:
    """What a controller would refuse, in the words of a reader."""
    found = _sections("pipeline", of, TOP)
    names = [block.name for block in of.blocks] + [line.split()[0] for line in of.statements]
    found += [f"pipeline: no {name}" for name in ("agent", "stages") if name not in names]
    found += [fault for block in of.blocks if block.name == "stages" for fault in _stages("pipeline", block)]
    found += _post("pipeline", of)
    twice = {name for name in stage_names(of) if stage_names(of).count(name) > 1}
    return found + [f"stage {name}: twice" for name in sorted(twice)]


def _sections(where: str, of: Block, allowed: set[str]) -> list[str]:
    names = [block.name for block in of.blocks] + [line.split()[0] for line in of.statements]
    found = [f"{where}: {name} is no section" for name in names if name not in allowed]
    return found + [f"{where}: {name} twice" for name in sorted({name for name in names if names.count(name) > 1})]


def _stages(where: str, of: Block) -> list[str]:
    found = [f"{where}: {block.name} among the stages" for block in of.blocks if block.name != "stage"]
    found += [f"{where}: {line} among the stages" for line in of.statements]
    found += [] if of.blocks else [f"{where}: no stage"]
    for stage in of.blocks:
        name = f"stage {stage.argument.strip('<>')}"
        found += _sections(name, stage, STAGE | BODIES) + _post(name, stage)
        bodies = [block for block in stage.blocks if block.name in BODIES]
        if len(bodies) != 1:
            found.append(f"{name}: {len(bodies)} bodies, where there must be one")
        for body in bodies:
            found += _stages(name, body) if body.name in {"stages", "parallel"} else _steps(name, body)
    return found


def _post(where: str, of: Block) -> list[str]:
    post = of.block("post")
    if post is None:
        return []
    found = [f"{where}: {block.name} is no condition of post" for block in post.blocks if block.name not in POST]
    found += [f"{where}: {line} outside of a condition" for line in post.statements]
    return found + [fault for block in post.blocks for fault in _steps(f"{where}: post {block.name}", block)]


def _steps(where: str, of: Block) -> list[str]:
    """Steps only: Groovy statements have to be in a `script` block."""
    written = [line.split()[0] for line in of.statements] + [block.name for block in of.blocks]
    found = [f"{where}: {name} is no step" for name in written if name.partition("(")[0] not in STEPS]
    return found + ([] if written else [f"{where}: no step"])
