"""What jetpace uses of torch.nn.Module, without PyTorch."""


class Module:
    """Calls its children one after the other, or `work` where it has none."""

    def __init__(self, work=lambda value: value, **children):
        self.work, self.children, self.before, self.after = work, children, [], []

    def named_modules(self, path=""):
        found = [(path, self)]
        for name, child in self.children.items():
            found += child.named_modules(f"{path}.{name}" if path else name)
        return found

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        return self._add(self.before, (hook, with_kwargs), 0 if prepend else len(self.before))

    def register_forward_hook(self, hook, *, with_kwargs=False, always_call=False):
        return self._add(self.after, (hook, with_kwargs, always_call), len(self.after))

    @staticmethod
    def _add(hooks, entry, at):
        hooks.insert(at, entry)
        return type("Handle", (), {"remove": lambda _: hooks.remove(entry) if entry in hooks else None})()

    def forward(self, *args, **kwargs):
        if not self.children:
            return self.work(*args, **kwargs)
        (value,) = args or kwargs.values()
        for child in self.children.values():
            # As Hugging Face's models do, by keyword where the model was.
            value = child(value=value) if kwargs else child(value)
        return value

    def __call__(self, *args, **kwargs):
        for hook, with_kwargs in list(self.before):
            hook(self, args, kwargs) if with_kwargs else hook(self, args)
        try:
            output = self.forward(*args, **kwargs)
        except BaseException:
            for hook, with_kwargs, always in list(self.after):
                if always:
                    hook(self, args, kwargs, None) if with_kwargs else hook(self, args, None)
            raise
        for hook, with_kwargs, _ in list(self.after):
            hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
        return output
