"""The Perspective API, or any server with the same protocol (docs/papers.md, "The Perspective API")."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from detox_ray.config import Problem
from detox_ray.config.base import no_secret, variable_name
from detox_ray.score import perspective_requests
from detox_ray.score.perspective_client import PerspectiveScorer
from detox_ray.score.scorer_variant import DEFINITIONS, ReadyScorer, ResolvedScorer, ScorerVariant, ScoringWork
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store


class PerspectiveConfig(ScorerVariant):
    """The Perspective API, or any server with the same protocol."""

    # The revision has the server's address instead. The other fields only decide how fast and how often it is asked.
    no_influence = ScorerVariant.no_influence | {"url", "key_env", "queries_per_second", "timeout", "retries"}
    service = True
    by_language = True

    type: Literal["perspective"]
    url: Annotated[str, AfterValidator(no_secret)] = f"https://{perspective_requests.GOOGLE}"  # address of the server
    # environment variable that holds the key
    key_env: Annotated[str, AfterValidator(variable_name)] = perspective_requests.GOOGLES_KEY
    attributes: list[str] = Field(["toxicity"], min_length=1)  # in lower case: toxicity, severe_toxicity, insult, …
    queries_per_second: float = Field(1.0, gt=0)  # of the whole cluster; 1 is the API's default quota
    max_bytes: int = Field(20480, ge=1)  # longest text that is sent, in UTF-8 bytes
    timeout: float = Field(30.0, gt=0)  # seconds per request
    retries: int = Field(6, ge=0)  # per request, if it gets no answer, a 429 or a 5xx

    @classmethod
    def ready(cls) -> Sequence[ReadyScorer]:
        config = cls(name="perspective", type="perspective")
        licence = "terms of the service, which ends with 2026"
        cost = "HTTP, 1 query a second by default; a key"
        return [ReadyScorer(config, ("toxicity",), perspective_requests.LANGUAGES, licence, cost)]

    @property
    def origin(self) -> str:
        return self.url

    def meaning(self, attribute: str) -> str:
        return DEFINITIONS.get(attribute, super().meaning(attribute))

    def check_settings(self) -> list[Problem]:
        return perspective_requests.check(self.url, self.key_env)

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        revision = perspective_requests.revision(self.url, self.attributes)
        return self.resolved(revision, perspective_requests.LANGUAGES)

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        return PerspectiveScorer(**self.model_dump(exclude={"type", "languages"}))

    def work(self) -> ScoringWork | None:
        return ScoringWork(texts_per_second=self.queries_per_second)


VARIANT = PerspectiveConfig
