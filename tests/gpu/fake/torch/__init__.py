"""A torch that finds a GPU and can do nothing on it, for the rehearsal: what a step does to its process can be seen without
one. JP_FAKE_TORCH="check vgg19-32=kill,check alexnet=hang" says what happens in which step."""
import os
import signal
import sys
import time
from types import SimpleNamespace

__version__ = "rehearsal"
version = SimpleNamespace(cuda="11.8")
backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 0), cuda=SimpleNamespace(matmul=SimpleNamespace()))


def _init():
    fates = dict(fate.split("=") for fate in os.environ.get("JP_FAKE_TORCH", "").split(",") if fate)
    match fates.get(" ".join(sys.argv[2:])):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)


def no_grad():
    return lambda function: function


cuda = SimpleNamespace(
    init=_init, is_available=lambda: True, get_device_capability=lambda: (8, 7),
    get_device_properties=lambda _: SimpleNamespace(name="no GPU", multi_processor_count=8))
