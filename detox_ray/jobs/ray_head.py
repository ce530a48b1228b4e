"""The jobs of a Ray head, by the REST API of its dashboard: list, submit and stop them.

Each request is short and has a time-out, so that a lost connection is one failed request.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from detox_ray.config import ConfigError, InputError, Problem

ADDRESS = "DETOX_RAY_ADDRESS"
# Ray's own client prefers these to the address that it is given.
OVERRIDING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
TIMEOUT_S = 20
DRIVER = "driver"  # the custom resource of a head on which drivers are meant to run
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class NoAnswer(RuntimeError):
    """The head did not answer a request. It may do so later."""


class Job(NamedTuple):
    """A job in Ray's table."""

    id: str  # the submission id
    state: str  # PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    message: str
    driver_exit_code: int | None
    started: float | None  # seconds since 1970
    ended: float | None
    metadata: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of the job's `detox-ray run`; None while the job runs."""
        if not self.has_ended:
            return None
        if self.state == "SUCCEEDED":
            return 0
        if self.state == "STOPPED":
            return 3
        return self.driver_exit_code if self.driver_exit_code in (1, 2, 3, 5) else 1


class Nodes(NamedTuple):
    """The living nodes of a cluster."""

    host_names: tuple[str, ...]
    head_resources: Mapping[str, float]

    @property
    def are_this_machine(self) -> bool:
        return bool(self.host_names) and set(self.host_names) == {socket.gethostname()}


def chosen_address(given: str | None) -> str:
    """Return the address to use, as a URL: the one given, else $DETOX_RAY_ADDRESS, else $RAY_API_SERVER_ADDRESS.

    Raises:
        ConfigError: None is set, it cannot be a dashboard's address, or Ray's own variables name another one.
    """
    environment = {name: value for name in OVERRIDING if (value := os.environ.get(name))}
    written = given or os.environ.get(ADDRESS) or environment.get(OVERRIDING[0])
    if not written:
        rule = f"is needed: the head's dashboard, such as http://127.0.0.1:8265; or set {ADDRESS}"
        raise ConfigError([Problem("--address", None, rule)])
    address = _as_url(written)
    for name, value in environment.items():
        if value != written and _as_url_or_none(value) != address:
            rule = f"differs from the address {address}, and Ray's client would use it: unset {name}"
            raise ConfigError([Problem(name, value, rule)])
    return address


def _as_url(written: str) -> str:
    url = urlsplit(written if "://" in written else f"http://{written}")
    if url.scheme not in ("http", "https") or not url.hostname:
        rule = "must be the address of the head's dashboard, such as http://127.0.0.1:8265"
        raise ConfigError([Problem("--address", written, rule)])
    if "@" in url.netloc:  # messages show the address
        rule = "must hold no user and no password: the token comes from RAY_AUTH_TOKEN or ~/.ray/auth_token"
        raise ConfigError([Problem("--address", f"…@{url.netloc.rpartition('@')[2]}", rule)])
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


def _as_url_or_none(written: str) -> str | None:
    try:
        return _as_url(written)
    except ConfigError:
        return None


