"""The responses of protocols whose bodies are no JSON, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

HEADERS = {
    "Content-Transfer-Encoding": ("string", "`base64`, which EST's older clients look for"),
    "WWW-Authenticate": ("string", "On the public host: HTTP Basic, with a one-time password"),
}
"""The headers that come with such bodies alone: type and description."""

_BY_STATUS = {200: "Content-Transfer-Encoding", 202: "Retry-After", 401: "WWW-Authenticate"}
_TEXTS = {200: "The result, in base64", 202: "The same request has an answer later"}


def added(status: int, media_type: str, other: Json) -> Json:
    """Return the response `other`, which may have a body in text too."""
    made: Json = {
        "description": ". ".join(filter(None, (_TEXTS.get(status, "A refusal"), other["description"]))),
        "content": {media_type: {"schema": {"type": "string"}}} | other["content"],
    }
    names = filter(None, [_BY_STATUS.get(status)])
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names} | other.get("headers", {})
    return made | ({"headers": headers} if headers else {})
