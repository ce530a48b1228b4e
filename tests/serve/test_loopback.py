"""The ports of a service on one machine, and who may call those that are not HTTP."""

from collections.abc import Iterator
from typing import NamedTuple

import grpc
import psutil
import pytest
from service import Service

pytestmark = pytest.mark.integration

CALL = "/ray.serve.ASGIService/HandleRequest"  # a pickle, which a replica of Ray Serve loads


class Listening(NamedTuple):
    process: str
    host: str
    port: int


def listeners(service: Service) -> Iterator[Listening]:
    leader = psutil.Process(service.process.pid)
    for process in [leader, *leader.children(recursive=True)]:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield Listening(process.cmdline()[0], connection.laddr.ip, connection.laddr.port)


def test_every_process_listens_on_loopback_only(service: Service) -> None:
    found = list(listeners(service))
    assert any("ServeReplica" in each.process for each in found)
    assert [each for each in found if each.host.removeprefix("::ffff:") != "127.0.0.1"] == []


@pytest.mark.parametrize("token", [None, "0" * 64], ids=["none", "another"])
def test_replicas_take_no_call_without_rays_token(service: Service, token: str | None) -> None:
    codes = set()
    for _, _, port in (each for each in listeners(service) if "ServeReplica" in each.process):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            metadata = None if token is None else [("authorization", f"Bearer {token}")]
            channel.unary_unary(CALL)(b"", metadata=metadata, timeout=30)
        codes.add(refused.value.code())
    assert grpc.StatusCode.UNAUTHENTICATED in codes
    # The other port of each, Ray's own, knows no such call.
    assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}
