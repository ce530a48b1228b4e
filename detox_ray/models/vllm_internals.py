"""The parts of vLLM that are used beyond its public interface, as read in vLLM 0.32.0. Does not import vLLM itself."""

import ast
import importlib.util
import multiprocessing
import os
import threading
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

RESEEDING = f"{__name__}.Reseeding"  # for vLLM's argument worker_extension_cls


class Reseeding:
    """A method that vLLM adds to its worker class. `LLM.collective_rpc` calls it by name."""

    def set_seed(self, seed: int) -> None:
        """Restart the generators that requests without a seed draw from, as vLLM does when an engine starts."""
        from vllm.utils.torch_utils import set_random_seed

        set_random_seed(seed)


def end_engine(llm: Any) -> None:
    """End the processes of a `vllm.LLM` and free their shared memory. The class has no public method for this."""
    llm.llm_engine.engine_core.shutdown()


def end_engines_with_parent() -> None:
    """Make engine processes end with this process, even if it is killed. Call this before creating an AsyncLLM.

    By default, vLLM's engine processes do not notice that their parent was killed, and keep their memory.
    """
    from vllm.v1.engine.core import EngineCoreProc

    EngineCoreProc.run_engine_core = staticmethod(run_engine_core)


_ENGINE_IMPORTS = ["ray", "vllm.v1.engine.core", "vllm.v1.executor.uniproc_executor", "vllm.v1.worker.cpu_worker"]


def fork_engines() -> None:
    """Start the server from which engine processes are forked, and make vLLM use it.

    In a Ray actor, vLLM spawns its engines, each of which imports vLLM again. A fork server has no threads and none of
    Ray's connections, so forking it is as safe as starting a new process.
    """
    multiprocessing.set_forkserver_preload(_ENGINE_IMPORTS)
    forkserver.ensure_running()
    from vllm.v1.engine import utils

    utils.get_mp_context = lambda: multiprocessing.get_context("forkserver")


def run_engine_core(*args: Any, **kwargs: Any) -> None:
    """Run vLLM's EngineCoreProc.run_engine_core in an engine process, with a thread that waits for the parent."""
    from vllm.v1.engine.core import EngineCoreProc  # unpatched, because this is another process

    threading.Thread(target=_end_with_parent, daemon=True).start()
    EngineCoreProc.run_engine_core(*args, **kwargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a process that multiprocessing started"
    parent.join()
    os._exit(1)


class OpenAIServing(NamedTuple):
    """vLLM's implementation of the OpenAI protocol around one engine."""

    models: Any  # OpenAIServingModels: the engine's names, its LoRA adapters' among them
    completions: Any  # OpenAIServingCompletion
    chat: Any  # OpenAIServingChat


async def openai_serving(llm: Any, name: str, path: str, adapters: Mapping[str, str]) -> OpenAIServing:
    """Return vLLM's OpenAI serving around an AsyncLLM, with its adapters loaded.

    Parameters that a request leaves out have the defaults of OpenAI's API and of offline generation, not those of the
    model's generation_config.json (top_k, repetition_penalty, …). That file's end tokens always apply.

    Args:
        llm: The AsyncLLM.
        name: The model's name in requests.
        path: The model's folder or hub id.
        adapters: Name in requests -> local folder of each LoRA adapter.
    """
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion
    from vllm.entrypoints.openai.models.protocol import BaseModelPath, LoRAModulePath
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.renderers.online_renderer import OnlineRenderer

    models = OpenAIServingModels(
        llm,
        [BaseModelPath(name=name, model_path=path)],
        lora_modules=[LoRAModulePath(name=adapter, path=folder) for adapter, folder in adapters.items()],
    )
    await models.init_static_loras()
    common: dict[str, Any] = {"chat_template": None, "chat_template_content_format": "auto"}
    renderer = OnlineRenderer(model_config=llm.model_config, renderer=llm.renderer, request_logger=None, **common)
    completions = OpenAIServingCompletion(llm, models, online_renderer=renderer, request_logger=None)
    chat = OpenAIServingChat(llm, models, "assistant", online_renderer=renderer, request_logger=None, **common)
    completions.default_sampling_params = chat.default_sampling_params = {}
    return OpenAIServing(models, completions, chat)


def blank_request() -> Any:
    """Return an empty HTTP request, in which vLLM stores the usage of a stream."""
    from starlette.requests import Request

    return Request({"type": "http", "headers": []})


def usage_left_in(request: Any) -> Any:
    """Return the usage (prompt_tokens, completion_tokens) of a request's stream; None if the stream failed."""
    return request.state.request_metadata.final_usage_info


def unfinished_requests(llm: Any) -> int:
    """Return how many requests an AsyncLLM is running or has queued."""
    return int(llm.output_processor.get_num_unfinished_requests())


def is_engine_death(error: Exception) -> bool:
    """Return whether an error says that the engine's process has ended."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError)


def described(error: Exception) -> Any:
    """Return the answer of vLLM's server to an error (code, message, param), by vLLM's own table of exceptions."""
    from vllm.entrypoints.serve import create_error_response

    return create_error_response(error).error


def engine_argument_names() -> frozenset[str]:
    """Return the names of the arguments that an engine takes, without importing vLLM, which takes seconds."""
    found = importlib.util.find_spec("vllm")
    assert found is not None and found.origin is not None, "vLLM is not installed"
    source = Path(found.origin).with_name("engine") / "arg_utils.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs":
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    raise AssertionError(f"{source} has no class EngineArgs")
