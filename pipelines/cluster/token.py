"""Whether a Ray cluster lets this process in. Ray itself asks again and again, for up to two and a
half minutes and in silence.

Ray's servers answer `UNAUTHENTICATED` to any call without the cluster's token; where it is looked
for is Ray's own order (https://docs.ray.io/en/latest/ray-security/token-auth.html).
"""

from __future__ import annotations

import os
from pathlib import Path

from tokenizer.errors import UsageError

_HEAD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_CLIENT = "/ray.rpc.RayletDriver/ClusterInfo"
"""cheap calls of the head's own port and of its port for clients"""
_SECONDS = 10.0


def require_token(host_and_port: str, client: bool) -> None:
    """Refuse at once what Ray would refuse late.

    Raises:
        UsageError: the cluster asks for a token, and this process has none, or another.
    """
    import grpc

    token = _token()
    headers = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(host_and_port) as channel:
        try:
            channel.unary_unary(_CLIENT if client else _HEAD)(
                b"", timeout=_SECONDS, metadata=headers
            )
        except grpc.RpcError as error:  # whatever else is wrong is Ray's to find out
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                return
            what = "another token than the one that is set here" if token else "a token"
            raise UsageError(
                f"the Ray cluster at {host_and_port} asks for {what}: copy the head's "
                "~/.ray/auth_token to this machine "
                "and set RAY_AUTH_MODE=token, or set RAY_AUTH_TOKEN"
            ) from error


def _token() -> str | None:
    """This process's token: a variable, a file that a variable names, or the file in the user's
    home."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token.strip()
    try:
        return (
            Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
            .read_text()
            .strip()
            or None
        )
    except (OSError, RuntimeError):  # there is none, or no home
        return None
