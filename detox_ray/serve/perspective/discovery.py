"""The discovery document of our Perspective-compatible API, from which Google's client libraries generate a client.

The document contains the API's address, so a program that fetches it from this service also calls this service: with
google-api-python-client, only `discoveryServiceUrl` changes.
"""

from typing import Any

PATH = "/$discovery/rest"
VERSION = "v1alpha1"


def document(root: str) -> dict[str, Any]:
    """Return the document for a service at ``root``, a URL that ends with a slash."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": f"commentanalyzer:{VERSION}",
        "name": "commentanalyzer",
        "version": VERSION,
        "title": "detox_ray, Perspective-compatible",
        "description": "Scores how toxic a comment is.",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": "",
        "baseUrl": root,
        "batchPath": "batch",
        "parameters": {"key": {"type": "string", "location": "query"}, "alt": {"type": "string", "location": "query"}},
        "schemas": _SCHEMAS,
        "resources": {
            "comments": {
                "methods": {
                    "analyze": {
                        "id": "commentanalyzer.comments.analyze",
                        "path": f"{VERSION}/comments:analyze",
                        "flatPath": f"{VERSION}/comments:analyze",
                        "httpMethod": "POST",
                        "description": "Analyzes the provided text and returns scores for requested attributes.",
                        "parameters": {},
                        "parameterOrder": [],
                        "request": {"$ref": "AnalyzeCommentRequest"},
                        "response": {"$ref": "AnalyzeCommentResponse"},
                    }
                }
            }
        },
    }


def _message(name: str, **fields: dict[str, Any]) -> dict[str, Any]:
    return {name: {"id": name, "type": "object", "properties": fields}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": name}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _map(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


_STRING, _BOOLEAN = {"type": "string"}, {"type": "boolean"}
_INT32 = {"type": "integer", "format": "int32"}
_FLOAT = {"type": "number", "format": "float"}
_SCHEMAS = {
    **_message("TextEntry", text=_STRING, type=_STRING),
    **_message("ArticleAndParentComment", article=_ref("TextEntry"), parentComment=_ref("TextEntry")),
    **_message("Context", entries=_list(_ref("TextEntry")), articleAndParentComment=_ref("ArticleAndParentComment")),
    **_message("AttributeParameters", scoreType=_STRING, scoreThreshold=_FLOAT),
    **_message(
        "AnalyzeCommentRequest",
        comment=_ref("TextEntry"),
        context=_ref("Context"),
        requestedAttributes=_map(_ref("AttributeParameters")),
        spanAnnotations=_BOOLEAN,
        languages=_list(_STRING),
        doNotStore=_BOOLEAN,
        clientToken=_STRING,
        sessionId=_STRING,
        communityId=_STRING,
    ),
    **_message("Score", value=_FLOAT, type=_STRING),
    **_message("SpanScore", begin=_INT32, end=_INT32, score=_ref("Score")),
    **_message("AttributeScores", spanScores=_list(_ref("SpanScore")), summaryScore=_ref("Score")),
    **_message(
        "AnalyzeCommentResponse",
        attributeScores=_map(_ref("AttributeScores")),
        languages=_list(_STRING),
        detectedLanguages=_list(_STRING),
        clientToken=_STRING,
    ),
}
