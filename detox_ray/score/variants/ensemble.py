"""Several scorers as one: their mean, median or maximum."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from detox_ray.config.base import Name, distinct
from detox_ray.score.scorer_variant import Combination, Floats, ResolvedScorer, ScorerVariant
from detox_ray.storage import Store, key_of


class EnsembleConfig(ScorerVariant):
    """Combines scorers that stand before it."""

    no_influence = ScorerVariant.no_influence | {"members"}  # hashed: the members' identities
    member_fields = ("members",)

    type: Literal["ensemble"]
    members: Annotated[list[Name], Field(min_length=2), AfterValidator(distinct)]
    combine: Literal["mean", "median", "max"] = "mean"

    def meaning(self, attribute: str) -> str:
        return f"the {self.combine} of its members' values"

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        members = tuple(earlier[name] for name in self.members)
        known = [set(member.languages) for member in members if member.languages is not None]
        languages = tuple(sorted(set.intersection(*known))) if known else None
        revision = key_of(members=[member.identity for member in members], combine=self.combine)
        return self.resolved(revision, languages)._replace(members=members)

    def combination(self, scorer: ResolvedScorer, store: Store) -> Combination:
        def combine(values_MN: Floats, language: str) -> Floats:
            if self.combine == "mean":
                return values_MN.mean(0)
            return values_MN.max(0) if self.combine == "max" else np.median(values_MN, axis=0)

        return Combination(combine)


VARIANT = EnsembleConfig
