"""What of a PyTorch model has boundaries: its submodules by name, and which models have none that hooks could see."""

from __future__ import annotations

import difflib
import sys
from typing import Any, Dict, Iterable, List, Mapping, Tuple, Union

Blocks = Union[Iterable[str], Mapping[str, str]]

_BLOCK_BY_BLOCK = (
    "a compiled graph has no boundaries inside: compile block by block instead, as "
    "`model.{block} = torch.compile(model.{block})` for each block, then attach to the model itself"
)


def named(model: Any, blocks: Blocks) -> List[Tuple[Any, str]]:
    """The submodules that are blocks, each with its block's name, in the order of `blocks`.

    Raises ValueError where a name is none or comes twice, and TypeError where the model's blocks cannot be seen.
    """
    if isinstance(blocks, str):
        raise TypeError(f"blocks is a list of names: [{blocks!r}]")
    pairs = list(blocks.items()) if isinstance(blocks, Mapping) else [(name, name) for name in blocks]
    if not pairs:
        raise ValueError("a frame has one block or more")
    refuse_unseen(model, pairs[0][0])
    modules: Dict[str, Any] = dict(model.named_modules())
    for name, _ in pairs:
        if name not in modules or name == "":
            raise ValueError(_unknown(name, [known for known in modules if known]))
        _refuse_within_compiled(modules, name)
    for what, names in (("submodule", [name for name, _ in pairs]), ("block", [block for _, block in pairs])):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{what} {twice!r} comes twice: a frame runs each block once")
    return [(modules[name], block) for name, block in pairs]


def on_cuda(model: Any) -> bool:
    """Whether the model's parameters are on a CUDA device."""
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if parameters else None
    return bool(getattr(first, "is_cuda", False))


def _unknown(name: str, known: List[str]) -> str:
    nearest = difflib.get_close_matches(name, known, 3)
    # The children first: deep models have thousands of names.
    shown = nearest or sorted(known, key=lambda name: name.count("."))[:8]
    more = "" if nearest or len(known) <= 8 else ", ... (model.named_modules() has all)"
    return f"the model has no submodule {name!r}; {'nearest' if nearest else 'there'} are: {', '.join(shown)}{more}"


def _is_compiled(module: Any) -> bool:
    # torch.compile wraps the module; module.compile() changes how it is called.
    return hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None


def refuse_unseen(model: Any, block: str) -> None:
    """Raises TypeError where hooks of the model or its submodules would not be called. block: one of them, for the message."""
    torch = sys.modules.get("torch")
    if _is_compiled(model):
        raise TypeError("the model is compiled; " + _BLOCK_BY_BLOCK.format(block=block.replace("_orig_mod.", "")))
    kind = None
    if torch is not None and isinstance(model, torch.jit.ScriptModule):
        kind = "scripted or traced"
    elif hasattr(model, "graph_module") and hasattr(model, "module"):
        kind = "an exported program"
    elif torch is not None and isinstance(model, torch.fx.GraphModule):
        # An exported one is a single graph; one of torch.fx calls its submodules.
        called = [str(node.target) for node in model.graph.nodes if node.op == "call_module"]
        seen = any(block == target or block.startswith(target + ".") for target in called)
        kind = None if seen else "exported to one graph"
    if kind is not None:
        raise TypeError(
            f"the model is {kind}: it calls no submodules. Attach to the nn.Module that it was made of, or export the "
            "blocks one by one and tell them by Pace.run"
        )
    if not hasattr(model, "named_modules"):
        raise TypeError(f"{type(model).__name__} is no torch.nn.Module: tell its blocks by Pace.run or jetpace.block")


def _refuse_within_compiled(modules: Mapping[str, Any], name: str) -> None:
    parts = name.split(".")
    above = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    compiled = next((outer for outer in above if outer in modules and _is_compiled(modules[outer])), None)
    if compiled is not None:
        raise TypeError(f"{name!r} is within {compiled!r}, which is compiled; " + _BLOCK_BY_BLOCK.format(block=name))
    if getattr(modules[name], "_compiled_call_impl", None) is not None:
        raise TypeError(
            f"{name!r} was compiled in place by compile(), hooks and all: use `model.{name} = torch.compile(model.{name})`"
        )
