"""A language model's two phases, each by a table of its own: the prompt's tokens at once, then one token after the other."""

from __future__ import annotations

import os
from typing import Any, Dict, Optional, Tuple

from ._library import Stats
from .events import Cuda, Events
from .models import on_cuda, refuse_unseen
from .pace import Pace
from .teller import Teller

# Which phase `jetpace calibrate` measures: it measures one program, and one table, at a time.
PHASE_VARIABLE = "JETPACE_PHASE"

_PHASES = ("prefill", "decode")


class Phases:
    """What `jetpace.phases` gives; `remove()` or the end of a `with` takes the hooks away and puts the clock back."""

    def __init__(self, model: Any, paces: Dict[str, Pace], events: Optional[Events]) -> None:
        self._tellers = {phase: Teller(pace, None, events) for phase, pace in paces.items()}
        self._numbers = {phase: pace.find(phase) for phase, pace in paces.items()}
        self._now: Optional[str] = None
        self._begun = False
        self._handles = [
            model.register_forward_pre_hook(self._start, prepend=True, with_kwargs=True),
            model.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ]

    def stats(self) -> Dict[str, Stats]:
        """What happened so far, by phase. The frames of `prefill` are requests, those of `decode` are tokens."""
        return {phase: teller.pace.stats() for phase, teller in self._tellers.items()}

    def prompt(self, tokens: int) -> int:
        """How many tokens the next prompt should have: `tokens`, unless prefill is measured at sizes (calibrate's --sizes)."""
        teller = self._tellers.get("prefill")
        if teller is None or not _measured():
            return tokens
        # The size is told once the frame has its turn.
        teller.frame_start()
        self._begun = True
        return teller.pace.size(tokens)

    def _start(self, _model: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        tokens, cached = _tokens(args, kwargs)
        phase = "decode" if tokens == 1 and cached else "prefill"
        teller = self._tellers.get(phase)
        if teller is not None:
            self._now = phase
            if not self._begun:
                teller.frame_start()
            self._begun = False
            teller.block_start(self._numbers[phase], tokens)

    def _end(self, model: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any], output: Any) -> None:
        phase, self._now = self._now, None
        if phase is not None:
            if output is not None:
                self._tellers[phase].block_end(self._numbers[phase], model, args, kwargs)
            self._tellers[phase].frame_end()

    def remove(self) -> None:
        """Takes the hooks away, and puts the clock back."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for teller in self._tellers.values():
            teller.pace.close()

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _tokens(args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Tuple[int, bool]:
    """How many tokens go in, and whether there are some in the cache already."""
    given = next((kwargs[name] for name in ("input_ids", "inputs_embeds") if kwargs.get(name) is not None), None)
    given = args[0] if given is None and args else given
    if given is None:
        raise TypeError("the model was called without input_ids: jetpace.phases is for models of Hugging Face's kind")
    # `past_key_values`, or `cache` since version 5.
    caches = [held for held in kwargs.values() if hasattr(held, "get_seq_length")]
    return int(given.shape[1]), any(int(cache.get_seq_length()) > 0 for cache in caches)


def _measured() -> Optional[str]:
    """The phase that is measured, where one is."""
    if os.environ.get("JETPACE_SWEEP") != "1":
        return None
    phase = os.environ.get(PHASE_VARIABLE, "")
    if phase not in _PHASES:
        raise ValueError(f"{PHASE_VARIABLE}={phase!r}: say which phase is measured: --cmd '{PHASE_VARIABLE}=prefill ...'")
    return phase


def phases(
    model: Any,
    prefill: Optional[str] = None,
    decode: Optional[str] = None,
    *,
    socket: Optional[str] = None,
    events: Optional[Events] = None,
) -> Phases:
    """Paces `generate()` of a Hugging Face model by two tables: a call with the prompt is a frame of `prefill`, each call with
    one more token a frame of `decode`.

        with jetpace.phases(model, prefill="prefill.jpt", decode="decode.jpt"):
            model.generate(**tokens, max_new_tokens=200)

    prefill: a table whose one block is `prefill` and whose deadline is the time to the first token; its sizes are tokens of a
    prompt. decode: one whose block is `decode` and whose deadline is the time per token. Either may be left out: then that
    phase is not paced. socket: the daemon's. events: of another kind of GPU than CUDA's.

    `jetpace calibrate --cmd 'JETPACE_PHASE=prefill python3 chat.py' -o prefill.csv` measures the one, JETPACE_PHASE=decode the
    other; the tables need not be there then. With `--sizes` ask `Phases.prompt` how long a prompt is to be. Forward passes of several tokens behind a prompt (speculative decoding, prompts in
    pieces) count as prefill.
    """
    refuse_unseen(model, "model")
    paces: Dict[str, Pace] = {}
    tables = {"prefill": prefill, "decode": decode}
    measured = _measured()
    if not measured and not any(tables.values()):
        raise ValueError("name the table of prefill, of decode, or both")
    try:
        for phase, table in tables.items():
            if phase == measured or (not measured and table is not None):
                paces[phase] = Pace(table, socket=socket)
        return Phases(model, paces, Cuda() if events is None and on_cuda(model) else events)
    except BaseException:
        for pace in paces.values():
            pace.close()
        raise
