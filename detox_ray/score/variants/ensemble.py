"""A scorer that combines several others by their mean, median or maximum."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from detox_ray.config.base import Name, distinct
from detox_ray.score.scorer_variant import Combination, Floats, ResolvedScorer, ScorerVariant
from detox_ray.storage import Store, key_of


class EnsembleConfig(ScorerVariant):
    """The mean, median or maximum of other scorers."""

    no_influence = ScorerVariant.no_influence | {"members"}  # the members' identities are hashed instead
    member_fields = ("members",)

    type: Literal["ensemble"]
    # scorers to combine; they must be listed before this one
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
