"""What errors say is stored in tables and shown to others."""

import pytest

from rehearsal.errors import without_secrets


@pytest.mark.parametrize(
    ("told", "bare"),
    [
        ("s3a://key:se@cret@bucket/a b@c", "s3a://bucket/a b@c"),
        ("in 'https://token@host/x?sig=abc#f', twice", "in 'https://host/x', twice"),
        ("http://u:p@h:1/x?y=z and s3://b/c?v=1", "http://h:1/x and s3://b/c"),
        ("abfss://container@account.dfs.core.windows.net/a: why?",) * 2,
        ("hdfs://name:8020/a of a@b, really? yes: 3:4",) * 2,
    ],
)
def test_urls_lose_passwords_tokens_and_queries_and_nothing_else(told: str, bare: str) -> None:
    assert without_secrets(told) == bare
