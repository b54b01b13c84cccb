"""What a standing lab's outputs tell, for the tests of the tools that read them."""

from typing import Any

from tools.standing import Stack

SECRETS = ("fastgpt-secret", "oneapi-secret", "access-secret", "sk-secret")
OUTPUTS: dict[str, Any] = {
    "serverAddress": "127.0.0.9",
    "sshPort": 22,
    "sshUser": "root",
    "sshHostKey": "ssh-ed25519 AAAA",
    "sshKeyFile": "~/.ssh/id_rsa",
    "fastgptUrl": "http://127.0.0.9:3000",
    "fastgptPassword": SECRETS[0],
    "fastgptToken": SECRETS[3],
    "oneapiUrl": "http://127.0.0.9:3001",
    "oneapiPassword": SECRETS[1],
    "oneapiAccessToken": SECRETS[2],
    "xinferenceUrl": "http://127.0.0.9:9997",
    "models": [
        {"name": "qwen", "kind": "chat", "servedBy": "xinference"},
        {"name": "m3e", "kind": "embedding", "servedBy": "xinference"},
        {"name": "bge", "kind": "rerank", "servedBy": "xinference"},
        {"name": "qwen-max", "kind": "chat", "servedBy": "dashscope"},
    ],
    "releases": {"mongo": "5.0.18 (good)", "pg": "0.8.2-pg15 (good)"},
    "shareLinks": {"Guide/visitors": "http://127.0.0.9:3000/chat/share?shareId=abc"},
    "hourlyPrice": {"total": 12.0, "currency": "CNY", "parts": {}, "note": ""},
    "leaseStarted": "2026-11-22T10:00:00Z",
    "leaseEnds": "2026-11-22T20:01:00Z",
}
REAL = Stack("dev", False, {})
