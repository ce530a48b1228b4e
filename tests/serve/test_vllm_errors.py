"""Messages to clients about errors inside the engine."""

import pydantic
import pytest

from detox_ray.serve.http.errors import RequestError
from detox_ray.serve.workers.vllm_errors import field_in, request_error

pytest.importorskip("vllm.exceptions")


def test_field_is_the_first_word_where_the_request_has_it() -> None:
    assert field_in("n must be 1 when using greedy sampling, got 2.", {"n", "prompt"}) == "n"
    assert field_in("`logprobs` must be an integer.", {"logprobs"}) == "logprobs"
    assert field_in("stop[0]: should be text", {"stop"}) == "stop"
    assert field_in("Something else", {"prompt"}) is None
    assert field_in("", {"prompt"}) is None


@pytest.mark.integration
def test_dead_engine_is_unavailable_and_other_failures_tell_nothing() -> None:
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    assert request_error(EngineDeadError(), ()).status_code == 503
    failed = request_error(EngineGenerateError("secret"), ())
    assert failed.status_code == 500 and "secret" not in failed.message
    assert request_error(RuntimeError("/home/x: secret"), ()).message == failed.message


@pytest.mark.integration
def test_refusals_of_vllm_name_the_field_and_repeat_no_value() -> None:
    from vllm.exceptions import VLLMValidationError

    told = request_error(VLLMValidationError("too large", parameter="logprobs", value="the prompt"), ("logprobs",))
    assert (told.status_code, told.param, told.message) == (400, "logprobs", "too large")
    assert request_error(ValueError("stop cannot contain an empty string."), ("stop",)).param == "stop"

    class Body(pydantic.BaseModel):
        seed: int

    with pytest.raises(pydantic.ValidationError) as wrong:
        Body.model_validate({"seed": "x"})
    assert request_error(wrong.value, ("seed",)).param == "seed"
    already = RequestError(413, "too large", "prompt")
    assert request_error(already, ()) is already
