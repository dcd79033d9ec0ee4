"""A PyTorch model's frames and blocks, told by hooks of its modules."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .events import Cuda, Events
from .models import Blocks, named, on_cuda
from .pace import Pace
from .teller import Teller


class Attached:
    """The hooks of a model; `remove()` or the end of a `with` takes them away."""

    def __init__(
        self,
        model: Any,
        plan: Sequence[Tuple[Any, str]],
        pace: Pace,
        *,
        size: Optional[Callable[..., int]] = None,
        synchronize: Optional[Callable[[], Any]] = None,
        events: Optional[Events] = None,
        frames: bool = True,
        owned: bool = False,
    ) -> None:
        self.pace, self._owned = pace, owned
        # Of a block, by what it is called with.
        self.size = size
        self._teller = Teller(pace, synchronize, Cuda() if events is None and on_cuda(model) else events)
        self._names, self._ran = ", ".join(block for _, block in plan), False
        self._handles: List[Any] = []
        numbers = [pace.find(block) for _, block in plan]
        try:
            if frames:
                # Around all other hooks: what they do is part of the frame. One that raises has ended, too.
                self._handles.append(model.register_forward_pre_hook(lambda *_: self.frame_start(), prepend=True))
                end = lambda _model, _args, output: self.frame_end(output is not None)  # noqa: E731
                self._handles.append(model.register_forward_hook(end, always_call=True))
            for (module, _), number in zip(plan, numbers):
                self._handles.append(module.register_forward_pre_hook(self._start(number), with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._end(number), with_kwargs=True))
        except TypeError as error:
            self.remove()
            raise RuntimeError("jetpace's hooks want PyTorch 2.1 or newer") from error

    def frame_start(self) -> None:
        """A frame starts; by itself with the model, unless `frames` is false."""
        self._ran = False
        self._teller.frame_start()

    def frame_end(self, whole: bool = True) -> None:
        """The frame has ended. whole: it has not raised."""
        if whole and self._teller.in_frame and not self._ran:
            self._teller.warn_once(
                f"none of the blocks {self._names} ran in a frame: was the model compiled, traced or exported after "
                "jetpace.attach? Compile its blocks one by one instead, before"
            )
        self._teller.frame_end()

    def _start(self, number: int) -> Callable[..., None]:
        def block_start(_module: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
            if not self._teller.in_frame:
                self._teller.warn_once("a block ran outside a frame: call the model as model(x), not as model.forward(x)")
                return
            self._ran = True
            self._teller.block_start(number, 1 if self.size is None else self.size(*args, **kwargs))

        return block_start

    def _end(self, number: int) -> Callable[..., None]:
        def block_end(module: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any], _output: Any) -> None:
            if self._teller.in_frame:
                self._teller.block_end(number, module, args, kwargs)

        return block_end

    def remove(self) -> None:
        """Takes the hooks away, and puts the clock back where the pace was opened for them."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._owned:
            self.pace.close()

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def attach(
    model: Any,
    blocks: Blocks,
    pace: Optional[Pace] = None,
    *,
    size: Optional[Callable[..., int]] = None,
    synchronize: Optional[Callable[[], Any]] = None,
    events: Optional[Events] = None,
) -> Attached:
    """Puts frame and block boundaries into the hooks of a PyTorch model.

    blocks: names of submodules that are the table's blocks, or a dict of submodule name to block name; in the order in
    which they run. pace: a Pace; by default one of $JETPACE_TABLE or the daemon's own table. size: a function of a block's
    inputs, positional and by keyword, that gives its size; by default 1. synchronize: called before each boundary, as a GPU
    runs behind the host; by default torch.cuda.synchronize where the model's parameters are on a CUDA device. events: of
    another kind of GPU than CUDA's.

    While the program is measured, its blocks' times are those of CUDA's events, and blocks are repeated by calling their
    modules again with copies of what they were called with. Where the daemon goes away the model runs on, after one warning,
    and is followed again once there is a daemon; `pace.stats()` says so.

    Raises ValueError for a name that is none, with the nearest ones, and TypeError for a model that is compiled, scripted or
    exported as a whole, with what to do instead.
    """
    plan = named(model, blocks)
    owned = pace is None
    pace = Pace() if pace is None else pace
    try:
        return Attached(model, plan, pace, size=size, synchronize=synchronize, events=events, owned=owned)
    except BaseException:
        if owned:
            pace.close()
        raise