def token() -> str | None:
    """Return the token for Ray's ports, looked up where Ray's own client looks, in its order; None if there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


class RayHead:
    """The jobs of a Ray head, at the address of its dashboard."""

    def __init__(self, address: str):
        self.address = address
        secret = token()
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._client = httpx.Client(base_url=address, headers=self._headers, timeout=TIMEOUT_S)

    @classmethod
    def at(cls, given: str | None) -> "RayHead":
        """Return the head at an address, by default the environment's, after checking that a Ray head answers there.

        Raises:
            ConfigError: The address is wrong or missing.
            InputError: Nothing answers there, or what answers is not Ray or wants another token.
        """
        head = cls(chosen_address(given))
        head.probe()
        return head

    def probe(self) -> None:
        """Raise InputError if nothing answers at the address, or if what answers is not Ray or wants another token."""
        try:
            response = self._client.get("/api/version")
        except httpx.HTTPError as error:
            raise InputError(
                f"{self.address} does not answer ({error}): it must be the dashboard of a running Ray head; "
                "`ray dashboard CLUSTER.yaml` or `kubectl port-forward` makes a remote one available here"
            ) from None
        if response.status_code in (401, 403):
            raise InputError(
                f"{self.address} refuses the token ({response.text.strip()[:200]}): "
                "put the cluster's token into RAY_AUTH_TOKEN or ~/.ray/auth_token"
            )
        try:
            response.json()["ray_version"]
        except (ValueError, KeyError, TypeError):
            answer = f"{response.status_code} {response.text.strip()[:80]!r}"
            raise InputError(
                f"{self.address} is not a Ray head: GET /api/version answered {answer}; "
                "give the address of the head's dashboard, usually port 8265"
            ) from None

    def _get(self, path: str, **parameters: str) -> Any:
        return self._content(path, self._request("GET", path, params=parameters))

    def _content(self, path: str, response: httpx.Response) -> Any:
        if response.status_code != 200:
            raise RuntimeError(f"{self.address}{path} answered {response.status_code}: {response.text.strip()[:500]}")
        return response.json()

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise NoAnswer(f"{self.address} does not answer: {error or type(error).__name__}") from None
        if response.status_code >= 500:
            raise NoAnswer(f"{self.address}{path} answered {response.status_code}: {response.text.strip()[:200]}")
        return response

    def jobs(self) -> list[Job]:
        """Return the jobs that were submitted by `detox-ray submit`, newest first."""
        jobs = [_job(row) for row in self._get("/api/jobs/") if row.get("submission_id")]
        return sorted((job for job in jobs if "detox_ray" in job.metadata), key=lambda job: -(job.started or 0))

    def job(self, job_id: str) -> Job | None:
        """Return a job; None if the head does not know it."""
        path = f"/api/jobs/{job_id}"
        response = self._request("GET", path)
        return None if response.status_code == 404 else _job(self._content(path, response))

    def log(self, job_id: str) -> str:
        """Return the whole log of a job's driver. Raises NoAnswer if it cannot be read, such as one of a lost node."""
        return str(self._get(f"/api/jobs/{job_id}/logs")["logs"] or "")

    def stop(self, job_id: str) -> None:
        """Ask a job to end."""
        response = self._request("POST", f"/api/jobs/{job_id}/stop")
        if response.status_code != 200:
            raise RuntimeError(f"{job_id} was not stopped: {response.text.strip()[:500]}")

    def nodes(self) -> Nodes:
        """Return the living nodes."""
        names = self._get("/nodes", view="hostNameList")["data"]["hostNameList"]
        listed = self._get("/api/v0/nodes", detail="true")["data"]["result"]["result"]
        heads = [node for node in listed if node["is_head_node"] and node["state"] == "ALIVE"]
        return Nodes(tuple(names), heads[0]["resources_total"] if heads else {})

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        folder: Path,
        env_vars: Mapping[str, str],
        metadata: Mapping[str, str],
        resources: Mapping[str, float],
    ) -> bool:
        """Submit a job whose working folder is a copy of ``folder``. Return False if a job has this id already."""
        import logging

        from ray.job_submission import JobSubmissionClient

        logging.getLogger("ray.dashboard.modules.dashboard_sdk").setLevel(logging.WARNING)
        client = JobSubmissionClient(self.address, headers=dict(self._headers))
        runtime_env = {"working_dir": str(folder), "excludes": EXCLUDED, "env_vars": dict(env_vars)}
        try:
            client.submit_job(
                entrypoint=entrypoint,
                submission_id=job_id,
                runtime_env=runtime_env,
                metadata=dict(metadata),
                entrypoint_resources=dict(resources) or None,
            )
        except RuntimeError:
            if self.job(job_id) is not None:
                return False
            raise
        return True


# Parts of a clone that no job needs, besides those that .gitignore names.
EXCLUDED = ["/.git/", "/.venv/", "/runs/", "/site/"]


def _job(row: Mapping[str, Any]) -> Job:
    def seconds(name: str) -> float | None:
        return row[name] / 1000 if row.get(name) else None

    return Job(
        id=row["submission_id"],
        state=row["status"],
        message=row.get("message") or "",
        driver_exit_code=row.get("driver_exit_code"),
        started=seconds("start_time"),
        ended=seconds("end_time"),
        metadata=row.get("metadata") or {},
    )
