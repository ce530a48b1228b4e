"""Errors of the Hugging Face hub as messages for users."""


def why_not_on_hub(error: Exception, revision: str | None = None) -> str:
    """Return why the hub gave nothing, with what to do next.

    Args:
        error: The exception that a call to the hub raised.
        revision: The requested revision.
    """
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return "is gated: accept its terms on its page on the hub, and log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "is not on the hub, or is private: check the id, or log in with `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"has no revision {revision!r} on the hub"
    if isinstance(error, HFValidationError):
        return "must be a hub id (org/name) or an existing folder"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"is not in the local cache, and the hub cannot be reached ({reason}): download it while there is a network, "
        "or give a folder as path"
    )
