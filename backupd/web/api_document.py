"""The OpenAPI 3.1 document of the JSON API, written by hand and held to the API by a test."""

from __future__ import annotations

from typing import Any

from backupd import __version__
from backupd.model import BackupType, Status, TableStatus, Trigger

_Schema = dict[str, Any]

_TEXT: _Schema = {"type": "string"}
_TEXT_OR_NULL: _Schema = {"type": ["string", "null"]}
_WHOLE: _Schema = {"type": "integer", "minimum": 0}
_FLAG: _Schema = {"type": "boolean"}
_INSTANT: _Schema = {"type": "string", "format": "date-time"}
_INSTANT_OR_NULL: _Schema = {"type": ["string", "null"], "format": "date-time"}


def _words(kind: Any) -> _Schema:
    return {"type": "string", "enum": [str(one) for one in kind]}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: _Schema) -> _Schema:
    return {"type": "array", "items": schema}


def _either(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(**properties: _Schema) -> _Schema:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


_BACKUP = {
    "backup_id": _TEXT,
    "created_at": _INSTANT,
    "finished_at": _INSTANT_OR_NULL,
    "status": _words(Status),
    "type": _words(BackupType),
    "trigger": _words(Trigger),
    "platform": _TEXT,
    "project": _TEXT,
    "archive": _TEXT_OR_NULL,
    "size_bytes": _WHOLE,
    "sha256": _TEXT_OR_NULL,
    "total_rows": _WHOLE,
    "table_count": _WHOLE,
    "warnings": _list_of(_TEXT),
    "error": _TEXT_OR_NULL,
    "pinned": _FLAG,
    "verified_at": _INSTANT_OR_NULL,
    "missing_since": _INSTANT_OR_NULL,
}

_SCHEMAS: dict[str, _Schema] = {
    "Backup": _object(**_BACKUP),
    "WholeBackup": _object(**_BACKUP, tables=_list_of(_ref("Table"))),
    "Table": _object(
        name=_TEXT,
        status=_words(TableStatus),
        rows=_WHOLE,
        bytes=_WHOLE,
        sha256=_TEXT_OR_NULL,
        paging=_TEXT_OR_NULL,
        message=_TEXT_OR_NULL,
    ),
    "Backups": _object(backups=_list_of(_ref("Backup")), total=_WHOLE, next_after=_TEXT_OR_NULL),
    "Run": _object(
        run_id=_TEXT,
        operation=_TEXT,
        trigger=_words(Trigger),
        status=_words(Status),
        started_at=_INSTANT,
        finished_at=_INSTANT_OR_NULL,
        backup_id=_TEXT_OR_NULL,
        error=_TEXT_OR_NULL,
        hint=_TEXT_OR_NULL,
    ),
    "Runs": _object(runs=_list_of(_ref("Run"))),
    "Jobs": _object(jobs=_list_of(_object(name=_TEXT, schedule=_TEXT, next_run_at=_INSTANT))),
    "Activity": {
        **_object(operation=_TEXT, backup_id=_TEXT_OR_NULL, started_at=_INSTANT, stage=_TEXT),
        "description": "What is under way. `ratio` goes from 0 to 1; figures are null where nobody can tell.",
    },
    "ServiceStatus": _object(
        state={"type": "string", "enum": ["healthy", "degraded", "unhealthy"]},
        reasons=_list_of(_object(state=_TEXT, text=_TEXT, remedy=_TEXT)),
        started_at=_INSTANT,
        last_success=_either(_ref("Backup")),
        activity=_either(_ref("Activity")),
        next_runs={"type": "object", "additionalProperties": _INSTANT},
        backups=_WHOLE,
        size_bytes=_WHOLE,
    ),
    "Begun": _object(operation=_TEXT),
    "BegunBackup": _object(backup_id=_TEXT, type=_words(BackupType), joined=_FLAG, operation=_TEXT),
    "Verification": _object(
        backup_id=_TEXT,
        verified_at=_INSTANT_OR_NULL,
        last=_either(_object(at=_INSTANT, ok=_FLAG, words=_TEXT, problems=_list_of(_TEXT))),
    ),
    "Deleted": _object(deleted=_TEXT, freed_bytes=_WHOLE),
    "Download": _object(url={"type": "string", "format": "uri"}, expires_at=_INSTANT, size_bytes=_WHOLE),
    "Cleanup": _object(
        decisions=_list_of(
            _object(backup_id=_TEXT, decision={"type": "string", "enum": ["keep", "delete"]}, reason=_TEXT)
        ),
        would_delete=_list_of(_TEXT),
        would_free_bytes=_WHOLE,
        refused=_list_of(_object(backup_id=_TEXT, reason=_TEXT)),
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457, with `hint`: what to do next.",
        "properties": {"title": _TEXT, "status": _WHOLE, "detail": _TEXT, "hint": _TEXT, "backup_id": _TEXT},
        "required": ["title", "status", "detail"],
    },
}

_PROBLEMS = {
    400: "the request cannot be read",
    401: "no session and no bearer token",
    403: "the CSRF token is missing or wrong; a bearer token needs none",
    404: "there is no such thing",
    409: "something else is under way, or this must not be done as things stand",
    413: "the request is too large",
    415: "the body is not said to be JSON",
    422: "a value is not allowed",
    429: "too many wrong tokens",
    503: "the catalog, the store or the daemon cannot be reached",
}


def _answers(status: int, schema: str, *problems: int) -> dict[str, Any]:
    good = {"description": "as asked", "content": {"application/json": {"schema": _ref(schema)}}}
    shown = {"application/problem+json": {"schema": _ref("Problem")}}
    always = (401, 429, 503)
    bad = {str(code): {"description": _PROBLEMS[code], "content": shown} for code in sorted({*problems, *always})}
    return {str(status): good, **bad}


def _operation(name: str, summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": responses, **more}


def _asked(name: str, schema: _Schema, words: str) -> _Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": words}


def _in_path(name: str, words: str) -> _Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": words}


def _body(required: tuple[str, ...] = (), **properties: _Schema) -> dict[str, Any]:
    schema: _Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


_ID = _in_path("backup_id", "The whole id of a backup.")
_LIMIT = _asked("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "How many at most.")
_JOIN = {**_FLAG, "description": "Be content with a backup that is under way, instead of 409."}
_UNSAFE = (400, 403, 409, 413, 415, 422)

_PATHS: dict[str, Any] = {
    "/openapi.json": {
        "get": {
            "operationId": "getDocument",
            "summary": "This document",
            "responses": {
                "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}},
                **{code: answer for code, answer in _answers(200, "Problem").items() if code != "200"},
            },
        }
    },
    "/status": {"get": _operation("getStatus", "How things stand", _answers(200, "ServiceStatus"))},
    "/backups": {
        "get": _operation(
            "listBackups",
            "Backups, newest first",
            _answers(200, "Backups", 404, 422),
            parameters=[
                _asked("type", _words(BackupType), "Only those of this type."),
                _asked("status", _words(Status), "Only those with this status."),
                _LIMIT,
                _asked("after", _TEXT, "The last id of the page before: `next_after` of its answer."),
            ],
        ),
        "post": _operation(
            "createBackup",
            "Take a backup now",
            _answers(202, "BegunBackup", *_UNSAFE),
            requestBody=_body(type=_words(BackupType), join=_JOIN),
        ),
    },
    "/backups/{backup_id}": {
        "parameters": [_ID],
        "get": _operation("getBackup", "One backup with its tables", _answers(200, "WholeBackup", 404)),
        "delete": _operation(
            "deleteBackup", "Delete a backup and its archive", _answers(200, "Deleted", 403, 404, 409, 413)
        ),
    },
    "/backups/{backup_id}/verification": {
        "parameters": [_ID],
        "get": _operation("getVerification", "How the last one ended", _answers(200, "Verification", 404)),
        "post": _operation("verifyBackup", "Read every byte back", _answers(202, "Begun", 403, 404, 409, 413)),
    },
    "/backups/{backup_id}/pin": {
        "parameters": [_ID],
        "put": _operation(
            "pinBackup",
            "Let it never expire, or let it",
            _answers(200, "WholeBackup", 404, *_UNSAFE),
            requestBody=_body(("pinned",), pinned=_FLAG),
        ),
    },
    "/backups/{backup_id}/download": {
        "parameters": [_ID],
        "post": _operation("downloadBackup", "A link for a few minutes", _answers(201, "Download", 403, 404, 413)),
    },
    "/runs": {
        "get": _operation(
            "listRuns",
            "Runs, newest first",
            _answers(200, "Runs", 422),
            parameters=[_LIMIT, _asked("operation", _TEXT, "Only those of this operation.")],
        )
    },
    "/jobs": {"get": _operation("listJobs", "The jobs and when they run", _answers(200, "Jobs"))},
    "/jobs/{name}/run": {
        "parameters": [_in_path("name", "daily_backup or weekly_cleanup.")],
        "post": _operation(
            "runJob",
            "Run a job now",
            _answers(202, "Begun", 404, *_UNSAFE),
            requestBody=_body(join=_JOIN),
        ),
    },
    "/cleanup": {"get": _operation("previewCleanup", "What a cleanup would do", _answers(200, "Cleanup"))},
    "/events": {
        "get": {
            "operationId": "watch",
            "summary": "What is going on, as server-sent events",
            "responses": {
                "200": {
                    "description": "`state` events whose data is JSON: `activity` and `newest`",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                **{code: answer for code, answer in _answers(200, "Problem").items() if code != "200"},
            },
        }
    },
}


def api_document(url: str) -> dict[str, Any]:
    """The document, for an API served at `url`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "backupd",
            "version": __version__,
            "summary": "Backups of a Supabase project.",
            "description": "Ids never change. Pages of backups stay the same while new ones come. An unsafe request "
            "with a session needs the header X-CSRF-Token; with the admin token as a bearer token it does not.",
        },
        "servers": [{"url": f"{url}/api/v1"}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": _PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "web.admin_token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "backupd_session"},
            },
        },
    }
