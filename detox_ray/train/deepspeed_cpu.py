"""DeepSpeed without a GPU. Everything that only CPU training needs is here; on GPU nothing of it runs.

With transformers' own ``use_cpu`` the DeepSpeed configuration would be dropped in silence, and without it accelerate
finds no backend on a machine without accelerator, so accelerate's state is set up here by hand.
"""

import os
from typing import Any

BACKEND = "gloo"


def before_imports() -> None:
    """To be called before deepspeed is imported: it chooses its accelerator then."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    # DeepSpeed decorates its Muon optimizer with torch.compile on import, which loads the compiler: 3 s, for nothing.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"


def prepare() -> dict[str, Any]:
    """Make accelerate use DeepSpeed over the gloo group that Ray Train has opened.

    To be called before the training arguments are made. Returns further keyword arguments for them.
    """
    import deepspeed.ops
    from accelerate.state import AcceleratorState, PartialState

    # The shared-memory collective is compiled on first use; plain gloo needs no compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    AcceleratorState._reset_state(reset_partial_state=True)
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend=BACKEND)
    return {"accelerator_config": {"use_configured_state": True}}
